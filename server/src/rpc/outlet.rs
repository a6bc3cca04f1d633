//! The way out of one call: headers, messages as flow control lets them, trailers.
//!
//! Bytes are handed to h2 only when the client has room for them and the socket takes them, so that what waits for a
//! slow client waits here, in the call, where it is counted, and given up when too much waits.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use tokio::time::{Instant, timeout};

use super::budget::Share;
use super::reply::Reply;
use super::status::{Status, write_end};
use super::traffic::{Traffic, Waiting};

/// A client that takes nothing of its answer for this long does not get the rest.
pub(super) const STALL: Duration = Duration::from_secs(10);

/// An answer that is longer is not compressed: that would keep the other calls of its thread waiting.
const GZIP_BYTES: usize = 1 << 20;

/// The client has gone away, or has taken nothing for too long: there is nobody to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

pub(super) struct Outlet {
    stage: Stage,
    /// The client understands gzip, and used it itself.
    gzip: bool,
    traffic: Rc<Traffic>,
    waiting: Waiting,
    /// The budget had no room for what the client did not take.
    overdrawn: bool,
}

enum Stage {
    Fresh(SendResponse<Bytes>),
    Open(SendStream<Bytes>),
    Ended,
}

pub(super) const CONTENT_TYPE: HeaderName = http::header::CONTENT_TYPE;
pub(super) const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const APPLICATION_GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

impl Outlet {
    pub fn new(respond: SendResponse<Bytes>, gzip: bool, traffic: Rc<Traffic>) -> Self {
        Self { stage: Stage::Fresh(respond), gzip, traffic, waiting: Waiting::default(), overdrawn: false }
    }

    pub fn traffic(&self) -> Rc<Traffic> {
        self.traffic.clone()
    }

    /// Readies a message for [`Outlet::poll_send`].
    pub fn prepare(&self, reply: Reply) -> Outgoing {
        let mut reply = if self.gzip && reply.bytes() <= GZIP_BYTES { reply.compressed() } else { reply };
        let bytes = reply.bytes() as u64;
        let share = reply.share.take();
        let is_charged = share.as_ref().is_some_and(|share| share.covers(bytes));
        Outgoing { reply, piece: Bytes::new(), moved: false, bytes, share, is_charged }
    }

    /// Hands over a message, piece by piece. What the client does not take at once is charged to the budget.
    pub fn poll_send(&mut self, cx: &mut Context<'_>, out: &mut Outgoing) -> Poll<Result<(), Gone>> {
        let sent = self.poll_pieces(cx, out);
        if sent.is_pending() && !out.is_charged {
            out.is_charged = true;
            out.share = self.traffic.budget.charge(out.bytes);
            self.overdrawn = out.share.is_none();
            if self.overdrawn {
                return Poll::Ready(Err(Gone));
            }
        }
        sent
    }

    fn poll_pieces(&mut self, cx: &mut Context<'_>, out: &mut Outgoing) -> Poll<Result<(), Gone>> {
        loop {
            if out.piece.is_empty() {
                match out.reply.pop() {
                    Some(piece) => out.piece = piece,
                    None => return Poll::Ready(Ok(())),
                }
            }
            if !self.traffic.ready_or_wait(&mut self.waiting, cx.waker()) {
                return self.poll_gone(cx).map(|()| Err(Gone));
            }
            self.open()?;
            let Stage::Open(stream) = &mut self.stage else { return Poll::Ready(Err(Gone)) };
            stream.reserve_capacity(out.piece.len());
            let mut room = stream.capacity();
            if room == 0 {
                room = match ready!(stream.poll_capacity(cx)) {
                    Some(Ok(room)) => room,
                    Some(Err(_)) | None => return Poll::Ready(Err(Gone)),
                };
            }
            let now = out.piece.split_to(room.min(out.piece.len()));
            out.moved = true;
            stream.send_data(now, false).map_err(|_| Gone)?;
        }
    }

    /// Sends the headers if they have not been sent.
    pub fn open(&mut self) -> Result<(), Gone> {
        let Stage::Fresh(respond) = &mut self.stage else { return Ok(()) };
        let mut headers = HeaderMap::with_capacity(2);
        headers.insert(CONTENT_TYPE, APPLICATION_GRPC);
        if self.gzip {
            headers.insert(GRPC_ENCODING, HeaderValue::from_static("gzip"));
        }
        let stream = respond.send_response(response(headers), false).map_err(|_| Gone)?;
        self.stage = Stage::Open(stream);
        Ok(())
    }

    /// Ends the call: trailers, or headers alone if nothing has been sent.
    pub fn finish(&mut self, end: Result<(), &Status>) -> Result<(), Gone> {
        match std::mem::replace(&mut self.stage, Stage::Ended) {
            Stage::Fresh(mut respond) => {
                let mut headers = HeaderMap::with_capacity(3);
                headers.insert(CONTENT_TYPE, APPLICATION_GRPC);
                write_end(&mut headers, end);
                respond.send_response(response(headers), true).map(drop).map_err(|_| Gone)
            }
            Stage::Open(mut stream) => {
                let mut trailers = HeaderMap::with_capacity(2);
                write_end(&mut trailers, end);
                stream.send_trailers(trailers).map_err(|_| Gone)
            }
            Stage::Ended => Ok(()),
        }
    }

    /// Ends the call without an answer, or in the middle of one.
    pub fn reset(&mut self) {
        let calm = self.overdrawn.then_some(Reason::ENHANCE_YOUR_CALM);
        match std::mem::replace(&mut self.stage, Stage::Ended) {
            Stage::Fresh(mut respond) => respond.send_reset(calm.unwrap_or(Reason::CANCEL)),
            // What was asked for may be done. Clients that hear CANCEL, and did not cancel, do it again.
            Stage::Open(mut stream) => stream.send_reset(calm.unwrap_or(Reason::INTERNAL_ERROR)),
            Stage::Ended => {}
        }
    }

    /// Ready when the client has given the call up or the connection has ended.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.stage {
            Stage::Fresh(respond) => respond.poll_reset(cx).map(drop),
            Stage::Open(stream) => stream.poll_reset(cx).map(drop),
            Stage::Ended => Poll::Ready(()),
        }
    }
}

/// A message on its way.
pub(super) struct Outgoing {
    reply: Reply,
    piece: Bytes,
    moved: bool,
    /// Of the whole message.
    bytes: u64,
    share: Option<Share>,
    is_charged: bool,
}

impl Outgoing {
    /// Whether any of it has gone out since the last time this was asked.
    pub fn moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }
}

fn response(headers: HeaderMap) -> Response<()> {
    let mut response = Response::new(());
    *response.headers_mut() = headers;
    response
}

/// Sends a message to a client that is expected to take it: some of it every ten seconds, and the whole at a decent pace
/// while others wait for the room.
pub(super) async fn send_or_give_up(
    traffic: &Traffic,
    out: &mut Outgoing,
    mut poll_send: impl FnMut(&mut Context<'_>, &mut Outgoing) -> Poll<Result<(), Gone>>,
) -> Result<(), Gone> {
    // Nearly always there is room at once, and no timer is needed.
    if let Poll::Ready(sent) = poll_fn(|cx| Poll::Ready(poll_send(cx, out))).await {
        return sent;
    }
    let since = Instant::now();
    loop {
        out.moved();
        if let Ok(sent) = timeout(STALL, poll_fn(|cx| poll_send(cx, out))).await {
            return sent;
        }
        if !out.moved() || traffic.budget.is_held_too_long(out.bytes, since.elapsed()) {
            return Err(Gone);
        }
    }
}
