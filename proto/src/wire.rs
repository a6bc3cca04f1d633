//! Protobuf's wire form, read with bounded stack: what a peer, a client or the log holds is decoded as generously as
//! Go decodes it.
//!
//!   bytes ──Fields──▶ one field after the other, groups skipped without recursion
//!   bytes ──decode──▶ fields that the message knows, with the wire type it expects ──▶ prost
//!
//! Go treats a field of a wrong wire type as unknown and skips it, and skips groups nested 10,000 deep. prost refuses the
//! first and recurses on the second. An entry of the log may hold either, so `decode` takes both out before prost sees the
//! message. What is behind `decode` never recurses deeper than `MAX_DEPTH`.

use std::ops::Range;

use bytes::Bytes;
use prost::Message;

include!(concat!(env!("OUT_DIR"), "/shapes.rs"));

/// How deep `decode` follows messages in messages. Only a transaction nests in itself; whoever reads deeper ones walks
/// them with `Fields`.
pub const MAX_DEPTH: usize = 64;

/// How deep groups may nest in a field that is skipped: Go's own limit.
const MAX_GROUPS: usize = 10_000;

/// Which fields a message has.
#[derive(Debug)]
pub struct Shape {
    /// The message's name with its package.
    pub name: &'static str,
    /// Field numbers, ascending, and what each holds.
    pub fields: &'static [(u32, Kind)],
}

/// What a field holds, as far as its wire type goes.
#[derive(Debug)]
pub enum Kind {
    Varint,
    Fixed32,
    Fixed64,
    /// Numbers in a list: one field each, or all in one.
    Varints,
    Bytes,
    Message(&'static Shape),
}

/// Bytes that are no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("the message ends inside a field, at byte {at}")]
    Truncated { at: usize },
    #[error("a number is longer than 64 bits, at byte {at}")]
    Overlong { at: usize },
    #[error("{tag:#x} is no tag of a field, at byte {at}")]
    Tag { tag: u64, at: usize },
    #[error("a group ends that was not begun, at byte {at}")]
    Group { at: usize },
    #[error("groups nest more than {MAX_GROUPS} deep, at byte {at}")]
    DeepGroup { at: usize },
    #[error("messages nest more than {MAX_DEPTH} deep in {message}")]
    Deep { message: &'static str },
    #[error("{message}: {reason}")]
    Value { message: &'static str, reason: String },
}

/// How a field is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    Varint,
    Fixed64,
    Bytes,
    Group,
    Fixed32,
}

/// One field, by its places in the message.
#[derive(Clone, Debug)]
pub struct Field {
    pub number: u32,
    pub wire: Wire,
    /// Tag and value.
    pub whole: Range<usize>,
    /// The value, without a length before it.
    pub value: Range<usize>,
}

/// The fields of a message in the order in which they stand.
#[derive(Debug)]
pub struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Fields { bytes, at: 0 }
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let begin = self.at;
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.bytes.get(self.at).ok_or(Malformed::Truncated { at: begin })?;
            self.at += 1;
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed::Overlong { at: begin })
    }

    fn tag(&mut self) -> Result<(u32, u8), Malformed> {
        let at = self.at;
        let tag = self.varint()?;
        match u32::try_from(tag >> 3) {
            Ok(number @ 1..=0x1fff_ffff) if tag & 7 < 6 => Ok((number, (tag & 7) as u8)),
            _ => Err(Malformed::Tag { tag, at }),
        }
    }

    fn skip(&mut self, count: u64) -> Result<Range<usize>, Malformed> {
        let begin = self.at;
        let left = (self.bytes.len() - begin) as u64;
        if count > left {
            return Err(Malformed::Truncated { at: begin });
        }
        self.at += count as usize;
        Ok(begin..self.at)
    }

    fn value(&mut self, wire: u8) -> Result<(Wire, Range<usize>), Malformed> {
        let begin = self.at;
        match wire {
            0 => self.varint().map(|_| (Wire::Varint, begin..self.at)),
            1 => self.skip(8).map(|value| (Wire::Fixed64, value)),
            2 => {
                let length = self.varint()?;
                self.skip(length).map(|value| (Wire::Bytes, value))
            }
            5 => self.skip(4).map(|value| (Wire::Fixed32, value)),
            _ => Err(Malformed::Group { at: begin }),
        }
    }

    /// Skips a group with all that it holds. The open groups are kept in a list, not on the stack.
    fn group(&mut self, number: u32) -> Result<Range<usize>, Malformed> {
        let begin = self.at;
        let mut open = vec![number];
        while let Some(&innermost) = open.last() {
            let at = self.at;
            match self.tag()? {
                (number, 3) if open.len() < MAX_GROUPS => open.push(number),
                (_, 3) => return Err(Malformed::DeepGroup { at }),
                (number, 4) if number == innermost => {
                    open.pop();
                }
                (_, 4) => return Err(Malformed::Group { at }),
                (_, wire) => {
                    self.value(wire)?;
                }
            }
        }
        Ok(begin..self.at)
    }

    fn field(&mut self) -> Result<Field, Malformed> {
        let begin = self.at;
        let (number, wire) = self.tag()?;
        let (wire, value) = match wire {
            3 => (Wire::Group, self.group(number)?),
            _ => self.value(wire)?,
        };
        Ok(Field { number, wire, whole: begin..self.at, value })
    }
}

impl Iterator for Fields<'_> {
    type Item = Result<Field, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at == self.bytes.len() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.at = self.bytes.len();
        }
        Some(field)
    }
}

/// The number in a field that is written as a varint.
pub fn varint(value: &[u8]) -> Result<u64, Malformed> {
    Fields::new(value).varint()
}

/// The shape of a message.
///
/// # Panics
/// If the message is not one of this crate's.
pub fn shape_of<M: prost::Name>() -> &'static Shape {
    let name = M::full_name();
    let found = shapes::ALL.iter().find(|shape| shape.name == name);
    found.unwrap_or_else(|| panic!("{name} is no message of this crate"))
}

/// Decodes one message. Fields that it does not have, or that are written otherwise than it expects, count for nothing.
pub fn decode<M: Message + Default>(shape: &'static Shape, bytes: Bytes) -> Result<M, Malformed> {
    let known = if knows_all(shape, &bytes, 1)? {
        bytes
    } else {
        let mut kept = Vec::with_capacity(bytes.len());
        keep_known(shape, &bytes, &mut kept)?;
        Bytes::from(kept)
    };
    M::decode(known).map_err(|error| Malformed::Value { message: shape.name, reason: error.to_string() })
}

impl Shape {
    fn expects(&self, field: &Field) -> Option<&Kind> {
        let at = self.fields.binary_search_by_key(&field.number, |(number, _)| *number).ok()?;
        let kind = &self.fields[at].1;
        let fits = match kind {
            Kind::Varint => field.wire == Wire::Varint,
            Kind::Fixed32 => field.wire == Wire::Fixed32,
            Kind::Fixed64 => field.wire == Wire::Fixed64,
            Kind::Varints => matches!(field.wire, Wire::Varint | Wire::Bytes),
            Kind::Bytes | Kind::Message(_) => field.wire == Wire::Bytes,
        };
        fits.then_some(kind)
    }
}

fn knows_all(shape: &'static Shape, bytes: &[u8], depth: usize) -> Result<bool, Malformed> {
    if depth > MAX_DEPTH {
        return Err(Malformed::Deep { message: shape.name });
    }
    let mut all = true;
    for field in Fields::new(bytes) {
        let field = field?;
        match shape.expects(&field) {
            Some(Kind::Message(inner)) => all &= knows_all(inner, &bytes[field.value], depth + 1)?,
            Some(_) => {}
            None => all = false,
        }
    }
    Ok(all)
}

/// Copies what the message knows. Called behind `knows_all`, which has bounded the depth.
fn keep_known(shape: &'static Shape, bytes: &[u8], kept: &mut Vec<u8>) -> Result<(), Malformed> {
    for field in Fields::new(bytes) {
        let field = field?;
        match shape.expects(&field) {
            Some(Kind::Message(inner)) => {
                let mut message = Vec::new();
                keep_known(inner, &bytes[field.value], &mut message)?;
                prost::encoding::encode_key(field.number, prost::encoding::WireType::LengthDelimited, kept);
                prost::encoding::encode_varint(message.len() as u64, kept);
                kept.extend_from_slice(&message);
            }
            Some(_) => kept.extend_from_slice(&bytes[field.whole]),
            None => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcdserverpb::{LeaseCheckpointRequest, PutRequest, RequestOp, TxnRequest, request_op};

    fn put(bytes: &[u8]) -> Result<PutRequest, Malformed> {
        decode(&shapes::etcdserverpb_PutRequest, Bytes::copy_from_slice(bytes))
    }

    #[test]
    fn what_go_reads_is_read() {
        let put_of_a = PutRequest { key: "a".into(), ..Default::default() };
        let cases: &[(&str, &[u8])] = &[
            ("plain", b"\x0a\x01a"),
            ("an unknown field", b"\x0a\x01a\x7a\x02xy"),
            ("a key written as a number", b"\x0a\x01a\x08\x05"),
            ("a lease written as bytes", b"\x0a\x01a\x1a\x01x"),
            ("a group", b"\x0a\x01a\x7b\x08\x01\x7c"),
            ("groups in groups", b"\x7b\x7b\x7b\x0d1234\x7c\x7c\x7c\x0a\x01a"),
            ("the last of two wins", b"\x0a\x01b\x0a\x01a"),
        ];
        for (what, bytes) in cases {
            assert_eq!(put(bytes).as_ref(), Ok(&put_of_a), "{what}");
        }
    }

    #[test]
    fn what_go_refuses_is_refused() {
        let cases: &[(&[u8], Malformed)] = &[
            (b"\x0a\x05a", Malformed::Truncated { at: 2 }),
            (b"\x0a", Malformed::Truncated { at: 1 }),
            (b"\x02\x01a", Malformed::Tag { tag: 2, at: 0 }),
            (b"\x0e", Malformed::Tag { tag: 14, at: 0 }),
            (b"\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", Malformed::Overlong { at: 1 }),
            (b"\x7c", Malformed::Group { at: 1 }),
            (b"\x7b\x74", Malformed::Group { at: 1 }),
            (b"\x7b", Malformed::Truncated { at: 1 }),
        ];
        for (bytes, error) in cases {
            assert_eq!(put(bytes).as_ref(), Err(error), "{bytes:?}");
        }
    }

    #[test]
    fn deep_groups_do_not_recurse() {
        let mut deep = vec![0x7b; 9_999];
        deep.extend(vec![0x7c; 9_999]);
        assert_eq!(put(&deep), Ok(PutRequest::default()));
        assert!(matches!(put(&vec![0x7b; 1_000_000]), Err(Malformed::DeepGroup { .. })));
    }

    #[test]
    fn unknown_fields_inside_messages_are_taken_out() {
        // checkpoints[0] = { ID: 7, group 2 {}, 5: "x" }
        let bytes = Bytes::from_static(b"\x0a\x07\x08\x07\x13\x14\x2a\x01x");
        let decoded: LeaseCheckpointRequest = decode(&shapes::etcdserverpb_LeaseCheckpointRequest, bytes).unwrap();
        assert_eq!(decoded.checkpoints.iter().map(|c| (c.id, c.remaining_ttl)).collect::<Vec<_>>(), [(7, 0)]);
    }

    #[test]
    fn a_nest_of_transactions_has_a_bound() {
        let nested = |levels: usize| {
            let mut txn = TxnRequest::default();
            for _ in 0..levels {
                let request = Some(request_op::Request::RequestTxn(txn));
                txn = TxnRequest { success: vec![RequestOp { request }], ..Default::default() };
            }
            decode::<TxnRequest>(&shapes::etcdserverpb_TxnRequest, txn.encode_to_vec().into())
        };
        assert!(nested(31).is_ok());
        assert_eq!(nested(32), Err(Malformed::Deep { message: "etcdserverpb.TxnRequest" }));
    }
}
