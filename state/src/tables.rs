//! Rows of etcd's own buckets, as effects carry them.

use bytes::Bytes;
use ferrite_storage::{Revision, RowChange, Table};

use crate::apply::LoadError;

/// Keys of the `meta` table.
pub const SCHEDULED_COMPACTION: &[u8] = b"scheduledCompactRev";
pub const FINISHED_COMPACTION: &[u8] = b"finishedCompactRev";

/// Keys of the `auth` table.
pub const AUTH_ENABLED: &[u8] = b"authEnabled";
pub const AUTH_REVISION: &[u8] = b"authRevision";

/// A row that is to hold a value.
pub fn row(table: Table, key: impl Into<Bytes>, value: impl Into<Bytes>) -> RowChange {
    RowChange { table, key: key.into(), value: Some(value.into()) }
}

/// A row that is to go.
pub fn no_row(table: Table, key: impl Into<Bytes>) -> RowChange {
    RowChange { table, key: key.into(), value: None }
}

/// How far compactions are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// What the log has asked for.
    pub scheduled: Option<u64>,
    /// What is trimmed.
    pub finished: Option<u64>,
}

impl Marks {
    pub fn rows(&self) -> impl Iterator<Item = (Table, Bytes, Bytes)> {
        let scheduled = self.scheduled.map(|main| compaction(SCHEDULED_COMPACTION, main));
        let finished = self.finished.map(|main| compaction(FINISHED_COMPACTION, main));
        // The users and roles that there are not have a revision.
        let auth = row(Table::Auth, AUTH_REVISION, 1_u64.to_be_bytes().to_vec());
        let rows = [scheduled, finished, Some(auth)].into_iter().flatten();
        rows.filter_map(|row| Some((row.table, row.key, row.value?)))
    }
}

/// A mark of a compaction.
pub fn compaction(key: &'static [u8], main: u64) -> RowChange {
    let revision = Revision { main, sub: 0 }.encode(false);
    row(Table::Meta, key, Bytes::copy_from_slice(revision.as_ref()))
}

pub fn parse_compaction(key: &[u8], value: &[u8]) -> Result<u64, LoadError> {
    let main = value.first_chunk().map(|main| u64::from_be_bytes(*main));
    main.filter(|main| i64::try_from(*main).is_ok() && value.len() >= 17 && value[8] == b'_')
        .ok_or_else(|| LoadError::Revision { key: String::from_utf8_lossy(key).into_owned(), value: value.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_compactions_are_read_as_written() {
        for main in [0, 5, u64::MAX >> 1] {
            let mark = compaction(SCHEDULED_COMPACTION, main);
            assert_eq!(parse_compaction(&mark.key, &mark.value.unwrap()).unwrap(), main);
        }
        for bad in [&b""[..], b"12345678", b"\0\0\0\0\0\0\0\x01x\0\0\0\0\0\0\0\0", &[0xff; 17]] {
            assert!(parse_compaction(b"k", bad).is_err(), "{bad:?}");
        }
    }
}
