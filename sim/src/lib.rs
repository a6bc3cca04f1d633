//! A whole cluster in one thread: the members that production runs, with network, disks and clocks that one seed decides.
//!
//!   seed ──▶ World ──▶ clients ──▶ nodes ──▶ network ──▶ nodes ──▶ answers ──▶ History
//!               └──▶ faults: loss, delay, partitions, crashes, pauses                │
//!                                                                                    ▼
//!                             check: linearizable, revisions in real time, nothing lost, members equal
//!
//! What holds: nothing here looks at a real clock, thread or file, so a seed always makes the same run. The code under
//! test is that of `member`, `raft`, `storage` and `state`; only the loops around it are ours.

mod client;
pub mod engine;
pub mod linearizable;
mod network;
mod node;
mod world;

pub use client::{Event, History, Operation, Outcome};
pub use engine::Stopped;
pub use world::{Faults, Finding, Run, World, run};
