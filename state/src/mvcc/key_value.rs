//! `KeyValue` as it is stored: the bytes that etcd writes, and what they say.

use bytes::{BufMut, Bytes, BytesMut};
use ferrite_proto::wire::{Fields, Malformed, Wire, varint};
use prost::encoding::{encode_varint, encoded_len_varint};

/// What a stored `KeyValue` says, without copying it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyValue<'a> {
    pub key: &'a [u8],
    pub create_revision: i64,
    pub mod_revision: i64,
    pub version: i64,
    pub value: &'a [u8],
    /// 0 is none.
    pub lease: i64,
}

impl<'a> KeyValue<'a> {
    pub fn parse(bytes: &'a [u8]) -> Result<KeyValue<'a>, Malformed> {
        let mut kv = KeyValue::default();
        for field in Fields::new(bytes) {
            let field = field?;
            let value = &bytes[field.value];
            match (field.number, field.wire) {
                (1, Wire::Bytes) => kv.key = value,
                (2, Wire::Varint) => kv.create_revision = varint(value)? as i64,
                (3, Wire::Varint) => kv.mod_revision = varint(value)? as i64,
                (4, Wire::Varint) => kv.version = varint(value)? as i64,
                (5, Wire::Bytes) => kv.value = value,
                (6, Wire::Varint) => kv.lease = varint(value)? as i64,
                _ => {}
            }
        }
        Ok(kv)
    }

    /// Reads what was written by `encode`, or was parsed when the store was opened.
    pub fn stored(bytes: &'a [u8]) -> KeyValue<'a> {
        KeyValue::parse(bytes).expect("a stored KeyValue was checked when it came in")
    }

    /// The stored form: ascending fields, none for what is zero or empty.
    pub fn encode(&self) -> Bytes {
        let bytes_len = |bytes: &[u8]| match bytes.len() {
            0 => 0,
            length => 1 + encoded_len_varint(length as u64) + length,
        };
        let number_len = |number: i64| if number == 0 { 0 } else { 1 + encoded_len_varint(number as u64) };
        let numbers = [self.create_revision, self.mod_revision, self.version, self.lease].map(number_len);
        let length = bytes_len(self.key) + bytes_len(self.value) + numbers.iter().sum::<usize>();
        let mut out = BytesMut::with_capacity(length);
        let bytes = |tag: u8, bytes: &[u8], out: &mut BytesMut| {
            if !bytes.is_empty() {
                out.put_u8(tag);
                encode_varint(bytes.len() as u64, out);
                out.put_slice(bytes);
            }
        };
        let number = |tag: u8, number: i64, out: &mut BytesMut| {
            if number != 0 {
                out.put_u8(tag);
                encode_varint(number as u64, out);
            }
        };
        bytes(0x0a, self.key, &mut out);
        number(0x10, self.create_revision, &mut out);
        number(0x18, self.mod_revision, &mut out);
        number(0x20, self.version, &mut out);
        bytes(0x2a, self.value, &mut out);
        number(0x30, self.lease, &mut out);
        debug_assert_eq!(out.len(), length);
        out.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ferrite_proto::mvccpb;
    use prost::Message;

    #[test]
    fn the_stored_form_is_that_of_the_message() {
        let cases = [
            mvccpb::KeyValue::default(),
            mvccpb::KeyValue { key: "a".into(), ..Default::default() },
            mvccpb::KeyValue {
                key: vec![0xff; 300].into(),
                create_revision: 1 << 40,
                mod_revision: i64::MAX,
                version: 128,
                value: vec![0; 20_000].into(),
                lease: -1,
            },
        ];
        for message in cases {
            let kv = KeyValue {
                key: &message.key,
                create_revision: message.create_revision,
                mod_revision: message.mod_revision,
                version: message.version,
                value: &message.value,
                lease: message.lease,
            };
            let encoded = kv.encode();
            assert_eq!(encoded, message.encode_to_vec());
            assert_eq!(KeyValue::stored(&encoded), kv);
        }
    }
}
