//! The crash test: load, SIGKILL at a random moment, restart, and a check of everything that was promised.
//!
//! ```text
//! round:  load ──requests, answers, watched events──▶ Round        SIGKILL        restart ──▶ check(Round, Model) ──▶ Model'
//! ```
//!
//! History is read back event by event and each revision must have exactly one explanation: a request that was acknowledged
//! at that revision, one that was in flight when the server died, or a lease that ended. What explains nothing was lost;
//! what explains twice was doubled.
//!
//! * `model` is what the store must hold: all keys with their metadata, rebuilt from history as each revision is explained.
//! * `load` makes random requests and writes down what was sent and what was answered.
//! * `check` compares the restarted server with both.

pub mod check;
pub mod load;
pub mod model;

use crate::grpc::CallError;
use crate::ledger::WriteId;
use bytes::Bytes;
use ferrite_proto::mvccpb::Event;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// A change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Put { key: Bytes, id: WriteId, lease: i64 },
    Delete { key: Bytes },
}

/// A change that a request asks for; a delete takes what is there.
#[derive(Clone, Debug)]
pub enum Planned {
    Put { key: Bytes, id: WriteId, lease: i64 },
    Delete { from: Bytes, end: Bytes },
}

/// A request whose outcome is not known: one of the variants happened, or nothing.
#[derive(Clone, Debug)]
pub struct Unanswered {
    pub variants: Vec<Vec<Planned>>,
}

/// A lease as its grant asked for it.
#[derive(Clone, Copy, Debug)]
pub struct Lease {
    pub ttl: Duration,
    pub sent: Instant,
    pub granted: bool,
    pub end: LeaseEnd,
}

/// Whether somebody asked for the lease to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseEnd {
    None,
    Asked,
    Revoked,
}

/// HashKV of one revision above one compaction: a function of the writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hash {
    pub revision: i64,
    pub compacted: i64,
    pub hash: u32,
}

/// What one round of load left behind.
#[derive(Debug, Default)]
pub struct Round {
    /// By revision, what its answer said.
    pub acknowledged: HashMap<i64, Vec<Change>>,
    pub unanswered: Vec<Unanswered>,
    /// What the server refused, and so must not have done.
    pub refused: Vec<(CallError, Unanswered)>,
    /// Events that a watcher was told, and when.
    pub watched: Vec<(Event, Instant)>,
    pub hashes: Vec<Hash>,
    pub requests: u64,
    /// What was wrong before the crash already.
    pub wrong: Vec<String>,
}

/// What is known across rounds.
#[derive(Debug, Default)]
pub struct Known {
    pub leases: HashMap<i64, Lease>,
    /// The highest compaction that was acknowledged, and that was asked for.
    pub compacted: i64,
    pub compaction_asked: i64,
}

/// The value of a write: its id, then bytes that follow from it, so that damage anywhere shows.
pub fn value(id: WriteId, bytes: usize) -> Bytes {
    let mut value = crate::rng::Rng::new(id.0).bytes(bytes.max(WriteId::BYTES));
    id.stamp(&mut value);
    value.into()
}
