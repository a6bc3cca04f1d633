//! How much has been done since the start, for metrics. One writer counts, so an addition costs no contention.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Operations that were applied here.
#[derive(Debug, Default)]
pub struct Counts {
    pub puts: Count,
    /// Operations, not keys.
    pub deletes: Count,
    /// Transactions that wrote and held more than one operation.
    pub txns: Count,
    pub leases_granted: Count,
    pub leases_revoked: Count,
}

/// One number.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    pub(crate) fn increment(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}
