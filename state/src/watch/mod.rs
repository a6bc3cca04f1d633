//! Watch: a watcher is a cursor over the revision history.
//!
//!   apply ──publishes──▶ history ──each revision once──▶ hub ──▶ synced watchers ──▶ stream queue ──take──▶ client
//!                           │                                     │ queue full, or     ▲
//!                           │                                     │ began in the past  │
//!                           └──one scan for all, bounded steps──▶ lagging watchers ────┘ until they are where the hub is
//!
//! A net thread has one hub for its streams, and drives it: `step` when apply has published, when a queue has been drained, and
//! as long as it says that there is more to do; `take` when a stream can send. The hub is pure: history and time are arguments.
//!
//! What holds: a cursor never moves back, so each event comes once and in order. A queue holds whole revisions, of which its
//! bound admits one more while it is not full; a slow stream makes its own watchers lag, and nobody else's. A cursor below the
//! compacted revision ends with that, never with a gap. Everything a stream is told goes through its queue, and speaks of the
//! hub's position, so `created` comes before the events of its watcher, and progress overtakes none.

mod catch_up;
mod event;
mod history;
mod hub;
mod keyspace;
mod matcher;
mod message;
#[cfg(test)]
mod model;
#[cfg(test)]
mod naive;
mod ranges;
mod request;
mod slab;
mod stream;
#[cfg(test)]
mod tests;

pub use history::{Change, History, Step};
pub use hub::{Config, Counts, Hub};
pub use keyspace::HistoryPin;
pub use message::{BROADCAST_ID, Body, Message, WatchHeader};
pub use request::{KeyRange, RangeEnd, Refusal, WatcherSpec};
pub use stream::StreamId;
