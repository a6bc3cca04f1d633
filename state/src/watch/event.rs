//! Events in the form in which they are sent, made once however many watch.

use bytes::{BufMut, Bytes, BytesMut};
use ferrite_storage::ReadError;
use prost::encoding::{decode_varint, encode_varint, encoded_len_varint};

use super::history::{Change, History};

/// `WatchResponse.events`, length-delimited: the events of a message follow one another in this form at its end.
const EVENTS_TAG: u8 = 11 << 3 | 2;
/// `Event.type`, and its value DELETE; PUT is 0 and left out.
const TYPE_DELETE: [u8; 2] = [1 << 3, 1];
const KV_TAG: u8 = 2 << 3 | 2;
const PREV_KV_TAG: u8 = 3 << 3 | 2;
/// `KeyValue.mod_revision`.
const MOD_REVISION_TAG: u8 = 3 << 3;

/// The key of an encoded `KeyValue`. It is the first field in all that a member stores, and no stored key is empty.
pub fn key_of(key_value: &[u8]) -> &[u8] {
    let Some((&0x0a, mut rest)) = key_value.split_first() else {
        return &[];
    };
    let length = decode_varint(&mut rest).unwrap_or(0) as usize;
    rest.get(..length).unwrap_or(&[])
}

/// Whether an encoded `KeyValue` is the first version of its key: then there is no previous one.
fn is_created(key_value: &Bytes) -> bool {
    use ferrite_proto::mvccpb::KeyValue;
    use prost::Message;
    KeyValue::decode(key_value.clone()).is_ok_and(|kv| kv.create_revision == kv.mod_revision)
}

/// An event of a change, as a field of a `WatchResponse`.
pub fn encode(change: &Change, prev_kv: Option<&[u8]>) -> Bytes {
    let field = |length: usize| 1 + encoded_len_varint(length as u64) + length;
    let main = change.revision.main;
    // A deleted key's record holds the key only; clients are also told when it was deleted.
    let deleted_at = if change.tombstone { 1 + encoded_len_varint(main) } else { 0 };
    let kv = change.key_value.len() + deleted_at;
    let kind = if change.tombstone { TYPE_DELETE.len() } else { 0 };
    let event = kind + field(kv) + prev_kv.map_or(0, |prev| field(prev.len()));

    let mut bytes = BytesMut::with_capacity(field(event));
    bytes.put_u8(EVENTS_TAG);
    encode_varint(event as u64, &mut bytes);
    if change.tombstone {
        bytes.put_slice(&TYPE_DELETE);
    }
    bytes.put_u8(KV_TAG);
    encode_varint(kv as u64, &mut bytes);
    bytes.put_slice(&change.key_value);
    if change.tombstone {
        bytes.put_u8(MOD_REVISION_TAG);
        encode_varint(main, &mut bytes);
    }
    if let Some(prev) = prev_kv {
        bytes.put_u8(PREV_KV_TAG);
        encode_varint(prev.len() as u64, &mut bytes);
        bytes.put_slice(prev);
    }
    debug_assert_eq!(bytes.len(), field(event));
    bytes.freeze()
}

/// A change with its encoded forms, each made when the first watcher wants it.
#[derive(Debug)]
pub struct Event<'a> {
    pub change: &'a Change,
    plain: Option<Bytes>,
    with_prev: Option<Bytes>,
}

impl<'a> Event<'a> {
    pub fn new(change: &'a Change) -> Event<'a> {
        Event { change, plain: None, with_prev: None }
    }

    pub fn key(&self) -> &'a [u8] {
        key_of(&self.change.key_value)
    }

    pub fn main(&self) -> u64 {
        self.change.revision.main
    }

    pub fn bytes(&mut self, prev_kv: bool, history: &impl History) -> Result<Bytes, ReadError> {
        if prev_kv {
            if let Some(bytes) = &self.with_prev {
                return Ok(bytes.clone());
            }
            let bytes = match self.previous(history)? {
                Some(previous) => encode(self.change, Some(&previous)),
                None => self.plain(),
            };
            return Ok(self.with_prev.insert(bytes).clone());
        }
        Ok(self.plain())
    }

    fn plain(&mut self) -> Bytes {
        self.plain.get_or_insert_with(|| encode(self.change, None)).clone()
    }

    /// What the key was one revision before; silently nothing when that is compacted.
    fn previous(&self, history: &impl History) -> Result<Option<Bytes>, ReadError> {
        let before = self.main() - 1;
        if before < history.compacted() || (!self.change.tombstone && is_created(&self.change.key_value)) {
            return Ok(None);
        }
        history.value_at(self.key(), before)
    }
}

#[cfg(test)]
mod tests {
    use ferrite_proto::etcdserverpb::WatchResponse;
    use ferrite_proto::mvccpb::{self, KeyValue};
    use ferrite_storage::Revision;
    use prost::Message;

    use super::*;

    /// The bytes are those that the generated types make of the same event.
    #[test]
    fn encodes_what_prost_encodes() {
        let long = "x".repeat(300);
        for (key, value, tombstone, prev) in [
            ("k", "", false, None),
            ("k", "v", false, Some("w")),
            (long.as_str(), long.as_str(), false, Some(long.as_str())),
            ("k", "", true, Some("v")),
            (long.as_str(), "", true, None),
        ] {
            let kv = |value: &str| KeyValue {
                key: Bytes::copy_from_slice(key.as_bytes()),
                create_revision: 5,
                mod_revision: 70_000,
                version: 9,
                value: Bytes::copy_from_slice(value.as_bytes()),
                lease: 7,
            };
            let stored = if tombstone { KeyValue { key: kv("").key, ..Default::default() } } else { kv(value) };
            let change = Change {
                revision: Revision { main: 70_000, sub: 3 },
                tombstone,
                key_value: stored.encode_to_vec().into(),
            };
            let prev = prev.map(kv);
            let expected = mvccpb::Event {
                r#type: i32::from(tombstone),
                kv: Some(if tombstone { KeyValue { mod_revision: 70_000, ..stored } } else { stored }),
                prev_kv: prev.clone(),
            };
            let response = WatchResponse { events: vec![expected], ..Default::default() };
            let prev = prev.map(|kv| kv.encode_to_vec());
            assert_eq!(encode(&change, prev.as_deref()), response.encode_to_vec(), "{key} {tombstone}");
            assert_eq!(key_of(&change.key_value), key.as_bytes());
        }
    }

    #[test]
    fn a_record_without_a_key_has_the_empty_key() {
        for bytes in [&b""[..], b"\x10\x01", b"\x0a", b"\x0a\x05ab"] {
            assert_eq!(key_of(bytes), b"", "{bytes:?}");
        }
    }
}
