//! The changes of one entry: all under one `main`, in the order in which they are made.

use std::ops::ControlFlow;

use bytes::Bytes;
use ferrite_storage::{Record, Revision};

use super::{KeyRange, KeyValue, Keyspace, Reader};
use crate::lease::{LeaseId, SharedLessor};

/// Writes one entry's changes into the index, and collects their records. Readers do not see them: they look at
/// revisions that are published.
#[derive(Debug)]
pub struct Writer<'a> {
    keyspace: &'a Keyspace,
    lessor: &'a SharedLessor,
    /// The revision before this entry.
    before: u64,
    records: Vec<Record>,
}

impl<'a> Writer<'a> {
    pub fn new(keyspace: &'a Keyspace, lessor: &'a SharedLessor, before: u64) -> Writer<'a> {
        Writer { keyspace, lessor, before, records: Vec::new() }
    }

    /// The revision that this entry has come to: its own as soon as it has changed something.
    pub fn revision(&self) -> u64 {
        if self.records.is_empty() { self.before } else { self.before + 1 }
    }

    /// Sees the changes made so far.
    pub fn reader(&self) -> Reader<'_> {
        Reader::new(self.keyspace, self.revision(), self.revision(), &self.records)
    }

    fn next(&self) -> Revision {
        Revision { main: self.before + 1, sub: self.records.len() as u64 }
    }

    /// Puts a key; it leaves its lease, if it had one, for this one, if there is one.
    pub fn put(&mut self, key: &[u8], value: &[u8], lease: Option<LeaseId>) {
        let revision = self.next();
        let facts = self.keyspace.index.write().put(key, revision);
        let key_value = KeyValue {
            key,
            create_revision: facts.created as i64,
            mod_revision: revision.main as i64,
            version: facts.version as i64,
            value,
            lease: lease.map_or(0, LeaseId::get),
        };
        self.records.push(Record::new(revision, false, key_value.encode()));
        // A key that was not there had no lease.
        if facts.version > 1 || lease.is_some() {
            self.attach(key, lease);
        }
    }

    fn attach(&self, key: &[u8], lease: Option<LeaseId>) {
        let mut lessor = self.lessor.lock();
        let before = lessor.lease_of(key);
        if before == lease {
            return;
        }
        if before.is_some() {
            lessor.detach(key);
        }
        if let Some(lease) = lease {
            // A lease that the request names was looked up. One that the key keeps may be missing in a store that was
            // imported: the key is then as if it had none, as after opening that store.
            let _ = lessor.attach(key, lease);
        }
    }

    /// Deletes the live keys of a range in their order, and returns how many there were.
    pub fn delete_range(&mut self, range: &KeyRange) -> u64 {
        let mut keys = Vec::new();
        self.reader().visit(range, |key, _| {
            keys.push(Bytes::copy_from_slice(key));
            ControlFlow::Continue(())
        });
        for key in &keys {
            self.delete(key);
        }
        keys.len() as u64
    }

    fn delete(&mut self, key: &[u8]) {
        let revision = self.next();
        self.keyspace.index.write().delete(key, revision);
        let key_value = KeyValue { key, ..Default::default() };
        self.records.push(Record::new(revision, true, key_value.encode()));
        self.lessor.lock().detach(key);
    }

    /// The records of all changes.
    pub fn finish(self) -> Vec<Record> {
        self.records
    }
}
