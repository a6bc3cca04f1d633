//! A log's life from a seed, and what it must say after each record.

use super::*;
use crate::vfs::lying::Dice;

/// The seeds to try: a few, or as many as the environment asks for (`FERRITE_SEEDS=1000`, best with `--release`).
pub(super) fn seeds(few: u64) -> std::ops::Range<u64> {
    0..std::env::var("FERRITE_SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(few)
}

/// What a log says up to some record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// From index 1 on.
    pub entries: Vec<Entry>,
    pub hard_state: HardState,
    pub snapshot: Option<SnapshotMeta>,
}

impl State {
    pub(super) fn last_index(&self) -> Index {
        Index(self.entries.len() as u64)
    }

    fn apply_entry(&mut self, entry: &Entry) {
        self.entries.truncate(entry.index.0 as usize - 1);
        self.entries.push(entry.clone());
    }

    /// Whether a log read from behind `start` says this.
    pub(super) fn is_read_as(&self, replay: &Replay, start: Start) -> bool {
        let Some(expected) = self.entries.get(start.index.0 as usize..) else { return false };
        let mut hard_state = self.hard_state;
        if let Some(last) = expected.last()
            && last.term > hard_state.term
        {
            hard_state = HardState { term: last.term, vote: None, ..hard_state };
        }
        expected == replay.entries && hard_state == replay.hard_state
    }
}

/// A log's life: its state after each record, and how far it certainly and possibly was at each operation of the disk.
#[derive(Debug)]
pub(super) struct Ledger {
    pub states: Vec<State>,
    /// (operations done, number of the state that is durable from then on)
    durable: Vec<(usize, usize)>,
    /// (operations done before it was written, number of the state)
    written: Vec<(usize, usize)>,
}

impl Ledger {
    /// From a log that says `state`, durably.
    pub(super) fn begin(state: State, operations: usize) -> Ledger {
        Ledger { states: vec![state], durable: vec![(operations, 0)], written: vec![(0, 0)] }
    }

    fn now(&self) -> &State {
        self.states.last().unwrap()
    }

    fn add(&mut self, change: impl FnOnce(&mut State)) {
        let mut state = self.now().clone();
        change(&mut state);
        self.states.push(state);
    }

    /// The state that must be there after so many operations; none before the log was created.
    pub(super) fn durable(&self, operations: usize) -> Option<usize> {
        self.durable.iter().rev().find(|(at, _)| *at <= operations).map(|(_, state)| *state)
    }

    /// The last state that may be there.
    pub(super) fn possible(&self, operations: usize) -> usize {
        self.written.iter().rev().find(|(at, _)| *at < operations).map_or(0, |(_, state)| *state)
    }

    /// Goes on with the log's life: some steps as `dice` says.
    pub(super) fn live(&mut self, disk: &LyingDisk, wal: &mut Log, dice: &mut Dice, steps: usize) {
        for _ in 0..steps {
            let before = disk.operations();
            match dice.below(20) {
                0..12 => {
                    let (hard_state, entries) = self.next_batch(dice);
                    for entry in &entries {
                        self.add(|state| state.apply_entry(entry));
                    }
                    if let Some(hard_state) = hard_state {
                        self.add(|state| state.hard_state = hard_state);
                    }
                    self.written.push((before, self.states.len() - 1));
                    wal.save(hard_state.as_ref(), &entries).unwrap();
                }
                12..16 => {
                    wal.sync().unwrap();
                    self.durable.push((disk.operations(), self.states.len() - 1));
                }
                16..18 => wal.mark().unwrap(),
                _ => self.take_snapshot(disk, wal, dice),
            }
        }
        wal.sync().unwrap();
        self.durable.push((disk.operations(), self.states.len() - 1));
    }

    fn next_batch(&self, dice: &mut Dice) -> (Option<HardState>, Vec<Entry>) {
        let State { entries, hard_state, .. } = self.now();
        let mut term = hard_state.term.0.max(entries.last().map_or(1, |last| last.term.0));
        let mut first = self.now().last_index().0 + 1;
        let committed = hard_state.commit.0;
        if dice.once_in(6) {
            // A new leader, who may replace what is not committed.
            term += 1;
            first -= dice.below(first - committed);
        }
        let count = dice.below(4);
        let data = |dice: &mut Dice| {
            let most = if dice.once_in(5) { 200 } else { 12 };
            "abcdefg".repeat(dice.below(most) as usize)
        };
        let batch: Vec<_> = (first..first + count).map(|index| entry(term, index, &data(dice))).collect();
        let last = if count == 0 { self.now().last_index().0 } else { first + count - 1 };
        let commit = committed + dice.below(last - committed + 1);
        let new = HardState { term: Term(term), vote: Some(MEMBER), commit: Index(commit) };
        ((new != *hard_state).then_some(new), batch)
    }

    fn take_snapshot(&mut self, disk: &LyingDisk, wal: &mut Log, dice: &mut Dice) {
        // What commits it must be on disk first.
        wal.sync().unwrap();
        self.durable.push((disk.operations(), self.states.len() - 1));
        let before = disk.operations();
        let State { entries, hard_state, snapshot: last } = self.now();
        let index = hard_state.commit;
        if last.as_ref().map_or(Index(0), |meta| meta.index) >= index {
            return;
        }
        let meta = snapshot(entries[index.0 as usize - 1].term.0, index.0);
        self.add(|state| state.snapshot = Some(meta.clone()));
        self.written.push((before, self.states.len() - 1));
        wal.save_snapshot(&meta).unwrap();
        self.durable.push((disk.operations(), self.states.len() - 1));
        wal.release(index);
        wal.purge(dice.below(6) as usize).unwrap();
    }
}
