//! The files of a log and their names: sequence number and first index, in hexadecimal.

use std::fmt;
use std::path::{Path, PathBuf};

use ferrite_raft::Index;

use super::WalError;
use super::error::REMEDY;
use crate::vfs::Vfs;

/// The name of a segment. `index` is that of the first entry in it, if none before it is written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SegmentName {
    pub sequence: u64,
    pub index: Index,
}

impl SegmentName {
    pub(super) const FIRST: SegmentName = SegmentName { sequence: 0, index: Index(0) };

    pub(super) fn parse(name: &str) -> Option<SegmentName> {
        let (sequence, index) = name.strip_suffix(".wal")?.split_once('-')?;
        let number = |digits: &str| {
            let valid = digits.len() == 16 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            // Larger numbers are nobody's, and one more would be too many.
            valid.then(|| u64::from_str_radix(digits, 16).ok()).flatten().filter(|number| *number < 1 << 63)
        };
        Some(SegmentName { sequence: number(sequence)?, index: Index(number(index)?) })
    }

    pub(super) fn path(self, dir: &Path) -> PathBuf {
        dir.join(self.to_string())
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:016x}.wal", self.sequence, self.index.0)
    }
}

/// The segments in a directory, sorted.
pub(super) fn list<V: Vfs>(vfs: &V, dir: &Path) -> Result<Vec<SegmentName>, WalError> {
    if !vfs.exists(dir)? {
        return Ok(Vec::new());
    }
    let mut names: Vec<_> = vfs.read_dir(dir)?.iter().filter_map(|name| SegmentName::parse(name)).collect();
    names.sort_unstable();
    Ok(names)
}

/// The segments from the one that contains `index` on. Their numbers must follow one another.
pub(super) fn from_index<'a>(
    names: &'a [SegmentName],
    index: Index,
    dir: &Path,
) -> Result<&'a [SegmentName], WalError> {
    let first = names.iter().rposition(|name| name.index <= index);
    let first = first.ok_or_else(|| WalError::NotFound { dir: dir.to_path_buf() })?;
    let chosen = &names[first..];
    for pair in chosen.windows(2) {
        if pair[0].sequence.checked_add(1) != Some(pair[1].sequence) {
            return Err(WalError::Corrupt {
                file: pair[1].path(dir),
                offset: 0,
                what: format!("the segment before it is {}: one or more are missing or doubled", pair[0]),
                remedy: REMEDY,
            });
        }
    }
    Ok(chosen)
}

/// The segments behind the last gap in their numbers. Old ones are removed from the front, so a gap means only that
/// a crash has kept some that were to go.
pub(super) fn behind_gap(names: &[SegmentName]) -> &[SegmentName] {
    let gap = names.windows(2).rposition(|pair| pair[0].sequence.checked_add(1) != Some(pair[1].sequence));
    &names[gap.map_or(0, |position| position + 1)..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_etcd() {
        let name = SegmentName { sequence: 10, index: Index(0xabc) };
        assert_eq!(name.to_string(), "000000000000000a-0000000000000abc.wal");
        assert_eq!(SegmentName::parse(&name.to_string()), Some(name));
        for other in [
            "0.tmp",
            "a-b.wal",
            "000000000000000a-0000000000000abc.wal.broken",
            "+00000000000000a-0000000000000abc.wal",
        ] {
            assert_eq!(SegmentName::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_log_is_read_from_the_segment_with_the_index() {
        let names =
            [(0, 0), (1, 5), (3, 9), (4, 20)].map(|(sequence, index)| SegmentName { sequence, index: Index(index) });
        let chosen = |index| from_index(&names, Index(index), Path::new("")).map(<[_]>::len).ok();
        assert_eq!([0, 8, 9, 19, 20, 99].map(chosen), [None, None, Some(2), Some(2), Some(1), Some(1)]);
        assert_eq!(behind_gap(&names), &names[2..]);
        assert!(from_index(&names[1..], Index(4), Path::new("")).is_err());
    }
}
