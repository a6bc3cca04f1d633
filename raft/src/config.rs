//! What a node is told when it is made.

use std::fmt;

use crate::progress::InflightLimits;
use crate::types::{Index, NodeId};

/// How a node behaves. [`Config::new`] has etcd's defaults. What makes no sense is refused by
/// [`RawNode::new`](crate::RawNode::new) with a [`ConfigError`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Who this node is: unique in the cluster, and never used again for another one. Not 0, nor one of the two largest
    /// numbers, which name a node's own threads in etcd's messages.
    pub id: NodeId,
    /// The last index that the owner has already applied: it is not handed out again. Beyond the commit index:
    /// [`NewError::AppliedOutOfRange`](crate::NewError::AppliedOutOfRange).
    pub applied: Index,
    /// Ticks without a leader until an election (thesis, 3.4 and 3.9); greater than `heartbeat_ticks`, at most
    /// 2,147,483,647. The time in use is drawn from `election_ticks..2 * election_ticks`.
    pub election_ticks: u32,
    /// Ticks between two heartbeats of a leader (thesis, 3.4); at least 1.
    pub heartbeat_ticks: u32,
    /// Where the random election timeouts come from (thesis, 3.4): the only randomness there is. Nodes of one cluster need
    /// different ones, or they might stand for election at once for ever.
    pub seed: u64,
    /// Whether the owner goes on while the disk works.
    pub writes: StorageWrites,
    /// How much may be under way.
    pub limits: Limits,
    /// Which of the protocol's variants is played.
    pub rules: Rules,
}

/// How much may be under way (thesis, 10.2.2). A size is in bytes of [encoded](crate::Entry::encoded_len) entries, a length
/// in bytes of their data alone; `u64::MAX` means no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Size of the entries in one `Append`; at least one entry goes even so, and 0 means one each.
    pub max_size_per_message: u64,
    /// Size of the entries handed out and not yet applied; at least 1. When as much is out, no more is handed out until
    /// some is applied. The last entry handed out may pass it.
    pub max_committed_size: u64,
    /// Length of what is proposed to a leader and not yet applied; at least 1. When full, proposals are refused with
    /// [`ProposeError::QuotaExceeded`](crate::ProposeError::QuotaExceeded); one that comes alone is taken, however long.
    pub max_uncommitted_size: u64,
    /// `Append`s sent and not yet answered, for each follower; at least 1. When full, only empty ones go.
    pub max_inflight_messages: usize,
    /// Length of what is sent and not yet acknowledged, for each follower; at least `max_size_per_message`. When full, only
    /// empty messages go. The last message may pass it.
    pub max_inflight_bytes: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_size_per_message: 1 << 20,
            max_committed_size: 1 << 20,
            max_uncommitted_size: u64::MAX,
            max_inflight_messages: 512,
            max_inflight_bytes: u64::MAX,
        }
    }
}

impl Limits {
    pub(crate) fn inflight(&self) -> InflightLimits {
        InflightLimits { messages: self.max_inflight_messages, bytes: self.max_inflight_bytes }
    }
}

/// Which of the protocol's variants is played. All nodes of a cluster should agree on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Ask whether an election could be won before starting one (thesis, 9.6), so that a node that was cut off disturbs
    /// nobody.
    pub pre_vote: bool,
    /// A leader that has not heard from a quorum for an election timeout steps down, and voters that hear a leader
    /// ignore candidates (thesis, 6.2 and 4.2.3).
    pub check_quorum: bool,
    /// How reads are made linearizable (thesis, 6.4), if they are. `LeaseBased` without `check_quorum` is refused.
    pub read_only: ReadOnlyMode,
    /// Refuse proposals on followers, with [`ProposeError::NotLeader`](crate::ProposeError::NotLeader), rather than hand
    /// them on (thesis, 6.2).
    pub disable_proposal_forwarding: bool,
    /// Let every change of members into the log, even if another is under way (which thesis, 4.1 forbids) or it cannot be
    /// applied: for owners who see to that themselves.
    pub disable_conf_change_validation: bool,
    /// A leader that is removed or becomes a learner steps down as soon as that is applied (thesis, 4.2.2). Otherwise it
    /// leads on until its owner stops it, or another one leads.
    pub step_down_on_removal: bool,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            pre_vote: true,
            check_quorum: true,
            read_only: ReadOnlyMode::Safe,
            disable_proposal_forwarding: false,
            disable_conf_change_validation: false,
            step_down_on_removal: false,
        }
    }
}

/// How a leader makes sure that it leads before it answers a read (thesis, 6.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadOnlyMode {
    /// It asks a quorum: one round of heartbeats for all reads that wait.
    Safe,
    /// It trusts that no other leader can have been elected while it has not stepped down (thesis, 6.4.1). That costs no
    /// round, and is not linearizable: a leader looks once in an election timeout whether a quorum was heard, so that one
    /// which was cut off may answer for up to two election timeouts, and another may lead after one; and clocks that run
    /// apart add to that.
    LeaseBased,
}

/// Whether the owner goes on while the disk works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorageWrites {
    /// It does (thesis, 10.2.1), and reports with [`RawNode::saved`](crate::RawNode::saved). Only what is saved is handed
    /// out to be applied.
    Asynchronous,
    /// It saves all of a `Ready` before it applies any of it, and takes the next one only then: the contract of
    /// [`PlainReady`](crate::PlainReady). A `Ready` may ask to save and to apply the same entry.
    Synchronous,
}

impl Config {
    /// A node with etcd's defaults: an election after 10 ticks, a heartbeat each tick, pre-vote and check-quorum on.
    pub fn new(id: NodeId) -> Config {
        Config {
            id,
            applied: Index(0),
            election_ticks: 10,
            heartbeat_ticks: 1,
            seed: id.0,
            writes: StorageWrites::Asynchronous,
            limits: Limits::default(),
            rules: Rules::default(),
        }
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let refuse = |field, given, why| Err(ConfigError { field, given, why });
        let (heartbeat, election) = (self.heartbeat_ticks, self.election_ticks);
        let (limits, rules) = (&self.limits, &self.rules);
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
        if limits.max_inflight_messages == 0 {
            return refuse("limits.max_inflight_messages", 0, "it must be at least 1, or no entry could be sent");
        }
        if limits.max_inflight_bytes < limits.max_size_per_message {
            let why = "it must be at least max_size_per_message, or the window could not hold one message";
            return refuse("limits.max_inflight_bytes", limits.max_inflight_bytes, why);
        }
        if limits.max_committed_size == 0 {
            return refuse("limits.max_committed_size", 0, "it must be at least 1, or no entry could be applied");
        }
        if limits.max_uncommitted_size == 0 {
            return refuse("limits.max_uncommitted_size", 0, "it must be at least 1; u64::MAX means no limit");
        }
        if rules.read_only == ReadOnlyMode::LeaseBased && !rules.check_quorum {
            let why = "lease-based reads need it: without it a leader that was cut off would never notice";
            return refuse("rules.check_quorum", 0, why);
        }
        Ok(())
    }
}

/// A configuration that cannot work: which field, what it is, and why that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The field, as one writes it behind `Config`.
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
        check(|c| c.limits.max_inflight_messages = 0, "limits.max_inflight_messages is 0: it must be at least 1");
        check(
            |c| c.limits.max_inflight_bytes = 1,
            "limits.max_inflight_bytes is 1: it must be at least max_size_per_message",
        );
        check(|c| c.limits.max_committed_size = 0, "limits.max_committed_size is 0: it must be at least 1");
        check(|c| c.limits.max_uncommitted_size = 0, "limits.max_uncommitted_size is 0: it must be at least 1");
        check(
            |c| {
                c.rules.read_only = ReadOnlyMode::LeaseBased;
                c.rules.check_quorum = false;
            },
            "rules.check_quorum is 0: lease-based reads need it",
        );
    }
}
