//! Buried records: dead ones in sealed segments, of which nothing else in the files may say that they are dead.
//!
//!   cleaning takes a tombstone away ──▶ *.dead: all that is dead in the sealed segments ──opened──▶ as if it were not there
//!
//! What holds: who opens a store is told by the records alone which are dead, and a deleted key without its tombstone is
//! alive again. So a tombstone goes only together with all older records of its key, or once these are buried.

use std::collections::BTreeMap;

use super::format::{Bad, FileHeader, FileKind, HEADER_BYTES, u64_at};
use super::segment::Sealed;

/// What stands before the bits of a segment.
const HEAD_BYTES: usize = 16;

/// A bit for each of some records. Those behind the last word are not set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    pub(super) fn get(&self, at: usize) -> bool {
        self.0.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    pub(super) fn set(&mut self, at: usize) {
        if self.0.len() <= at / 64 {
            self.0.resize(at / 64 + 1, 0);
        }
        self.0[at / 64] |= 1 << (at % 64);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    pub(super) fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }
}

/// What is buried, by the number of the segment.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Buried(BTreeMap<u64, Burial>);

/// What is buried in one segment.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Burial {
    /// How many records its file has, and which of them are buried, in the order of the file.
    pub records: usize,
    pub dead: Bits,
}

impl Buried {
    /// All that is dead in these segments.
    pub(super) fn of<'a>(sealed: impl Iterator<Item = &'a Sealed>) -> Buried {
        let burials = sealed.map(|sealed| (sealed.entry.id, sealed.burial()));
        Buried(burials.filter(|(_, burial)| !burial.dead.is_empty()).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is buried in a segment.
    pub(super) fn take(&mut self, segment: u64) -> Option<Burial> {
        self.0.remove(&segment)
    }

    /// How long the file is at most, whatever is dead in so many records each.
    pub(super) fn most_bytes(records: impl Iterator<Item = usize>) -> u64 {
        let bits: usize = records.map(|records| HEAD_BYTES + 8 * records.div_ceil(64)).sum();
        (HEADER_BYTES + bits) as u64
    }

    /// The file.
    pub(super) fn encode(&self, id: u64) -> Vec<u8> {
        let mut body = Vec::new();
        for (segment, Burial { records, dead }) in &self.0 {
            body.extend(segment.to_le_bytes());
            body.extend((*records as u64).to_le_bytes());
            let words = (0..records.div_ceil(64)).map(|at| dead.0.get(at).copied().unwrap_or(0));
            body.extend(words.flat_map(u64::to_le_bytes));
        }
        FileHeader::seal(FileKind::Dead, id, 0, &body)
    }

    pub(super) fn decode(bytes: &[u8], id: u64) -> Result<Buried, Bad> {
        let (header, mut rest) = FileHeader::open(FileKind::Dead, bytes)?;
        let wrong = |what| Err(Bad::Damaged(HEADER_BYTES as u64, what));
        if header.id != id {
            return Err(Bad::Damaged(0, "this is another file than the MANIFEST means"));
        }
        let mut buried = Buried::default();
        while !rest.is_empty() {
            if rest.len() < HEAD_BYTES {
                return wrong("a segment is cut off");
            }
            let (segment, records) = (u64_at(rest, 0), u64_at(rest, 8));
            let bits = usize::try_from(records.div_ceil(64)).ok().and_then(|words| words.checked_mul(8));
            let Some(bits) = bits.and_then(|length| rest[HEAD_BYTES..].get(..length)) else {
                return wrong("the bits of a segment are cut off");
            };
            let dead = Bits(bits.chunks(8).map(|word| u64_at(word, 0)).collect());
            if dead.0.last().is_some_and(|last| records % 64 != 0 && last >> (records % 64) != 0) {
                return wrong("a record is buried that there is not");
            }
            rest = &rest[HEAD_BYTES + bits.len()..];
            if buried.0.insert(segment, Burial { records: records as usize, dead }).is_some() {
                return wrong("a segment is there twice");
            }
        }
        Ok(buried)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buried(segments: &[(u64, usize, &[usize])]) -> Buried {
        let burial = |&(id, records, dead): &(u64, usize, &[usize])| {
            let mut bits = Bits(vec![0; records.div_ceil(64)]);
            dead.iter().for_each(|at| bits.set(*at));
            (id, Burial { records, dead: bits })
        };
        Buried(segments.iter().map(burial).collect())
    }

    #[test]
    fn reads_what_was_written_and_no_flipped_bit() {
        let cases: [&[(u64, usize, &[usize])]; 3] =
            [&[], &[(3, 1, &[0])], &[(1, 64, &[0, 63]), (2, 65, &[64]), (u64::MAX, 300, &[7, 299])]];
        for segments in cases {
            let buried = buried(segments);
            let bytes = buried.encode(9);
            assert!(bytes.len() as u64 <= Buried::most_bytes(segments.iter().map(|(_, records, _)| *records)));
            assert_eq!(Buried::decode(&bytes, 9), Ok(buried));
            Buried::decode(&bytes, 8).unwrap_err();
            for bit in 0..bytes.len() * 8 {
                let mut bytes = bytes.clone();
                bytes[bit / 8] ^= 1 << (bit % 8);
                Buried::decode(&bytes, 9).unwrap_err();
            }
        }
    }

    #[test]
    fn a_body_that_was_never_written_is_refused() {
        let words = |words: &[u64]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
        for body in
            [words(&[1]), words(&[1, 65, 0]), words(&[1, u64::MAX]), words(&[1, 65, 0, 2]), words(&[1, 1, 1, 1, 1, 1])]
        {
            Buried::decode(&FileHeader::seal(FileKind::Dead, 9, 0, &body), 9).unwrap_err();
        }
    }
}
