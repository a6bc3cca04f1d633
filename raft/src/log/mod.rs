//! The replicated log: what is saved, what is not, how far it is committed and how far applied.
//!
//! ```text
//!   applied <= applying <= committed            all are positions in one line of entries
//!   ├───────────── saved (LogStore) ────────────┼──── unsaved (memory) ────┤
//! ```
//!
//! A committed entry is never replaced. `applying` is what was handed out to be applied; no more is handed out while as
//! many bytes as the budget allows are out.

mod budget;
pub mod contract;
pub mod memory;
pub mod store;
mod unsaved;

use crate::entries::Entries;
use crate::log::budget::ApplyBudget;
use crate::log::memory::take_up_to;
use crate::log::store::{LogError, LogStore};
use crate::log::unsaved::Unsaved;
use crate::logger::{BoxedLogger, line};
use crate::mutation::{Mutation, planted};
use crate::types::{Entry, HardState, Index, LogPosition, Snapshot, Term};

#[derive(Debug)]
pub struct RaftLog<L> {
    store: L,
    unsaved: Unsaved,
    committed: Index,
    applying: Index,
    applied: Index,
    budget: ApplyBudget,
}

impl<L: LogStore> RaftLog<L> {
    pub fn new(store: L, max_applying_size: u64) -> RaftLog<L> {
        let before_first = store.first_index().prev();
        let unsaved = Unsaved::new(store.last_index().next());
        RaftLog {
            store,
            unsaved,
            committed: before_first,
            applying: before_first,
            applied: before_first,
            budget: ApplyBudget::new(max_applying_size),
        }
    }

    pub fn store(&self) -> &L {
        &self.store
    }

    pub fn store_mut(&mut self) -> &mut L {
        &mut self.store
    }

    pub fn committed(&self) -> Index {
        self.committed
    }

    pub fn applied(&self) -> Index {
        self.applied
    }

    /// Sets how far the log was committed before the start. False if the log cannot be: it lost its end.
    pub fn resume(&mut self, hard_state: HardState) -> bool {
        let possible = (self.committed..=self.last_index()).contains(&hard_state.commit);
        if possible {
            self.committed = hard_state.commit;
        }
        possible
    }

    pub fn first_index(&self) -> Index {
        self.unsaved.snapshot_index().map_or_else(|| self.store.first_index(), Index::next)
    }

    pub fn last_index(&self) -> Index {
        self.unsaved.last_index().unwrap_or_else(|| self.store.last_index())
    }

    pub fn term(&self, index: Index) -> Result<Term, LogError> {
        if let Some(term) = self.unsaved.term(index) {
            return Ok(term);
        }
        if index > self.last_index() {
            return Err(LogError::Unavailable);
        }
        if index.next() < self.first_index() {
            return Err(LogError::Compacted);
        }
        contract::term(&self.store, index)
    }

    pub fn last(&self) -> LogPosition {
        let index = self.last_index();
        let term =
            self.term(index).unwrap_or_else(|e| panic!("unexpected error when getting the last term at {index}: {e}"));
        LogPosition { term, index }
    }

    /// The last position that is known to be committed.
    pub fn committed_position(&self) -> LogPosition {
        let index = self.committed;
        let term =
            self.term(index).unwrap_or_else(|e| panic!("unexpected error when getting the term at {index}: {e}"));
        LogPosition { term, index }
    }

    pub fn holds(&self, position: LogPosition) -> bool {
        self.term(position.index) == Ok(position.term)
    }

    /// Whether a log that ends at `other` has all that this one may have committed (thesis, 3.6.1).
    pub fn is_behind_or_equal(&self, other: LogPosition) -> bool {
        let last = self.last();
        (other.term, other.index) >= (last.term, last.index)
    }

    /// Appends the leader's entries if the log holds `prev`, and returns the last index that is now equal to the leader's.
    pub fn append_from_leader(&mut self, prev: LogPosition, entries: Entries, logger: &BoxedLogger) -> Option<Index> {
        let unseen = planted(Mutation::AppendAnywhere) && prev.index <= self.last_index();
        let meets = self.holds(prev) || unseen;
        if !meets {
            return None;
        }
        let last_new = Index(prev.index.0 + entries.len() as u64);
        if let Some(place) = entries.iter().position(|entry| !self.holds(entry.position())) {
            let first = entries[place].position();
            if first.index <= self.last_index() {
                line!(
                    logger,
                    Info,
                    "found conflict at index {} [existing term: {}, conflicting term: {}]",
                    first.index,
                    self.term(first.index).unwrap_or_default(),
                    first.term
                );
            }
            assert!(
                first.index > self.committed,
                "entry {} conflict with committed entry [committed({})]",
                first.index,
                self.committed
            );
            self.unsaved.append(entries.into_iter().skip(place), first.index, logger);
        }
        Some(last_new)
    }

    /// Appends an entry of our own.
    pub fn push(&mut self, entry: Entry) {
        self.unsaved.push(entry);
    }

    /// The last position at or before `index` whose term is not greater than `term`: where two logs may meet. Term 0 if
    /// it cannot be known.
    pub fn find_conflict_by_term(&self, index: Index, term: Term) -> LogPosition {
        let mut index = index;
        while index.0 > 0 {
            match self.term(index) {
                Err(_) => return LogPosition { term: Term(0), index },
                Ok(ours) if ours <= term => return LogPosition { term: ours, index },
                Ok(_) => index = index.prev(),
            }
        }
        LogPosition::default()
    }

    /// # Panics
    /// If the log does not reach as far: an entry that we acknowledged is gone.
    pub fn commit_to(&mut self, index: Index) {
        if index <= self.committed {
            return;
        }
        let last = self.last_index();
        assert!(
            index <= last,
            "tocommit({index}) is out of range [lastIndex({last})]. Was the raft log corrupted, truncated, or lost?"
        );
        self.committed = index;
    }

    pub fn has_unsaved_entries(&self) -> bool {
        self.unsaved.has_entries()
    }

    pub fn has_unsaved_snapshot(&self) -> bool {
        self.unsaved.has_snapshot()
    }

    pub fn has_to_save(&self) -> bool {
        self.unsaved.has_new()
    }

    /// Hands out what is to be saved: the snapshot, and the entries into `into`.
    pub fn take_to_save(&mut self, into: &mut Vec<Entry>) -> Option<Snapshot> {
        self.unsaved.take_new(into)
    }

    pub fn saved(&mut self, position: LogPosition, logger: &BoxedLogger) {
        if self.unsaved.saved(position, logger) {
            contract::holds(&self.store, position);
        }
    }

    pub fn snapshot_saved(&mut self, index: Index) -> u64 {
        if let Some(term) = self.unsaved.snapshot_saved(index) {
            contract::holds(&self.store, LogPosition { term, index });
        }
        self.applied_to(index)
    }

    pub fn has_to_apply(&self, unsaved_too: bool) -> bool {
        self.applying < self.applicable(unsaved_too)
    }

    /// Whether there would be more to apply if less were out.
    pub fn holds_back(&self, unsaved_too: bool) -> bool {
        self.budget.is_spent() && self.applying < self.ripe(unsaved_too)
    }

    /// Hands out committed entries into `into`, which is empty, unless as much as the budget allows is out.
    pub fn take_to_apply(&mut self, unsaved_too: bool, into: &mut Vec<Entry>) {
        let until = self.applicable(unsaved_too);
        if self.applying >= until {
            return;
        }
        self.read(self.applying.next(), until.next(), self.budget.left(), into)
            .unwrap_or_else(|e| panic!("unexpected error when getting unapplied entries ({e})"));
        if let Some(last) = into.last() {
            self.applying = last.index;
            self.budget.take(into, until);
        }
    }

    /// How far committed entries may be handed out now.
    fn applicable(&self, unsaved_too: bool) -> Index {
        // A snapshot must reach the state machine before the entries behind it.
        if self.budget.is_spent() || self.unsaved.has_snapshot() {
            return self.applying;
        }
        self.ripe(unsaved_too)
    }

    /// The last entry that is committed and, unless unsaved ones may go as well, saved.
    fn ripe(&self, unsaved_too: bool) -> Index {
        if unsaved_too { self.committed } else { self.committed.min(self.unsaved.offset().prev()) }
    }

    /// Notes what was applied, and returns how much data of normal proposals it held.
    ///
    /// # Panics
    /// If it was not committed.
    pub fn applied_to(&mut self, index: Index) -> u64 {
        let index = index.max(self.applied);
        assert!(
            index <= self.committed,
            "applied({index}) is out of range [prevApplied({}), committed({})]",
            self.applied,
            self.committed
        );
        self.applied = index;
        self.applying = self.applying.max(index);
        self.budget.give_back(index)
    }

    /// Entries from `from` on, as many as fit, to be sent.
    pub fn entries(&self, from: Index, max_size: u64) -> Result<Entries, LogError> {
        let until = self.last_index().next();
        if from >= until {
            return Ok(Entries::default());
        }
        if from >= self.unsaved.offset() {
            return Ok(take_up_to(self.unsaved.range(from, until), max_size).cloned().collect());
        }
        self.slice(from, until, max_size).map(Entries::from)
    }

    /// Entries of `from..until`, as many as fit into `max_size`, but one at least.
    pub fn slice(&self, from: Index, until: Index, max_size: u64) -> Result<Vec<Entry>, LogError> {
        let mut entries = Vec::new();
        self.read(from, until, max_size, &mut entries)?;
        Ok(entries)
    }

    /// Appends entries of `from..until` to `into`: as many as fit into `max_size`, but one at least.
    fn read(&self, from: Index, until: Index, max_size: u64, into: &mut Vec<Entry>) -> Result<(), LogError> {
        if from < self.first_index() {
            return Err(LogError::Compacted);
        }
        if from >= until {
            return Ok(());
        }
        let offset = self.unsaved.offset();
        if from >= offset {
            into.extend(take_up_to(self.unsaved.range(from, until), max_size).cloned());
            return Ok(());
        }
        let cut = until.min(offset);
        let read = contract::entries(&self.store, from, cut, max_size, into)?;
        if until <= offset || (read as u64) < cut.0 - from.0 {
            return Ok(());
        }
        let size: u64 = into[into.len() - read..].iter().map(Entry::encoded_len).sum();
        let left = max_size.saturating_sub(size);
        // Something is read already: what is next may be left out.
        if self.unsaved.range(offset, until).next().is_some_and(|next| next.encoded_len() <= left) {
            into.extend(take_up_to(self.unsaved.range(offset, until), left).cloned());
        }
        Ok(())
    }

    /// Entries of `from..=last`, a page at a time: the whole of a long log must not be in memory at once.
    ///
    /// # Panics
    /// If one of them was compacted.
    pub fn pages(&self, from: Index, last: Index) -> impl Iterator<Item = Vec<Entry>> {
        const PAGE_SIZE: u64 = 1 << 20;
        let end = last.next();
        let mut from = from;
        std::iter::from_fn(move || {
            if from >= end {
                return None;
            }
            let page = self.slice(from, end, PAGE_SIZE);
            let page = page.unwrap_or_else(|error| panic!("error scanning unapplied entries [{from}, {end}): {error}"));
            from = page.last().map_or(end, |last| last.index.next());
            Some(page)
        })
    }

    /// Where the changes of members are from an index on.
    pub fn indices_of_changes(&self, from: Index) -> Vec<Index> {
        let entries = self.pages(from, self.last_index()).flatten();
        entries.filter(|entry| entry.change().is_some()).map(|entry| entry.index).collect()
    }

    pub fn snapshot(&self) -> Result<Snapshot, LogError> {
        self.unsaved.snapshot().cloned().map_or_else(|| self.store.snapshot(), Ok)
    }

    /// Replaces the log by a snapshot from the leader.
    pub fn restore(&mut self, snapshot: Snapshot, logger: &BoxedLogger) {
        line!(
            logger,
            Info,
            "log [committed={}, applied={}, applying={}, unstable.offset={}, unstable.offsetInProgress={}, \
             len(unstable.Entries)={}] starts to restore snapshot [index: {}, term: {}]",
            self.committed,
            self.applied,
            self.applying,
            self.unsaved.offset(),
            self.unsaved.taken(),
            self.unsaved.len(),
            snapshot.meta.index,
            snapshot.meta.term
        );
        self.committed = snapshot.meta.index;
        self.unsaved.restore(snapshot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::memory::MemoryLog;
    use crate::logger::Silent;
    use crate::types::SnapshotMeta;
    use bytes::Bytes;

    fn entry(index: u64, term: u64) -> Entry {
        Entry { index: Index(index), term: Term(term), payload: Bytes::from_static(b"data").into() }
    }

    fn at(term: u64, index: u64) -> LogPosition {
        LogPosition { term: Term(term), index: Index(index) }
    }

    /// A snapshot at 3/3, saved entries from index 4 on, and unsaved ones behind them; all of these terms.
    fn log(saved: &[u64], unsaved: &[u64]) -> RaftLog<MemoryLog> {
        let meta = SnapshotMeta { index: Index(3), term: Term(3), ..SnapshotMeta::default() };
        let entries: Vec<Entry> = saved.iter().zip(4..).map(|(term, index)| entry(index, *term)).collect();
        let snapshot = Snapshot { meta, data: Bytes::new() };
        let mut log = RaftLog::new(MemoryLog::restore(HardState::default(), snapshot, entries), u64::MAX);
        for (term, index) in unsaved.iter().zip(4 + saved.len() as u64..) {
            log.push(entry(index, *term));
        }
        log
    }

    fn terms(log: &RaftLog<MemoryLog>) -> Vec<u64> {
        (4..=log.last_index().0).map(|index| log.term(Index(index)).unwrap().0).collect()
    }

    #[test]
    fn a_leader_entries_follow_where_the_logs_meet() {
        #[track_caller]
        fn check(commit: u64, prev: LogPosition, sent: &[u64], last: Option<u64>, expected: &[u64]) {
            let logger: BoxedLogger = Box::new(Silent);
            let mut log = log(&[4, 4], &[5, 5]);
            log.commit_to(Index(commit));
            let entries = sent.iter().zip(prev.index.0 + 1..).map(|(term, index)| entry(index, *term)).collect();
            assert_eq!(log.append_from_leader(prev, entries, &logger), last.map(Index));
            assert_eq!(terms(&log), expected, "after {sent:?} behind {prev:?}");
        }
        //    commit, behind, sent         equal up to     the log is 4:4 5:4 6:5 7:5 before
        check(3, at(5, 7), &[5], Some(8), &[4, 4, 5, 5, 5]);
        check(3, at(5, 7), &[], Some(7), &[4, 4, 5, 5]);
        check(3, at(6, 7), &[6], None, &[4, 4, 5, 5]);
        check(3, at(5, 8), &[5], None, &[4, 4, 5, 5]);
        check(3, at(4, 5), &[5], Some(6), &[4, 4, 5, 5]); // an old message takes nothing away
        check(3, at(4, 5), &[5, 6], Some(7), &[4, 4, 5, 6]);
        check(3, at(4, 5), &[6], Some(6), &[4, 4, 6]);
        check(3, at(3, 3), &[6], Some(4), &[6]);
        check(5, at(4, 4), &[4, 6], Some(6), &[4, 4, 6]);
    }

    #[test]
    #[should_panic(expected = "entry 5 conflict with committed entry [committed(5)]")]
    fn a_committed_entry_is_never_replaced() {
        let mut log = log(&[4, 4], &[]);
        log.commit_to(Index(5));
        let logger: BoxedLogger = Box::new(Silent);
        log.append_from_leader(at(4, 4), vec![entry(5, 6)].into(), &logger);
    }

    #[test]
    #[should_panic(expected = "tocommit(6) is out of range [lastIndex(5)]")]
    fn what_was_acknowledged_and_is_gone_cannot_be_committed() {
        log(&[4, 4], &[]).commit_to(Index(6));
    }

    #[test]
    fn a_log_is_behind_by_its_last_term_and_then_by_its_length() {
        let check = |other, expected| assert_eq!(log(&[4], &[5]).is_behind_or_equal(other), expected, "{other:?}");
        //    other log ends at
        check(at(5, 5), true);
        check(at(5, 6), true);
        check(at(5, 4), false);
        check(at(6, 1), true);
        check(at(4, 99), false);
    }

    #[test]
    fn logs_may_meet_where_the_term_is_not_greater() {
        let check = |index, term, expected| {
            let log = log(&[4, 4, 6], &[6, 8]);
            assert_eq!(log.find_conflict_by_term(Index(index), Term(term)), expected, "{term}/{index}");
        };
        //    from index, with term     may meet at         the log is 3:3 4:4 5:4 6:6 7:6 8:8
        check(8, 9, at(8, 8));
        check(8, 8, at(8, 8));
        check(8, 7, at(6, 7));
        check(8, 5, at(4, 5));
        check(8, 3, at(3, 3));
        check(8, 2, at(0, 2)); // behind the snapshot nothing is known
        check(9, 7, at(0, 9)); // nor behind the end
    }

    #[test]
    fn a_slice_spans_what_is_saved_and_what_is_not() {
        let one = entry(4, 4).encoded_len();
        let check = |from, until, max, expected: Result<&[u64], LogError>| {
            let read = log(&[4, 4], &[5, 5]).slice(Index(from), Index(until), max);
            let indices = read.map(|entries| entries.iter().map(|entry| entry.index.0).collect::<Vec<_>>());
            assert_eq!(indices, expected.map(<[u64]>::to_vec), "{from}..{until} max {max}");
        };
        //    from until max             read
        check(3, 5, u64::MAX, Err(LogError::Compacted));
        check(4, 8, u64::MAX, Ok(&[4, 5, 6, 7]));
        check(5, 7, u64::MAX, Ok(&[5, 6]));
        check(6, 8, u64::MAX, Ok(&[6, 7]));
        check(4, 8, 0, Ok(&[4]));
        check(4, 8, one, Ok(&[4]));
        check(4, 8, 2 * one, Ok(&[4, 5]));
        check(4, 8, 3 * one - 1, Ok(&[4, 5]));
        check(4, 8, 3 * one, Ok(&[4, 5, 6]));
        check(6, 8, one, Ok(&[6]));
    }

    #[test]
    fn only_saved_entries_are_handed_out_to_be_applied() {
        let take = |commit: u64, unsaved_too: bool| {
            let mut log = log(&[4, 4], &[5, 5]);
            log.commit_to(Index(commit));
            assert_eq!(log.has_to_apply(unsaved_too), commit > 3);
            let mut taken = Vec::new();
            log.take_to_apply(unsaved_too, &mut taken);
            let count = taken.len();
            log.take_to_apply(unsaved_too, &mut taken);
            assert_eq!(taken.len(), count, "nothing is handed out twice");
            taken.iter().map(|entry| entry.index.0).collect::<Vec<_>>()
        };
        assert_eq!(take(3, false), [0_u64; 0]);
        assert_eq!(take(4, false), [4]);
        assert_eq!(take(6, false), [4, 5]);
        assert_eq!(take(6, true), [4, 5, 6]);
    }

    #[test]
    fn what_does_not_fit_is_held_back_until_something_is_applied() {
        let mut log = log(&[4, 4], &[]);
        log.budget = ApplyBudget::new(1);
        log.commit_to(Index(5));
        assert!(!log.holds_back(false), "nothing is out");
        for (out, holds_back) in [(4, true), (5, false)] {
            let mut taken = Vec::new();
            log.take_to_apply(false, &mut taken);
            assert_eq!(taken.iter().map(|entry| entry.index.0).collect::<Vec<_>>(), [out]);
            assert_eq!(log.holds_back(false), holds_back);
            log.applied_to(Index(out));
            assert!(!log.holds_back(false));
        }
    }
}
