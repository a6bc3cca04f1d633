//! What is allocated in the steady state. With entries whose data costs nothing, a round of 64 entries must cost no more
//! allocations than a round of one: there is a vector for each message and each `Ready`, and none for an entry.

#[path = "../benches/trio/mod.rs"]
mod trio;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::Bytes;

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

/// Allocations in one round, with so many entries in it.
fn allocations(entries: usize) -> f64 {
    let mut trio = Trio::new();
    let mut run = |rounds: u64| {
        for _ in 0..rounds {
            trio.round(|leader| leader.propose_batch((0..entries).map(|_| Bytes::from_static(&[0; 128]))));
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
    let (one, many) = (allocations(1), allocations(64));
    println!("allocations in a round on three nodes: {one:.1} with one entry, {many:.1} with 64");
    // The entries' vectors may grow once more where their number is not known in advance.
    assert!(many - one <= 1.0, "{} allocations for an entry", (many - one) / 63.0);
    assert!(one <= 20.0, "{one} allocations for a round of one entry");
}
