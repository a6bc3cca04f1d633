//! The lessor as apply, request handlers and duties share it.

use parking_lot::{Mutex, MutexGuard};

use super::{LeaseId, Lessor, NotPrimary, Renewal, TimeToLive};
use crate::clock::Millis;

/// One lessor behind one short lock, so that a renewal never waits for apply: whoever holds the lock does a few look-ups, or
/// looks at some thousand entries of a queue, and gives it back. It is held for longer by what visits every lease:
///
/// * promotion (a quarter of a second for a million leases);
/// * the first look at the clock after a start, or after the leases of another were taken over;
/// * the next checkpoints after a member has been started, whose rests are told again;
/// * `checkpointed`, twice when a leader takes all rests back;
/// * a list of all leases;
/// * one revocation in very many: when leases that are gone outnumber the others in the queues, they are swept out.
///
/// And by what visits every key of one lease: its revocation, and a question for its time or its keys.
#[derive(Debug)]
pub struct SharedLessor {
    lessor: Mutex<Lessor>,
}

impl SharedLessor {
    pub fn new(lessor: Lessor) -> SharedLessor {
        SharedLessor { lessor: Mutex::new(lessor) }
    }

    /// For apply and for duties: take it for one request, not for a batch of them.
    pub fn lock(&self) -> MutexGuard<'_, Lessor> {
        self.lessor.lock()
    }

    /// Whether this member keeps the deadlines: it leads, and has applied all that was before its term.
    pub fn is_primary(&self) -> bool {
        self.lock().is_primary()
    }

    /// Goes on with the leases of another, which is left without any.
    pub fn take_over(&self, other: &SharedLessor) {
        let mut leases = std::mem::replace(&mut *other.lock(), Lessor::new(0));
        // What was here is dropped without the lock: that may take long, and nobody needs to wait for it.
        std::mem::swap(&mut *self.lock(), &mut leases);
    }

    /// See [`Lessor::renew`].
    pub fn renew(&self, id: LeaseId, now: Millis) -> Result<Renewal, NotPrimary> {
        self.lock().renew(id, now)
    }

    /// See [`Lessor::time_to_live`].
    pub fn time_to_live(&self, id: LeaseId, now: Millis) -> Result<Option<TimeToLive>, NotPrimary> {
        self.lock().time_to_live(id, now)
    }

    /// All leases, the one that ends first in front; by id when this member does not lead.
    pub fn list(&self, now: Millis) -> Vec<LeaseId> {
        // Sorting is the long part, and needs no lock.
        let mut leases = self.lock().deadlines(now);
        leases.sort_unstable();
        leases.into_iter().map(|(_, id)| id).collect()
    }
}
