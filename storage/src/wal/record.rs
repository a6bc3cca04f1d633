//! Frames and the records in them: the bytes of etcd's log (`walpb.Record`).
//!
//!   frame:  u64 little-endian: record length in bits 0..55, 0x80 | padding in the top byte if there is any
//!           record
//!           zeros up to the next multiple of 8
//!   record: type = 1 (varint), crc = 2 (varint), data = 3 (bytes; none in a record of type crc)
//!
//! `crc` is the CRC-32C of all data up to and including this record's, over the whole log. Length, type and padding
//! are not covered by it, so they are held to their one form.

use super::wire::{Fields, Value, put_number, put_varint, take_varint, varint_length};

/// Bytes of a frame before its record.
pub(super) const HEADER: usize = 8;
/// All frames begin at multiples of this.
pub(super) const ALIGNMENT: usize = 8;
/// The largest frame of a crc record, and the frame of every marker.
pub(super) const MARKER: usize = 16;

const LENGTH_MASK: u64 = 0x00ff_ffff_ffff_ffff;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Metadata = 1,
    Entry = 2,
    State = 3,
    /// At the head of a segment the running CRC of the one before; anywhere else a marker: all before it was synced.
    Crc = 4,
    Snapshot = 5,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub kind: Kind,
    pub crc: u32,
    pub data: Option<&'a [u8]>,
}

/// A frame, found at some offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub record: Record<'a>,
    /// Where the record ends, and the padding behind it.
    pub record_end: usize,
    pub end: usize,
}

/// Why there is no frame at an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoFrame {
    /// The file ends here, or zeros begin.
    End,
    /// Its length goes beyond the end of the file.
    Short {
        needed: u64,
    },
    Length,
    Record,
}

impl NoFrame {
    pub(super) fn what(self) -> &'static str {
        match self {
            NoFrame::End => "there are zeros in place of a record",
            NoFrame::Short { .. } => "a record is longer than the file",
            NoFrame::Length => "the length of a record is malformed",
            NoFrame::Record => "a record is malformed",
        }
    }
}

/// The frame at `offset`. Its checksum is not looked at.
pub(super) fn frame_at(bytes: &[u8], offset: usize) -> Result<Frame<'_>, NoFrame> {
    let rest = bytes.get(offset..).unwrap_or_default();
    if rest.is_empty() {
        return Err(NoFrame::End);
    }
    let Some((header, body)) = rest.split_first_chunk::<HEADER>() else {
        return Err(NoFrame::Short { needed: HEADER as u64 });
    };
    let field = u64::from_le_bytes(*header);
    if field == 0 {
        return Err(NoFrame::End);
    }
    let length = field & LENGTH_MASK;
    let padding = match field >> 56 {
        0 => 0, // a multiple of 8, or a frame of the first versions, which did not pad
        top if top == 0x80 | padding_of(length) && top != 0x80 => top & 7,
        _ => return Err(NoFrame::Length),
    };
    let needed = length + padding;
    if needed > body.len() as u64 {
        return Err(NoFrame::Short { needed });
    }
    let record = parse(&body[..length as usize]).ok_or(NoFrame::Record)?;
    let record_end = offset + HEADER + length as usize;
    Ok(Frame { record, record_end, end: record_end + padding as usize })
}

/// The length of the record in a frame, as the frame says.
pub(super) fn frame_length(head: &[u8]) -> u64 {
    head.first_chunk().map_or(0, |field| u64::from_le_bytes(*field) & LENGTH_MASK)
}

/// The length of a record as follows from what is in it, of which only the beginning need be there.
pub(super) fn record_length(start: &[u8]) -> Option<u64> {
    let mut fields = Fields(start);
    match [fields.next()??, fields.next()??] {
        [(1, Value::Number(_)), (2, Value::Number(_))] => {}
        _ => return None,
    }
    let mut rest = fields.0.strip_prefix(&[3 << 3 | 2])?;
    let data = take_varint(&mut rest)?;
    data.checked_add((start.len() - rest.len()) as u64)
}

fn padding_of(length: u64) -> u64 {
    length.wrapping_neg() % ALIGNMENT as u64
}

fn parse(bytes: &[u8]) -> Option<Record<'_>> {
    let (mut kind, mut crc, mut data) = (None, None, None);
    for field in Fields(bytes) {
        match field? {
            (1, Value::Number(value)) if kind.is_none() => kind = Some(value),
            (2, Value::Number(value)) if crc.is_none() => crc = Some(u32::try_from(value).ok()?),
            (3, Value::Bytes(value)) if data.is_none() => data = Some(value),
            _ => return None,
        }
    }
    let kind = match kind? {
        1 => Kind::Metadata,
        2 => Kind::Entry,
        3 => Kind::State,
        // With data it would be a marker whose length has been damaged: two bytes of the next frame may look like a field.
        4 if data.is_none() => Kind::Crc,
        5 => Kind::Snapshot,
        _ => return None,
    };
    Some(Record { kind, crc: crc?, data })
}

/// Writes records, each with the running CRC.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    crc: u32,
}

impl Encoder {
    pub(super) fn new(crc: u32) -> Encoder {
        Encoder { crc }
    }

    /// Appends a record of type crc: the head of a segment, or a marker.
    pub(super) fn put_crc(&self, buffer: &mut Vec<u8>) {
        put_header(buffer, 3 + varint_length(self.crc.into()));
        put_number(buffer, 1, Kind::Crc as u64);
        put_number(buffer, 2, self.crc.into());
        pad(buffer);
    }

    /// Appends a record whose data is `front` and `back`, one behind the other.
    pub(super) fn put(&mut self, buffer: &mut Vec<u8>, kind: Kind, front: &[u8], back: &[u8]) {
        self.crc = crc32c::crc32c_append(crc32c::crc32c_append(self.crc, front), back);
        let data_length = front.len() + back.len();
        let length = 3 + varint_length(self.crc.into()) + 1 + varint_length(data_length as u64) + data_length;
        put_header(buffer, length);
        put_number(buffer, 1, kind as u64);
        put_number(buffer, 2, self.crc.into());
        buffer.push(3 << 3 | 2);
        put_varint(buffer, data_length as u64);
        buffer.extend_from_slice(front);
        buffer.extend_from_slice(back);
        pad(buffer);
    }
}

fn put_header(buffer: &mut Vec<u8>, length: usize) {
    let padding = padding_of(length as u64);
    let top = if padding == 0 { 0 } else { 0x80 | padding };
    buffer.extend_from_slice(&(length as u64 | top << 56).to_le_bytes());
}

fn pad(buffer: &mut Vec<u8>) {
    let padding = padding_of(buffer.len() as u64);
    buffer.resize(buffer.len() + padding as usize, 0);
}

/// Whether the bytes at `offset` are exactly those of a marker.
pub(super) fn is_marker(bytes: &[u8], offset: usize) -> bool {
    let Some(found) = bytes.get(offset..).and_then(|rest| rest.first_chunk::<MARKER>()) else { return false };
    let Ok(Frame { record: Record { kind: Kind::Crc, crc, data: None }, .. }) = frame_at(found, 0) else {
        return false;
    };
    let mut expected = Vec::with_capacity(MARKER);
    Encoder::new(crc).put_crc(&mut expected);
    expected == found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_those_of_etcd() {
        // The head of a log that etcd wrote with the metadata "somedata".
        #[rustfmt::skip]
        let golden = [
            0x04, 0, 0, 0, 0, 0, 0, 0x84, 0x08, 0x04, 0x10, 0x00, 0, 0, 0, 0,
            0x12, 0, 0, 0, 0, 0, 0, 0x86, 0x08, 0x01, 0x10, 0x85, 0xd4, 0xfd, 0xa0, 0x07, 0x1a, 0x08,
            b's', b'o', b'm', b'e', b'd', b'a', b't', b'a', 0, 0, 0, 0, 0, 0,
            0x0e, 0, 0, 0, 0, 0, 0, 0x82, 0x08, 0x05, 0x10, 0x80, 0xdb, 0x81, 0xc1, 0x01, 0x1a, 0x04,
            0x08, 0x00, 0x10, 0x00, 0, 0,
        ];
        let mut encoder = Encoder::default();
        let mut bytes = Vec::new();
        encoder.put_crc(&mut bytes);
        encoder.put(&mut bytes, Kind::Metadata, b"some", b"data");
        encoder.put(&mut bytes, Kind::Snapshot, &[8, 0, 16, 0], &[]);
        assert_eq!(bytes, golden);

        let mut offset = 0;
        let mut found = Vec::new();
        while let Ok(frame) = frame_at(&bytes, offset) {
            found.push((offset, frame.record.kind, frame.record.crc));
            offset = frame.end;
        }
        let expected = [(0, Kind::Crc, 0), (16, Kind::Metadata, 1948215813), (48, Kind::Snapshot, 404778368)];
        assert_eq!(found, expected);
        assert_eq!(frame_at(&bytes, 72), Err(NoFrame::End));
    }

    #[test]
    fn a_frame_of_the_first_versions_is_not_padded() {
        let mut bytes = vec![14, 0, 0, 0, 0, 0, 0, 0, 0x08, 1, 0x10, 0xd6, 0xcb, 0xa2, 0xa3, 0x03, 0x1a, 4];
        bytes.extend([0x08, 0xef, 0xfd, 0x02]);
        let frame = frame_at(&bytes, 0).unwrap();
        assert_eq!((frame.end, frame.record.data), (22, Some(&bytes[18..])));
    }

    #[test]
    fn no_flipped_bit_of_a_frame_goes_unseen() {
        for data in [&b""[..], b"a", b"123456789", &[7; 300]] {
            let mut bytes = Vec::new();
            Encoder::new(99).put(&mut bytes, Kind::State, data, &[]);
            let whole = frame_at(&bytes, 0).unwrap();
            for bit in 0..8 * whole.record_end {
                let mut bytes = bytes.clone();
                bytes[bit / 8] ^= 1 << (bit % 8);
                if let Ok(frame) = frame_at(&bytes, 0) {
                    let Record { kind, crc, data } = frame.record;
                    let sum = crc32c::crc32c_append(99, data.unwrap_or_default());
                    assert!(sum != crc || kind != Kind::State, "bit {bit}: {frame:?}");
                }
            }
        }
    }

    #[test]
    fn a_marker_does_not_swallow_what_follows() {
        let mut bytes = Vec::new();
        Encoder::new(u32::MAX).put_crc(&mut bytes);
        bytes.extend(0x1au64.to_le_bytes());
        bytes[0] ^= 2;
        assert_eq!(frame_at(&bytes, 0), Err(NoFrame::Record));
    }

    #[test]
    fn only_markers_are_markers() {
        for crc in [0, 1, 127, 128, 1 << 20, u32::MAX] {
            let mut bytes = vec![0; 8];
            Encoder::new(crc).put_crc(&mut bytes);
            assert_eq!(bytes.len(), 8 + MARKER);
            assert!(is_marker(&bytes, 8) && !is_marker(&bytes, 0) && !is_marker(&bytes[..20], 8));
            for bit in 0..8 * MARKER {
                let mut bytes = bytes.clone();
                bytes[8 + bit / 8] ^= 1 << (bit % 8);
                // A flipped bit of the CRC itself makes another marker; every other one makes none.
                let crc_bits = 8 * (HEADER + 3)..8 * (HEADER + 3 + varint_length(crc.into()));
                assert!(!is_marker(&bytes, 8) || crc_bits.contains(&bit), "crc {crc}, bit {bit}");
            }
        }
        assert!(!is_marker(&[0; 64], 8));
    }
}
