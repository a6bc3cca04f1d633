//! What a stream carries, as bytes. Pure: nothing here knows of sockets.

mod assemble;
mod message;
mod msgapp;

pub(crate) use message::MessageStream;
pub(crate) use msgapp::MsgAppStream;

use bytes::{Bytes, BytesMut};
use ferrite_proto::raft::MessageError;
use ferrite_proto::raftpb;
use ferrite_proto::wire::{Malformed, shape_of};
use ferrite_raft::{Message, NodeId};
use prost::Message as _;

/// The most that one frame may hold. etcd has this limit on the message stream, and none on the other.
pub(crate) const MAX_FRAME_BYTES: u64 = 512 << 20;

/// The two kinds of streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Everything but log data.
    Message,
    /// Log data: consecutive appends travel without the fields that can be told from the one before.
    MsgApp,
}

impl Stream {
    pub(crate) const ALL: [Stream; 2] = [Stream::Message, Stream::MsgApp];

    /// The part of the path that names it.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Stream::Message => "message",
            Stream::MsgApp => "msgapp",
        }
    }

    /// What etcd calls it in its log.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Stream::Message => "stream Message",
            Stream::MsgApp => "stream MsgApp v2",
        }
    }
}

/// Bytes that are no frame. The stream cannot be read on behind them.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("a frame of more than {MAX_FRAME_BYTES} bytes")]
    TooLarge,
    #[error("{0} is no kind of frame")]
    Kind(u8),
    #[error("unreadable message: {0}")]
    Malformed(#[from] Malformed),
    #[error("a message that no member sends: {0}")]
    Message(#[from] MessageError),
    #[error("an append that does not follow another one")]
    NoAppend,
}

/// What arrives on a stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// The link is alive.
    Heartbeat,
    Message(Message),
}

/// One side of a stream: what was said before decides how the next frame is written and read.
#[derive(Debug)]
pub(crate) enum Writer {
    Message(MessageStream),
    MsgApp(MsgAppStream),
}

impl Writer {
    pub(crate) fn new(stream: Stream) -> Writer {
        match stream {
            Stream::Message => Writer::Message(MessageStream),
            Stream::MsgApp => Writer::MsgApp(MsgAppStream::default()),
        }
    }

    pub(crate) fn message(&mut self, message: &Message, out: &mut BytesMut) {
        match self {
            Writer::Message(stream) => stream.write(message, out),
            Writer::MsgApp(stream) => stream.write(message, out),
        }
    }

    pub(crate) fn heartbeat(&self, out: &mut BytesMut) {
        match self {
            Writer::Message(stream) => stream.write_heartbeat(out),
            Writer::MsgApp(stream) => stream.write_heartbeat(out),
        }
    }
}

/// Reads frames out of the pieces that arrive.
#[derive(Debug)]
pub(crate) enum Reader {
    Message(message::Reader),
    MsgApp(msgapp::Reader),
}

impl Reader {
    /// For a stream from `remote` to `local`.
    pub(crate) fn new(stream: Stream, local: NodeId, remote: NodeId) -> Reader {
        match stream {
            Stream::Message => Reader::Message(message::Reader::default()),
            Stream::MsgApp => Reader::MsgApp(msgapp::Reader::new(local, remote)),
        }
    }

    /// Takes in what arrived.
    pub(crate) fn push(&mut self, piece: Bytes) {
        match self {
            Reader::Message(reader) => reader.bytes.push(piece),
            Reader::MsgApp(reader) => reader.bytes.push(piece),
        }
    }

    /// The next frame, if it has arrived as a whole.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        match self {
            Reader::Message(reader) => reader.next(),
            Reader::MsgApp(reader) => reader.next(),
        }
    }
}

/// Reads one message.
pub(crate) fn decode(bytes: Bytes) -> Result<raftpb::Message, FrameError> {
    Ok(ferrite_proto::wire::decode(shape_of::<raftpb::Message>(), bytes)?)
}

/// Writes a message with its length before it.
fn put_with_length(message: &raftpb::Message, out: &mut BytesMut) {
    use bytes::BufMut;

    let length = message.encoded_len();
    out.reserve(8 + length);
    out.put_u64(length as u64);
    message.encode(out).expect("space was reserved");
}

#[cfg(test)]
mod tests;
