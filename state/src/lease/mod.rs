//! Leases: keys that go when their owner is silent for too long.
//!
//!   log ──grant, revoke, attach, checkpoint──▶ lessor (every member has the same)
//!                                                │ what exists, with which TTL
//!   keep-alives ──renew(now)──▶ expiry (leader only: deadlines) ──due──▶ revoke, through the log
//!                                                               ──checkpoints due──▶ checkpoint, through the log
//!
//! Applying never sees a clock: a lease granted while we lead gets its deadline at the leader's next look at the clock, which
//! can only be later. A lease that is past its deadline is still there until its revocation is applied.
//!
//! ## Never early
//!
//! Only the leader knows of renewals. It writes what is left of a lease to the log (a checkpoint), and from then on answers a
//! renewal only when a checkpoint of 0 is applied, which clears the rest. So while the log has a rest, what was promised ends
//! a rest after the checkpoint was made, whoever leads; and each member that was up when it applied the checkpoint knows by
//! its own clock that this was before. A new leader goes by the earliest of these ends. A lease without a rest may have been
//! renewed a moment ago, even behind its back ([`Assurance`]), and gets its whole TTL and 20 ms.
//!
//! ## Not late
//!
//! Over any number of changes of leader a lease ends at most a tenth of its TTL and 1 s after its time, and the time in which
//! nobody led. What makes it late, and how often:
//!
//! * nobody led: the new leader gives that time back, as far as it heard of no leader itself;
//! * it was renewed, and the log had no rest of it yet when the leader went: at most a twentieth of the TTL (at least 1 s)
//!   and 20 ms, once, for the first thing that a new leader does is to write the rest of all such leases;
//! * the new leader was started, or sent a snapshot, after the last checkpoint, so that it does not know how long the rest
//!   has been in the log: at most a twentieth of the TTL (at least 1 s), which comes on top of what was lost before. When a
//!   member has been started or sent a snapshot, and when a leader begins, all rests are written within a second (or as fast
//!   as the pace of the duty allows), so this takes a leader that goes in that second;
//! * rests are whole seconds: they are written when they are, at the next tick.
//!
//! All other changes of leader add nothing, because the end that a new leader knows was known before them. So the bound is
//! exceeded only when leaders go again and again before the one that follows has been up for a second, by a twentieth (at
//! least 1 s) for each such leader behind the first; when there are so many leases that they are not all written in a
//! twentieth of their TTL; and while the leader's disk is full, because then rests are not written.

mod assurance;
mod attached;
mod expiry;
mod lessor;
#[cfg(test)]
mod model;
mod shared;

pub use assurance::{Assurance, UNSEEN_MILLIS};
pub use attached::Key;
pub use expiry::{Checkpoint, MAX_UNANSWERED_REVOKES, Renewal};
pub use lessor::{Lessor, RowError, TimeToLive, row_key};
pub use shared::SharedLessor;

use std::fmt;
use std::num::NonZeroI64;

/// The largest TTL that can be granted, in seconds.
pub const MAX_TTL_SECONDS: i64 = 9_000_000_000;

/// Which lease; "no lease" is `None`, never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(NonZeroI64);

impl LeaseId {
    /// `None` for 0, which on the wire means "no lease".
    pub fn new(id: i64) -> Option<LeaseId> {
        NonZeroI64::new(id).map(LeaseId)
    }

    pub fn get(self) -> i64 {
        self.0.get()
    }
}

impl fmt::Display for LeaseId {
    /// As etcd prints lease ids.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Why a request about a lease is refused. These are outcomes of applying: the same on every member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    #[error("requested lease not found")]
    NotFound,
    #[error("lease already exists")]
    Exists,
    #[error("too large lease TTL")]
    TtlTooLarge,
}

/// This member does not lead (or has not yet applied the first entry of its term), so it has no deadlines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a primary lessor")]
pub struct NotPrimary;
