//! What is allocated in the steady state, from a proposal until three nodes have applied it: nothing but the data of the
//! entry, if the owner gives each `Ready` back.

#[path = "../benches/trio/mod.rs"]
mod trio;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::Bytes;
use ferrite_raft::StorageWrites;

use trio::Trio;

/// Counts what this thread allocates.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is handed on as it is to the system's allocator; counting touches no memory but a thread-local number.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ROUNDS: u64 = 500;

#[derive(Clone, Copy, Debug)]
enum Proposed {
    OneByOne,
    AtOnce,
}

/// Data that costs nothing.
fn free() -> Bytes {
    Bytes::from_static(&[0; 128])
}

/// Data that costs two allocations: itself, and at its first clone a count of who shares it.
fn owned() -> Bytes {
    Bytes::from(vec![0; 128])
}

/// Allocations in one round, with so many entries in it.
fn allocations(writes: StorageWrites, entries: usize, data: fn() -> Bytes, proposed: Proposed) -> f64 {
    let mut trio = Trio::new(writes);
    let mut run = |rounds: u64| {
        for _ in 0..rounds {
            let mut data = (0..entries).map(|_| data());
            trio.round(|leader| match proposed {
                Proposed::OneByOne => data.try_for_each(|data| leader.propose(data)),
                Proposed::AtOnce => leader.propose_batch(data),
            });
            trio.compact();
        }
    };
    // Until every queue has the room that it needs.
    run(ROUNDS);
    let before = ALLOCATIONS.get();
    run(ROUNDS);
    let count = ALLOCATIONS.get() - before;
    assert!(trio.applied().0 as usize > entries * ROUNDS as usize);
    count as f64 / ROUNDS as f64
}

#[test]
fn an_entry_costs_no_allocation_but_its_own() {
    #[track_caller]
    fn check(entries: usize, data: fn() -> Bytes, proposed: Proposed, expected: f64) {
        for writes in [StorageWrites::Synchronous, StorageWrites::Asynchronous] {
            let found = allocations(writes, entries, data, proposed);
            println!("{entries:2} entries {proposed:?}, {writes:?}: {found} allocations in a round on three nodes");
            assert_eq!(found, expected);
        }
    }
    check(1, free, Proposed::OneByOne, 0.0);
    check(1, owned, Proposed::OneByOne, 2.0);
    check(64, free, Proposed::OneByOne, 0.0);
    check(1, free, Proposed::AtOnce, 0.0);
    // The list of what is proposed, and one in the message to each follower.
    check(64, free, Proposed::AtOnce, 3.0);
    check(64, owned, Proposed::AtOnce, 128.0 + 3.0);
}
