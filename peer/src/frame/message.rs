//! The stream for everything but log data: length (8 bytes, big-endian) and message, one after the other.

use bytes::BytesMut;
use ferrite_proto::raftpb;
use ferrite_raft::Message;

use super::assemble::Assembly;
use super::{Frame, FrameError, MAX_FRAME_BYTES, decode, put_with_length};

#[derive(Debug)]
pub(crate) struct MessageStream;

impl MessageStream {
    pub(super) fn write(&self, message: &Message, out: &mut BytesMut) {
        put_with_length(&message.into(), out);
    }

    /// A heartbeat of nobody to nobody.
    pub(super) fn write_heartbeat(&self, out: &mut BytesMut) {
        let heartbeat =
            raftpb::Message { r#type: Some(raftpb::MessageType::MsgHeartbeat as i32), ..raftpb::Message::default() };
        put_with_length(&heartbeat, out);
    }
}

#[derive(Debug, Default)]
pub(crate) struct Reader {
    pub(super) bytes: Assembly,
    /// Of the message that is due.
    length: Option<usize>,
}

impl Reader {
    pub(super) fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        let length = match self.length {
            Some(length) => length,
            None => match self.bytes.take_u64() {
                Some(length) if length > MAX_FRAME_BYTES => return Err(FrameError::TooLarge),
                Some(length) => length as usize,
                None => return Ok(None),
            },
        };
        self.length = Some(length);
        let Some(bytes) = self.bytes.take(length) else { return Ok(None) };
        self.length = None;
        let message = decode(bytes)?;
        if is_link_heartbeat(&message) {
            return Ok(Some(Frame::Heartbeat));
        }
        Ok(Some(Frame::Message(message.try_into()?)))
    }
}

fn is_link_heartbeat(message: &raftpb::Message) -> bool {
    message.r#type() == raftpb::MessageType::MsgHeartbeat
        && message.from.unwrap_or_default() == 0
        && message.to.unwrap_or_default() == 0
}
