//! A small cluster in one thread from one seed: messages are lost, repeated and reordered, nodes crash and lose what they
//! had not saved, members come and go, snapshots replace logs. `check.rs` says what must hold all the time; at the end
//! everything is mended, and the cluster must come to one state.
//!
//! A failure names its seed: `RAFT_SEED=n` runs that one alone, `RAFT_SEEDS=n` so many.

mod check;
mod node;
mod rng;

use bytes::Bytes;
use ferrite_raft::{
    Body, ChangeKind, ConfChangeV1, ConfChangeV2, ConfState, Config, MemberChange, MemoryLog, Message, NodeId,
    RoleKind, StepError, StorageWrites, Transition,
};

use crate::check::{Checker, logs_match};
use crate::node::Node;
use crate::rng::Rng;

/// How many things happen in a run before everything is mended.
const STEPS: usize = 6000;
/// How many ticks a mended cluster has to agree.
const MENDING_TICKS: usize = 400;

struct Cluster {
    rng: Rng,
    nodes: Vec<Node>,
    network: Vec<Message>,
    checker: Checker,
    /// How many messages of a hundred are lost.
    loss: u64,
    changes_members: bool,
    proposals: u64,
}

impl Cluster {
    fn new(seed: u64) -> Cluster {
        let mut rng = Rng::new(seed);
        let count = 3 + rng.below(3);
        let voters: Vec<NodeId> = (1..=count).map(NodeId).collect();
        let writes = if rng.percent(80) { StorageWrites::Asynchronous } else { StorageWrites::Synchronous };
        let config = Config {
            pre_vote: rng.percent(50),
            check_quorum: rng.percent(50),
            max_size_per_message: *rng.pick(&[0, 40, 1 << 20]),
            max_committed_size: *rng.pick(&[1, 60, 1 << 20]),
            max_uncommitted_size: *rng.pick(&[200, u64::MAX]),
            max_inflight_messages: *rng.pick(&[1, 3, 256]),
            step_down_on_removal: rng.percent(50),
            writes,
            ..Config::new(NodeId(1))
        };
        let new_node = |id: &NodeId| {
            let mut disk = MemoryLog::new();
            disk.set_conf(ConfState { voters: voters.clone(), ..ConfState::default() });
            Node::new(Config { id: *id, seed: seed * 1000 + id.0 * 100, ..config.clone() }, disk)
        };
        let nodes = voters.iter().map(new_node).collect();
        Cluster {
            nodes,
            network: Vec::new(),
            checker: Checker::default(),
            loss: *rng.pick(&[0, 5, 30]),
            changes_members: rng.percent(60),
            proposals: 0,
            rng,
        }
    }

    fn run(&mut self) {
        for step in 0..STEPS {
            let id = self.rng.below(self.nodes.len() as u64) as usize;
            self.happen(id);
            self.look_at(id);
            if step % 50 == 0 {
                self.look_at_logs();
            }
        }
        self.mend();
    }

    /// One thing happens to a node.
    fn happen(&mut self, id: usize) {
        let Cluster { rng, nodes, checker, .. } = self;
        let node = &mut nodes[id];
        if node.up.is_none() {
            if rng.percent(20) {
                node.start();
            }
            return;
        }
        match rng.below(1000) {
            0..300 => {
                let sent = node.take_ready(checker);
                self.network.extend(sent);
            }
            300..600 => self.deliver_some(),
            600..740 => {
                let sent = node.save();
                self.network.extend(sent);
            }
            740..820 => {
                let count = 1 + rng.below(3) as usize;
                node.apply(count, checker);
            }
            820..880 => self.with_raft(id, |raft| raft.tick()),
            880..960 => self.propose(id),
            960..975 => {
                let context = Bytes::copy_from_slice(&checker.ask());
                self.with_raft(id, |raft| raft.read_index(context));
            }
            975..980 if self.changes_members => self.propose_change(id),
            980..983 => {
                let to = NodeId(1 + rng.below(self.nodes.len() as u64));
                self.with_raft(id, |raft| raft.transfer_leader(to));
            }
            983..986 => {
                let other = NodeId(1 + rng.below(self.nodes.len() as u64));
                self.with_raft(id, |raft| raft.report_unreachable(other));
            }
            986..988 => self.with_raft(id, |raft| raft.forget_leader()),
            988..993 => {
                let keep = rng.below(8);
                node.compact(keep);
            }
            993..996 => node.crash(rng),
            996..997 => self.with_raft(id, |raft| raft.campaign()),
            _ => {}
        }
    }

    fn with_raft(&mut self, id: usize, f: impl FnOnce(&mut ferrite_raft::RawNode<MemoryLog>)) {
        if let Some(up) = &mut self.nodes[id].up {
            f(&mut up.raft);
        }
    }

    fn propose(&mut self, id: usize) {
        self.proposals += 1;
        let data = Bytes::from(format!("proposal {}", self.proposals));
        // A refusal is an answer too: nobody was promised anything.
        self.with_raft(id, |raft| {
            let _ = raft.propose(data);
        });
    }

    /// A leader proposes a change of what it leads, one that keeps two voters.
    fn propose_change(&mut self, id: usize) {
        let (rng, count) = (&mut self.rng, self.nodes.len() as u64);
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
            for _ in 0..1 + rng.below(3) {
                let node = NodeId(1 + rng.below(5));
                let kind = *rng.pick(&[ChangeKind::AddNode, ChangeKind::RemoveNode, ChangeKind::AddLearnerNode]);
                let known = node.0 <= count || kind == ChangeKind::RemoveNode;
                after.retain(|id| *id != node || kind == ChangeKind::AddNode);
                if after.len() >= 2 && known {
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
                        *rng.pick(&[Transition::Auto, Transition::JointImplicit, Transition::JointExplicit]);
                    up.raft.propose_conf_change(ConfChangeV2 { transition, changes, context: Bytes::new() })
                }
            }
        };
        // As with any proposal, a refusal is an answer.
        let _ = proposed;
    }

    /// Takes a few messages from anywhere in the network.
    fn deliver_some(&mut self) {
        for _ in 0..6 {
            if self.network.is_empty() {
                return;
            }
            let place = self.rng.below(self.network.len() as u64) as usize;
            // Mostly in order, as a connection would have it.
            let place = if self.rng.percent(80) { 0 } else { place };
            let message = self.network.remove(place);
            if self.rng.percent(self.loss) {
                self.report_snapshot(&message, false);
                continue;
            }
            if self.rng.percent(3) {
                self.network.push(message.clone());
            }
            self.deliver(message);
        }
    }

    fn deliver(&mut self, message: Message) {
        let to = message.to.0 as usize - 1;
        let Some(up) = self.nodes.get_mut(to).and_then(|node| node.up.as_mut()) else {
            self.report_snapshot(&message, false);
            return;
        };
        match up.raft.step(message.clone()) {
            Ok(()) | Err(StepError::PeerNotFound | StepError::Propose(_)) => {}
            Err(error @ StepError::Malformed(_)) => panic!("{error}: {message:?}"),
        }
        self.report_snapshot(&message, true);
        self.look_at(to);
    }

    fn report_snapshot(&mut self, message: &Message, arrived: bool) {
        if let Body::Snapshot(_) = message.body {
            self.checker.snapshots_taken += usize::from(arrived);
            let to = message.to;
            self.with_raft(message.from.0 as usize - 1, |raft| raft.report_snapshot(to, arrived));
        }
    }

    fn look_at(&mut self, id: usize) {
        if let Some(up) = &self.nodes[id].up {
            self.checker.leader(&up.raft);
            self.checker.installed(up.raft.id(), up.applied, up.state);
        }
    }

    fn look_at_logs(&self) {
        let logs: Vec<&MemoryLog> =
            self.nodes.iter().filter_map(|node| node.up.as_ref()).map(|up| up.raft.log()).collect();
        for (place, one) in logs.iter().enumerate() {
            logs[..place].iter().for_each(|other| logs_match(one, other));
        }
    }

    /// Everything is mended: the members must agree, and take one more proposal.
    fn mend(&mut self) {
        for node in &mut self.nodes {
            if node.up.is_none() {
                node.start();
            }
        }
        let last = "the last proposal";
        for _ in 0..MENDING_TICKS {
            for id in 0..self.nodes.len() {
                // A snapshot from before a member was added cannot be given to it: make a new one.
                self.nodes[id].compact(1000);
                // Whoever is no member may not know it, and would go on disturbing the others.
                let node = NodeId(id as u64 + 1);
                if self.is_member(node) {
                    self.with_raft(id, |raft| raft.tick());
                }
            }
            self.settle();
            if self.checker.has_applied(last.as_bytes()) {
                let end = self.checker.last_applied();
                let behind = |node: &Node| node.up.as_ref().is_none_or(|up| up.applied < end);
                if !self.nodes.iter().any(|node| self.is_member(node.config.id) && behind(node)) {
                    self.look_at_logs();
                    return;
                }
            } else {
                // One that was removed may still take itself for the leader of an old term.
                let up = self.nodes.iter_mut().filter_map(|node| node.up.as_mut());
                let leaders = up.filter(|up| up.raft.soft_state().role == RoleKind::Leader);
                let leader = leaders.max_by_key(|up| up.raft.hard_state().term);
                if let Some(up) = leader {
                    let _ = up.raft.propose(Bytes::from(last));
                    self.settle();
                }
            }
        }
        let nodes = self.nodes.iter().filter_map(|node| node.up.as_ref()).map(|up| up.raft.status());
        panic!("the mended cluster does not agree: {:#?}", nodes.collect::<Vec<_>>());
    }

    fn is_member(&self, id: NodeId) -> bool {
        self.checker.conf().is_none_or(|conf| {
            let lists = [&conf.voters, &conf.voters_outgoing, &conf.learners];
            lists.iter().any(|ids| ids.contains(&id))
        })
    }

    /// Lets everything that is owed happen, without time going by.
    fn settle(&mut self) {
        for _ in 0..200 {
            for node in &mut self.nodes {
                let sent = node.take_ready(&mut self.checker);
                self.network.extend(sent);
                self.network.extend(node.save_all());
                node.apply(usize::MAX, &mut self.checker);
            }
            if self.network.is_empty() {
                return;
            }
            for message in std::mem::take(&mut self.network) {
                self.deliver(message);
            }
        }
    }
}

fn number_from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

#[test]
fn a_cluster_keeps_its_promises_whatever_happens() {
    let first = number_from_env("RAFT_SEED");
    let seeds = match first {
        Some(seed) => seed..seed + 1,
        None => 1..1 + number_from_env("RAFT_SEEDS").unwrap_or(150),
    };
    let (mut proposed, mut applied, mut reads, mut snapshots) = (0, 0, 0, 0);
    for seed in seeds.clone() {
        let run = std::panic::catch_unwind(|| {
            let mut cluster = Cluster::new(seed);
            cluster.run();
            let checker = &cluster.checker;
            (cluster.proposals, checker.last_applied().0, checker.reads_answered, checker.snapshots_taken)
        });
        let Ok(run) = run else { panic!("failed with RAFT_SEED={seed}") };
        proposed += run.0;
        applied += run.1;
        reads += run.2;
        snapshots += run.3;
    }
    println!("{proposed} proposed, {applied} applied, {reads} reads answered, {snapshots} snapshots taken");
    // A run in which nothing happens proves nothing.
    let runs = seeds.end - seeds.start;
    assert!(first.is_some() || (applied > 20 * runs && reads as u64 > runs && snapshots as u64 > runs / 5));
}
