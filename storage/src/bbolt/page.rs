//! The bytes of pages: headers, elements and metas. All numbers are little-endian.

/// A page is this long in every file we write. Files that are read say how long theirs are.
pub(super) const PAGE_BYTES: usize = 4096;

/// Length of a page's header, and of each element behind it.
pub(super) const HEADER_BYTES: usize = 16;
pub(super) const ELEMENT_BYTES: usize = 16;

/// Length of a bucket's header, and so of the value of a bucket that is not inline.
pub(super) const BUCKET_BYTES: usize = 16;

/// The flag of an element whose value is a bucket.
pub(super) const IS_BUCKET: u32 = 1;

pub(super) const MAX_KEY_BYTES: usize = 32768;

/// More elements than this have another meaning in the header.
pub(super) const MAX_COUNT: usize = 0xfffe;

const MAGIC: u32 = 0xed0c_daed;
const VERSION: u32 = 2;

/// The free pages are not written down: whoever opens the file finds them.
const NO_FREELIST: u64 = u64::MAX;

/// Length of a meta, without its page's header.
const META_BYTES: usize = 64;

/// Where a meta and its checksum end, from the beginning of its page.
pub(super) const META_PAGE_BYTES: usize = HEADER_BYTES + META_BYTES;

/// Counts pages from the beginning of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PageId(pub u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PageKind {
    Branch,
    Leaf,
    Meta,
}

impl PageKind {
    fn flag(self) -> u16 {
        match self {
            PageKind::Branch => 1,
            PageKind::Leaf => 2,
            PageKind::Meta => 4,
        }
    }
}

/// The beginning of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PageHeader {
    pub id: PageId,
    pub kind: PageKind,
    pub count: u16,
    /// Pages behind this one that belong to it.
    pub overflow: u32,
}

impl PageHeader {
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&self.id.0.to_le_bytes());
        bytes[8..10].copy_from_slice(&self.kind.flag().to_le_bytes());
        bytes[10..12].copy_from_slice(&self.count.to_le_bytes());
        bytes[12..].copy_from_slice(&self.overflow.to_le_bytes());
        bytes
    }

    /// None if there is no page of a tree, nor a meta.
    pub(super) fn decode(bytes: &[u8]) -> Option<PageHeader> {
        let flags = u16::from_le_bytes(*bytes.get(8..)?.first_chunk()?);
        let kind = [PageKind::Branch, PageKind::Leaf, PageKind::Meta].into_iter().find(|kind| kind.flag() == flags)?;
        let count = u16::from_le_bytes(*bytes.get(10..)?.first_chunk()?);
        Some(PageHeader { id: PageId(u64_at(bytes, 0)?), kind, count, overflow: u32_at(bytes, 12)? })
    }
}

/// What is said of the whole file, once in each of the first two pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    pub page_bytes: u32,
    /// The root of the tree of buckets.
    pub root: PageId,
    /// Pages in use, from the beginning of the file.
    pub pages: u64,
    /// Of two that are good, the higher one counts.
    pub transaction: u64,
}

impl Meta {
    pub(super) fn encode(&self) -> [u8; META_BYTES] {
        let mut bytes = [0; META_BYTES];
        bytes[..4].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[4..8].copy_from_slice(&VERSION.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.page_bytes.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.root.0.to_le_bytes());
        bytes[32..40].copy_from_slice(&NO_FREELIST.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.pages.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.transaction.to_le_bytes());
        let checksum = fnv1a(&bytes[..56]);
        bytes[56..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// What is wrong is said in words.
    pub(super) fn decode(bytes: &[u8]) -> Result<Meta, &'static str> {
        let bytes = bytes.get(..META_BYTES).ok_or("it is cut off")?;
        let (small, large) = (|at| u32_at(bytes, at).unwrap_or_default(), |at| u64_at(bytes, at).unwrap_or_default());
        if small(0) != MAGIC {
            return Err("it does not begin with bbolt's magic number");
        }
        if small(4) != VERSION {
            return Err("it has an unknown version");
        }
        if large(56) != fnv1a(&bytes[..56]) {
            return Err("it does not match its checksum");
        }
        let page_bytes = small(8);
        if !page_bytes.is_power_of_two() || !(1 << 10..=16 << 20).contains(&page_bytes) {
            return Err("its page size is not possible");
        }
        Ok(Meta { page_bytes, root: PageId(large(16)), pages: large(40), transaction: large(48) })
    }
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// FNV-1a with 64 bits.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meta_is_read_as_written_and_no_flipped_bit_is() {
        let meta = Meta { page_bytes: 4096, root: PageId(7), pages: 9, transaction: 2 };
        let bytes = meta.encode();
        assert_eq!(Meta::decode(&bytes), Ok(meta));
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes;
            bytes[bit / 8] ^= 1 << (bit % 8);
            Meta::decode(&bytes).unwrap_err();
        }
        for page_bytes in [0, 512, 4097, 32 << 20] {
            Meta::decode(&Meta { page_bytes, ..meta }.encode()).unwrap_err();
        }
    }
}
