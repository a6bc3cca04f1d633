//! Keys and their revisions: what was stored when, and what a reader at one revision sees.
//!
//!   apply ──Writer──▶ index, records ──(effect in the window)──publish──▶ revision in force
//!   reader ──view(revision): pinned──▶ index, in steps of 512 keys ──▶ revisions ──▶ bytes of KeyValues
//!   compaction ──in force at once──▶ trimmed in steps, when no pin looks behind it ──▶ dead revisions to the store
//!
//! What holds: a view sees one revision, whatever is written or compacted meanwhile. The index may know revisions that are
//! not published: nobody asks for them. Nobody holds the index's lock for more than a step.

pub mod index;

mod hash;
mod horizon;
mod key_value;
mod keyspace;
mod load;
mod range;
mod reader;
mod stream;
mod trim;
mod txn;
mod writer;

pub use hash::KeyValueHash;
pub use index::KeyRange;
pub use key_value::KeyValue;
pub use keyspace::{Keyspace, View};
pub use load::LoadError;
pub(crate) use load::load;
pub(crate) use reader::Reader;
pub use stream::{RangeStream, StreamChunk, StreamEnd};
pub use trim::Trimmed;
pub(crate) use trim::Trimmer;
pub(crate) use txn::{Path, TxnFailure, check_range, range_in_txn};
pub(crate) use writer::Writer;

/// Keys that are looked at before the index's lock is given back.
pub(crate) const STEP_KEYS: usize = 512;
