//! Messages coming in: DATA frames cut at gRPC's prefixes, within the size limit, decompressed.
//!
//! A message that lies in one frame is handed on without a copy. One that does not is collected, in memory of its own.
//! What all calls of a net thread hold of messages that they have not handed on is bounded: flow control gives its
//! window back as soon as bytes are taken, so it does not bound them. A call counts for what it holds now, not for what
//! has passed through it. Bounded, too, is the time in which a message that has begun must come to its end; a stream may
//! be silent for as long as it likes between two of them.

use std::cell::Cell;
use std::io::Read;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ferrite_proto::wire::{self, Malformed, Shape};
use flate2::read::GzDecoder;
use h2::RecvStream;
use http::request::Parts;
use prost::{Message, Name};
use tokio::time::{Sleep, sleep};

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

/// Bytes that a net thread holds of incomplete requests, and of long headers. Full: the call that would need more is
/// refused.
const PARTIAL_BYTES: usize = 256 << 20;

/// What a call that waits for the end of a request counts for, besides the bytes of it that have come.
const WAITING_BYTES: usize = 4 << 10;

/// Headers up to this length, with the path, are not counted: nearly all are shorter.
const SHORT_HEADERS_BYTES: usize = 4 << 10;

/// A message must have come to its end so long after its beginning, or after that of its call, if the call has no other.
/// Those who send slowly get far in this time; etcd waits for ever.
const MESSAGE: Duration = Duration::from_secs(120);

/// How much of [`PARTIAL_BYTES`] is left.
#[derive(Debug)]
pub(super) struct Partial(Cell<usize>);

impl Default for Partial {
    fn default() -> Partial {
        Partial::new(PARTIAL_BYTES)
    }
}

impl Partial {
    pub fn new(bytes: usize) -> Partial {
        Partial(Cell::new(bytes))
    }
}

/// A part of it, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Held {
    partial: Rc<Partial>,
    bytes: usize,
}

impl Held {
    fn nothing(partial: &Rc<Partial>) -> Held {
        Held { partial: partial.clone(), bytes: 0 }
    }

    /// What the head of a request takes up, if there is room for it.
    pub fn by_headers(partial: &Rc<Partial>, head: &Parts) -> Option<Held> {
        let fields: usize = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        let authority = head.uri.authority().map_or(0, |authority| authority.as_str().len());
        let path = head.uri.path_and_query().map_or(0, |path| path.as_str().len());
        let bytes = head.method.as_str().len() + authority + path + fields;
        let mut held = Held::nothing(partial);
        (bytes <= SHORT_HEADERS_BYTES || held.set_to(bytes)).then_some(held)
    }

    /// False if there is no room for as much; then it stays as it was.
    fn set_to(&mut self, bytes: usize) -> bool {
        let available = self.partial.0.get() + self.bytes;
        let Some(left) = available.checked_sub(bytes) else { return false };
        self.partial.0.set(left);
        self.bytes = bytes;
        true
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.partial.0.set(self.partial.0.get() + self.bytes);
    }
}

/// The messages of one call.
pub(super) struct Messages {
    recv: RecvStream,
    /// What came last and has not been looked at.
    chunk: Bytes,
    /// The beginning of a message whose end has not come, and nothing else: a rest of what has been handed on would keep
    /// all of it in memory.
    begun: BytesMut,
    /// What these count for.
    held: Held,
    /// Until when what has begun must have ended.
    timer: Option<Pin<Box<Sleep>>>,
    /// The call has one message, and it is waited for.
    must_come: bool,
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
    pub fn new(recv: RecvStream, partial: &Rc<Partial>, limits: Limits) -> Self {
        let (chunk, begun, held) = (Bytes::new(), BytesMut::new(), Held::nothing(partial));
        Self { recv, chunk, begun, held, timer: None, must_come: false, limits, ended: false }
    }

    /// The call can do nothing before it has a message.
    pub fn must_come(&mut self) {
        self.must_come = true;
    }

    /// The next message, or `None` when the client has said that there is none.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Status>> {
        if self.ended {
            return Poll::Ready(Ok(None));
        }
        let next = ready!(self.poll_message(cx));
        self.ended = !matches!(next, Ok(Some(_)));
        self.timer = None;
        Poll::Ready(next)
    }

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Status>> {
        loop {
            if let Some(message) = self.take_message()? {
                self.count(0)?;
                return Poll::Ready(Ok(Some(message)));
            }
            let Poll::Ready(data) = self.recv.poll_data(cx) else { return self.poll_late(cx).map(Err) };
            match data {
                Some(Ok(data)) => {
                    // Fails only if the stream is gone, which the next poll reports.
                    let _ = self.recv.flow_control().release_capacity(data.len());
                    self.chunk = data;
                }
                Some(Err(_)) => return Poll::Ready(Err(Status::new(Code::Canceled, "context canceled"))),
                None if self.begun.is_empty() => return Poll::Ready(Ok(None)),
                None => return Poll::Ready(Err(Status::new(Code::Internal, "unexpected EOF"))),
            }
        }
    }

    /// Ready when what has begun has not come to its end in time, or when too much waits for its end.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<Status> {
        if self.begun.is_empty() && !self.must_come {
            return Poll::Pending;
        }
        if let Err(status) = self.count(WAITING_BYTES) {
            return Poll::Ready(status);
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(MESSAGE)));
        timer.as_mut().poll(cx).map(|()| {
            let text = "grpc: the request did not come to its end within two minutes";
            Status::new(Code::DeadlineExceeded, text)
        })
    }

    /// Counts what is held now. Once a poll is enough: one poll takes in no more than a stream's window.
    fn count(&mut self, waiting_bytes: usize) -> Result<(), Status> {
        if self.held.set_to(self.begun.capacity() + self.chunk.len() + waiting_bytes) {
            return Ok(());
        }
        let text = "grpc: too many bytes of incomplete requests are held, try again";
        Err(Status::new(Code::ResourceExhausted, text))
    }

    /// The next message, if its end has come. If not, all of it that has come is in `begun`, and `chunk` is empty.
    fn take_message(&mut self) -> Result<Option<Bytes>, Status> {
        let Some(mut framed) = self.take_framed()? else { return Ok(None) };
        let message = framed.split_off(PREFIX_BYTES);
        match framed[0] {
            0 => Ok(Some(message)),
            1 if self.limits.gzip => self.limits.inflated(&message).map(Some),
            1 => Err(Status::new(Code::Internal, "grpc: compressed flag set with identity or empty encoding")),
            flag => Err(Status::new(Code::Internal, format!("grpc: received unexpected payload format {flag}"))),
        }
    }

    /// The same with its prefix.
    fn take_framed(&mut self) -> Result<Option<Bytes>, Status> {
        if self.begun.is_empty()
            && let Some(bytes) = self.limits.framed_bytes(&self.chunk)?
            && bytes <= self.chunk.len()
        {
            return Ok(Some(self.chunk.split_to(bytes)));
        }
        self.collect(PREFIX_BYTES);
        let Some(bytes) = self.limits.framed_bytes(&self.begun)? else { return Ok(None) };
        self.collect(bytes);
        Ok((self.begun.len() == bytes).then(|| std::mem::take(&mut self.begun).freeze()))
    }

    /// Lets `begun` grow to so many bytes, as far as they have come.
    fn collect(&mut self, bytes: usize) {
        let missing = bytes.saturating_sub(self.begun.len()).min(self.chunk.len());
        self.begun.extend_from_slice(&self.chunk.split_to(missing));
    }
}

impl Limits {
    /// How long a message is with its prefix, if that has come.
    fn framed_bytes(&self, begun: &[u8]) -> Result<Option<usize>, Status> {
        let Some(&[_, a, b, c, d]) = begun.first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        let limit = self.message_bytes;
        if length > limit {
            let text = format!("grpc: received message larger than max ({length} vs. {limit})");
            return Err(Status::new(Code::ResourceExhausted, text));
        }
        Ok(Some(PREFIX_BYTES + length))
    }

    fn inflated(&self, message: &[u8]) -> Result<Bytes, Status> {
        let limit = self.message_bytes;
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
}
