//! A schedule: one thing after the other happens, each to one node.

use bytes::Bytes;

use crate::cluster::Tally;
use crate::cluster::check::Checker;
use crate::cluster::mend::Mended;
use crate::cluster::mix::{Action, Mix, Theme};
use crate::cluster::network::{Arrival, Network};
use crate::cluster::node::{Haste, Node};
use crate::cluster::rng::Rng;
use crate::config::{Config, Limits, Rules, StorageWrites};
use crate::error::StepError;
use crate::log::memory::MemoryLog;
use crate::membership::{ChangeKind, ConfChangeV1, ConfChangeV2, MemberChange, Transition};
use crate::message::{Body, Message};
use crate::raw_node::RawNode;
use crate::ready::RoleKind;
use crate::types::{ConfState, NodeId};

pub struct Cluster {
    pub(super) rng: Rng,
    pub(super) nodes: Vec<Node>,
    pub(super) network: Network,
    pub(super) checker: Checker,
    mix: Mix,
    first_conf: ConfState,
    proposals: u64,
    steps: usize,
    crashes: usize,
    /// No change leaves fewer.
    pub(super) fewest_voters: usize,
    pub(super) mended: Mended,
}

impl Cluster {
    pub fn new(seed: u64, haste: Option<Haste>) -> Cluster {
        let mut rng = Rng::new(seed);
        let theme = rng.pick(&[Theme::Any, Theme::Any, Theme::Members, Theme::Disks]);
        // Some are no members yet.
        let (count, voters) = match theme {
            Theme::Any => {
                let count = 3 + rng.below(5);
                (count, 3 + rng.below(count - 2))
            }
            Theme::Members => (5 + rng.below(3), 3),
            Theme::Disks => (3, 3),
        };
        let voters: Vec<NodeId> = (1..=voters as u64).map(NodeId).collect();
        let config = Config {
            election_ticks: rng.pick(&[8, 10, 16]),
            rules: Rules { pre_vote: rng.percent(70), check_quorum: rng.percent(50), ..Rules::default() },
            limits: Limits {
                max_size_per_message: rng.pick(&[0, 40, 1 << 20]),
                max_committed_size: rng.pick(&[1, 60, 1 << 20]),
                max_uncommitted_size: rng.pick(&[200, u64::MAX]),
                max_inflight_messages: rng.pick(&[1, 3, 256]),
                ..Limits::default()
            },
            ..Config::new(NodeId(1))
        };
        let rules = Rules {
            step_down_on_removal: rng.percent(50),
            disable_proposal_forwarding: rng.percent(10),
            ..config.rules
        };
        let writes = if rng.percent(80) { StorageWrites::Asynchronous } else { StorageWrites::Synchronous };
        let config = Config { rules, writes, ..config };
        let first_conf = ConfState { voters, ..ConfState::default() };
        let new_node = |id: u64| {
            let mut disk = MemoryLog::new();
            disk.set_conf(first_conf.clone());
            Node::new(Config { id: NodeId(id), seed: seed * 1000 + id * 100, ..config.clone() }, disk, haste)
        };
        let nodes: Vec<Node> = (1..=count as u64).map(new_node).collect();
        Cluster {
            checker: Checker::new(nodes.len()),
            nodes,
            network: Network::draw(&mut rng),
            mix: Mix::draw(&mut rng, theme),
            first_conf,
            proposals: 0,
            steps: 200 + rng.pick(&[0, 100, 400, 800]),
            crashes: 0,
            fewest_voters: rng.pick(&[1, 2, 2, 2]),
            mended: Mended::default(),
            rng,
        }
    }

    pub fn run(&mut self) {
        // Most schedules begin where most of the time is spent: with a leader.
        if self.rng.percent(80) {
            self.with_raft(0, RawNode::campaign);
            self.settle();
        }
        for _ in 0..self.steps {
            self.step();
        }
    }

    /// Something happens to some node. What cannot happen to any node now is drawn again.
    fn step(&mut self) {
        for _ in 0..20 {
            let action = self.mix.pick(&mut self.rng);
            if let Some(id) = self.node_for(action) {
                self.happen(action, id);
                self.look_at(id);
                return;
            }
        }
    }

    /// A node to which this can happen.
    fn node_for(&mut self, action: Action) -> Option<usize> {
        let count = self.nodes.len();
        let first = self.rng.below(count);
        let can = |node: &Node| match (action, &node.up) {
            (Action::Restart, up) => up.is_none(),
            (_, None) => false,
            (Action::Take, Some(up)) => up.raft.has_ready(),
            (Action::Deliver, Some(_)) => !self.network.is_empty(),
            (Action::Save, Some(up)) => up.has_saves(),
            (Action::Apply, Some(up)) => up.has_applies(),
            (Action::Campaign, Some(up)) => up.raft.soft_state().role != RoleKind::Leader,
            (Action::ChangeMembers, Some(up)) => up.raft.soft_state().role == RoleKind::Leader,
            _ => true,
        };
        (0..count).map(|place| (first + place) % count).find(|id| can(&self.nodes[*id]))
    }

    /// One thing happens to a node.
    fn happen(&mut self, action: Action, id: usize) {
        let Cluster { rng, nodes, checker, .. } = self;
        let node = &mut nodes[id];
        match action {
            Action::Restart => self.restart(id),
            Action::Take => {
                let sent = node.take_ready(checker);
                self.network.send(sent);
            }
            Action::Deliver => self.deliver_some(),
            Action::Save => {
                let sent = node.save(checker);
                self.network.send(sent);
            }
            Action::Apply => {
                let count = 1 + rng.below(3);
                node.apply(count, checker);
            }
            Action::Tick => self.with_raft(id, RawNode::tick),
            Action::Propose => self.propose(id),
            Action::Read => {
                let context = Bytes::copy_from_slice(&checker.ask());
                self.with_raft(id, |raft| raft.read_index(context));
            }
            Action::ChangeMembers => self.propose_change(id),
            Action::Transfer => {
                let to = self.any_node();
                self.with_raft(id, |raft| raft.transfer_leader(to));
            }
            Action::Unreachable => {
                let other = self.any_node();
                self.with_raft(id, |raft| raft.report_unreachable(other));
            }
            Action::Gone => {
                let other = self.any_node();
                self.with_raft(id, |raft| raft.report_gone(other));
            }
            Action::ForgetLeader => self.with_raft(id, RawNode::forget_leader),
            Action::Compact => {
                let keep = rng.below(4) as u64;
                node.compact(keep);
            }
            Action::Crash => {
                self.crashes += 1;
                node.crash(rng);
            }
            Action::Campaign => self.with_raft(id, RawNode::campaign),
            Action::Partition => self.network.partition(rng, nodes.len()),
            Action::Heal => self.network.heal(),
        }
    }

    fn any_node(&mut self) -> NodeId {
        NodeId(1 + self.rng.below(self.nodes.len()) as u64)
    }

    pub(super) fn restart(&mut self, id: usize) {
        self.nodes[id].start();
        if let Some(up) = &self.nodes[id].up {
            self.checker.restarted(&up.raft);
        }
    }

    pub(super) fn with_raft(&mut self, id: usize, f: impl FnOnce(&mut RawNode<MemoryLog>)) {
        if let Some(up) = &mut self.nodes[id].up {
            f(&mut up.raft);
        }
    }

    /// A client gives a node a number that names this node.
    fn propose(&mut self, id: usize) {
        self.proposals += 1;
        let number = self.proposals * 8 + id as u64 + 1;
        // A refusal is an answer too: nobody was promised anything.
        self.with_raft(id, |raft| {
            let _ = raft.propose(Bytes::copy_from_slice(&number.to_le_bytes()));
        });
    }

    /// A leader proposes a change of what it leads, one that keeps enough voters.
    fn propose_change(&mut self, id: usize) {
        let (rng, count) = (&mut self.rng, self.nodes.len());
        let Some(up) = &mut self.nodes[id].up else { return };
        if up.raft.soft_state().role != RoleKind::Leader {
            return;
        }
        let membership = up.raft.status().membership;
        let proposed = if membership.voters().is_joint() {
            up.raft.propose_conf_change(ConfChangeV2::default())
        } else {
            let mut after = membership.conf_state().voters;
            let mut changes = Vec::new();
            for _ in 0..rng.pick(&[1, 1, 2, 5]) {
                let node = NodeId(1 + rng.below(count) as u64);
                let kind = match membership.is_voter(node) {
                    true => rng.pick(&[ChangeKind::RemoveNode, ChangeKind::AddLearnerNode, ChangeKind::UpdateNode]),
                    false => rng.pick(&[ChangeKind::AddNode, ChangeKind::AddNode, ChangeKind::AddLearnerNode]),
                };
                if kind == ChangeKind::UpdateNode {
                    changes.push(MemberChange { kind, node });
                    continue;
                }
                after.retain(|id| *id != node || kind == ChangeKind::AddNode);
                if after.len() >= self.fewest_voters {
                    changes.push(MemberChange { kind, node });
                }
            }
            match changes[..] {
                [] => return,
                [change] if rng.percent(50) => {
                    up.raft.propose_conf_change(ConfChangeV1 { id: 1, change, context: Bytes::new() })
                }
                _ => {
                    let transition =
                        rng.pick(&[Transition::Auto, Transition::JointImplicit, Transition::JointExplicit]);
                    up.raft.propose_conf_change(ConfChangeV2 { transition, changes, context: Bytes::new() })
                }
            }
        };
        // As with any proposal, a refusal is an answer.
        let _ = proposed;
    }

    fn deliver_some(&mut self) {
        for _ in 0..1 + self.rng.below(4) {
            match self.network.arrive(&mut self.rng) {
                Some(Arrival::Delivered(message)) => self.deliver(message),
                Some(Arrival::Lost(message)) => self.report_snapshot(&message, false),
                None => {}
            }
        }
    }

    pub(super) fn deliver(&mut self, message: Message) {
        let to = message.to.0 as usize - 1;
        let Some(up) = self.nodes[to].up.as_mut() else {
            self.report_snapshot(&message, false);
            return;
        };
        let snapshot = matches!(message.body, Body::Snapshot(_)).then_some((message.from, message.to));
        match up.raft.step(message) {
            Ok(()) | Err(StepError::PeerNotFound | StepError::Propose(_)) => {}
            Err(error @ StepError::Malformed(_)) => panic!("{error}"),
        }
        if let Some((from, to)) = snapshot {
            self.with_raft(from.0 as usize - 1, |raft| raft.report_snapshot(to, true));
        }
        self.look_at(to);
    }

    fn report_snapshot(&mut self, message: &Message, arrived: bool) {
        if let Body::Snapshot(_) = message.body {
            let to = message.to;
            self.with_raft(message.from.0 as usize - 1, |raft| raft.report_snapshot(to, arrived));
        }
    }

    pub(super) fn look_at(&mut self, id: usize) {
        if let Some(up) = &self.nodes[id].up {
            self.checker.look(&up.raft);
        }
    }

    /// Lets everything that is owed happen, without time going by.
    pub(super) fn settle(&mut self) {
        for _ in 0..200 {
            for id in 0..self.nodes.len() {
                let node = &mut self.nodes[id];
                let sent = node.take_ready(&mut self.checker);
                self.network.send(sent);
                self.network.send(node.save_all(&mut self.checker));
                node.apply(usize::MAX, &mut self.checker);
                self.look_at(id);
            }
            if self.network.is_empty() {
                return;
            }
            for message in self.network.take_all() {
                self.deliver(message);
            }
        }
    }

    /// The members at the start.
    pub(super) fn first_conf(&self) -> &ConfState {
        &self.first_conf
    }

    pub fn tally(&self) -> Tally {
        Tally {
            steps: self.steps,
            proposed: self.proposals as usize,
            committed: self.checker.last_committed().0 as usize,
            acknowledged: self.checker.acknowledged(),
            reads_answered: self.checker.reads_answered(),
            snapshots_installed: self.checker.snapshots_installed,
            changes: self.checker.changes,
            leaders: self.checker.leaders(),
            crashes: self.crashes,
            leaderless_timeouts: self.mended.leader_timeouts,
            undecided_timeouts: self.mended.decided_timeouts,
        }
    }
}
