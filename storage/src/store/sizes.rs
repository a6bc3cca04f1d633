//! How large the store is, for whoever asks: the quota at the door, status, metrics.
//!
//!   apply thread ──appends──▶ window ──frames──▶ files
//!                    │ counts              │ store thread: sizes of the files, less all that was ever taken
//!                    └──────── sum ────────┘
//!
//! What holds: what was appended is in the sum at once, and stays there when it goes from the window into the files.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use arc_swap::ArcSwap;

/// What the store takes up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// All bytes written to files that are still there (etcd's dbSize).
    pub bytes_written: u64,
    /// Those of them that records and rows need (etcd's dbSizeInUse).
    pub bytes_alive: u64,
}

/// The sizes with all that is applied, whether it is in the files yet or not; clones see the same.
#[derive(Clone, Debug, Default)]
pub struct SharedSizes(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    /// The sizes of the files, less what went from the window into them: below 0 at times, and wrapped around then.
    written_less_taken: AtomicU64,
    alive_less_taken: AtomicU64,
    /// What the window's effects add to the files, those taken included. A store that was received has another window.
    appended: ArcSwap<AtomicU64>,
}

impl SharedSizes {
    pub(super) fn new(appended: Arc<AtomicU64>) -> SharedSizes {
        SharedSizes(Arc::new(Counters { appended: ArcSwap::new(appended), ..Counters::default() }))
    }

    pub fn get(&self) -> Sizes {
        // In this order: what was taken is among what was appended.
        let written = self.0.written_less_taken.load(Acquire);
        let alive = self.0.alive_less_taken.load(Acquire);
        let appended = self.0.appended.load().load(Relaxed);
        Sizes { bytes_written: written.wrapping_add(appended), bytes_alive: alive.wrapping_add(appended) }
    }

    /// What is in the files, and how much in all was taken from the window for them.
    pub(super) fn set(&self, files: Sizes, taken_bytes: u64) {
        self.0.written_less_taken.store(files.bytes_written.wrapping_sub(taken_bytes), Release);
        self.0.alive_less_taken.store(files.bytes_alive.wrapping_sub(taken_bytes), Release);
    }

    /// From now on the window of the other counts.
    pub(super) fn follow(&self, other: &SharedSizes) {
        self.0.appended.store(other.0.appended.load_full());
    }
}
