//! Messages coming in: DATA frames cut at gRPC's prefixes, within the size limit, decompressed.
//!
//! A message that lies in one frame is handed on without a copy. One that does not is collected, and what all calls of
//! a net thread have collected is bounded: flow control gives its window back as soon as bytes are taken, so it does
//! not bound them.

use std::cell::Cell;
use std::io::Read;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use ferrite_proto::wire::{self, Malformed, Shape};
use flate2::read::GzDecoder;
use h2::RecvStream;
use prost::{Message, Name};

use super::reply::PREFIX_BYTES;
use super::status::{Code, Status};

/// What a handler may ask for. Decoding needs a bounded stack, whatever the client sends.
pub trait Request: Sized + 'static {
    /// What decoding has to know, looked up once.
    type Shape: Copy + 'static;

    fn shape() -> Self::Shape;

    fn read(message: Bytes, shape: Self::Shape) -> Result<Self, Malformed>;
}

impl<M: Message + Default + Name + 'static> Request for M {
    type Shape = &'static Shape;

    fn shape() -> &'static Shape {
        wire::shape_of::<M>()
    }

    fn read(message: Bytes, shape: &'static Shape) -> Result<M, Malformed> {
        wire::decode(shape, message)
    }
}

/// A message as it came, for a handler that reads it by itself.
#[derive(Clone, Debug)]
pub struct Raw(pub Bytes);

impl Request for Raw {
    type Shape = ();

    fn shape() {}

    fn read(message: Bytes, (): ()) -> Result<Raw, Malformed> {
        Ok(Raw(message))
    }
}

/// Bytes of incomplete messages that a net thread holds. Full: the call whose message would grow is refused.
const PARTIAL_BYTES: usize = 256 << 20;

/// How much of [`PARTIAL_BYTES`] is taken.
#[derive(Debug, Default)]
pub(super) struct Partial(Cell<usize>);

/// The messages of one call.
pub(super) struct Messages {
    recv: RecvStream,
    /// What came last and has not been looked at.
    chunk: Bytes,
    /// The beginning of a message whose end has not come.
    begun: BytesMut,
    charged: usize,
    partial: Rc<Partial>,
    limits: Limits,
    /// Refused to read on.
    ended: bool,
}

/// What a message may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub message_bytes: usize,
    /// Whether the call announced gzip.
    pub gzip: bool,
}

impl Messages {
    pub fn new(recv: RecvStream, partial: Rc<Partial>, limits: Limits) -> Self {
        let (chunk, begun) = (Bytes::new(), BytesMut::new());
        Self { recv, chunk, begun, charged: 0, partial, limits, ended: false }
    }

    /// The next message, or `None` when the client has said that there is none.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Status>> {
        if self.ended {
            return Poll::Ready(Ok(None));
        }
        let next = ready!(self.poll_message(cx));
        self.ended = !matches!(next, Ok(Some(_)));
        Poll::Ready(next)
    }

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Status>> {
        loop {
            match self.take_message() {
                Ok(None) => {}
                done => return Poll::Ready(done),
            }
            match ready!(self.recv.poll_data(cx)) {
                Some(Ok(data)) => {
                    // Fails only if the stream is gone, which the next poll reports.
                    let _ = self.recv.flow_control().release_capacity(data.len());
                    self.take_in(data)?;
                }
                Some(Err(_)) => return Poll::Ready(Err(Status::new(Code::Canceled, "context canceled"))),
                None if self.chunk.is_empty() && self.begun.is_empty() => return Poll::Ready(Ok(None)),
                None => return Poll::Ready(Err(Status::new(Code::Internal, "unexpected EOF"))),
            }
        }
    }

    /// Joins new bytes to what is there.
    fn take_in(&mut self, data: Bytes) -> Result<(), Status> {
        if self.chunk.is_empty() && self.begun.is_empty() {
            self.chunk = data;
            return Ok(());
        }
        let grows = self.chunk.len() + data.len();
        let held = self.partial.0.get();
        if held + grows > PARTIAL_BYTES {
            let text = "grpc: too many bytes of incomplete requests are held, try again";
            return Err(Status::new(Code::ResourceExhausted, text));
        }
        self.partial.0.set(held + grows);
        self.charged += grows;
        self.begun.extend_from_slice(&std::mem::take(&mut self.chunk));
        self.begun.extend_from_slice(&data);
        Ok(())
    }

    /// A message that is complete.
    fn take_message(&mut self) -> Result<Option<Bytes>, Status> {
        let begun = !self.begun.is_empty();
        let bytes: &[u8] = if begun { &self.begun } else { &self.chunk };
        let Some(prefix) = bytes.first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
        let flag = prefix[0];
        let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
        if length > self.limits.message_bytes {
            let limit = self.limits.message_bytes;
            let text = format!("grpc: received message larger than max ({length} vs. {limit})");
            return Err(Status::new(Code::ResourceExhausted, text));
        }
        if bytes.len() < PREFIX_BYTES + length {
            return Ok(None);
        }
        let mut message = if begun {
            let message = self.begun.split_to(PREFIX_BYTES + length).freeze();
            if self.begun.is_empty() {
                self.refund();
            }
            message
        } else {
            self.chunk.split_to(PREFIX_BYTES + length)
        };
        let message = message.split_off(PREFIX_BYTES);
        match flag {
            0 => Ok(Some(message)),
            1 if self.limits.gzip => self.inflated(&message).map(Some),
            1 => Err(Status::new(Code::Internal, "grpc: compressed flag set with identity or empty encoding")),
            _ => Err(Status::new(Code::Internal, format!("grpc: received unexpected payload format {flag}"))),
        }
    }

    fn inflated(&self, message: &[u8]) -> Result<Bytes, Status> {
        let limit = self.limits.message_bytes;
        let mut plain = Vec::new();
        let read = GzDecoder::new(message).take(limit as u64 + 1).read_to_end(&mut plain);
        if let Err(error) = read {
            return Err(Status::new(
                Code::Internal,
                format!("grpc: failed to decompress the received message: {error}"),
            ));
        }
        if plain.len() > limit {
            let text = format!("grpc: received message after decompression larger than max {limit}");
            return Err(Status::new(Code::ResourceExhausted, text));
        }
        Ok(plain.into())
    }

    fn refund(&mut self) {
        self.partial.0.set(self.partial.0.get() - std::mem::take(&mut self.charged));
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        self.refund();
    }
}
