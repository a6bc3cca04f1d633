//! `.snap` files: what Raft calls a snapshot, as etcd keeps it. The data inside is the membership only; the state
//! itself is in the store.
//!
//!   save ──▶ tmp file, synced ──▶ <term>-<index>.snap, directory synced ──▶ (then the log's record)
//!   newest_of(those the log has a record of) ──▶ names downwards ──▶ first that can be read
//!                                                                 │ cannot be read
//!                                                                 ▼
//!                                                               renamed to .broken, with a warning
//!
//! A file has its name only when it is whole and on disk.

mod files;
mod format;

pub use files::{Loaded, SnapError, SnapName, SnapshotFiles};
