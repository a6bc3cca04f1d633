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

    /// Hands out what has not been handed out yet: the snapshot, and the entries into `into`.
    pub fn take_new(&mut self, into: &mut Vec<Entry>) -> Option<Snapshot> {
        let snapshot = if self.snapshot_taken { None } else { self.snapshot.clone() };
        self.snapshot_taken = self.snapshot.is_some();
        into.extend(self.range(self.taken, self.end()).cloned());
        self.taken = self.end();
        snapshot
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

    /// Lets go of what is on disk up to `saved`, if that still is what the log holds. False if it is not.
    pub fn saved(&mut self, saved: LogPosition, logger: &BoxedLogger) -> bool {
        let index = saved.index;
        let Some(term) = self.term(index) else {
            // Saves that were taken while one was under way end where that one did.
            line!(logger, Routine, "entry at index {index} missing from unstable log; ignoring");
            return false;
        };
        if index < self.offset {
            line!(logger, Info, "entry at index {index} matched unstable snapshot; ignoring");
            return false;
        }
        if term != saved.term {
            line!(
                logger,
                Info,
                "entry at (index,term)=({index},{}) mismatched with entry at ({index},{term}) in unstable log; ignoring",
                saved.term
            );
            return false;
        }
        self.entries.drain(..self.place(index.next()));
        self.offset = index.next();
        self.taken = self.taken.max(self.offset);
        // A burst should not leave its room behind.
        if self.entries.is_empty() && self.entries.capacity() > 1024 {
            self.entries = VecDeque::new();
        }
        true
    }

    /// Lets go of the snapshot if it is this one, and returns its term.
    pub fn snapshot_saved(&mut self, index: Index) -> Option<Term> {
        let saved = self.snapshot.take_if(|snapshot| snapshot.meta.index == index)?;
        self.snapshot_taken = false;
        Some(saved.meta.term)
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

#[cfg(test)]
mod tests {
    use std::fmt;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::logger::{Level, Logger, Silent};

    fn entries(terms: &[u64], from: u64) -> Vec<Entry> {
        let entry = |(term, index): (&u64, u64)| Entry { term: Term(*term), index: Index(index), ..Entry::default() };
        terms.iter().zip(from..).map(entry).collect()
    }

    /// Entries of these terms from index 5 on, of which so many are handed out.
    fn unsaved(terms: &[u64], taken: usize) -> Unsaved {
        let mut unsaved = Unsaved::new(Index(5));
        unsaved.entries.extend(entries(&terms[..taken], 5));
        unsaved.take_new(&mut Vec::new());
        unsaved.entries.extend(entries(&terms[taken..], 5 + taken as u64));
        unsaved
    }

    #[test]
    fn what_replaces_entries_is_handed_out_again() {
        #[track_caller]
        fn check(mut unsaved: Unsaved, terms: &[u64], from: u64, held: &[u64], new: &[u64]) {
            let logger: BoxedLogger = Box::new(Silent);
            unsaved.append(entries(terms, from), Index(from), &logger);
            let all: Vec<u64> = unsaved.entries.iter().map(|entry| entry.term.0).collect();
            let mut taken = Vec::new();
            unsaved.take_new(&mut taken);
            let taken: Vec<u64> = taken.iter().map(|entry| entry.index.0).collect();
            assert_eq!((&all[..], &taken[..]), (held, new));
            assert!(!unsaved.has_new());
        }
        //    held (5 on), handed out      appended at       held then         handed out again
        check(unsaved(&[], 0), &[1], 5, &[1], &[5]);
        check(unsaved(&[1, 1], 1), &[1], 7, &[1, 1, 1], &[6, 7]);
        check(unsaved(&[1, 1], 2), &[2], 6, &[1, 2], &[6]);
        check(unsaved(&[1, 1, 1], 3), &[2], 6, &[1, 2], &[6]);
        check(unsaved(&[1, 1], 2), &[2, 2, 2], 5, &[2, 2, 2], &[5, 6, 7]);
        check(unsaved(&[1, 1], 2), &[2], 3, &[2], &[3]);
    }

    /// How grave what was said is.
    #[derive(Default)]
    struct Levels(Arc<Mutex<Vec<Level>>>);

    impl Logger for Levels {
        fn enabled(&self, _: Level) -> bool {
            true
        }

        fn log(&self, level: Level, _: fmt::Arguments<'_>) {
            self.0.lock().unwrap().push(level);
        }
    }

    #[test]
    fn a_save_that_another_one_has_overtaken_is_no_news() {
        let levels = Levels::default();
        let (said, logger): (_, BoxedLogger) = (levels.0.clone(), Box::new(levels));
        let mut unsaved = unsaved(&[1, 1], 2);
        let saved = LogPosition { term: Term(1), index: Index(6) };
        assert!(unsaved.saved(saved, &logger));
        assert!(!unsaved.saved(saved, &logger));
        assert_eq!(*said.lock().unwrap(), [Level::Routine]);
    }

    #[test]
    fn only_what_is_still_held_is_let_go() {
        #[track_caller]
        fn check(terms: &[u64], term: u64, index: u64, left: &[u64], offset: u64) {
            let logger: BoxedLogger = Box::new(Silent);
            let mut unsaved = unsaved(terms, terms.len());
            unsaved.saved(LogPosition { term: Term(term), index: Index(index) }, &logger);
            let held: Vec<u64> = unsaved.entries.iter().map(|entry| entry.index.0).collect();
            assert_eq!((&held[..], unsaved.offset()), (left, Index(offset)), "saved {term}/{index} of {terms:?}");
        }
        //    terms      saved     left       offset
        check(&[], 1, 5, &[], 5);
        check(&[1, 1], 1, 5, &[6], 6);
        check(&[1, 1], 1, 6, &[], 7);
        check(&[1, 1], 1, 4, &[5, 6], 5); // gone already
        check(&[1, 1], 1, 7, &[5, 6], 5); // never was
        check(&[2, 2], 1, 6, &[5, 6], 5); // replaced
    }

    #[test]
    fn a_snapshot_is_held_until_it_is_saved() {
        let mut unsaved = unsaved(&[1, 1], 2);
        let mut snapshot = Snapshot::default();
        (snapshot.meta.index, snapshot.meta.term) = (Index(9), Term(3));
        unsaved.restore(snapshot);
        assert_eq!((unsaved.last_index(), unsaved.term(Index(9))), (Some(Index(9)), Some(Term(3))));
        assert!(unsaved.has_new());
        assert!(unsaved.take_new(&mut Vec::new()).is_some());
        assert!(unsaved.take_new(&mut Vec::new()).is_none() && !unsaved.has_new());
        unsaved.snapshot_saved(Index(8));
        assert!(unsaved.has_snapshot(), "that was another one");
        unsaved.snapshot_saved(Index(9));
        assert!(!unsaved.has_snapshot());
    }
}
