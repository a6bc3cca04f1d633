//! The numbers and headers that all files of the store share; `FORMAT.md` has them in words.

use crate::Table;

/// The version of frames.
pub(super) const FORMAT: u16 = 1;

/// Length of a file's header, and of a frame's.
pub(super) const HEADER_BYTES: usize = 64;

/// Everything begins at a multiple of this.
pub(super) const ALIGNMENT: usize = 8;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileKind {
    Manifest,
    Segment,
    Rows,
    Dead,
}

impl FileKind {
    fn magic(self) -> [u8; 8] {
        *match self {
            FileKind::Manifest => b"ferr.man",
            FileKind::Segment => b"ferr.seg",
            FileKind::Rows => b"ferr.row",
            FileKind::Dead => b"ferr.ded",
        }
    }

    /// The version of what is written today. A reader refuses what is newer.
    fn format(self) -> u16 {
        match self {
            FileKind::Manifest => 2,
            FileKind::Segment | FileKind::Rows | FileKind::Dead => FORMAT,
        }
    }
}

/// The first 64 bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileHeader {
    pub kind: FileKind,
    /// The number in the file's name; 0 for the manifest.
    pub id: u64,
    /// Of a segment the first index of its frames, of rows the index at which they held.
    pub index: u64,
    /// Length and checksum of all that follows; of a segment, which grows, 0.
    pub body_bytes: u64,
    pub body_crc: u32,
}

/// Why bytes are not what they should be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Bad {
    /// The place within the bytes, and what is wrong there.
    Damaged(u64, &'static str),
    /// Written by a newer version, or with a cipher: what it is, and which.
    Newer(&'static str, u64),
}

impl FileHeader {
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&self.kind.magic());
        bytes[8..10].copy_from_slice(&self.kind.format().to_le_bytes());
        // 10..12 cipher and 16..24 key id: none yet.
        bytes[24..32].copy_from_slice(&self.id.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.index.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.body_bytes.to_le_bytes());
        bytes[48..52].copy_from_slice(&self.body_crc.to_le_bytes());
        let crc = header_crc(&bytes, 12);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(super) fn decode(kind: FileKind, bytes: &[u8]) -> Result<FileHeader, Bad> {
        let bytes = bytes.get(..HEADER_BYTES).ok_or(Bad::Damaged(bytes.len() as u64, "the header is cut off"))?;
        if bytes[..8] != kind.magic() {
            return Err(Bad::Damaged(0, "this is not such a file"));
        }
        if u32_at(bytes, 12) != header_crc(bytes, 12) {
            return Err(Bad::Damaged(0, "the header does not match its checksum"));
        }
        // Only now are the other bytes known to be what was written.
        if u16_at(bytes, 8) > kind.format() {
            return Err(Bad::Newer("format", u16_at(bytes, 8).into()));
        }
        if u16_at(bytes, 10) != 0 {
            return Err(Bad::Newer("cipher", u16_at(bytes, 10).into()));
        }
        Ok(FileHeader {
            kind,
            id: u64_at(bytes, 24),
            index: u64_at(bytes, 32),
            body_bytes: u64_at(bytes, 40),
            body_crc: u32_at(bytes, 48),
        })
    }

    /// The whole file of a header and the body behind it.
    pub(super) fn seal(kind: FileKind, id: u64, index: u64, body: &[u8]) -> Vec<u8> {
        let header = FileHeader { kind, id, index, body_bytes: body.len() as u64, body_crc: crc32c::crc32c(body) };
        [&header.encode(), body].concat()
    }

    /// The opposite of `seal`: the header, and the body it vouches for.
    pub(super) fn open(kind: FileKind, bytes: &[u8]) -> Result<(FileHeader, &[u8]), Bad> {
        let header = FileHeader::decode(kind, bytes)?;
        let body = &bytes[HEADER_BYTES..];
        if body.len() as u64 != header.body_bytes {
            return Err(Bad::Damaged(bytes.len() as u64, "the file is not as long as its header says"));
        }
        if crc32c::crc32c(body) != header.body_crc {
            return Err(Bad::Damaged(HEADER_BYTES as u64, "the content does not match its checksum"));
        }
        Ok((header, body))
    }
}

/// The checksum of a header but for the four bytes at `place` that hold it.
pub(super) fn header_crc(bytes: &[u8], place: usize) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..place]), &bytes[place + 4..HEADER_BYTES])
}

pub(super) fn u16_at(bytes: &[u8], place: usize) -> u16 {
    u16::from_le_bytes([bytes[place], bytes[place + 1]])
}

pub(super) fn u32_at(bytes: &[u8], place: usize) -> u32 {
    u32::from_le_bytes([0, 1, 2, 3].map(|i| bytes[place + i]))
}

pub(super) fn u64_at(bytes: &[u8], place: usize) -> u64 {
    u64::from_le_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|i| bytes[place + i]))
}

/// A length, with what fills it up to the next aligned place.
pub(super) fn aligned(length: usize) -> usize {
    length.next_multiple_of(ALIGNMENT)
}

/// Fills up to the next aligned place.
pub(super) fn align(bytes: &mut Vec<u8>) {
    bytes.resize(aligned(bytes.len()), 0);
}

/// The number that stands for a table in a file.
pub(super) fn table_code(table: Table) -> u8 {
    match table {
        Table::Alarm => 1,
        Table::Auth => 2,
        Table::AuthRoles => 3,
        Table::AuthUsers => 4,
        Table::Cluster => 5,
        Table::Lease => 6,
        Table::Members => 7,
        Table::MembersRemoved => 8,
        Table::Meta => 9,
    }
}

pub(super) fn table_of(code: u8) -> Option<Table> {
    Table::ALL.into_iter().find(|table| table_code(*table) == code)
}
