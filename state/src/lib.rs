//! What the log decides. Deterministic, one writer; a clock is an argument.
//!
//!   entry ──command──▶ apply ──▶ effect (records, rows) ──▶ window, store
//!                        │  └──▶ outcome ──▶ who waits
//!                        ├─ mvcc      keys, their revisions, reads at one revision
//!                        ├─ lease     keys that go with their owner
//!                        ├─ alarm     what forbids to go on
//!                        └─ cluster   members and versions
//!   published revisions ──watch──▶ events, for each watcher once and in order

pub mod alarm;
pub mod answer;
mod apply;
pub mod clock;
pub mod cluster;
pub mod command;
mod counts;
mod error;
pub mod lease;
pub mod mvcc;
#[cfg(test)]
mod random;
mod tables;
#[cfg(test)]
mod testing;
pub mod watch;

pub use answer::{Outcome, Response};
pub use apply::{Applied, Backwards, ConfChanged, Halt, LoadError, Row, Settings, Shared, State, Tables, Want};
pub use command::{Command, Proposal, RequestId};
pub use counts::{Counts, Executed};
pub use error::{ApplyError, ReadError, RevisionError};
