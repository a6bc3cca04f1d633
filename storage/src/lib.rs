//! Bytes on disk. This crate knows neither keys nor roles.

pub mod bbolt;
mod checksum;
mod effect;
mod revision;
mod revisions;
pub mod snap;
pub mod store;
pub mod vfs;
pub mod wal;
mod window;

pub use checksum::{Checksum, combine};
pub use effect::{Effect, Record, RowChange, Table};
pub use revision::{Revision, RevisionKey};
pub use revisions::{ReadError, RecordBytes, Revisions, Scan, ScannedChecksum, ScannedRecord, in_memory};
pub use window::{WaitEnd, Waited, WindowWriter};
