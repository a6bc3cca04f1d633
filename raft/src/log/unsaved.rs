//! The end of the log that is not on disk yet, or not known to be.
//!
//! ```text
//!   saved log ──┤ handed out to be saved ├ new ┤
//!               offset                   taken  last
//! ```
//!
//! Entries leave at the front when a save of them is reported; a new leader may replace them at any place. A snapshot
//! from the leader is held here until it is saved; nothing is in the log before it then.

use std::collections::VecDeque;

use crate::logger::{BoxedLogger, line};
use crate::types::{Entry, Index, LogPosition, Snapshot, Term};

#[derive(Debug)]
pub struct Unsaved {
    snapshot: Option<Snapshot>,
    snapshot_taken: bool,
    entries: VecDeque<Entry>,
    /// The index of the first entry here, or that of the next one to come.
    offset: Index,
    /// The first entry that has not been handed out.
    taken: Index,
}

impl Unsaved {
    pub fn new(offset: Index) -> Unsaved {
        Unsaved { snapshot: None, snapshot_taken: false, entries: VecDeque::new(), offset, taken: offset }
    }

    pub fn offset(&self) -> Index {
        self.offset
    }

    pub fn taken(&self) -> Index {
        self.taken
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn has_entries(&self) -> bool {
        !self.entries.is_empty()
    }

    pub fn has_snapshot(&self) -> bool {
        self.snapshot.is_some()
    }

    pub fn has_new(&self) -> bool {
        self.taken < self.end() || (self.snapshot.is_some() && !self.snapshot_taken)
    }

    /// The snapshot's place, if there is one: the log begins behind it.
    pub fn snapshot_index(&self) -> Option<Index> {
        self.snapshot.as_ref().map(|snapshot| snapshot.meta.index)
    }

    /// The last index that is decided here rather than in the saved log.
    pub fn last_index(&self) -> Option<Index> {
        if self.entries.is_empty() { self.snapshot_index() } else { Some(self.end().prev()) }
    }

    pub fn term(&self, index: Index) -> Option<Term> {
        if index < self.offset {
            return self.snapshot.as_ref().filter(|held| held.meta.index == index).map(|held| held.meta.term);
        }
        self.entries.get(self.place(index)).map(|entry| entry.term)
    }

    pub fn snapshot(&self) -> Option<&Snapshot> {
        self.snapshot.as_ref()
    }

    pub fn range(&self, from: Index, until: Index) -> std::collections::vec_deque::Iter<'_, Entry> {
        self.entries.range(self.place(from)..self.place(until))
    }

    /// Hands out what has not been handed out yet.
    pub fn take_new(&mut self) -> (Option<Snapshot>, Vec<Entry>) {
        let snapshot = if self.snapshot_taken { None } else { self.snapshot.clone() };
        self.snapshot_taken = self.snapshot.is_some();
        let entries = self.range(self.taken, self.end()).cloned().collect();
        self.taken = self.end();
        (snapshot, entries)
    }

    /// Appends one entry at the end.
    pub fn push(&mut self, entry: Entry) {
        debug_assert_eq!(entry.index, self.end());
        self.entries.push_back(entry);
    }

    /// Appends entries; those held from the first one on are replaced.
    pub fn append(&mut self, entries: impl IntoIterator<Item = Entry>, from: Index, logger: &BoxedLogger) {
        if from < self.end() {
            if from <= self.offset {
                line!(logger, Info, "replace the unstable entries from index {from}");
                self.offset = from;
                self.entries.clear();
            } else {
                line!(logger, Info, "truncate the unstable entries before index {from}");
                self.entries.truncate(self.place(from));
            }
            // What was handed out from here on is void: it must be handed out again.
            self.taken = self.taken.min(from);
        }
        self.entries.extend(entries);
    }

    /// Lets go of what is on disk up to `saved`, if that still is what the log holds.
    pub fn saved(&mut self, saved: LogPosition, logger: &BoxedLogger) {
        let index = saved.index;
        let Some(term) = self.term(index) else {
            line!(logger, Info, "entry at index {index} missing from unstable log; ignoring");
            return;
        };
        if index < self.offset {
            line!(logger, Info, "entry at index {index} matched unstable snapshot; ignoring");
            return;
        }
        if term != saved.term {
            line!(
                logger,
                Info,
                "entry at (index,term)=({index},{}) mismatched with entry at ({index},{term}) in unstable log; ignoring",
                saved.term
            );
            return;
        }
        self.entries.drain(..self.place(index.next()));
        self.offset = index.next();
        self.taken = self.taken.max(self.offset);
        // A burst should not leave its room behind.
        if self.entries.is_empty() && self.entries.capacity() > 1024 {
            self.entries = VecDeque::new();
        }
    }

    pub fn snapshot_saved(&mut self, index: Index) {
        if self.snapshot_index() == Some(index) {
            self.snapshot = None;
            self.snapshot_taken = false;
        }
    }

    /// Replaces everything by a snapshot.
    pub fn restore(&mut self, snapshot: Snapshot) {
        self.offset = snapshot.meta.index.next();
        self.taken = self.offset;
        self.entries.clear();
        self.snapshot = Some(snapshot);
        self.snapshot_taken = false;
    }

    fn end(&self) -> Index {
        Index(self.offset.0 + self.entries.len() as u64)
    }

    fn place(&self, index: Index) -> usize {
        (index.0 - self.offset.0) as usize
    }
}
