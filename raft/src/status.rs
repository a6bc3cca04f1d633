//! What a node tells about itself.

use crate::log::store::LogStore;
use crate::membership::Membership;
use crate::progress::{Progress, Shown};
use crate::raft::Raft;
use crate::ready::SoftState;
use crate::role::Role;
use crate::types::{HardState, Index, NodeId};

/// What a node knows at one moment. It may not be saved yet.
#[derive(Debug)]
pub struct Status {
    /// Who it is.
    pub id: NodeId,
    /// Its term, its vote, and the last index known to be committed.
    pub hard_state: HardState,
    /// Who leads, and its role.
    pub soft_state: SoftState,
    /// The last index that its owner has reported as applied.
    pub applied: Index,
    /// To whom this leader is handing over (thesis, 3.10); `None` for any other role.
    pub transferee: Option<NodeId>,
    /// The members in force: those of the last change that was applied, not the last in the log.
    pub membership: Membership,
    /// What a leader knows of each member, itself among them, ascending by id; empty for any other role.
    pub progress: Vec<(NodeId, Progress)>,
}

impl Status {
    pub(crate) fn of<L: LogStore>(raft: &Raft<L>) -> Status {
        let leader = if let Role::Leader(leader) = &raft.role { Some(leader) } else { None };
        Status {
            id: raft.core.id,
            hard_state: raft.core.hard_state(),
            soft_state: raft.role.soft_state(raft.core.id),
            applied: raft.core.log.applied(),
            transferee: leader.and_then(|leader| leader.transferee),
            membership: raft.core.membership.clone(),
            progress: leader
                .map(|leader| leader.peers.iter().map(|(id, progress)| (id, progress.clone())).collect())
                .unwrap_or_default(),
        }
    }

    /// The same as JSON, as etcd's library writes it: ids in hexadecimal, progress only on a leader.
    pub fn to_json(&self) -> String {
        let id = |id: Option<NodeId>| format!("{:x}", id.unwrap_or_default());
        let member = |(id, progress): &(NodeId, Progress)| {
            let (matched, next) = (progress.matched(), progress.next());
            format!(r#""{id:x}":{{"match":{matched},"next":{next},"state":"{}"}}"#, progress.phase().name())
        };
        let progress: Vec<String> = self.progress.iter().map(member).collect();
        format!(
            r#"{{"id":"{:x}","term":{},"vote":"{}","commit":{},"lead":"{}","raftState":"{}","applied":{},"progress":{{{}}},"leadtransferee":"{}"}}"#,
            self.id,
            self.hard_state.term,
            id(self.hard_state.vote),
            self.hard_state.commit,
            id(self.soft_state.leader),
            self.soft_state.role.name(),
            self.applied,
            progress.join(","),
            id(self.transferee)
        )
    }

    /// One line for each of `progress`, as etcd's library prints them.
    pub fn progress_lines(&self) -> Vec<String> {
        let shown = |(id, progress): &(NodeId, Progress)| {
            format!("{id}: {}", Shown { progress, learner: self.membership.is_learner(*id) })
        };
        self.progress.iter().map(shown).collect()
    }
}
