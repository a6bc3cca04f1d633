//! The stream for log data ("msgappv2"). An append that goes on where the one before ended is sent as entries and commit
//! index alone.
//!
//!   0                                            the link is alive
//!   1, count, count times (length, entry), commit    goes on from the frame before; in the same term
//!   2, length, message                           anything else
//!
//! Numbers are 8 bytes, big-endian. Both sides remember term and index behind the last frame, 0 and 0 at first.

use bytes::{BufMut, Bytes, BytesMut};
use ferrite_proto::raftpb;
use ferrite_proto::wire::shape_of;
use ferrite_raft::{Body, Entry, Index, LogPosition, Message, NodeId};
use prost::Message as _;

use super::assemble::Assembly;
use super::{Frame, FrameError, MAX_FRAME_BYTES, decode, put_with_length};

const HEARTBEAT: u8 = 0;
const ENTRIES: u8 = 1;
const MESSAGE: u8 = 2;

/// What an entry takes in memory besides its data, so that a million empty ones are not free.
const ENTRY_BYTES: u64 = size_of::<Entry>() as u64;

/// Behind the last append that was written or read.
#[derive(Debug, Default)]
pub(crate) struct MsgAppStream {
    behind: LogPosition,
}

impl MsgAppStream {
    pub(super) fn write(&mut self, message: &Message, out: &mut BytesMut) {
        match &message.body {
            Body::Append { prev, entries, commit } if *prev == self.behind && prev.term == message.term => {
                out.put_u8(ENTRIES);
                out.put_u64(entries.len() as u64);
                for entry in entries {
                    let entry = raftpb::Entry::from(entry);
                    let length = entry.encoded_len();
                    out.reserve(8 + length);
                    out.put_u64(length as u64);
                    entry.encode(out).expect("space was reserved");
                }
                out.put_u64(commit.0);
            }
            _ => {
                out.put_u8(MESSAGE);
                put_with_length(&message.into(), out);
            }
        }
        self.pass(message);
    }

    pub(super) fn write_heartbeat(&self, out: &mut BytesMut) {
        out.put_u8(HEARTBEAT);
    }

    fn pass(&mut self, message: &Message) {
        if let Body::Append { prev, entries, .. } = &message.body {
            let index = entries.last().map_or(prev.index, |last| last.index);
            self.behind = LogPosition { term: message.term, index };
        }
    }
}

/// How far the frame has been read.
#[derive(Debug)]
enum Step {
    Kind,
    Count,
    /// So many entries are still to come.
    EntryLength {
        left: u64,
    },
    Entry {
        left: u64,
        length: usize,
    },
    Commit,
    MessageLength,
    Message {
        length: usize,
    },
}

#[derive(Debug)]
pub(crate) struct Reader {
    pub(super) bytes: Assembly,
    local: NodeId,
    remote: NodeId,
    stream: MsgAppStream,
    step: Step,
    entries: Vec<Entry>,
    /// What the frame's entries take in memory.
    taken_bytes: u64,
}

impl Reader {
    pub(super) fn new(local: NodeId, remote: NodeId) -> Reader {
        Reader {
            bytes: Assembly::default(),
            local,
            remote,
            stream: MsgAppStream::default(),
            step: Step::Kind,
            entries: Vec::new(),
            taken_bytes: 0,
        }
    }

    pub(super) fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        loop {
            self.step = match self.step {
                Step::Kind => match self.bytes.take_u8() {
                    None => return Ok(None),
                    Some(HEARTBEAT) => return Ok(Some(Frame::Heartbeat)),
                    Some(ENTRIES) => Step::Count,
                    Some(MESSAGE) => Step::MessageLength,
                    Some(kind) => return Err(FrameError::Kind(kind)),
                },
                Step::Count => match self.bytes.take_u64() {
                    None => return Ok(None),
                    Some(0) => Step::Commit,
                    Some(left) => Step::EntryLength { left },
                },
                Step::EntryLength { left } => {
                    let Some(length) = self.bytes.take_u64() else { return Ok(None) };
                    self.taken_bytes = self.taken_bytes.saturating_add(length).saturating_add(ENTRY_BYTES);
                    if self.taken_bytes > MAX_FRAME_BYTES {
                        return Err(FrameError::TooLarge);
                    }
                    Step::Entry { left, length: length as usize }
                }
                Step::Entry { left, length } => {
                    let Some(bytes) = self.bytes.take(length) else { return Ok(None) };
                    self.entries.push(self.entry(bytes)?);
                    if left == 1 { Step::Commit } else { Step::EntryLength { left: left - 1 } }
                }
                Step::Commit => {
                    let Some(commit) = self.bytes.take_u64() else { return Ok(None) };
                    self.step = Step::Kind;
                    return self.following(Index(commit)).map(Some);
                }
                Step::MessageLength => match self.bytes.take_u64() {
                    None => return Ok(None),
                    Some(length) if length > MAX_FRAME_BYTES => return Err(FrameError::TooLarge),
                    Some(length) => Step::Message { length: length as usize },
                },
                Step::Message { length } => {
                    let Some(bytes) = self.bytes.take(length) else { return Ok(None) };
                    self.step = Step::Kind;
                    let message = decode(bytes)?.try_into()?;
                    self.stream.pass(&message);
                    return Ok(Some(Frame::Message(message)));
                }
            };
        }
    }

    fn entry(&self, bytes: Bytes) -> Result<Entry, FrameError> {
        let entry: raftpb::Entry = ferrite_proto::wire::decode(shape_of::<raftpb::Entry>(), bytes)?;
        let entry = Entry::try_from(entry).map_err(ferrite_proto::raft::MessageError::Entry)?;
        Ok(entry)
    }

    fn following(&mut self, commit: Index) -> Result<Frame, FrameError> {
        let prev = self.stream.behind;
        if prev == LogPosition::default() {
            return Err(FrameError::NoAppend);
        }
        let entries = std::mem::take(&mut self.entries);
        self.taken_bytes = 0;
        let body = Body::Append { prev, entries: entries.into(), commit };
        let message = Message { to: self.local, from: self.remote, term: prev.term, body };
        self.stream.pass(&message);
        Ok(Frame::Message(message))
    }
}
