//! How far the state machine is: the one thing that the applier and the member share.
//!
//! The applier publishes after every batch; the member looks at every turn. Only a member that waits for something asks
//! to be woken, so that a put costs no wake-up of the member just to learn that it is done.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ferrite_raft::{Index, Term};

/// Counters of one member.
#[derive(Debug, Default)]
pub struct Progress {
    applied: AtomicU64,
    applied_term: AtomicU64,
    committed: AtomicU64,
    awaited: AtomicBool,
}

impl Progress {
    /// Progress of a member whose store is whole up to `applied`, an entry of `term`.
    pub fn new(applied: Index, term: Term) -> Progress {
        Progress {
            applied: AtomicU64::new(applied.0),
            applied_term: AtomicU64::new(term.0),
            committed: AtomicU64::new(applied.0),
            awaited: AtomicBool::new(false),
        }
    }

    /// The last entry whose outcome can be read.
    pub fn applied(&self) -> Index {
        Index(self.applied.load(Ordering::SeqCst))
    }

    /// The term of the last entry whose outcome can be read.
    pub fn applied_term(&self) -> Term {
        Term(self.applied_term.load(Ordering::SeqCst))
    }

    /// The last entry known to be committed.
    pub fn committed(&self) -> Index {
        Index(self.committed.load(Ordering::Relaxed))
    }

    pub(crate) fn set_committed(&self, index: Index) {
        self.committed.store(index.0, Ordering::Relaxed);
    }

    /// The applier has come this far. True if the member asked to be woken.
    pub fn set_applied(&self, index: Index, term: Term) -> bool {
        self.applied_term.store(term.0, Ordering::SeqCst);
        self.applied.store(index.0, Ordering::SeqCst);
        // After the store, as the asker looks at `applied` after asking: one of the two sees the other.
        self.awaited.swap(false, Ordering::SeqCst)
    }

    /// Asks to be woken when `applied` moves on from `seen`; false if it already has.
    pub(crate) fn await_change(&self, seen: Index) -> bool {
        self.awaited.store(true, Ordering::SeqCst);
        self.applied() == seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_member_is_woken_only_if_it_asked() {
        let progress = Progress::new(Index(3), Term(1));
        assert!(!progress.set_applied(Index(4), Term(1)));
        assert!(progress.await_change(Index(4)));
        assert!(progress.set_applied(Index(5), Term(1)));
        assert!(!progress.set_applied(Index(6), Term(1)), "asked once, woken once");
        assert!(!progress.await_change(Index(5)), "what has already moved is not waited for");
    }
}
