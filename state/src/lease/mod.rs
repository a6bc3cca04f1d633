//! Leases: keys that go when their owner is silent for too long.
//!
//!   log ──grant, revoke, attach, checkpoint──▶ lessor (every member has the same)
//!                                                │ what exists, with which TTL
//!   keep-alives ──renew(now)──▶ expiry (leader only: deadlines) ──due──▶ revoke, through the log
//!                                                               ──checkpoints due──▶ checkpoint, through the log
//!
//! Applying never sees a clock: a lease granted while we lead gets its deadline at the leader's next look at the clock, which
//! can only be later. A lease never ends early: deadlines are the leader's own, a new leader gives each lease its checkpointed
//! rest (or its whole TTL) from the moment it leads, and a renewal is answered only when no checkpoint from before it can
//! outlive it in the log. A lease that is past its deadline is still there until its revocation is applied.

mod attached;
mod expiry;
mod lessor;
#[cfg(test)]
mod model;
mod shared;

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
