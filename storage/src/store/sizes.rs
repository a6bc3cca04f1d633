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
        // Below 0 for a moment when a store takes the place of another, whose counters these were.
        let sum = |less_taken: u64| less_taken.wrapping_add(appended).cast_signed().max(0).cast_unsigned();
        Sizes { bytes_written: sum(written), bytes_alive: sum(alive) }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_is_being_put_in_place_of_another_is_never_huge() {
        // Of what was appended much has been taken, and is not in the files any more.
        let sizes = SharedSizes::new(Arc::new(AtomicU64::new(1000)));
        sizes.set(Sizes { bytes_written: 300, bytes_alive: 100 }, 900);
        assert_eq!(sizes.get(), Sizes { bytes_written: 400, bytes_alive: 200 });
        let received = SharedSizes::new(Arc::new(AtomicU64::new(5)));
        sizes.follow(&received);
        assert_eq!(sizes.get(), Sizes::default(), "until it is told what is in the files");
        sizes.set(Sizes { bytes_written: 700, bytes_alive: 600 }, 0);
        assert_eq!(sizes.get(), Sizes { bytes_written: 705, bytes_alive: 605 });
    }
}
