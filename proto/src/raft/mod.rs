//! Raft's types and raftpb, converted: messages and states here, `entry` with the changes of members, and `record`, the
//! strict form for a log. Every scalar is written, as etcd before 3.7 did: all versions read that.

mod entry;
pub mod record;

pub use entry::EntryError;

use std::fmt;

use bytes::Bytes;
use ferrite_raft::{
    Body, ConfState, Entry, HardState, Index, LogPosition, Message, NodeId, Payload, Snapshot, SnapshotMeta, Term,
    Verdict, VoteKind, VoteRequest,
};

use crate::raftpb;

fn node_ids(ids: &[u64]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

fn raw_ids(ids: &[NodeId]) -> Vec<u64> {
    ids.iter().map(|id| id.0).collect()
}

impl From<HardState> for raftpb::HardState {
    fn from(state: HardState) -> Self {
        raftpb::HardState {
            term: Some(state.term.0),
            vote: Some(state.vote.map_or(0, |id| id.0)),
            commit: Some(state.commit.0),
        }
    }
}

impl From<raftpb::HardState> for HardState {
    fn from(state: raftpb::HardState) -> Self {
        HardState {
            term: Term(state.term.unwrap_or_default()),
            vote: state.vote.filter(|id| *id != 0).map(NodeId),
            commit: Index(state.commit.unwrap_or_default()),
        }
    }
}

impl From<&ConfState> for raftpb::ConfState {
    fn from(conf: &ConfState) -> Self {
        raftpb::ConfState {
            voters: raw_ids(&conf.voters),
            learners: raw_ids(&conf.learners),
            voters_outgoing: raw_ids(&conf.voters_outgoing),
            learners_next: raw_ids(&conf.learners_next),
            auto_leave: Some(conf.auto_leave),
        }
    }
}

impl From<raftpb::ConfState> for ConfState {
    fn from(conf: raftpb::ConfState) -> Self {
        let sorted = |ids: &[u64]| {
            let mut ids = node_ids(ids);
            ids.sort_unstable();
            ids
        };
        ConfState {
            voters: sorted(&conf.voters),
            learners: sorted(&conf.learners),
            voters_outgoing: sorted(&conf.voters_outgoing),
            learners_next: sorted(&conf.learners_next),
            auto_leave: conf.auto_leave.unwrap_or_default(),
        }
    }
}

impl From<&Snapshot> for raftpb::Snapshot {
    fn from(snapshot: &Snapshot) -> Self {
        raftpb::Snapshot {
            data: (!snapshot.data.is_empty()).then(|| snapshot.data.clone()),
            metadata: Some(raftpb::SnapshotMetadata {
                conf_state: Some((&snapshot.meta.conf).into()),
                index: Some(snapshot.meta.index.0),
                term: Some(snapshot.meta.term.0),
            }),
        }
    }
}

impl From<raftpb::Snapshot> for Snapshot {
    fn from(snapshot: raftpb::Snapshot) -> Self {
        let meta = snapshot.metadata.unwrap_or_default();
        Snapshot {
            data: snapshot.data.unwrap_or_default(),
            meta: SnapshotMeta {
                index: Index(meta.index.unwrap_or_default()),
                term: Term(meta.term.unwrap_or_default()),
                conf: meta.conf_state.unwrap_or_default().into(),
            },
        }
    }
}

/// What a vote request carries if the leader asked for the election.
const CAMPAIGN_TRANSFER: &[u8] = b"CampaignTransfer";

impl From<&Message> for raftpb::Message {
    fn from(message: &Message) -> Self {
        use raftpb::MessageType as Type;

        let envelope = |kind: Type| raftpb::Message {
            r#type: Some(kind as i32),
            to: Some(message.to.0),
            from: Some(message.from.0),
            term: Some(message.term.0),
            log_term: Some(0),
            index: Some(0),
            commit: Some(0),
            reject: Some(false),
            reject_hint: Some(0),
            ..raftpb::Message::default()
        };
        let entries = |entries: &[Entry]| entries.iter().map(raftpb::Entry::from).collect();
        // A read travels as the data of an entry that never enters a log.
        let read = |context: &Bytes| vec![(&Entry { payload: context.clone().into(), ..Entry::default() }).into()];
        let context = |context: &[u8]| (!context.is_empty()).then(|| Bytes::copy_from_slice(context));
        match &message.body {
            Body::Propose(proposed) => raftpb::Message { entries: entries(proposed), ..envelope(Type::MsgProp) },
            Body::Append { prev, entries: appended, commit } => raftpb::Message {
                log_term: Some(prev.term.0),
                index: Some(prev.index.0),
                entries: entries(appended),
                commit: Some(commit.0),
                ..envelope(Type::MsgApp)
            },
            Body::AppendAccepted { index } => raftpb::Message { index: Some(index.0), ..envelope(Type::MsgAppResp) },
            Body::AppendRejected { index, hint } => raftpb::Message {
                index: Some(index.0),
                reject: Some(true),
                reject_hint: Some(hint.index.0),
                log_term: Some(hint.term.0),
                ..envelope(Type::MsgAppResp)
            },
            Body::Vote(VoteRequest { kind, last, transfer }) => raftpb::Message {
                log_term: Some(last.term.0),
                index: Some(last.index.0),
                context: context(if *transfer { CAMPAIGN_TRANSFER } else { b"" }),
                ..envelope(match kind {
                    VoteKind::Pre => Type::MsgPreVote,
                    VoteKind::Binding => Type::MsgVote,
                })
            },
            Body::VoteAnswer { kind, verdict } => {
                let answer = envelope(match kind {
                    VoteKind::Pre => Type::MsgPreVoteResp,
                    VoteKind::Binding => Type::MsgVoteResp,
                });
                match verdict {
                    Verdict::Granted => answer,
                    Verdict::Rejected { committed } => raftpb::Message {
                        reject: Some(true),
                        log_term: Some(committed.term.0),
                        commit: Some(committed.index.0),
                        ..answer
                    },
                }
            }
            Body::Snapshot(snapshot) => {
                raftpb::Message { snapshot: Some((&**snapshot).into()), ..envelope(Type::MsgSnap) }
            }
            Body::Heartbeat { commit, context: number } => {
                raftpb::Message { commit: Some(commit.0), context: context(number), ..envelope(Type::MsgHeartbeat) }
            }
            Body::HeartbeatAnswer { context: number } => {
                raftpb::Message { context: context(number), ..envelope(Type::MsgHeartbeatResp) }
            }
            Body::TransferLeader => envelope(Type::MsgTransferLeader),
            Body::TimeoutNow => envelope(Type::MsgTimeoutNow),
            Body::ReadIndex { context } => raftpb::Message { entries: read(context), ..envelope(Type::MsgReadIndex) },
            Body::ReadIndexAnswer { index, context } => {
                raftpb::Message { index: Some(index.0), entries: read(context), ..envelope(Type::MsgReadIndexResp) }
            }
            Body::ForgetLeader => envelope(Type::MsgForgetLeader),
        }
    }
}

/// A message that no other node would send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageError {
    UnknownType(i32),
    /// Of a type that a node only uses within itself.
    Local(raftpb::MessageType),
    Entry(EntryError),
    /// Without a sender.
    NoSender,
    /// A snapshot message without a snapshot.
    NoSnapshot,
    /// A read, or its answer, with this many contexts instead of one.
    Contexts(usize),
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MessageError::UnknownType(number) => write!(f, "unknown message type {number}"),
            MessageError::Local(kind) => write!(f, "{} is a local message", kind.as_str_name()),
            MessageError::Entry(why) => why.fmt(f),
            MessageError::NoSender => f.write_str("a message without a sender"),
            MessageError::NoSnapshot => f.write_str("MsgSnap without a snapshot"),
            MessageError::Contexts(count) => write!(f, "a read with {count} contexts"),
        }
    }
}

impl std::error::Error for MessageError {}

impl TryFrom<raftpb::Message> for Message {
    type Error = MessageError;

    fn try_from(message: raftpb::Message) -> Result<Self, MessageError> {
        let kind = message.r#type.unwrap_or_default();
        let kind = raftpb::MessageType::try_from(kind).map_err(|_| MessageError::UnknownType(kind))?;
        let from = NodeId(message.from.filter(|id| *id != 0).ok_or(MessageError::NoSender)?);
        let (to, term) = (NodeId(message.to.unwrap_or_default()), Term(message.term.unwrap_or_default()));
        Ok(Message { to, from, term, body: body(kind, message)? })
    }
}

fn body(kind: raftpb::MessageType, message: raftpb::Message) -> Result<Body, MessageError> {
    use raftpb::MessageType as Type;

    let index = Index(message.index.unwrap_or_default());
    let commit = Index(message.commit.unwrap_or_default());
    let position = LogPosition { term: Term(message.log_term.unwrap_or_default()), index };
    let rejected = message.reject.unwrap_or_default();
    let verdict = match rejected {
        true => Verdict::Rejected { committed: LogPosition { index: commit, ..position } },
        false => Verdict::Granted,
    };
    let context = message.context.unwrap_or_default();
    let count = message.entries.len();
    let entries = message.entries.into_iter().map(Entry::try_from).collect::<Result<Vec<_>, _>>();
    let mut entries = entries.map_err(MessageError::Entry)?;
    let mut read = || match entries.pop() {
        Some(Entry { payload: Payload::Data(context), .. }) if count == 1 => Ok(context),
        _ => Err(MessageError::Contexts(count)),
    };
    let vote = |kind| Body::Vote(VoteRequest { kind, last: position, transfer: context == CAMPAIGN_TRANSFER });
    Ok(match kind {
        Type::MsgProp => Body::Propose(entries.into()),
        Type::MsgApp => Body::Append { prev: position, entries: entries.into(), commit },
        Type::MsgAppResp if rejected => {
            let hint = LogPosition { term: position.term, index: Index(message.reject_hint.unwrap_or_default()) };
            Body::AppendRejected { index, hint }
        }
        Type::MsgAppResp => Body::AppendAccepted { index },
        Type::MsgVote => vote(VoteKind::Binding),
        Type::MsgPreVote => vote(VoteKind::Pre),
        Type::MsgVoteResp => Body::VoteAnswer { kind: VoteKind::Binding, verdict },
        Type::MsgPreVoteResp => Body::VoteAnswer { kind: VoteKind::Pre, verdict },
        Type::MsgSnap => Body::Snapshot(Box::new(message.snapshot.ok_or(MessageError::NoSnapshot)?.into())),
        Type::MsgHeartbeat => Body::Heartbeat { commit, context },
        Type::MsgHeartbeatResp => Body::HeartbeatAnswer { context },
        Type::MsgTransferLeader => Body::TransferLeader,
        Type::MsgTimeoutNow => Body::TimeoutNow,
        Type::MsgReadIndex => Body::ReadIndex { context: read()? },
        Type::MsgReadIndexResp => Body::ReadIndexAnswer { index, context: read()? },
        Type::MsgForgetLeader => Body::ForgetLeader,
        Type::MsgHup
        | Type::MsgBeat
        | Type::MsgUnreachable
        | Type::MsgSnapStatus
        | Type::MsgCheckQuorum
        | Type::MsgStorageAppend
        | Type::MsgStorageAppendResp
        | Type::MsgStorageApply
        | Type::MsgStorageApplyResp => return Err(MessageError::Local(kind)),
    })
}

#[cfg(test)]
mod tests {
    use ferrite_raft::ConfChangeV2;
    use prost::Message as _;

    use super::*;

    fn at(term: u64, index: u64) -> LogPosition {
        LogPosition { term: Term(term), index: Index(index) }
    }

    #[test]
    fn every_message_comes_back_as_it_was_sent() {
        let change = ConfChangeV2 { context: Bytes::from_static(b"change"), ..ConfChangeV2::default() };
        let entry = Entry { term: Term(3), index: Index(8), payload: change.into() };
        let conf = ConfState { voters: vec![NodeId(1), NodeId(300)], auto_leave: false, ..ConfState::default() };
        let meta = SnapshotMeta { index: Index(9), term: Term(3), conf };
        let snapshot = Snapshot { meta, data: Bytes::from_static(b"state") };
        let context = || Bytes::from_static(b"12345678");
        let vote = |kind, transfer| Body::Vote(VoteRequest { kind, last: at(3, 7), transfer });
        let bodies = [
            Body::Propose(vec![entry.clone(), Entry::default()].into()),
            Body::Append { prev: at(2, 7), entries: vec![entry].into(), commit: Index(6) },
            Body::Append { prev: at(0, 0), entries: vec![].into(), commit: Index(0) },
            Body::AppendAccepted { index: Index(8) },
            Body::AppendRejected { index: Index(8), hint: at(2, 5) },
            vote(VoteKind::Pre, false),
            vote(VoteKind::Binding, true),
            Body::VoteAnswer { kind: VoteKind::Pre, verdict: Verdict::Granted },
            Body::VoteAnswer { kind: VoteKind::Binding, verdict: Verdict::Rejected { committed: at(3, 4) } },
            Body::Snapshot(Box::new(snapshot)),
            Body::Heartbeat { commit: Index(8), context: context() },
            Body::Heartbeat { commit: Index(0), context: Bytes::new() },
            Body::HeartbeatAnswer { context: context() },
            Body::TransferLeader,
            Body::TimeoutNow,
            Body::ReadIndex { context: context() },
            Body::ReadIndexAnswer { index: Index(8), context: context() },
            Body::ForgetLeader,
        ];
        for body in bodies {
            let sent = Message { to: NodeId(1), from: NodeId(u64::MAX - 5), term: Term(4), body };
            let wire: raftpb::Message = (&sent).into();
            let bytes = wire.encode_to_vec();
            let wire = raftpb::Message::decode(&bytes[..]).expect("what was encoded");
            assert_eq!(wire.r#type().as_str_name(), sent.body.name());
            assert_eq!(Message::try_from(wire), Ok(sent));
        }
    }

    #[test]
    fn what_no_node_sends_is_refused() {
        use raftpb::MessageType as Type;
        let check = |kind: i32, from, entries, expected| {
            let wire = raftpb::Message {
                r#type: Some(kind),
                from,
                entries: vec![raftpb::Entry::default(); entries],
                ..raftpb::Message::default()
            };
            assert_eq!(Message::try_from(wire), Err(expected));
        };
        check(99, Some(1), 0, MessageError::UnknownType(99));
        check(Type::MsgHup as i32, Some(1), 0, MessageError::Local(Type::MsgHup));
        check(Type::MsgStorageApplyResp as i32, Some(1), 0, MessageError::Local(Type::MsgStorageApplyResp));
        check(Type::MsgApp as i32, None, 0, MessageError::NoSender);
        check(Type::MsgApp as i32, Some(0), 0, MessageError::NoSender);
        check(Type::MsgSnap as i32, Some(1), 0, MessageError::NoSnapshot);
        check(Type::MsgReadIndex as i32, Some(1), 0, MessageError::Contexts(0));
        check(Type::MsgReadIndexResp as i32, Some(1), 2, MessageError::Contexts(2));
    }
}
