//! Liveness: whatever state a schedule ended in, once faults stop a leader is elected and everything proposed is decided,
//! within a bounded number of election timeouts.

use bytes::Bytes;

use crate::cluster::node::Up;
use crate::cluster::schedule::Cluster;
use crate::config::StorageWrites;
use crate::raw_node::RawNode;
use crate::ready::RoleKind;
use crate::types::NodeId;

/// Election timeouts until there is a leader. One passes before anybody stands; with random timeouts, most elections are
/// then decided at the first attempt, but the number of attempts has no bound, only a vanishing chance to be large.
const LEADER_TIMEOUTS: u32 = 30;
/// Election timeouts until everything is decided.
const DECIDED_TIMEOUTS: u32 = 40;

/// How long it took, in election timeouts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mended {
    pub leader_timeouts: f64,
    pub decided_timeouts: f64,
}

impl Cluster {
    /// Faults stop: everybody is up and reaches everybody, and time goes by for all alike.
    pub fn mend(&mut self) {
        // Without pre-votes there is no such promise: a binding request of an older term is not answered, as with etcd, so a
        // node with a short log and a greater term, which nobody elects, can stay ahead of the one that could be elected.
        if !self.nodes[0].config.rules.pre_vote {
            return;
        }
        // Nor with one voter: it alone commits the change that makes a leader without a vote the second voter. If that leader
        // then starts again it has the longer log and does not know that it may stand, while the other needs its vote. As with
        // etcd; from two voters on those who have the change are a majority behind it, too.
        if self.fewest_voters == 1 {
            return;
        }
        self.network.heal();
        for id in 0..self.nodes.len() {
            if self.nodes[id].up.is_none() {
                self.restart(id);
            }
        }
        let election_ticks = self.nodes[0].config.election_ticks;
        let timeouts = |ticks: u32| f64::from(ticks) / f64::from(election_ticks);
        let mut led = false;
        for ticks in 0..=election_ticks * DECIDED_TIMEOUTS {
            self.settle();
            if !led && self.leader().is_some() {
                led = true;
                self.mended.leader_timeouts = timeouts(ticks);
            }
            assert!(led || ticks <= election_ticks * LEADER_TIMEOUTS, "no leader: {}", self.describe());
            if self.is_decided() {
                self.mended.decided_timeouts = timeouts(ticks);
                return;
            }
            for id in 0..self.nodes.len() {
                // A snapshot from before a member was added cannot be given to it: make a new one.
                self.nodes[id].compact(1000);
                // An owner stops a node that has applied its own removal. Without that, a removed leader leads on and takes
                // no proposals. One that is removed and does not know it goes on, and must not disturb the others; so does
                // one that has not yet heard that it was added again.
                let removed = |up: &Up| !up.raft.core().membership.contains(up.raft.id());
                let stopped = self.nodes[id].up.as_ref().is_none_or(removed) && !self.is_member(NodeId(id as u64 + 1));
                if !stopped {
                    self.with_raft(id, RawNode::tick);
                }
            }
        }
        panic!("not everything is decided: {}", self.describe());
    }

    /// The leader of the newest term among the members. One of an older term may not have heard of it.
    fn leader(&self) -> Option<usize> {
        let term = |id: usize| self.nodes[id].up.as_ref().map(|up| up.raft.hard_state().term);
        let newest = (0..self.nodes.len()).filter(|id| self.is_member(NodeId(*id as u64 + 1))).map(term).max()?;
        (0..self.nodes.len()).find(|id| {
            let leads = |up: &Up| up.raft.soft_state().role == RoleKind::Leader;
            self.nodes[*id].up.as_ref().is_some_and(leads) && term(*id) == newest
        })
    }

    /// Whether everything that was proposed is committed everywhere or gone for ever, and a new proposal is, too.
    fn is_decided(&mut self) -> bool {
        const LAST: u64 = 0;
        if !self.checker.has_committed(LAST) {
            if let Some(leader) = self.leader() {
                self.with_raft(leader, |raft| {
                    // It may still hand over: then it is asked again with the next tick.
                    let _ = raft.propose(Bytes::copy_from_slice(&LAST.to_le_bytes()));
                });
                self.settle();
            }
            if !self.checker.has_committed(LAST) {
                return false;
            }
        }
        let end = self.checker.last_committed();
        let members: Vec<usize> = (0..self.nodes.len()).filter(|id| self.is_member(NodeId(*id as u64 + 1))).collect();
        let done = members.iter().all(|id| {
            self.nodes[*id].up.as_ref().is_some_and(|up| {
                let log = &up.raft.core().log;
                up.state.applied == end && log.committed() == end && log.last_index() == end
            })
        });
        if done {
            for id in members {
                let node = &self.nodes[id];
                let up = node.up.as_ref().expect("a member that is up");
                self.checker.finished(node.config.id, &up.state);
                if node.config.writes == StorageWrites::Asynchronous {
                    assert!(!up.raft.core().log.has_unsaved_entries(), "all is on disk");
                }
            }
        }
        done
    }

    fn is_member(&self, id: NodeId) -> bool {
        let conf = self.checker.conf().unwrap_or_else(|| self.first_conf());
        [&conf.voters, &conf.voters_outgoing, &conf.learners].iter().any(|ids| ids.contains(&id))
    }

    fn describe(&self) -> String {
        let nodes = self.nodes.iter().filter_map(|node| node.up.as_ref()).map(|up| up.raft.status());
        format!("{:#?}", nodes.collect::<Vec<_>>())
    }
}
