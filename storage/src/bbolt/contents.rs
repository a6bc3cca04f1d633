//! A note that the pages of a file stand in order, which lets it be read while it arrives.
//!
//! It stands behind the first meta, where bbolt writes nothing and reads nothing, and names the bucket of each tree in the
//! order in which they stand, with the page that ends it: its root. All trees follow on one another from the first page
//! behind the metas on, each page behind those that are below it; the tree of the buckets comes last.

use super::page::{META_PAGE_BYTES, PAGE_BYTES, PageId, u32_at, u64_at};

const MAGIC: &[u8; 16] = b"pages are sorted";

/// Beyond this a page, with what overflows it, is not held in memory, and the file gets no such note.
pub(super) const MAX_RUN_BYTES: usize = 16 << 20;

/// What the note says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Contents {
    /// The buckets with pages of their own.
    pub trees: Vec<(Vec<u8>, PageId)>,
}

impl Contents {
    /// Adds the note to a file's first page, if it has room there.
    pub(super) fn write(&self, page: &mut [u8]) {
        let mut note = MAGIC.to_vec();
        note.extend((self.trees.len() as u32).to_le_bytes());
        for (name, root) in &self.trees {
            note.extend((name.len() as u32).to_le_bytes());
            note.extend(name);
            note.extend(root.0.to_le_bytes());
        }
        note.extend(crc32c::crc32c(&note).to_le_bytes());
        if let Some(room) = page.get_mut(META_PAGE_BYTES..META_PAGE_BYTES + note.len()) {
            room.copy_from_slice(&note);
        }
    }

    /// The note in a file's first page; `None` if there is none that is whole.
    pub(super) fn read(page: &[u8]) -> Option<Contents> {
        let note = page.get(META_PAGE_BYTES..PAGE_BYTES)?;
        let mut at = MAGIC.len();
        let count = u32_at(note.strip_prefix(MAGIC)?, 0)?;
        at += 4;
        let mut trees = Vec::new();
        for _ in 0..count {
            let length = u32_at(note, at)? as usize;
            let name = note.get(at + 4..)?.get(..length)?;
            at += 4 + length;
            trees.push((name.to_vec(), PageId(u64_at(note, at)?)));
            at += 8;
        }
        (u32_at(note, at)? == crc32c::crc32c(&note[..at])).then_some(Contents { trees })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_as_written_and_a_damaged_one_is_none() {
        let contents = Contents { trees: vec![(b"key".to_vec(), PageId(7)), (b"lease".to_vec(), PageId(1 << 40))] };
        let mut page = vec![0; PAGE_BYTES];
        assert_eq!(Contents::read(&page), None);
        contents.write(&mut page);
        assert_eq!(Contents::read(&page).as_ref(), Some(&contents));
        let end = page.iter().rposition(|byte| *byte != 0).unwrap();
        for bit in META_PAGE_BYTES * 8..end * 8 {
            page[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Contents::read(&page), None, "bit {bit}");
            page[bit / 8] ^= 1 << (bit % 8);
        }
        assert_eq!(Contents::read(&page[..end]), None);
        // What has no room is left out.
        let many = Contents { trees: vec![(vec![b'n'; 100], PageId(2)); 40] };
        let mut page = vec![0; PAGE_BYTES];
        many.write(&mut page);
        assert_eq!(page, vec![0; PAGE_BYTES]);
    }
}
