//! What a node is told when it is made.

use std::fmt;

use crate::types::{Index, NodeId};

/// How a node behaves. `Config::new` has etcd's defaults; sizes count the encoded entries, and `u64::MAX` means no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Who this node is: unique in the cluster, and never used again for another one.
    pub id: NodeId,
    /// Ticks without a leader until an election (thesis, 3.4); greater than `heartbeat_ticks`. The time in use is drawn from `election_ticks..2 * election_ticks`.
    pub election_ticks: u32,
    /// Ticks between two heartbeats; at least 1.
    pub heartbeat_ticks: u32,
    /// What the owner has already applied: it is not handed out again.
    pub applied: Index,
    /// Bytes of entries in one `Append`; at least one entry goes even so, and 0 means one each.
    pub max_size_per_message: u64,
    /// Bytes of entries handed out and not yet applied; at least 1. When as much is out, no more is handed out until some is applied.
    pub max_committed_size: u64,
    /// Bytes of data proposed and not yet applied; at least 1. When full, proposals are refused.
    pub max_uncommitted_size: u64,
    /// `Append`s sent and not yet answered, for each follower. When full, only empty ones go.
    pub max_inflight_messages: usize,
    /// Bytes of data sent and not yet acknowledged, for each follower; at least `max_size_per_message`. When full, only empty messages go.
    pub max_inflight_bytes: u64,
    /// A leader that has not heard from a quorum for an election timeout steps down, and voters that hear a leader
    /// ignore candidates.
    pub check_quorum: bool,
    /// Ask whether an election could be won before starting one, so that a node that was cut off disturbs nobody.
    pub pre_vote: bool,
    /// How reads are made linearizable, if they are.
    pub read_only: ReadOnlyMode,
    /// In which order the owner saves and applies.
    pub writes: StorageWrites,
    /// Refuse proposals on followers rather than hand them on.
    pub disable_proposal_forwarding: bool,
    /// Let every configuration change into the log, even one that cannot be applied.
    pub disable_conf_change_validation: bool,
    /// A leader that is removed or becomes a learner steps down at once.
    pub step_down_on_removal: bool,
    /// Where the random election timeouts come from: the only randomness there is.
    pub seed: u64,
}

/// How a leader makes sure that it leads before it answers a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadOnlyMode {
    /// It asks a quorum.
    Safe,
    /// It trusts that no other leader can have been elected while it has not stepped down. That costs no round, and is not
    /// linearizable: a leader looks once in an election timeout whether a quorum was heard, so that one which was cut off may
    /// answer for up to two election timeouts, and another may lead after one; and clocks that run apart add to that.
    LeaseBased,
}

/// How the owner writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorageWrites {
    /// It goes on while the disk works, and reports with `RawNode::saved`. Only what is saved is handed out to be applied.
    Asynchronous,
    /// It saves all of a `Ready` before it applies any of it, and takes the next one only then. A `Ready` may ask to
    /// save and to apply the same entry.
    Synchronous,
}

impl Config {
    /// A node with etcd's defaults.
    pub fn new(id: NodeId) -> Config {
        Config {
            id,
            election_ticks: 10,
            heartbeat_ticks: 1,
            applied: Index(0),
            max_size_per_message: 1 << 20,
            max_committed_size: 1 << 20,
            max_uncommitted_size: u64::MAX,
            max_inflight_messages: 512,
            max_inflight_bytes: u64::MAX,
            check_quorum: true,
            pre_vote: true,
            read_only: ReadOnlyMode::Safe,
            writes: StorageWrites::Asynchronous,
            disable_proposal_forwarding: false,
            disable_conf_change_validation: false,
            step_down_on_removal: false,
            seed: id.0,
        }
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let refuse = |field, given, why| Err(ConfigError { field, given, why });
        let (heartbeat, election) = (self.heartbeat_ticks, self.election_ticks);
        if self.id.0 == 0 {
            return refuse("id", 0, "it must not be 0, which stands for nobody");
        }
        if self.id.0 >= u64::MAX - 1 {
            return refuse("id", self.id.0, "the two largest numbers stand for a node's own threads in messages");
        }
        if heartbeat == 0 {
            return refuse("heartbeat_ticks", 0, "it must be at least 1, or a leader would not be heard");
        }
        if election <= heartbeat {
            let why = "it must be greater than heartbeat_ticks, or followers would stand between two heartbeats";
            return refuse("election_ticks", election.into(), why);
        }
        if election > u32::MAX / 2 {
            let why = "it must be at most 2147483647, for the time in use is up to twice as long";
            return refuse("election_ticks", election.into(), why);
        }
        if self.max_inflight_messages == 0 {
            return refuse("max_inflight_messages", 0, "it must be at least 1, or no entry could be sent");
        }
        if self.max_inflight_bytes < self.max_size_per_message {
            let why = "it must be at least max_size_per_message, or the window could not hold one message";
            return refuse("max_inflight_bytes", self.max_inflight_bytes, why);
        }
        if self.max_committed_size == 0 {
            return refuse("max_committed_size", 0, "it must be at least 1, or no entry could be applied");
        }
        if self.max_uncommitted_size == 0 {
            return refuse("max_uncommitted_size", 0, "it must be at least 1; u64::MAX means no limit");
        }
        if self.read_only == ReadOnlyMode::LeaseBased && !self.check_quorum {
            let why = "lease-based reads need it: without it a leader that was cut off would never notice";
            return refuse("check_quorum", 0, why);
        }
        Ok(())
    }
}

/// A configuration that cannot work: which field, what it is, and why that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The field of `Config`.
    pub field: &'static str,
    /// What was given; 0 for a switch that is off.
    pub given: u64,
    /// Why that cannot work.
    pub why: &'static str,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "raft configuration: {} is {}: {}", self.field, self.given, self.why)
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        #[track_caller]
        fn check(change: impl FnOnce(&mut Config), expected: &str) {
            let mut config = Config::new(NodeId(1));
            assert_eq!(config.check(), Ok(()), "the defaults work");
            change(&mut config);
            let refusal = config.check().expect_err(expected).to_string();
            assert!(refusal.contains(expected), "{refusal}");
        }
        check(|c| c.id = NodeId(0), "id is 0: it must not be 0");
        check(|c| c.id = NodeId(u64::MAX), "id is 18446744073709551615: the two largest");
        check(|c| c.id = NodeId(u64::MAX - 1), "id is 18446744073709551614: the two largest");
        check(|c| c.heartbeat_ticks = 0, "heartbeat_ticks is 0: it must be at least 1");
        check(|c| c.election_ticks = 1, "election_ticks is 1: it must be greater than heartbeat_ticks");
        check(|c| c.election_ticks = 0, "election_ticks is 0: it must be greater than heartbeat_ticks");
        check(|c| c.election_ticks = u32::MAX, "election_ticks is 4294967295: it must be at most");
        check(|c| c.max_inflight_messages = 0, "max_inflight_messages is 0: it must be at least 1");
        check(|c| c.max_inflight_bytes = 1, "max_inflight_bytes is 1: it must be at least max_size_per_message");
        check(|c| c.max_committed_size = 0, "max_committed_size is 0: it must be at least 1");
        check(|c| c.max_uncommitted_size = 0, "max_uncommitted_size is 0: it must be at least 1");
        check(
            |c| {
                c.read_only = ReadOnlyMode::LeaseBased;
                c.check_quorum = false;
            },
            "check_quorum is 0: lease-based reads need it",
        );
    }
}
