//! The write-ahead log, byte for byte etcd's: what Raft must not forget.
//!
//!   save(hard state, entries) ──▶ one buffer ──▶ one write ──▶ sync() ──▶ durable ──▶ mark()
//!                                                                │ segment full
//!                                                                ▼
//!                               old segment cut to its length, the next one (made ready before) gets its name
//!
//!   open(start, store's index) ──▶ segments ──▶ frames ──▶ CRC chain ──▶ entries, hard state, snapshots
//!                                                │ bad
//!                                                ▼
//!                                             torn at the end: cut off, with a warning; anything else: refused
//!
//! What holds:
//! * what was saved before a `sync` that returned is there after any crash, and nothing is there that was not saved;
//! * a *marker* (a record of type crc, without data, in the middle of a segment) says that all before it was synced.
//!   etcd's readers pass over it. It needs no sync: it is written with the next batch, or when there is nothing to do;
//! * records are only ever written into zeros, so what an unfinished write leaves can be told from damage (`tail`);
//! * a segment that is not the last was synced as a whole before the next one got its name;
//! * after a write or sync that failed, every further call fails: nothing we hold is then known to be on disk.
//!
//! One thread owns a log. It is not told what an entry means, and does not know the time.

mod create;
mod error;
mod log;
mod open;
mod payload;
mod pipeline;
mod read;
mod record;
mod replay;
mod segment;
mod tail;
mod wire;
mod writer;

pub use error::WalError;
pub use log::{Options, Space, Wal};
pub use open::exists;
pub use payload::Metadata;
pub use read::{Replay, Survey, replay, survey, valid_snapshots};
pub use replay::Start;

#[cfg(test)]
mod tests;
