//! Configuration changes in raftpb's wire form. The leader must look into those that are proposed, and this crate knows no
//! generated types, so the two small messages are written and read here. All scalars are written, as etcd did before 3.7;
//! absent ones and unknown fields are accepted.
//!
//! ```text
//!   ConfChange       { id = 1, type = 2, node_id = 3, context = 4 }
//!   ConfChangeV2     { transition = 1, changes = 2 (repeated), context = 3 }
//!   ConfChangeSingle { type = 1, node_id = 2 }
//! ```

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use crate::membership::change::{ChangeKind, ConfChangeV1, ConfChangeV2, MemberChange, Transition};
use crate::types::NodeId;

/// A configuration change that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeError(&'static str);

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "configuration change: {}", self.0)
    }
}

impl std::error::Error for DecodeError {}

impl ConfChangeV1 {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        put_number(&mut out, 1, self.id);
        put_number(&mut out, 2, self.change.kind.number());
        put_number(&mut out, 3, self.change.node.0);
        put_bytes(&mut out, 4, &self.context);
        out.freeze()
    }

    pub(crate) fn decode(data: &Bytes) -> Result<ConfChangeV1, DecodeError> {
        let (mut id, mut kind, mut node, mut context) = (0, 0, 0, Bytes::new());
        for_each_field(data, |field| {
            match field {
                Field::Number(1, value) => id = value,
                Field::Number(2, value) => kind = value,
                Field::Number(3, value) => node = value,
                Field::Bytes(4, value) => context = value,
                _ => {}
            }
            Ok(())
        })?;
        Ok(ConfChangeV1 {
            id,
            change: MemberChange { kind: ChangeKind::from_number(kind)?, node: NodeId(node) },
            context,
        })
    }
}

impl ConfChangeV2 {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        put_number(&mut out, 1, self.transition.number());
        for change in &self.changes {
            let mut single = BytesMut::new();
            put_number(&mut single, 1, change.kind.number());
            put_number(&mut single, 2, change.node.0);
            put_length_delimited(&mut out, 2, &single);
        }
        put_bytes(&mut out, 3, &self.context);
        out.freeze()
    }

    pub(crate) fn decode(data: &Bytes) -> Result<ConfChangeV2, DecodeError> {
        let mut change = ConfChangeV2::default();
        for_each_field(data, |field| {
            match field {
                Field::Number(1, value) => change.transition = Transition::from_number(value)?,
                Field::Bytes(2, value) => change.changes.push(MemberChange::decode(&value)?),
                Field::Bytes(3, value) => change.context = value,
                _ => {}
            }
            Ok(())
        })?;
        Ok(change)
    }
}

impl MemberChange {
    fn decode(data: &Bytes) -> Result<MemberChange, DecodeError> {
        let (mut kind, mut node) = (0, 0);
        for_each_field(data, |field| {
            match field {
                Field::Number(1, value) => kind = value,
                Field::Number(2, value) => node = value,
                _ => {}
            }
            Ok(())
        })?;
        Ok(MemberChange { kind: ChangeKind::from_number(kind)?, node: NodeId(node) })
    }
}

impl ChangeKind {
    fn number(self) -> u64 {
        match self {
            ChangeKind::AddNode => 0,
            ChangeKind::RemoveNode => 1,
            ChangeKind::UpdateNode => 2,
            ChangeKind::AddLearnerNode => 3,
        }
    }

    fn from_number(number: u64) -> Result<ChangeKind, DecodeError> {
        Ok(match number {
            0 => ChangeKind::AddNode,
            1 => ChangeKind::RemoveNode,
            2 => ChangeKind::UpdateNode,
            3 => ChangeKind::AddLearnerNode,
            _ => return Err(DecodeError("unknown type of change")),
        })
    }
}

impl Transition {
    fn number(self) -> u64 {
        match self {
            Transition::Auto => 0,
            Transition::JointImplicit => 1,
            Transition::JointExplicit => 2,
        }
    }

    fn from_number(number: u64) -> Result<Transition, DecodeError> {
        Ok(match number {
            0 => Transition::Auto,
            1 => Transition::JointImplicit,
            2 => Transition::JointExplicit,
            _ => return Err(DecodeError("unknown transition")),
        })
    }
}

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const LENGTH_DELIMITED: u64 = 2;
const FIXED32: u64 = 5;

fn put_varint(out: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

fn put_number(out: &mut BytesMut, field: u64, value: u64) {
    put_varint(out, field << 3 | VARINT);
    put_varint(out, value);
}

fn put_length_delimited(out: &mut BytesMut, field: u64, value: &[u8]) {
    put_varint(out, field << 3 | LENGTH_DELIMITED);
    put_varint(out, value.len() as u64);
    out.put_slice(value);
}

fn put_bytes(out: &mut BytesMut, field: u64, value: &[u8]) {
    if !value.is_empty() {
        put_length_delimited(out, field, value);
    }
}

enum Field {
    Number(u64, u64),
    Bytes(u64, Bytes),
}

fn for_each_field(data: &Bytes, mut take: impl FnMut(Field) -> Result<(), DecodeError>) -> Result<(), DecodeError> {
    let mut place = 0;
    while place < data.len() {
        let tag = varint(data, &mut place)?;
        let field = tag >> 3;
        if field == 0 {
            return Err(DecodeError("field number 0"));
        }
        match tag & 7 {
            VARINT => take(Field::Number(field, varint(data, &mut place)?))?,
            LENGTH_DELIMITED => {
                let length = varint(data, &mut place)?;
                let start = skip(data, &mut place, length)?;
                take(Field::Bytes(field, data.slice(start..place)))?;
            }
            FIXED64 => {
                skip(data, &mut place, 8)?;
            }
            FIXED32 => {
                skip(data, &mut place, 4)?;
            }
            _ => return Err(DecodeError("unknown wire type")),
        }
    }
    Ok(())
}

/// Goes over `length` bytes, and returns where they start.
fn skip(data: &Bytes, place: &mut usize, length: u64) -> Result<usize, DecodeError> {
    let start = *place;
    if length > (data.len() - start) as u64 {
        return Err(DecodeError("a field ends behind the message"));
    }
    *place = start + length as usize;
    Ok(start)
}

fn varint(data: &Bytes, place: &mut usize) -> Result<u64, DecodeError> {
    let mut value = 0_u64;
    for shift in (0..70).step_by(7) {
        let byte = *data.get(*place).ok_or(DecodeError("a number ends behind the message"))?;
        *place += 1;
        value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(DecodeError("a number of more than ten bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read_as_written() {
        let change = MemberChange { kind: ChangeKind::AddLearnerNode, node: NodeId(u64::MAX - 7) };
        let v1 = ConfChangeV1 { id: 300, change, context: Bytes::from_static(b"peer") };
        assert_eq!(ConfChangeV1::decode(&v1.encode()), Ok(v1.clone()));
        let bytes = b"\x08\xac\x02\x10\x03\x18\xf8\xff\xff\xff\xff\xff\xff\xff\xff\x01\x22\x04peer";
        assert_eq!(&v1.encode()[..], bytes);
        let other = MemberChange { kind: ChangeKind::RemoveNode, node: NodeId(2) };
        let v2 = ConfChangeV2 {
            transition: Transition::JointExplicit,
            changes: vec![change, other],
            context: Bytes::from_static(b"x"),
        };
        assert_eq!(ConfChangeV2::decode(&v2.encode()), Ok(v2.clone()));
    }

    #[test]
    fn what_is_absent_is_zero_and_what_is_unknown_is_passed_over() {
        assert_eq!(ConfChangeV2::decode(&Bytes::new()), Ok(ConfChangeV2::default()));
        let unknown = Bytes::from_static(b"\x18\x02\x48\x01\x51\x01\x02\x03\x04\x05\x06\x07\x08\x55\x01\x02\x03\x04");
        let decoded = ConfChangeV1::decode(&unknown).expect("unknown fields are no error");
        assert_eq!(decoded.change, MemberChange { kind: ChangeKind::AddNode, node: NodeId(2) });
    }

    #[test]
    fn damage_is_an_error() {
        let whole = ConfChangeV2 {
            transition: Transition::Auto,
            changes: vec![MemberChange { kind: ChangeKind::AddNode, node: NodeId(300) }],
            context: Bytes::from_static(b"context"),
        }
        .encode();
        let first_field_only = 2;
        let both_fields = 2 + 2 + 5;
        for length in 1..whole.len() {
            let cut = ConfChangeV2::decode(&whole.slice(..length));
            let at_a_field = length == first_field_only || length == both_fields;
            assert_eq!(cut.is_ok(), at_a_field, "cut at {length}: {cut:?}");
        }
        for bad in [
            &b"\x10\x04"[..],
            b"\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x22\xff\x01",
            b"\x03",
            b"\x0f\x01",
        ] {
            assert!(ConfChangeV1::decode(&Bytes::copy_from_slice(bad)).is_err(), "{bad:?} was accepted");
        }
    }
}
