//! When the store has to be whole, so that log can be given up: after a number of entries, or of bytes.

use ferrite_raft::{Entry, Index};

/// When a checkpoint is due, and how much log stays in memory behind it.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Applied entries between two checkpoints (`--snapshot-count`).
    pub entries: u64,
    /// Bytes of log between two checkpoints.
    pub bytes: u64,
    /// Entries kept in memory behind a checkpoint, for followers that are a little behind.
    pub catch_up: u64,
}

/// The checkpoints of a member.
#[derive(Debug)]
pub struct Checkpoints {
    limits: Limits,
    last: Index,
    /// Data in the log since the last checkpoint was asked for.
    bytes: u64,
    under_way: bool,
}

impl Checkpoints {
    /// The last snapshot record in the log stands at `last`.
    pub fn new(limits: Limits, last: Index) -> Checkpoints {
        Checkpoints { limits, last, bytes: 0, under_way: false }
    }

    /// More is in the log: it has been written, or an earlier life left it.
    pub fn grow(&mut self, entries: &[Entry]) {
        self.bytes += entries.iter().map(|entry| entry.payload.encoded_len()).sum::<u64>();
    }

    /// The index at which a checkpoint has to be taken now, if any. One at a time.
    pub fn due(&mut self, applied: Index) -> Option<Index> {
        let enough = applied.0.saturating_sub(self.last.0) > self.limits.entries || self.bytes > self.limits.bytes;
        if self.under_way || !enough || applied <= self.last {
            return None;
        }
        self.under_way = true;
        self.bytes = 0;
        Some(applied)
    }

    /// A snapshot from the leader stands in the log at `index`. A checkpoint that was under way is none any more.
    pub fn installed(&mut self, index: Index) {
        (self.under_way, self.last) = (false, self.last.max(index));
    }

    /// The checkpoint at `index` is on disk: the first entry that stays in memory.
    pub fn done(&mut self, index: Index) -> Index {
        self.under_way = false;
        self.last = self.last.max(index);
        Index(self.last.0.saturating_sub(self.limits.catch_up).max(1))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const LIMITS: Limits = Limits { entries: 10, bytes: 100, catch_up: 4 };

    #[test]
    fn one_is_due_after_so_many_entries_and_one_at_a_time() {
        let mut checkpoints = Checkpoints::new(LIMITS, Index(5));
        assert_eq!(checkpoints.due(Index(15)), None);
        assert_eq!(checkpoints.due(Index(16)), Some(Index(16)));
        assert_eq!(checkpoints.due(Index(40)), None);
        assert_eq!(checkpoints.done(Index(18)), Index(14));
        assert_eq!(checkpoints.due(Index(28)), None);
        assert_eq!(checkpoints.due(Index(29)), Some(Index(29)));
    }

    #[test]
    fn one_is_due_after_so_many_bytes() {
        let mut checkpoints = Checkpoints::new(LIMITS, Index(0));
        checkpoints.grow(&[Entry { payload: Bytes::from(vec![0; 101]).into(), ..Entry::default() }]);
        assert_eq!(checkpoints.due(Index(0)), None, "nothing has been applied");
        assert_eq!(checkpoints.due(Index(1)), Some(Index(1)));
        assert_eq!(checkpoints.done(Index(1)), Index(1));
        assert_eq!(checkpoints.due(Index(2)), None);
    }
}
