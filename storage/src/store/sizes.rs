//! How large the store is, for whoever asks: the quota at the door, status, metrics.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// What the store takes up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// All bytes written to files that are still there (etcd's dbSize).
    pub bytes_written: u64,
    /// Those of them that records and rows need (etcd's dbSizeInUse).
    pub bytes_alive: u64,
}

/// The sizes as the store thread last said; clones see the same.
#[derive(Clone, Debug, Default)]
pub struct SharedSizes(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    written: AtomicU64,
    alive: AtomicU64,
}

impl SharedSizes {
    pub fn get(&self) -> Sizes {
        Sizes { bytes_written: self.0.written.load(Relaxed), bytes_alive: self.0.alive.load(Relaxed) }
    }

    pub(super) fn set(&self, sizes: Sizes) {
        self.0.written.store(sizes.bytes_written, Relaxed);
        self.0.alive.store(sizes.bytes_alive, Relaxed);
    }
}
