//! A message on its way out: its five-byte prefix and its bytes, in one piece or in several.

use std::collections::VecDeque;
use std::io::Write;

use bytes::{BufMut, Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message;

use super::budget::Share;
use super::status::{Code, Status};

/// Flag, and length of what follows as a big-endian u32.
pub(super) const PREFIX_BYTES: usize = 5;

/// No message is longer: grpc-go's own limit, which etcd sets.
const MAX_MESSAGE_BYTES: usize = i32::MAX as usize;

/// Pieces of a [`Body`] are filled up to this size before the next is begun: two HTTP/2 frames of the usual size.
const PIECE_BYTES: usize = 32 << 10;

/// A slice at least this long is sent as it is; a shorter one is cheaper to copy than to send by itself.
const SHARED_BYTES: usize = 8 << 10;

/// One encoded message, prefix included.
#[derive(Debug)]
pub struct Reply {
    pub(super) pieces: VecDeque<Bytes>,
    first: Bytes,
    bytes: usize,
    /// What it holds of the budget.
    pub(super) share: Option<Share>,
}

/// What a handler may answer with.
pub trait IntoReply {
    fn into_reply(self) -> Result<Reply, Status>;
}

impl<M: Message> IntoReply for M {
    fn into_reply(self) -> Result<Reply, Status> {
        Reply::message(&self)
    }
}

impl IntoReply for Reply {
    fn into_reply(self) -> Result<Reply, Status> {
        Ok(self)
    }
}

impl Reply {
    /// Encodes a message into one piece.
    pub fn message(message: &impl Message) -> Result<Self, Status> {
        let length = message.encoded_len();
        check_length(length)?;
        let mut piece = BytesMut::with_capacity(PREFIX_BYTES + length);
        put_prefix(&mut piece, false, length);
        message.encode_raw(&mut piece);
        Ok(Self::one(piece.freeze()))
    }

    fn one(piece: Bytes) -> Self {
        Self { bytes: piece.len(), first: piece, pieces: VecDeque::new(), share: None }
    }

    /// Length on the wire, prefix included.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The next piece to send.
    pub(super) fn pop(&mut self) -> Option<Bytes> {
        if !self.first.is_empty() {
            return Some(std::mem::take(&mut self.first));
        }
        self.pieces.pop_front()
    }

    /// The same message, compressed.
    pub(super) fn compressed(mut self) -> Self {
        let mut encoder = GzEncoder::new(Vec::with_capacity(self.bytes / 2), Compression::fast());
        let mut prefix = PREFIX_BYTES;
        while let Some(mut piece) = self.pop() {
            // The prefix may be a piece of its own or the beginning of the first, but is never split.
            let skipped = prefix.min(piece.len());
            prefix -= skipped;
            let piece = piece.split_off(skipped);
            encoder.write_all(&piece).expect("writing to memory does not fail");
        }
        let compressed = encoder.finish().expect("writing to memory does not fail");
        let mut piece = BytesMut::with_capacity(PREFIX_BYTES + compressed.len());
        put_prefix(&mut piece, true, compressed.len());
        piece.extend_from_slice(&compressed);
        Self { share: self.share, ..Self::one(piece.freeze()) }
    }
}

/// What a handler answers with must be short enough for a message.
fn check_length(length: usize) -> Result<(), Status> {
    if length <= MAX_MESSAGE_BYTES { Ok(()) } else { Err(too_long(length)) }
}

/// What is said instead of an answer that is too long for a message.
pub fn too_long(length: usize) -> Status {
    let text = format!("grpc: trying to send message larger than max ({length} vs. {MAX_MESSAGE_BYTES})");
    Status::new(Code::ResourceExhausted, text)
}

fn put_prefix(out: &mut BytesMut, compressed: bool, length: usize) {
    out.put_u8(u8::from(compressed));
    out.put_u32(u32::try_from(length).expect("its length was checked"));
}

/// A message that is put together from encoded parts whose total length is not known before.
#[derive(Debug, Default)]
pub struct Body {
    full: VecDeque<Bytes>,
    tail: BytesMut,
    bytes: usize,
    share: Option<Share>,
}

impl Body {
    /// `bytes` is a hint of how long it will become.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { full: VecDeque::new(), tail: BytesMut::with_capacity(bytes.min(PIECE_BYTES)), ..Self::default() }
    }

    /// A body that is known to be too long before it is put together: there is none, only what is said of it.
    pub fn too_long(bytes: usize) -> Self {
        Self { bytes: bytes.max(MAX_MESSAGE_BYTES + 1), ..Self::default() }
    }

    /// Its bytes are held at the expense of this share.
    pub fn held_by(mut self, mut share: Share) -> Self {
        share.settle((PREFIX_BYTES + self.bytes) as u64);
        self.share = Some(share);
        self
    }

    pub fn len(&self) -> usize {
        self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Appends a field: tag, length, bytes. A long slice is shared, a short one copied.
    pub fn put_field(&mut self, tag: u32, slice: &Bytes) {
        self.put_key(tag, slice.len());
        self.put_bytes(slice);
    }

    /// Appends fields that are already encoded. A long slice is shared, a short one copied.
    pub fn put_bytes(&mut self, fields: &Bytes) {
        if fields.len() < SHARED_BYTES {
            self.put_slice(fields);
        } else {
            self.bytes += fields.len();
            self.end_piece();
            self.full.push_back(fields.clone());
        }
    }

    /// Appends a field, copying its bytes.
    pub fn put_field_slice(&mut self, tag: u32, slice: &[u8]) {
        self.put_key(tag, slice.len());
        self.put_slice(slice);
    }

    /// Appends a message as a field.
    pub fn put_message(&mut self, tag: u32, message: &impl Message) {
        let length = message.encoded_len();
        self.put_key(tag, length);
        self.make_room(length);
        message.encode_raw(&mut self.tail);
        self.bytes += length;
    }

    /// Appends fields that are already encoded, or the fields of a message that is to be merged in.
    pub fn put_encoded(&mut self, encoded: &[u8]) {
        self.put_slice(encoded);
    }

    /// Takes over a whole message that is already encoded.
    pub fn put_whole(&mut self, encoded: BytesMut) {
        self.end_piece();
        self.bytes += encoded.len();
        self.tail = encoded;
    }

    /// The message of which this one is a field.
    pub fn nested(mut self, tag: u32) -> Self {
        self.end_piece();
        let mut outer = Body { share: self.share, ..Body::default() };
        outer.put_key(tag, self.bytes);
        outer.end_piece();
        outer.bytes += self.bytes;
        outer.full.append(&mut self.full);
        outer
    }

    fn put_key(&mut self, tag: u32, length: usize) {
        let before = self.tail.len();
        prost::encoding::encode_key(tag, prost::encoding::WireType::LengthDelimited, &mut self.tail);
        prost::encoding::encode_varint(length as u64, &mut self.tail);
        self.bytes += self.tail.len() - before;
    }

    fn put_slice(&mut self, slice: &[u8]) {
        self.make_room(slice.len());
        self.tail.extend_from_slice(slice);
        self.bytes += slice.len();
    }

    fn make_room(&mut self, length: usize) {
        if self.tail.len() + length > PIECE_BYTES && self.tail.len() > PIECE_BYTES / 2 {
            self.end_piece();
        }
        if self.tail.capacity() - self.tail.len() < length {
            self.tail.reserve(length.max(PIECE_BYTES - self.tail.len().min(PIECE_BYTES)));
        }
    }

    fn end_piece(&mut self) {
        if !self.tail.is_empty() {
            self.full.push_back(std::mem::take(&mut self.tail).freeze());
        }
    }
}

impl IntoReply for Body {
    fn into_reply(mut self) -> Result<Reply, Status> {
        self.end_piece();
        let length = self.bytes;
        check_length(length)?;
        let mut prefix = BytesMut::with_capacity(PREFIX_BYTES + if self.full.len() == 1 { length } else { 0 });
        put_prefix(&mut prefix, false, length);
        if self.full.len() == 1 && length < SHARED_BYTES {
            prefix.extend_from_slice(&self.full[0]);
            return Ok(Reply::one(prefix.freeze()));
        }
        Ok(Reply { bytes: PREFIX_BYTES + length, first: prefix.freeze(), pieces: self.full, share: self.share })
    }
}

#[cfg(test)]
mod tests {
    use ferrite_proto::etcdserverpb::{RangeResponse, ResponseHeader};
    use ferrite_proto::mvccpb::KeyValue;
    use ferrite_state::answer::Room;
    use flate2::read::GzDecoder;
    use std::io::Read;
    use std::sync::Arc;

    use super::super::budget::Budget;
    use super::*;

    fn joined(mut reply: Reply) -> Vec<u8> {
        let mut all = Vec::new();
        let bytes = reply.bytes();
        while let Some(piece) = reply.pop() {
            all.extend_from_slice(&piece);
        }
        assert_eq!(all.len(), bytes);
        all
    }

    #[test]
    fn a_share_covers_the_message_with_its_prefix() {
        let budget = Arc::new(Budget::default());
        let mut share = budget.share();
        assert!(share.take(1 << 20));
        let mut body = Body::default();
        body.put_slice(&vec![0; 1_000_000]);
        let reply = body.nested(1).held_by(share).into_reply().unwrap();
        let share = reply.share.as_ref().unwrap();
        assert_eq!(share.granted(), reply.bytes() as u64);
        assert!(share.covers(reply.bytes() as u64));
    }

    #[test]
    fn what_is_too_long_is_said_to_be() {
        let text = |length| check_length(length).map_err(|status| status.message.to_string());
        assert_eq!(text(2_147_483_647), Ok(()));
        let refused = Err("grpc: trying to send message larger than max (2147483648 vs. 2147483647)".to_string());
        assert_eq!(text(2_147_483_648), refused);
        for body in [Body::too_long(0), Body::too_long(0).nested(1)] {
            assert_eq!(body.into_reply().unwrap_err().code, Code::ResourceExhausted);
        }
    }

    #[test]
    fn a_body_put_together_is_the_message() {
        for lengths in [&[][..], &[1], &[10, 300], &[100_000], &[20_000, 20_000, 7, 9_000], &[300; 400]] {
            let header = ResponseHeader { revision: 7, ..Default::default() };
            let mut message = RangeResponse { header: Some(header), ..Default::default() };
            let mut body = Body::with_capacity(0);
            body.put_message(1, &header);
            for (i, length) in lengths.iter().enumerate() {
                let pair = KeyValue { value: vec![i as u8; *length].into(), ..Default::default() };
                body.put_field(2, &Bytes::from(pair.encode_to_vec()));
                message.kvs.push(pair);
            }
            assert_eq!(body.len(), message.encoded_len());
            let whole = joined(Reply::message(&message).unwrap());
            assert_eq!(joined(body.into_reply().unwrap()), whole, "{lengths:?}");

            let compressed = joined(message.into_reply().unwrap().compressed());
            assert_eq!(compressed[0], 1);
            assert_eq!(compressed[1..5], (compressed.len() as u32 - 5).to_be_bytes());
            let mut plain = Vec::new();
            GzDecoder::new(&compressed[5..]).read_to_end(&mut plain).unwrap();
            assert_eq!(plain, whole[5..]);
        }
    }
}
