//! A snapshot of the store as a database of etcd: its buckets in the order of their names, in pieces, without a copy.
//!
//!   Plan: the lengths of everything, a step at a time ──▶ Layout ──▶ Export
//!
//!   alarm, auth, authRoles, authUsers, cluster ── rows ──┐
//!   key ── records ──────────────────────────────────────┼──▶ Writer ──▶ piece, piece, …
//!   lease, members, members_removed, meta ── rows ───────┘
//!
//! The entry that the database is whole up to, and its term, are rows of `meta` there, and nowhere here.

use bytes::Bytes;
use ferrite_raft::{Index, Term};

use super::StoreSnapshot;
use super::snapshot::Walk;
use crate::bbolt::{Planner, Writer};
use crate::{ReadError, Table};

/// The bucket of the records; those of the tables are named like them.
pub(super) const RECORDS: &str = "key";

/// Rows of `meta` that say up to which entry a database is whole.
pub(super) const CONSISTENT_INDEX: &[u8] = b"consistent_index";
pub(super) const TERM: &[u8] = b"term";

/// A piece is about this long, or as long as one record.
const PIECE_BYTES: usize = 256 << 10;

/// A bucket of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bucket {
    Rows(Table),
    Records,
}

impl Bucket {
    /// All, in the order of their names.
    pub(super) fn all() -> impl Iterator<Item = Bucket> {
        let mut all: Vec<Bucket> = Table::ALL.into_iter().map(Bucket::Rows).chain([Bucket::Records]).collect();
        all.sort_by_key(|bucket| bucket.name());
        all.into_iter()
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Bucket::Rows(table) => table.name(),
            Bucket::Records => RECORDS,
        }
    }
}

/// A database that is being laid out.
#[derive(Debug)]
pub struct Plan {
    snapshot: StoreSnapshot,
    planner: Planner,
    /// The bucket that is being planned is the last, and those behind it are before it.
    buckets: Vec<Bucket>,
    records: Walk,
}

/// All buckets, the first one last.
fn buckets_to_do() -> Vec<Bucket> {
    let mut buckets: Vec<Bucket> = Bucket::all().collect();
    buckets.reverse();
    buckets
}

impl Plan {
    pub fn new(mut snapshot: StoreSnapshot) -> Plan {
        let StoreSnapshot { applied: Index(index), term: Term(term), rows, .. } = &mut snapshot;
        for (key, number) in [(CONSISTENT_INDEX, *index), (TERM, *term)] {
            rows.push((Table::Meta, Bytes::from_static(key), Bytes::copy_from_slice(&number.to_be_bytes())));
        }
        rows.sort();
        Plan { snapshot, planner: Planner::default(), buckets: buckets_to_do(), records: Walk::default() }
    }

    /// Looks at the lengths of so many records. True: that was the last of it.
    pub fn step(&mut self, records: usize) -> bool {
        let mut looked_at = 0;
        while let Some(bucket) = self.buckets.last().copied() {
            match bucket {
                Bucket::Rows(table) => {
                    rows_of(&self.snapshot, table).for_each(|(key, value)| self.planner.put(key, value.len()));
                }
                Bucket::Records => {
                    while let Some(record) = self.snapshot.next_length(&mut self.records) {
                        self.planner.put(record.revision.encode(record.tombstone).as_ref(), record.length);
                        looked_at += 1;
                        if looked_at == records {
                            return false;
                        }
                    }
                }
            }
            self.planner.end_bucket(bucket.name());
            self.buckets.pop();
        }
        true
    }

    /// What was laid out, to be written.
    ///
    /// # Panics
    /// If it has not been laid out to the end.
    pub fn finish(self) -> Export {
        assert!(self.buckets.is_empty(), "all buckets are laid out");
        let layout = self.planner.finish();
        Export {
            snapshot: self.snapshot,
            bytes: layout.bytes(),
            writer: Writer::new(layout),
            buckets: buckets_to_do(),
            records: Walk::default(),
            is_finished: false,
        }
    }
}

/// A database on its way out.
#[derive(Debug)]
pub struct Export {
    snapshot: StoreSnapshot,
    writer: Writer,
    bytes: u64,
    /// The bucket that is being written is the last, and those behind it are before it.
    buckets: Vec<Bucket>,
    records: Walk,
    is_finished: bool,
}

impl Export {
    /// The length of the whole database.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The entry that the database is whole up to.
    pub fn applied(&self) -> Index {
        self.snapshot.applied
    }

    /// The next piece; `None` behind the last.
    pub fn next_piece(&mut self) -> Result<Option<Bytes>, ReadError> {
        while self.writer.ready() < PIECE_BYTES
            && let Some(bucket) = self.buckets.last().copied()
        {
            match bucket {
                // Rows are in memory already, so they need no steps.
                Bucket::Rows(table) => {
                    rows_of(&self.snapshot, table).for_each(|(key, value)| self.writer.put(key, value));
                    self.end_bucket();
                }
                Bucket::Records => match self.snapshot.next_record(&mut self.records) {
                    Some(record) => {
                        let record = record?;
                        self.writer.put(record.revision.encode(record.tombstone).as_ref(), &record.key_value);
                    }
                    None => self.end_bucket(),
                },
            }
        }
        if self.buckets.is_empty() && !std::mem::replace(&mut self.is_finished, true) {
            self.writer.finish();
        }
        Ok(Some(self.writer.take()).filter(|piece| !piece.is_empty()))
    }

    fn end_bucket(&mut self) {
        self.writer.end_bucket();
        self.buckets.pop();
    }
}

fn rows_of(snapshot: &StoreSnapshot, table: Table) -> impl Iterator<Item = (&Bytes, &Bytes)> {
    let rows = &snapshot.rows;
    let first = rows.partition_point(|(of, ..)| *of < table);
    rows[first..].iter().take_while(move |(of, ..)| *of == table).map(|(_, key, value)| (key, value))
}
