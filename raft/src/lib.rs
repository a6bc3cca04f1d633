#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

// What everybody speaks of.
mod entries;
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
pub use config::{Config, ConfigError, Limits, ReadOnlyMode, Rules, StorageWrites};
pub use entries::Entries;
pub use error::{NewError, ProposeError, StepError};
pub use log::memory::MemoryLog;
pub use log::store::{LogError, LogStore};
pub use logger::{BoxedLogger, Level, Logger, Silent};
pub use membership::{
    ChangeError, ChangeKind, ConfChange, ConfChangeV1, ConfChangeV2, ConfStateError, MemberChange, Membership,
    Transition,
};
pub use message::{Body, Message, Verdict, VoteKind, VoteRequest};
pub use progress::{InflightLimits, Inflights, Peers, Phase, Progress};
pub use quorum::{JointQuorum, Majority, VoteResult};
pub use raw_node::RawNode;
pub use ready::{Advance, OwnAcks, OwnVote, PlainReady, ReadState, Ready, RoleKind, SaveTicket, SoftState};
pub use status::Status;
#[cfg(feature = "trace")]
pub use trace::{BoxedTracer, Tracer};
pub use types::{ConfState, Entry, HardState, Index, LogPosition, NodeId, Payload, Snapshot, SnapshotMeta, Term};
