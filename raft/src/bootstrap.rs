//! The first members of a cluster, as entries that all of them begin their logs with.

use std::fmt;

use bytes::Bytes;

use crate::log::store::LogStore;
use crate::membership::{ChangeKind, ConfChange, ConfChangeV1, MemberChange};
use crate::raft::Raft;
use crate::types::{Entry, Index, NodeId, Term};

/// One of the first members, a voter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Who it is; not 0.
    pub id: NodeId,
    /// What its `ConfChangeV1` tells the state machine, such as an address; Raft does not look at it.
    pub context: Bytes,
}

/// Why [`RawNode::bootstrap`](crate::RawNode::bootstrap) was refused. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootstrapError {
    /// Nobody was named: nobody could ever be elected.
    NoPeers,
    /// The log store is not empty: this node has run before, and has its members from there.
    NotEmpty {
        /// The last index that it has, of an entry or a snapshot.
        last: Index,
    },
    /// One of them is named twice, or is node 0.
    Peer(NodeId),
}

impl fmt::Display for BootstrapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BootstrapError::NoPeers => f.write_str("must provide at least one peer to Bootstrap"),
            BootstrapError::NotEmpty { last } => {
                write!(f, "can't bootstrap a nonempty Storage: it goes up to {last}")
            }
            BootstrapError::Peer(id) => write!(f, "node {id} cannot be a first member: it is 0 or named twice"),
        }
    }
}

impl std::error::Error for BootstrapError {}

impl<L: LogStore> Raft<L> {
    pub fn bootstrap(&mut self, peers: &[Peer]) -> Result<(), BootstrapError> {
        if peers.is_empty() {
            return Err(BootstrapError::NoPeers);
        }
        let last = self.core.log.last_index();
        if last.0 > 0 {
            return Err(BootstrapError::NotEmpty { last });
        }
        for (place, peer) in peers.iter().enumerate() {
            if peer.id.0 == 0 || peers[..place].iter().any(|before| before.id == peer.id) {
                return Err(BootstrapError::Peer(peer.id));
            }
        }
        self.follow(Term(1), None);
        for peer in peers {
            let change = MemberChange { kind: ChangeKind::AddNode, node: peer.id };
            let change: ConfChange = ConfChangeV1 { id: 0, change, context: peer.context.clone() }.into();
            self.core.append(Entry { payload: change.clone().into(), ..Entry::default() });
            self.core.log.commit_to(self.core.log.last_index());
            let added = self.apply_conf_change(&change.to_v2());
            assert!(added.is_ok(), "a voter can be added to an empty cluster: {added:?}");
        }
        Ok(())
    }
}
