//! What applying one entry of the log did: the records of its revision, and the rows it changed.

use bytes::Bytes;
use ferrite_raft::{Index, Term};

use crate::{Checksum, Revision};

/// One change of one key: a revision, and the `KeyValue` stored under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub revision: Revision,
    /// Whether the change removed the key; the `KeyValue` then holds the key only.
    pub tombstone: bool,
    /// CRC-32C of what HashKV hashes for this record: the encoded revision, then `key_value`.
    pub checksum: u32,
    /// The `KeyValue` as it goes on the wire.
    pub key_value: Bytes,
}

impl Record {
    /// A record with its checksum.
    pub fn new(revision: Revision, tombstone: bool, key_value: Bytes) -> Record {
        let checksum = checksum_of(revision, tombstone, &key_value);
        Record { revision, tombstone, checksum, key_value }
    }

    /// The checksum, with the number of bytes it covers.
    pub fn hashed(&self) -> Checksum {
        hashed(self.checksum, self.tombstone, self.key_value.len())
    }
}

/// CRC-32C of the encoded revision, then the value.
pub(crate) fn checksum_of(revision: Revision, tombstone: bool, key_value: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(revision.encode(tombstone).as_ref()), key_value)
}

/// A record's checksum with the number of bytes it covers.
pub(crate) fn hashed(crc: u32, tombstone: bool, length: usize) -> Checksum {
    Checksum { crc, length: if tombstone { 18 } else { 17 } + length as u64 }
}

/// etcd's buckets other than `key`, in the order of their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    Alarm,
    Auth,
    AuthRoles,
    AuthUsers,
    Cluster,
    Lease,
    Members,
    MembersRemoved,
    Meta,
}

impl Table {
    pub const ALL: [Table; 9] = [
        Table::Alarm,
        Table::Auth,
        Table::AuthRoles,
        Table::AuthUsers,
        Table::Cluster,
        Table::Lease,
        Table::Members,
        Table::MembersRemoved,
        Table::Meta,
    ];

    /// The name of etcd's bucket.
    pub fn name(self) -> &'static str {
        match self {
            Table::Alarm => "alarm",
            Table::Auth => "auth",
            Table::AuthRoles => "authRoles",
            Table::AuthUsers => "authUsers",
            Table::Cluster => "cluster",
            Table::Lease => "lease",
            Table::Members => "members",
            Table::MembersRemoved => "members_removed",
            Table::Meta => "meta",
        }
    }
}

/// A row that is to hold a value, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowChange {
    pub table: Table,
    pub key: Bytes,
    /// `None` removes the row.
    pub value: Option<Bytes>,
}

/// What one applied entry did. Every applied entry has one, if only to carry its index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effect {
    pub index: Index,
    pub term: Term,
    /// All of one `main`, with `sub` counting from 0.
    pub records: Vec<Record>,
    pub rows: Vec<RowChange>,
}

impl Effect {
    /// The `main` of its records, if it has any.
    pub fn main(&self) -> Option<u64> {
        self.records.first().map(|record| record.revision.main)
    }

    /// What it takes up in memory.
    pub(crate) fn bytes(&self) -> u64 {
        let records: usize = self.records.iter().map(|record| size_of::<Record>() + record.key_value.len()).sum();
        let rows: usize = (self.rows.iter())
            .map(|row| size_of::<RowChange>() + row.key.len() + row.value.as_ref().map_or(0, Bytes::len))
            .sum();
        (size_of::<Effect>() + records + rows) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_hashes_what_etcd_hashes() {
        for tombstone in [false, true] {
            let record = Record::new(Revision { main: 2, sub: 1 }, tombstone, Bytes::from_static(b"\x0a\x01a"));
            let mut hashed = b"\0\0\0\0\0\0\0\x02_\0\0\0\0\0\0\0\x01".to_vec();
            hashed.extend(tombstone.then_some(b't'));
            hashed.extend(b"\x0a\x01a");
            assert_eq!(record.hashed(), Checksum::of(&hashed));
        }
    }

    #[test]
    fn tables_are_in_the_order_of_their_names() {
        assert!(Table::ALL.windows(2).all(|pair| pair[0] < pair[1] && pair[0].name() < pair[1].name()));
    }
}
