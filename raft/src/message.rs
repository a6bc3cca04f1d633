//! What nodes say to one another. Only what crosses the network is a message: ticks, saved writes, applied entries and
//! the wishes of the owner are calls of `RawNode`.

use bytes::Bytes;

use crate::entries::Entries;
use crate::types::{Index, LogPosition, NodeId, Snapshot, Term};

/// One message between nodes. It may be lost, doubled, late or out of order (thesis, 3.7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who is to receive it.
    pub to: NodeId,
    /// Who sends it; of `TransferLeader`, who is to lead; of `ReadIndex`, who asked.
    pub from: NodeId,
    /// The sender's term; of a vote, the term it is asked or given for. 0 for `Propose` and `ReadIndex`, which a
    /// follower hands on to whoever leads.
    pub term: Term,
    /// What it says.
    pub body: Body,
}

/// What a message says: the requests of the thesis (figure 3.1) and those that etcd's library has beside them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// A follower hands a proposal on to the leader (thesis, 6.2). The entries have no term and index yet.
    Propose(Entries),
    /// The leader's entries behind `prev`, and how far the log is committed (thesis, 3.5).
    Append {
        /// What comes before the entries: the follower must hold it.
        prev: LogPosition,
        /// What follows; empty if only the commit index is news, or to ask.
        entries: Entries,
        /// The last committed index of the leader's log.
        commit: Index,
    },
    /// The follower holds the leader's log up to `index`, and has saved it (thesis, 3.5).
    AppendAccepted {
        /// The last index up to which the logs are equal.
        index: Index,
    },
    /// The follower does not hold the position at `index`. The leader should try at `hint` (thesis, 3.5).
    AppendRejected {
        /// The index of the `prev` that it does not hold.
        index: Index,
        /// The last position of the follower at which the logs may meet: terms that cannot match are skipped. Term 0 if it
        /// no longer knows the term there.
        hint: LogPosition,
    },
    /// A candidate asks for a vote (thesis, 3.4).
    Vote(VoteRequest),
    /// The answer to a `Vote` of the same kind and term.
    VoteAnswer {
        /// Which of the two was asked.
        kind: VoteKind,
        /// What the voter says.
        verdict: Verdict,
    },
    /// The log up to the snapshot's index (thesis, 5), for a follower that is too far behind for entries. Boxed, because
    /// every message would have its size.
    Snapshot(Box<Snapshot>),
    /// The leader is alive (thesis, 3.4). `context` numbers the read that this round may confirm (6.4); it is empty if none
    /// waits.
    Heartbeat {
        /// The last committed index, or the last one that the follower is known to hold if that is less.
        commit: Index,
        /// 8 bytes, or none; to be sent back as they are.
        context: Bytes,
    },
    /// The answer to a heartbeat: its context, unchanged.
    HeartbeatAnswer {
        /// What the heartbeat carried.
        context: Bytes,
    },
    /// Make `Message::from` the leader (thesis, 3.10).
    TransferLeader,
    /// Start an election at once (thesis, 3.10): the leader gives up its place.
    TimeoutNow,
    /// A follower asks for an index to read at (thesis, 6.4).
    ReadIndex {
        /// What the answer is to carry, in the asker's own form.
        context: Bytes,
    },
    /// The log up to `index` holds all that was committed when the reader asked (thesis, 6.4).
    ReadIndexAnswer {
        /// The index to read at.
        index: Index,
        /// What the read was asked with.
        context: Bytes,
    },
    /// Stop following the leader until it is heard again: `RawNode::forget_leader` from afar, as etcd's library has it.
    ForgetLeader,
}

/// A candidate's question (thesis, 3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VoteRequest {
    /// Whether a vote is asked for, or only whether it would be given.
    pub kind: VoteKind,
    /// The candidate's last entry: no vote for a log that is behind the voter's (thesis, 3.6.1).
    pub last: LogPosition,
    /// The leader asked for this election (thesis, 4.2.3): voters answer, although they have just heard it.
    pub transfer: bool,
}

/// What a voter says to a candidate (thesis, 3.4 and 3.6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The candidate has the vote.
    Granted,
    /// The candidate has it not: its log is behind, or another one has it, or a leader is heard.
    Rejected {
        /// The last position that the voter knows to be committed. A candidate that holds it may learn of a change of
        /// members that is committed without its knowledge: the only ones who knew may be those whom it made no voters, and
        /// they cannot lead to tell it. (Not in the thesis; etcd's nodes neither send nor read this.)
        committed: LogPosition,
    },
}

/// Whether a vote is binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoteKind {
    /// A question only (thesis, 9.6): could the candidate win? Nothing is changed by asking.
    Pre,
    /// A voter gives at most one a term, and saves it before it says so (thesis, 3.4 and 3.8).
    Binding,
}

impl Body {
    /// The name of the message type in raftpb, such as `MsgApp`.
    pub fn name(&self) -> &'static str {
        match self {
            Body::Propose(_) => "MsgProp",
            Body::Append { .. } => "MsgApp",
            Body::AppendAccepted { .. } | Body::AppendRejected { .. } => "MsgAppResp",
            Body::Vote(request) => request.kind.request_name(),
            Body::VoteAnswer { kind, .. } => kind.answer_name(),
            Body::Snapshot(_) => "MsgSnap",
            Body::Heartbeat { .. } => "MsgHeartbeat",
            Body::HeartbeatAnswer { .. } => "MsgHeartbeatResp",
            Body::TransferLeader => "MsgTransferLeader",
            Body::TimeoutNow => "MsgTimeoutNow",
            Body::ReadIndex { .. } => "MsgReadIndex",
            Body::ReadIndexAnswer { .. } => "MsgReadIndexResp",
            Body::ForgetLeader => "MsgForgetLeader",
        }
    }

    /// Whether the message may leave only when all that the sender had in memory is on disk: it promises something. So does
    /// a request for a binding vote, which names a log and a term. If a crash could take either away, the answers would
    /// meet another candidate than the one they were given to: of the same term, with a shorter log. (etcd's asynchronous
    /// form lets it go at once.)
    pub(crate) fn waits_for_save(&self) -> bool {
        match self {
            Body::AppendAccepted { .. } | Body::AppendRejected { .. } | Body::VoteAnswer { .. } => true,
            Body::Vote(request) => request.kind == VoteKind::Binding,
            _ => false,
        }
    }

    /// Whether the message answers one of ours, and so can only come from a member.
    pub(crate) fn is_answer(&self) -> bool {
        matches!(
            self,
            Body::AppendAccepted { .. }
                | Body::AppendRejected { .. }
                | Body::VoteAnswer { .. }
                | Body::HeartbeatAnswer { .. }
                | Body::ReadIndexAnswer { .. }
        )
    }

    /// Whether only the leader of the message's term says this.
    pub(crate) fn is_from_leader(&self) -> bool {
        matches!(self, Body::Append { .. } | Body::Heartbeat { .. } | Body::Snapshot(_))
    }
}

impl VoteKind {
    pub(crate) fn request_name(self) -> &'static str {
        match self {
            VoteKind::Pre => "MsgPreVote",
            VoteKind::Binding => "MsgVote",
        }
    }

    pub(crate) fn answer_name(self) -> &'static str {
        match self {
            VoteKind::Pre => "MsgPreVoteResp",
            VoteKind::Binding => "MsgVoteResp",
        }
    }
}
