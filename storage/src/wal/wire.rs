//! As much of the protobuf wire format as the log's own records need.
//!
//! Records are read strictly (a length must fit exactly, a field has its one wire type), because the checksum covers
//! their data only: a flipped bit in what is around it has to be seen by its form.

/// The value of one field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// Reads a varint at the front of `bytes`.
pub(super) fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = u64::from(first & 0x7f);
        if shift == 63 && bits > 1 {
            return None;
        }
        value |= bits << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// The fields of a message in their order. `None` in place of a field: the rest is malformed.
pub(super) struct Fields<'a>(pub &'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Option<(u64, Value<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let tag = take_varint(&mut self.0)?;
        let number = tag >> 3;
        if number == 0 {
            return None;
        }
        match tag & 7 {
            0 => Some((number, Value::Number(take_varint(&mut self.0)?))),
            2 => {
                let length = usize::try_from(take_varint(&mut self.0)?).ok()?;
                let (bytes, rest) = self.0.split_at_checked(length)?;
                self.0 = rest;
                Some((number, Value::Bytes(bytes)))
            }
            // Fixed-width fields and groups: no message of the log has one.
            _ => None,
        }
    }
}

/// Appends a varint.
pub(super) fn put_varint(buffer: &mut impl Extend<u8>, mut value: u64) {
    while value >= 0x80 {
        buffer.extend([value as u8 | 0x80]);
        value >>= 7;
    }
    buffer.extend([value as u8]);
}

/// Appends a number with its field number.
pub(super) fn put_number(buffer: &mut impl Extend<u8>, field: u64, value: u64) {
    put_varint(buffer, field << 3);
    put_varint(buffer, value);
}

/// How many bytes a varint takes.
pub(super) fn varint_length(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}
