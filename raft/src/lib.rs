//! Raft consensus as a pure state machine: no I/O, no clock, no thread.
//!
//! A [`RawNode`] is told of time ([`tick`](RawNode::tick)), messages ([`step`](RawNode::step)), proposals, finished writes
//! ([`saved`](RawNode::saved)) and applied entries ([`applied`](RawNode::applied)). All that it owes the world comes back
//! as data: a [`Ready`] says what to send, what to save and what to apply. It never waits for a disk.
//!
//! ```text
//!   tick, step, propose ──▶ RawNode ──take_ready──▶ Ready ── messages ───────────▶ network
//!                              ▲ ▲                    ├──── entries, hard state ─▶ disk ── messages_after_save ─▶ network
//!                              │ └────── saved ◀──────│─────────────────────────────┘
//!                              └──────── applied ◀────└──── committed ───────────▶ state machine
//! ```
//!
//! A single voter elects itself and commits through the code that a cluster uses:
//!
//! ```
//! use bytes::Bytes;
//! use ferrite_raft::{ConfState, Config, MemoryLog, NodeId, RawNode};
//!
//! let mut log = MemoryLog::new();
//! log.set_conf(ConfState { voters: vec![NodeId(1)], ..ConfState::default() });
//! let mut node = RawNode::new(Config::new(NodeId(1)), log).expect("a valid configuration");
//! node.campaign();
//!
//! let mut applied = Vec::new();
//! let mut proposed = false;
//! while let Some(ready) = node.take_ready() {
//!     // 1. Send `ready.messages`: a single voter has nobody to send to.
//!     // 2. Save, and report the save when it is durable. Here it is so at once.
//!     if let Some(hard_state) = ready.hard_state {
//!         node.log_mut().set_hard_state(hard_state);
//!     }
//!     node.log_mut().append(ready.entries);
//!     if let Some(ticket) = ready.save {
//!         node.saved(ticket);
//!     }
//!     // 3. Apply. The first entry of a term is empty.
//!     if let Some(last) = ready.committed.last() {
//!         node.applied(last.index);
//!     }
//!     applied.extend(ready.committed.into_iter().map(|entry| entry.data).filter(|data| !data.is_empty()));
//!     if !proposed && node.soft_state().leader == Some(NodeId(1)) {
//!         node.propose(Bytes::from_static(b"x = 1")).expect("it leads");
//!         proposed = true;
//!     }
//! }
//! assert_eq!(applied, [Bytes::from_static(b"x = 1")]);
//! ```

// What everybody speaks of.
mod message;
mod ready;
mod types;

// The door.
mod bootstrap;
mod config;
mod error;
mod logger;
mod raw_node;
mod status;

// What goes on behind it.
mod clock;
mod core;
mod election;
mod log;
mod membership;
mod mutation;
mod progress;
mod quorum;
mod raft;
mod rng;
mod role;
mod step;
#[cfg(feature = "trace")]
mod trace;

#[cfg(test)]
#[path = "../tests/cluster/mod.rs"]
mod cluster;

pub use bootstrap::{BootstrapError, Peer};
pub use config::{Config, ConfigError, ReadOnlyMode, StorageWrites};
pub use error::{NewError, ProposeError, StepError};
pub use log::memory::MemoryLog;
pub use log::store::{LogError, LogStore};
pub use logger::{BoxedLogger, Level, Logger, Silent};
pub use membership::{
    ChangeError, ChangeKind, ConfChange, ConfChangeV1, ConfChangeV2, ConfStateError, DecodeError, MemberChange,
    Membership, Transition,
};
pub use message::{Body, Message, Verdict, VoteKind, VoteRequest};
pub use progress::{InflightLimits, Inflights, Peers, Phase, Progress};
pub use quorum::{JointQuorum, Majority, VoteResult};
pub use raw_node::RawNode;
pub use ready::{Advance, OwnAcks, OwnVote, PlainReady, ReadState, Ready, RoleKind, SaveTicket, SoftState};
pub use status::Status;
#[cfg(feature = "trace")]
pub use trace::{BoxedTracer, Tracer};
pub use types::{ConfState, Entry, EntryKind, HardState, Index, LogPosition, NodeId, Snapshot, SnapshotMeta, Term};
