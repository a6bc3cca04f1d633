//! A stream to a peer, as the body of the answer to its request: frames as messages come, without end.
//!
//! It ends when the peer asks for a new stream of the kind, when the peer is removed, and when the connection breaks.
//! What was not sent then is reported to Raft.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::frame::{Stream, Writer};
use crate::peer::Link;
use crate::queue::Receiver;

/// A frame of the body is given out when it is this long, even if more messages wait.
const PIECE_BYTES: usize = 256 << 10;

#[derive(Debug)]
pub(crate) struct Outgoing {
    link: Arc<Link>,
    stream: Stream,
    messages: Receiver,
    writer: Writer,
    heartbeats: Interval,
    out: BytesMut,
}

impl Outgoing {
    pub(crate) fn new(link: Arc<Link>, stream: Stream, messages: Receiver) -> Outgoing {
        // Three of them fit into the time after which the other side takes us for dead.
        let period = link.context.timeouts.read / 3;
        let mut heartbeats = interval_at(Instant::now() + period, period);
        heartbeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        link.stream_established(stream);
        Outgoing { link, stream, messages, writer: Writer::new(stream), heartbeats, out: BytesMut::new() }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Outgoing { link, messages, writer, heartbeats, out, .. } = &mut *self;
        let mut is_over = false;
        while out.len() < PIECE_BYTES {
            match messages.poll_next(cx) {
                Poll::Ready(Some(message)) => writer.message(&message, out),
                Poll::Ready(None) => {
                    is_over = true;
                    break;
                }
                Poll::Pending => break,
            }
        }
        link.metrics.sent(out.len());
        if !is_over && heartbeats.poll_tick(cx).is_ready() {
            writer.heartbeat(out);
        }
        if !out.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(out.split().freeze()))));
        }
        if is_over { Poll::Ready(None) } else { Poll::Pending }
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        if self.messages.holds_any() || !self.out.is_empty() {
            self.link.owner.unreachable(self.link.remote);
        }
        self.link.stream_closed(self.stream);
    }
}
