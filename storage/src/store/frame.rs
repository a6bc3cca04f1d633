//! A frame: whole effects as one write.
//!
//! What holds: a frame is there as a whole or not at all, by its checksums; it names its place in the file and the
//! entries it covers, so that none can be missing, twice, or moved without being noticed.

use bytes::Bytes;
use ferrite_raft::{Index, Term};

use super::format::{self, HEADER_BYTES, aligned, table_code, table_of, u16_at, u32_at, u64_at};
use super::places::Place;
use crate::effect::checksum_of;
use crate::{Effect, Revision, RowChange};

const MAGIC: &[u8; 4] = b"fram";

/// The flag of a frame that cleaning wrote: its range is that of the whole segment.
const REWRITTEN: u16 = 1;

/// The length of a record or a row but for its content.
pub(super) const RECORD_BYTES: usize = 24;
pub(super) const ROW_BYTES: usize = 16;

/// Bit of a record's length that says tombstone.
pub(super) const TOMBSTONE: u32 = 1 << 31;

/// What a record takes up in a file.
pub(super) fn record_bytes(length: usize) -> usize {
    RECORD_BYTES + aligned(length)
}

/// What a row takes up in a file.
pub(super) fn row_bytes(key: usize, value: usize) -> usize {
    ROW_BYTES + aligned(key + value)
}

/// What an effect adds to a frame.
pub(crate) fn effect_bytes(effect: &Effect) -> usize {
    let records: usize = effect.records.iter().map(|record| record_bytes(record.key_value.len())).sum();
    let rows: usize =
        effect.rows.iter().map(|row| row_bytes(row.key.len(), row.value.as_ref().map_or(0, Bytes::len))).sum();
    records + rows
}

/// The entries a frame covers, and the term of the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub first: Index,
    pub last: Index,
    pub term: Term,
}

/// A frame in the making. It is used again and again, so that its memory is taken once.
#[derive(Debug, Default)]
pub(super) struct FrameBuilder {
    /// The header's place, then the records.
    bytes: Vec<u8>,
    rows: Vec<u8>,
    places: Vec<Place>,
    row_count: u32,
    span: Option<Span>,
}

impl FrameBuilder {
    /// How long the frame is by now.
    pub(super) fn len(&self) -> usize {
        HEADER_BYTES.max(self.bytes.len()) + self.rows.len()
    }

    pub(super) fn push(&mut self, effect: &Effect) {
        for record in &effect.records {
            self.push_record(record.revision, record.tombstone, record.checksum, &record.key_value);
        }
        for row in &effect.rows {
            push_row(&mut self.rows, row);
            self.row_count += 1;
        }
        let first = self.span.map_or(effect.index, |span| span.first);
        self.span = Some(Span { first, last: effect.index, term: effect.term });
    }

    pub(super) fn push_record(&mut self, revision: Revision, tombstone: bool, checksum: u32, key_value: &[u8]) {
        let sub = u32::try_from(revision.sub).expect("a transaction has fewer than 2^32 changes");
        let length = u32::try_from(key_value.len()).expect("a value is shorter than 2 GiB");
        assert!(length < TOMBSTONE, "a value is shorter than 2 GiB");
        self.bytes.resize(self.bytes.len().max(HEADER_BYTES), 0);
        let length = if tombstone { length | TOMBSTONE } else { length };
        self.bytes.extend(revision.main.to_le_bytes());
        self.bytes.extend(sub.to_le_bytes());
        self.bytes.extend(length.to_le_bytes());
        self.bytes.extend(checksum.to_le_bytes());
        self.bytes.extend([0; 4]);
        let place = Place::new(revision, self.bytes.len() as u64, length, checksum);
        self.places.push(place);
        self.bytes.extend_from_slice(key_value);
        format::align(&mut self.bytes);
    }

    /// The frame as it stands at `offset`, and where its records lie; the builder is empty then.
    pub(super) fn finish(&mut self, offset: u64, rewritten: Option<Span>) -> (&[u8], Vec<Place>, Span) {
        let span = rewritten.or(self.span).expect("a frame covers an entry");
        self.bytes.resize(self.bytes.len().max(HEADER_BYTES), 0);
        self.bytes.extend_from_slice(&self.rows);
        let body = &self.bytes[HEADER_BYTES..];
        let header = Header {
            flags: if rewritten.is_some() { REWRITTEN } else { 0 },
            body_crc: crc32c::crc32c(body),
            body_bytes: body.len() as u64,
            offset,
            span,
            records: self.places.len() as u32,
            rows: self.row_count,
        };
        self.bytes[..HEADER_BYTES].copy_from_slice(&header.encode());
        self.rows.clear();
        (self.row_count, self.span) = (0, None);
        let mut places = std::mem::take(&mut self.places);
        places.iter_mut().for_each(|place| place.shift(offset));
        (&self.bytes, places, span)
    }

    /// Makes room for the next frame.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        // One effect may have been huge.
        self.bytes.shrink_to(4 << 20);
        self.rows.shrink_to(1 << 20);
    }
}

/// A row, or its removal, as it stands in frames and in `*.rows`.
pub(super) fn push_row(bytes: &mut Vec<u8>, row: &RowChange) {
    let value = row.value.as_deref().unwrap_or_default();
    let length = |part: &[u8]| u32::try_from(part.len()).expect("a row is shorter than 4 GiB").to_le_bytes();
    bytes.extend([table_code(row.table), row.value.is_some() as u8, 0, 0]);
    bytes.extend(length(&row.key));
    bytes.extend(length(value));
    bytes.extend([0; 4]);
    bytes.extend_from_slice(&row.key);
    bytes.extend_from_slice(value);
    format::align(bytes);
}

#[derive(Clone, Copy, Debug)]
struct Header {
    flags: u16,
    body_crc: u32,
    body_bytes: u64,
    offset: u64,
    span: Span,
    records: u32,
    rows: u32,
}

impl Header {
    fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(MAGIC);
        bytes[4..6].copy_from_slice(&format::FORMAT.to_le_bytes());
        bytes[6..8].copy_from_slice(&self.flags.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.body_crc.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.body_bytes.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.offset.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.span.first.0.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.span.last.0.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.span.term.0.to_le_bytes());
        bytes[56..60].copy_from_slice(&self.records.to_le_bytes());
        bytes[60..64].copy_from_slice(&self.rows.to_le_bytes());
        let crc = format::header_crc(&bytes, 8);
        bytes[8..12].copy_from_slice(&crc.to_le_bytes());
        bytes
    }
}

/// A frame that has been read, and matches its checksums.
#[derive(Debug)]
pub(super) struct Frame<'a> {
    header: Header,
    offset: u64,
    body: &'a [u8],
}

/// Why there is no frame at some place.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoFrame {
    /// The file ends, or nothing has been written from here on.
    End,
    /// There is something: what is wrong with it.
    Bad(&'static str),
}

impl<'a> Frame<'a> {
    /// The frame at `offset` of a segment.
    pub(super) fn read(segment: &'a [u8], offset: u64) -> Result<Frame<'a>, NoFrame> {
        let rest = segment.get(offset as usize..).unwrap_or_default();
        let head = &rest[..rest.len().min(HEADER_BYTES)];
        if head.iter().all(|byte| *byte == 0) {
            return Err(NoFrame::End);
        }
        if head.len() < HEADER_BYTES {
            return Err(NoFrame::Bad("a frame's header is cut off"));
        }
        if &head[..4] != MAGIC {
            return Err(NoFrame::Bad("no frame begins here"));
        }
        if u32_at(head, 8) != format::header_crc(head, 8) {
            return Err(NoFrame::Bad("a frame's header does not match its checksum"));
        }
        if u16_at(head, 4) != format::FORMAT {
            return Err(NoFrame::Bad("a frame has a format that its file's header does not announce"));
        }
        let header = Header {
            flags: u16_at(head, 6),
            body_crc: u32_at(head, 12),
            body_bytes: u64_at(head, 16),
            offset: u64_at(head, 24),
            span: Span { first: Index(u64_at(head, 32)), last: Index(u64_at(head, 40)), term: Term(u64_at(head, 48)) },
            records: u32_at(head, 56),
            rows: u32_at(head, 60),
        };
        if header.offset != offset {
            return Err(NoFrame::Bad("a frame belongs to another place"));
        }
        let body = usize::try_from(header.body_bytes).ok().and_then(|length| rest[HEADER_BYTES..].get(..length));
        let body = body.ok_or(NoFrame::Bad("a frame is cut off"))?;
        if crc32c::crc32c(body) != header.body_crc {
            return Err(NoFrame::Bad("a frame does not match its checksum"));
        }
        Ok(Frame { header, offset: offset + HEADER_BYTES as u64, body })
    }

    pub(super) fn span(&self) -> Span {
        self.header.span
    }

    pub(super) fn is_rewritten(&self) -> bool {
        self.header.flags & REWRITTEN != 0
    }

    pub(super) fn has_rows(&self) -> bool {
        self.header.rows > 0
    }

    /// Where the next frame begins.
    pub(super) fn end(&self) -> u64 {
        self.offset + self.body.len() as u64
    }

    /// Hands out where the records lie, and the rows, in order.
    pub(super) fn walk(
        &self,
        mut record: impl FnMut(Place) -> Result<(), &'static str>,
        mut row: impl FnMut(RowChange),
    ) -> Result<(), &'static str> {
        let mut rest = Parts { body: self.body, at: 0 };
        for _ in 0..self.header.records {
            let head = rest.next(RECORD_BYTES).ok_or("a record is cut off")?;
            let revision = Revision { main: u64_at(head, 0), sub: u32_at(head, 8).into() };
            let place = Place::new(revision, self.offset + rest.at as u64, u32_at(head, 12), u32_at(head, 16));
            rest.next(place.length()).ok_or("a record is cut off")?;
            record(place)?;
        }
        for _ in 0..self.header.rows {
            row(next_row(&mut rest)?);
        }
        if rest.at == self.body.len() { Ok(()) } else { Err("a frame holds more than it says") }
    }
}

/// The rows of a `*.rows` file's body.
pub(super) fn read_rows(body: &[u8]) -> impl Iterator<Item = Result<RowChange, &'static str>> {
    let mut rest = Parts { body, at: 0 };
    std::iter::from_fn(move || (rest.at < rest.body.len()).then(|| next_row(&mut rest)))
}

fn next_row(rest: &mut Parts) -> Result<RowChange, &'static str> {
    let head = rest.next(ROW_BYTES).ok_or("a row is cut off")?;
    let table = table_of(head[0]).ok_or("a row is of an unknown table")?;
    let (key, value) = (u32_at(head, 4) as usize, u32_at(head, 8) as usize);
    let content = rest.next(key + value).ok_or("a row is cut off")?;
    let part = Bytes::copy_from_slice;
    Ok(RowChange { table, key: part(&content[..key]), value: (head[1] == 1).then(|| part(&content[key..])) })
}

/// Aligned parts of a body, one behind the other.
struct Parts<'a> {
    body: &'a [u8],
    at: usize,
}

impl<'a> Parts<'a> {
    fn next(&mut self, length: usize) -> Option<&'a [u8]> {
        let part = self.body.get(self.at..)?.get(..length)?;
        self.at += aligned(length);
        Some(part)
    }
}

/// Whether a record's bytes are those it was written with.
pub(super) fn matches(place: &Place, key_value: &[u8]) -> bool {
    checksum_of(place.revision(), place.tombstone(), key_value) == place.checksum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Record, Table};

    /// A frame of two entries, at an offset.
    fn frame(offset: u64) -> Vec<u8> {
        let mut builder = FrameBuilder::default();
        for index in [4, 5] {
            let record = Record::new(Revision { main: index, sub: 0 }, index == 5, Bytes::from(vec![index as u8; 11]));
            let row = RowChange { table: Table::Lease, key: Bytes::from_static(b"k"), value: None };
            builder.push(&Effect { index: Index(index), term: Term(1), records: vec![record], rows: vec![row] });
        }
        let length = builder.len();
        let bytes = builder.finish(offset, None).0.to_vec();
        assert_eq!(bytes.len(), length);
        bytes
    }

    #[test]
    fn a_frame_is_read_where_it_was_written_and_whole() {
        let bytes = [vec![0; 64], frame(64)].concat();
        let read = Frame::read(&bytes, 64).unwrap();
        assert_eq!(read.span(), Span { first: Index(4), last: Index(5), term: Term(1) });
        assert_eq!((read.end(), read.has_rows(), read.is_rewritten()), (bytes.len() as u64, true, false));
        let (mut places, mut rows) = (Vec::new(), 0);
        let record = |place| {
            places.push(place);
            Ok(())
        };
        read.walk(record, |_| rows += 1).unwrap();
        let found: Vec<_> = places.iter().map(|p| (p.revision().main, p.tombstone(), p.length(), p.offset())).collect();
        assert_eq!((found, rows), (vec![(4, false, 11, 152), (5, true, 11, 192)], 2));

        assert_eq!(Frame::read(&bytes, bytes.len() as u64).unwrap_err(), NoFrame::End);
        for zeros in [1, 63, 64, 1000] {
            let bytes = [bytes.clone(), vec![0; zeros]].concat();
            assert_eq!(Frame::read(&bytes, bytes.len() as u64 - zeros as u64).unwrap_err(), NoFrame::End);
        }
        let moved = [vec![0; 64], frame(128)].concat();
        assert_eq!(Frame::read(&moved, 64).unwrap_err(), NoFrame::Bad("a frame belongs to another place"));
    }

    #[test]
    fn no_flipped_bit_and_no_cut_goes_unseen() {
        let bytes = frame(0);
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(Frame::read(&bytes, 0), Err(NoFrame::Bad(_))), "bit {bit}");
        }
        for length in 1..bytes.len() {
            assert!(matches!(Frame::read(&bytes[..length], 0), Err(NoFrame::Bad(_))), "{length} bytes");
        }
    }
}
