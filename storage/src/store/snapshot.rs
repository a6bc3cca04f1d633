//! The store as it was between two frames, held while the store goes on.
//!
//!   store ──cut──▶ StoreSnapshot: files, what is dead in them, rows, index, term ──▶ Plan ──▶ Export ──▶ a database
//!
//! What holds: nothing of it changes any more. Sealed segments are never written again, the tail only behind what was
//! cut, and a file that is cleaned away keeps its content as long as somebody holds it. What was dead when it was cut does
//! not come out, whether it is still in the files or not.

use std::sync::Arc;

use ferrite_raft::{Index, Term};

use super::places::{Segment, Stretch, Tail};
use super::segment::Liveness;
use super::{Store, TableRows};
use crate::vfs::Vfs;
use crate::{ReadError, Revision, ScannedRecord};

/// All that a store held after one entry.
#[derive(Debug)]
pub struct StoreSnapshot {
    /// The last entry whose effect is in it, and its term.
    pub applied: Index,
    pub term: Term,
    pub rows: TableRows,
    records: Records,
}

/// Where the records lie.
#[derive(Debug)]
struct Records {
    sealed: Vec<(Arc<Segment>, Liveness)>,
    tail: Tail,
    dead_in_tail: Liveness,
}

impl<V: Vfs> Store<V> {
    /// What is in the files now, for who reads it while the store goes on. Nothing of it is copied but what says where it is:
    /// a pointer for each run of rows, and a bit a record where some are dead.
    pub fn cut(&self) -> StoreSnapshot {
        let sealed = self.segments.sealed.iter().map(|sealed| (sealed.segment.clone(), sealed.liveness.clone()));
        let tail = &self.segments.tail;
        let records = Records { sealed: sealed.collect(), tail: tail.view(), dead_in_tail: tail.liveness.clone() };
        StoreSnapshot { applied: self.last.index, term: self.last.term, rows: self.rows.rows.clone(), records }
    }
}

/// A record without its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordLength {
    pub revision: Revision,
    pub tombstone: bool,
    pub length: usize,
}

impl StoreSnapshot {
    /// The next record on a way through all of them, without what it holds: nothing is read.
    pub(super) fn next_length(&self, walk: &mut Walk) -> Option<RecordLength> {
        walk.next(&self.records, |stretch| {
            let place = stretch.peek()?;
            Some(RecordLength { revision: place.revision(), tombstone: place.tombstone(), length: place.length() })
        })
    }

    /// The same with what it holds.
    pub(super) fn next_record(&self, walk: &mut Walk) -> Option<Result<ScannedRecord, ReadError>> {
        walk.next(&self.records, |stretch| stretch.read_record())
    }
}

/// A way through the records of a snapshot.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// Sealed segments, then runs of the tail, that have been entered.
    entered: usize,
    /// Where it stands.
    stretch: Option<Stretch>,
    /// How many records of the segment or the tail are behind it.
    at: usize,
}

impl Walk {
    fn next<T>(&mut self, records: &Records, read: impl FnOnce(&mut Stretch) -> Option<T>) -> Option<T> {
        loop {
            let Some(stretch) = &mut self.stretch else {
                self.enter(records)?;
                continue;
            };
            if stretch.peek().is_none() {
                self.stretch = None;
                continue;
            }
            let dead = match records.sealed.get(self.entered - 1) {
                Some((_, dead)) => dead,
                None => &records.dead_in_tail,
            };
            let is_dead = dead.is_dead(self.at);
            self.at += 1;
            if is_dead {
                stretch.skip();
                continue;
            }
            let found = read(stretch);
            stretch.skip();
            return found;
        }
    }

    fn enter(&mut self, records: &Records) -> Option<()> {
        let stretch = match records.sealed.get(self.entered) {
            Some((segment, _)) => Stretch::of_segment(segment.clone()),
            None => Stretch::of_tail(&records.tail, self.entered - records.sealed.len())?,
        };
        // The runs of the tail are counted through.
        if self.entered <= records.sealed.len() {
            self.at = 0;
        }
        self.entered += 1;
        self.stretch = Some(stretch);
        Some(())
    }
}
