//! Writing protobuf messages from parts: the length first, then the bytes.

use bytes::{BufMut, Bytes, BytesMut};
use ferrite_proto::etcdserverpb as pb;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

/// The fields of a message, in ascending order of their numbers.
#[derive(Default)]
pub struct Fields<'a> {
    fields: [Option<(u32, Value<'a>)>; 4],
    used: usize,
}

enum Value<'a> {
    Message(&'a pb::ResponseHeader, usize),
    Bytes(&'a [Bytes]),
    Number(i64),
}

impl<'a> Fields<'a> {
    pub fn message(&mut self, number: u32, message: Option<&'a pb::ResponseHeader>) -> &mut Self {
        if let Some(message) = message {
            self.push(number, Value::Message(message, message.encoded_len()));
        }
        self
    }

    /// One field for each of the messages, which are encoded already.
    pub fn all_bytes(&mut self, number: u32, messages: &'a [Bytes]) -> &mut Self {
        self.push(number, Value::Bytes(messages));
        self
    }

    /// A number; 0 is not written.
    pub fn number(&mut self, number: u32, value: i64) -> &mut Self {
        if value != 0 {
            self.push(number, Value::Number(value));
        }
        self
    }

    fn push(&mut self, number: u32, value: Value<'a>) {
        self.fields[self.used] = Some((number, value));
        self.used += 1;
    }

    pub fn len(&self) -> usize {
        let length = |(number, value): &(u32, Value<'_>)| match value {
            Value::Message(_, length) => field_len(*number, *length),
            Value::Bytes(messages) => messages.iter().map(|bytes| field_len(*number, bytes.len())).sum(),
            Value::Number(value) => key_len(*number) + encoded_len_varint(*value as u64),
        };
        self.fields.iter().flatten().map(length).sum()
    }

    pub fn write(&self, out: &mut BytesMut) {
        out.reserve(self.len());
        for (number, value) in self.fields.iter().flatten() {
            match value {
                Value::Message(message, length) => {
                    key(*number, out);
                    varint(*length as u64, out);
                    message.encode_raw(out);
                }
                Value::Bytes(messages) => {
                    for bytes in *messages {
                        key(*number, out);
                        varint(bytes.len() as u64, out);
                        out.put_slice(bytes);
                    }
                }
                Value::Number(value) => {
                    encode_key(*number, WireType::Varint, out);
                    varint(*value as u64, out);
                }
            }
        }
    }
}

/// The length of a field that holds so many bytes.
pub fn field_len(number: u32, length: usize) -> usize {
    key_len(number) + encoded_len_varint(length as u64) + length
}

/// The tag of a field that holds bytes.
pub fn key(number: u32, out: &mut BytesMut) {
    encode_key(number, WireType::LengthDelimited, out);
}

pub fn varint(value: u64, out: &mut BytesMut) {
    encode_varint(value, out);
}
