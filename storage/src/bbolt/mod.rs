//! Databases in the format of etcd's backend (bbolt, file format version 2): what members send one another, and what
//! backups are.
//!
//!   file ──Database──▶ a bucket's pairs, in order        nothing is believed, and little is held in memory
//!   lengths ──Planner──▶ Layout ──Writer──▶ bytes, in order: no file to seek in is needed
//!                                             └──InOrder──▶ all pairs, as they come: nor by who receives what we wrote
//!
//! Buckets of buckets are not supported: etcd has none. Free pages are neither written down nor looked at.

mod contents;
mod error;
mod page;
mod read;
mod stream;
#[cfg(test)]
mod tests;
mod tree;
mod write;

pub use error::DatabaseError;
pub use read::{Database, Pairs};
pub use stream::InOrder;
pub use write::{Layout, Planner, Writer};
