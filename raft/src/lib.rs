//! Raft consensus as a pure state machine: no I/O, no clock, no thread.

mod types;

pub use types::{ConfState, Entry, EntryKind, HardState, Index, NodeId, Snapshot, SnapshotMeta, Term};
