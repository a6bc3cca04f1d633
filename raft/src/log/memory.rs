//! The log in memory: a window of entries behind a snapshot.
//!
//! ```text
//!   snapshot ── base ─┬─ entry ─ entry ─ … ─ last
//!                     compacted up to here
//! ```
//!
//! Its owner appends what a `Ready` asks to save at once, before the disk has it: Raft reads it back only after `saved`.
//! Entries are contiguous, and `bytes` is what they take.

use std::collections::VecDeque;

use crate::log::store::{LogError, LogStore};
use crate::types::{ConfState, Entry, HardState, Index, LogPosition, Snapshot, SnapshotMeta, Term};
use bytes::Bytes;

/// A log kept in memory: all that Raft needs of a [`LogStore`]. Its owner has it on disk besides.
#[derive(Clone, Debug, Default)]
pub struct MemoryLog {
    hard_state: HardState,
    /// The members that a node starts with.
    conf: ConfState,
    snapshot: Snapshot,
    /// The entry before the first: where the log was compacted.
    base: LogPosition,
    entries: VecDeque<Entry>,
    bytes: u64,
}

impl MemoryLog {
    /// An empty log: a node that has never run.
    pub fn new() -> MemoryLog {
        MemoryLog::default()
    }

    /// A log as it was saved (thesis, 3.8): a snapshot (empty if there was none), the hard state, and the entries behind the
    /// snapshot. Whether they fit together is for [`RawNode::new`](crate::RawNode::new) to find out.
    ///
    /// # Panics
    /// If there is a gap between the snapshot and the entries.
    pub fn restore(hard_state: HardState, snapshot: Snapshot, entries: Vec<Entry>) -> MemoryLog {
        let mut log = MemoryLog::new();
        log.apply_snapshot(snapshot).unwrap_or_else(|_| unreachable!("an empty log is older than any snapshot"));
        log.append(entries);
        log.hard_state = hard_state;
        log
    }

    /// Takes in what a [`Ready`](crate::Ready) asks to save, in its order.
    ///
    /// # Errors
    /// `SnapshotOutOfDate` if the snapshot is older than the one held: Raft never asks for that. Nothing is changed then.
    ///
    /// # Panics
    /// If the entries would leave a gap: the caller lost a write.
    pub fn save(
        &mut self,
        snapshot: Option<Snapshot>,
        entries: impl IntoIterator<Item = Entry>,
        hard_state: Option<HardState>,
    ) -> Result<(), LogError> {
        if let Some(snapshot) = snapshot {
            self.apply_snapshot(snapshot)?;
        }
        self.append(entries);
        self.hard_state = hard_state.unwrap_or(self.hard_state);
        Ok(())
    }

    /// Remembers the hard state that a [`Ready`](crate::Ready) asks to save.
    pub fn set_hard_state(&mut self, hard_state: HardState) {
        self.hard_state = hard_state;
    }

    /// Sets who the members are at `Config::applied`, where a node starts. Without this they are those of the snapshot.
    pub fn set_conf(&mut self, conf: ConfState) {
        self.conf = conf;
    }

    /// Appends entries; what they overlap is replaced (thesis, 3.5), and what was compacted is left out.
    ///
    /// # Panics
    /// If they would leave a gap: the caller lost a write.
    pub fn append(&mut self, entries: impl IntoIterator<Item = Entry>) {
        let mut entries = entries.into_iter();
        // What was compacted meanwhile is not taken back.
        let Some(first) = entries.by_ref().find(|entry| entry.index > self.base.index) else { return };
        assert!(
            first.index <= self.last_index().next(),
            "missing log entry [last: {}, append at: {}]",
            self.last_index(),
            first.index
        );
        let keep = (first.index.0 - self.base.index.0 - 1) as usize;
        for replaced in self.entries.drain(keep..) {
            self.bytes -= held_bytes(&replaced);
        }
        for entry in std::iter::once(first).chain(entries) {
            debug_assert_eq!(entry.index, self.last_index().next(), "gap in the appended entries");
            self.bytes += held_bytes(&entry);
            self.entries.push_back(entry);
        }
    }

    /// Replaces everything but the hard state by a snapshot received from the leader (thesis, 5).
    ///
    /// # Errors
    /// `SnapshotOutOfDate` if it is older than the one held. Nothing is changed then.
    pub fn apply_snapshot(&mut self, snapshot: Snapshot) -> Result<(), LogError> {
        if snapshot.meta.index < self.snapshot.meta.index {
            return Err(LogError::SnapshotOutOfDate);
        }
        self.base = LogPosition { term: snapshot.meta.term, index: snapshot.meta.index };
        self.conf = snapshot.meta.conf.clone();
        self.snapshot = snapshot;
        self.entries.clear();
        self.bytes = 0;
        Ok(())
    }

    /// Remembers a snapshot of what was applied up to and including `index`, with the members in force there (thesis, 5).
    /// The log keeps its entries until `compact`.
    ///
    /// # Errors
    /// `SnapshotOutOfDate` if it is not newer than the one held, `Compacted` or `Unavailable` if the log does not have `index`.
    /// Nothing is changed then.
    pub fn create_snapshot(&mut self, index: Index, conf: ConfState, data: Bytes) -> Result<&Snapshot, LogError> {
        if index <= self.snapshot.meta.index {
            return Err(LogError::SnapshotOutOfDate);
        }
        let term = self.term(index)?;
        self.conf = conf.clone();
        self.snapshot = Snapshot { meta: SnapshotMeta { index, term, conf }, data };
        Ok(&self.snapshot)
    }

    /// Forgets the entries up to and including `index`, which must be applied, and in a snapshot for followers that still
    /// need them (thesis, 5).
    ///
    /// # Errors
    /// `Compacted` if they are forgotten already, `Unavailable` if the log does not go so far. Nothing is changed then.
    pub fn compact(&mut self, index: Index) -> Result<(), LogError> {
        if index <= self.base.index {
            return Err(LogError::Compacted);
        }
        let term = self.term(index)?;
        for forgotten in self.entries.drain(..(index.0 - self.base.index.0) as usize) {
            self.bytes -= held_bytes(&forgotten);
        }
        self.base = LogPosition { term, index };
        Ok(())
    }

    /// The memory that the entries take, in bytes: their data and their own size.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many entries are held.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no entry is held.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The hard state that was last saved.
    pub fn hard_state(&self) -> HardState {
        self.hard_state
    }
}

fn held_bytes(entry: &Entry) -> u64 {
    entry.memory_len() as u64
}

impl LogStore for MemoryLog {
    fn initial_state(&self) -> (HardState, ConfState) {
        (self.hard_state, self.conf.clone())
    }

    fn first_index(&self) -> Index {
        self.base.index.next()
    }

    fn last_index(&self) -> Index {
        Index(self.base.index.0 + self.entries.len() as u64)
    }

    fn term(&self, index: Index) -> Result<Term, LogError> {
        if index < self.base.index {
            return Err(LogError::Compacted);
        }
        if index == self.base.index {
            return Ok(self.base.term);
        }
        let place = (index.0 - self.base.index.0 - 1) as usize;
        self.entries.get(place).map(|entry| entry.term).ok_or(LogError::Unavailable)
    }

    fn entries(&self, from: Index, until: Index, max_size: u64, into: &mut Vec<Entry>) -> Result<(), LogError> {
        if from <= self.base.index {
            return Err(LogError::Compacted);
        }
        if until > self.last_index().next() {
            return Err(LogError::Unavailable);
        }
        let place = |index: Index| (index.0 - self.base.index.0 - 1) as usize;
        into.extend(take_up_to(self.entries.range(place(from)..place(until)), max_size).cloned());
        Ok(())
    }

    fn snapshot(&self) -> Result<Snapshot, LogError> {
        Ok(self.snapshot.clone())
    }
}

/// The first entries that together are not longer than `max_size`, but one at least. How many they are is known at once,
/// so that whoever collects them makes room once.
pub(crate) fn take_up_to<'e>(
    entries: impl ExactSizeIterator<Item = &'e Entry> + Clone,
    max_size: u64,
) -> impl ExactSizeIterator<Item = &'e Entry> {
    let mut size = 0_u64;
    let fitting = entries
        .clone()
        .enumerate()
        .take_while(|(place, entry)| {
            size = size.saturating_add(entry.encoded_len());
            *place == 0 || size <= max_size
        })
        .count();
    entries.take(fitting)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::NodeId;

    fn entry(index: u64, term: u64) -> Entry {
        Entry { index: Index(index), term: Term(term), payload: Bytes::from_static(b"12345").into() }
    }

    fn log(terms: &[u64]) -> MemoryLog {
        let snapshot = Snapshot {
            meta: SnapshotMeta { index: Index(3), term: Term(3), conf: ConfState::default() },
            data: Bytes::new(),
        };
        let entries = terms.iter().zip(4..).map(|(term, index)| entry(index, *term)).collect();
        MemoryLog::restore(HardState::default(), snapshot, entries)
    }

    #[test]
    fn terms_are_known_from_the_base_on() {
        let check = |index, term| assert_eq!(log(&[4, 5]).term(Index(index)), term, "term at {index}");
        check(2, Err(LogError::Compacted));
        check(3, Ok(Term(3)));
        check(4, Ok(Term(4)));
        check(5, Ok(Term(5)));
        check(6, Err(LogError::Unavailable));
    }

    #[test]
    fn entries_come_up_to_a_size_and_one_at_least() {
        let one = entry(4, 4).encoded_len();
        let check = |from, until, max, expected: Result<&[u64], LogError>| {
            let mut entries = Vec::new();
            let read = log(&[4, 5, 6]).entries(Index(from), Index(until), max, &mut entries);
            let indices = read.map(|()| entries.iter().map(|entry| entry.index.0).collect::<Vec<_>>());
            assert_eq!(indices, expected.map(<[u64]>::to_vec), "{from}..{until} max {max}");
        };
        //    from until max            read
        check(3, 5, u64::MAX, Err(LogError::Compacted));
        check(4, 8, u64::MAX, Err(LogError::Unavailable));
        check(4, 7, u64::MAX, Ok(&[4, 5, 6]));
        check(4, 7, 0, Ok(&[4]));
        check(4, 7, 2 * one - 1, Ok(&[4]));
        check(4, 7, 2 * one, Ok(&[4, 5]));
        check(5, 5, u64::MAX, Ok(&[]));
    }

    #[test]
    fn appending_replaces_what_it_overlaps() {
        let check = |append: &[(u64, u64)], expected: &[u64]| {
            let mut log = log(&[4, 5]);
            log.append(append.iter().map(|(index, term)| entry(*index, *term)));
            let terms: Vec<u64> = (4..=log.last_index().0).map(|i| log.term(Index(i)).unwrap().0).collect();
            assert_eq!(terms, expected, "after appending {append:?}");
            assert_eq!(log.bytes(), log.len() as u64 * held_bytes(&entry(1, 1)), "bytes after {append:?}");
        };
        //    index, term           terms from index 4 on
        check(&[], &[4, 5]);
        check(&[(6, 6)], &[4, 5, 6]);
        check(&[(5, 6), (6, 6)], &[4, 6, 6]);
        check(&[(4, 7)], &[7]);
        check(&[(2, 2), (3, 3), (4, 4)], &[4]);
    }

    #[test]
    fn the_members_at_the_start_need_not_be_those_of_the_snapshot() {
        let mut log = log(&[4, 5]);
        let conf = |id| ConfState { voters: vec![NodeId(id)], ..ConfState::default() };
        log.set_conf(conf(1));
        assert_eq!(log.initial_state().1, conf(1));
        assert_eq!(log.snapshot().unwrap().meta.conf, ConfState::default());
        log.create_snapshot(Index(5), conf(2), Bytes::new()).unwrap();
        assert_eq!((log.initial_state().1, log.snapshot().unwrap().meta.conf), (conf(2), conf(2)));
    }

    #[test]
    #[should_panic(expected = "missing log entry")]
    fn a_gap_is_a_lost_write() {
        log(&[4, 5]).append([entry(7, 7)]);
    }

    #[test]
    fn compaction_forgets_entries_and_keeps_the_snapshot() {
        let mut log = log(&[4, 5, 6]);
        assert_eq!(log.compact(Index(3)), Err(LogError::Compacted));
        assert_eq!(log.compact(Index(7)), Err(LogError::Unavailable));
        log.create_snapshot(Index(5), ConfState::default(), Bytes::new()).unwrap();
        assert_eq!(log.create_snapshot(Index(4), ConfState::default(), Bytes::new()), Err(LogError::SnapshotOutOfDate));
        log.compact(Index(5)).unwrap();
        assert_eq!((log.first_index(), log.last_index(), log.len()), (Index(6), Index(6), 1));
        assert_eq!(log.term(Index(5)), Ok(Term(5)));
        assert_eq!(log.bytes(), held_bytes(&entry(1, 1)));
        assert_eq!(log.snapshot().unwrap().meta.index, Index(5));
    }
}
