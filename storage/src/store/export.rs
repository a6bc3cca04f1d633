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

use super::snapshot::{RecordLength, Walk};
use super::table_rows::RowCursor;
use super::{StoreSnapshot, TableRows};
use crate::bbolt::{Planner, Writer};
use crate::{ReadError, ScannedRecord, Table};

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

    pub(super) fn named(name: &[u8]) -> Option<Bucket> {
        let is_named = |table: &Table| table.name().as_bytes() == name;
        match name == RECORDS.as_bytes() {
            true => Some(Bucket::Records),
            false => Table::ALL.into_iter().find(is_named).map(Bucket::Rows),
        }
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
    to_do: ToDo,
}

/// What is left of a way through all buckets.
#[derive(Debug)]
struct ToDo {
    /// The bucket that it is in is the last, and those behind it are before it.
    buckets: Vec<Bucket>,
    records: Walk,
    /// Where it is among the rows of its bucket, once it has seen one.
    row: Option<RowCursor>,
}

impl ToDo {
    fn all() -> ToDo {
        let mut buckets: Vec<Bucket> = Bucket::all().collect();
        buckets.reverse();
        ToDo { buckets, records: Walk::default(), row: None }
    }

    fn bucket(&self) -> Option<Bucket> {
        self.buckets.last().copied()
    }

    fn next_row<'a>(&mut self, rows: &'a TableRows, table: Table) -> Option<(&'a Bytes, &'a Bytes)> {
        rows.next_of(table, self.row.get_or_insert_with(|| rows.first(table)))
    }

    fn end_bucket(&mut self) {
        self.buckets.pop();
        self.row = None;
    }
}

impl Plan {
    pub fn new(mut snapshot: StoreSnapshot) -> Plan {
        let StoreSnapshot { applied: Index(index), term: Term(term), rows, .. } = &mut snapshot;
        for (key, number) in [(CONSISTENT_INDEX, *index), (TERM, *term)] {
            rows.insert(Table::Meta, Bytes::from_static(key), Bytes::copy_from_slice(&number.to_be_bytes()));
        }
        Plan { snapshot, planner: Planner::default(), to_do: ToDo::all() }
    }

    /// Looks at the lengths of so many rows and records. True: that was the last of it.
    pub fn step(&mut self, pairs: usize) -> bool {
        let Plan { snapshot, planner, to_do } = self;
        for _ in 0..pairs {
            let Some(bucket) = to_do.bucket() else { return true };
            let is_over = match bucket {
                Bucket::Rows(table) => {
                    let row = to_do.next_row(&snapshot.rows, table);
                    row.map(|(key, value)| planner.put(key, value.len())).is_none()
                }
                Bucket::Records => {
                    let record = snapshot.next_length(&mut to_do.records);
                    let put = |record: RecordLength| {
                        planner.put(record.revision.encode(record.tombstone).as_ref(), record.length);
                    };
                    record.map(put).is_none()
                }
            };
            if is_over {
                planner.end_bucket(bucket.name());
                to_do.end_bucket();
            }
        }
        to_do.bucket().is_none()
    }

    /// What was laid out, to be written.
    ///
    /// # Panics
    /// If it has not been laid out to the end.
    pub fn finish(self) -> Export {
        assert!(self.to_do.bucket().is_none(), "all buckets are laid out");
        let layout = self.planner.finish();
        Export {
            snapshot: self.snapshot,
            bytes: layout.bytes(),
            writer: Writer::new(layout),
            to_do: ToDo::all(),
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
    to_do: ToDo,
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
        let Export { snapshot, writer, to_do, .. } = self;
        while writer.ready() < PIECE_BYTES
            && let Some(bucket) = to_do.bucket()
        {
            let is_over = match bucket {
                Bucket::Rows(table) => {
                    let row = to_do.next_row(&snapshot.rows, table);
                    row.map(|(key, value)| writer.put(key, value)).is_none()
                }
                Bucket::Records => {
                    let record = snapshot.next_record(&mut to_do.records).transpose()?;
                    let put = |record: ScannedRecord| {
                        writer.put(record.revision.encode(record.tombstone).as_ref(), &record.key_value);
                    };
                    record.map(put).is_none()
                }
            };
            if is_over {
                writer.end_bucket();
                to_do.end_bucket();
            }
        }
        if to_do.bucket().is_none() && !std::mem::replace(&mut self.is_finished, true) {
            self.writer.finish();
        }
        Ok(Some(self.writer.take()).filter(|piece| !piece.is_empty()))
    }
}
