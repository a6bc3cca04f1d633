//! Applying: one command of the log after the other, each to its end.
//!
//!   Proposal ──State::apply──▶ effect ──▶ window (by the caller, before the next command)
//!                 │               └──publish──▶ readers see it
//!                 └──▶ outcome ──▶ who waits, if somebody does
//!
//! What every member does with an entry is etcd's, bit for bit: bytes, sub-revisions, errors. So nothing here looks at a
//! clock, at the disk's size or at who leads. The rows that the store keeps are written by the entry that changes them;
//! what this member finds out by itself (a compaction is trimmed) waits for the next entry's effect.

mod kv;
mod lease;
mod rows;
mod state;
#[cfg(test)]
mod tests;
mod txn;

pub use rows::Row;
pub use state::{Applied, Backwards, ConfChanged, Halt, LoadError, Settings, Shared, State, Tables, Want};
