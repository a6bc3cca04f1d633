//! The tables as rows, made from what they mean: for the hash over everything, and to check what effects have written.

use bytes::Bytes;
use ferrite_storage::{Checksum, Table};

use super::{Shared, Tables};
use crate::clock::Millis;
use crate::lease::row_key;

/// A row of a table.
pub type Row = (Table, Bytes, Bytes);

impl Tables {
    /// All rows but those of leases, in the order of tables and keys.
    fn rows(&self) -> Vec<Row> {
        let mut rows: Vec<Row> = self.alarms.rows().chain(self.cluster.rows()).chain(self.marks.rows()).collect();
        rows.sort();
        rows
    }
}

impl Shared {
    /// All rows as of the last published entry, in the order of tables and keys.
    pub fn rows(&self) -> Vec<Row> {
        let mut rows = self.tables().rows();
        for id in self.lessor.list(Millis::default()) {
            let row = self.lessor.lock().row(id);
            rows.extend(row.map(|row| (Table::Lease, row_key(id), row)));
        }
        rows.sort();
        rows
    }

    /// etcd's hash over all that is stored, with the revision it was made at: names, keys and values of all buckets in
    /// their order, without what differs between members that hold the same. What is compacted and not yet trimmed is in
    /// it, so it is for tests, as in etcd.
    pub fn hash(&self) -> (u32, u64) {
        let rows = self.rows();
        let (records, revision) = self.keyspace().hash_records();
        let mut sum = Checksum::default();
        let add = |sum: Checksum, bytes: &[u8]| sum.then(Checksum::of(bytes));
        for table in Table::ALL {
            // The bucket of the keys lies between these two.
            if table == Table::Lease {
                sum = add(sum, b"key").then(records);
            }
            sum = add(sum, table.name().as_bytes());
            for (_, key, value) in rows.iter().filter(|(of, key, _)| *of == table && key != STORAGE_VERSION) {
                sum = add(add(sum, key), value);
            }
        }
        (sum.crc, revision)
    }
}

/// Left out of the hash.
const STORAGE_VERSION: &[u8] = b"storageVersion";
