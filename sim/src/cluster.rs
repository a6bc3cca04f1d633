//! The members and the network between them: one step of one member after the other, in the order that the dice say.
//!
//! What holds at every step: one leader a term, one entry at each place of the log, and no member that goes on with a disk
//! that has failed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use ferrite_member::bootstrap::{Beginning, Ids, NewCluster, StartError};
use ferrite_member::{Cut, Input, transfer};
use ferrite_raft::{Body, Message, NodeId, Verdict, VoteKind};
use ferrite_state::Response;
use ferrite_state::answer::PutAnswer;
use ferrite_state::command::Proposal;
use ferrite_storage::store::StoreSnapshot;
use ferrite_storage::vfs::lying::Dice;

use crate::defect::Defect;
use crate::engine::Stopped;
use crate::finding::{Check, Story, Violation};
use crate::ledger::Ledger;
use crate::network::{Network, Weather};
use crate::node::{Circumstances, Errand, Happening, Life, Node, Step, Ticket};

const TOKEN: &str = "etcd-cluster";
/// One of so many votes is followed by a power failure.
const VOTERS_FORGET: u64 = 8;

/// What a store has cut, with the node, its life, and Raft's message.
type Sliced = (usize, u64, Message, StoreSnapshot);

/// A whole cluster, with its time and its chances.
pub(crate) struct Cluster {
    pub now: Duration,
    pub dice: Dice,
    pub story: Story,
    pub nodes: Vec<Node>,
    pub network: Network,
    pub ledger: Ledger,
    by_id: BTreeMap<u64, usize>,
    circumstances: Circumstances,
    /// Requests whose tickets a defect looks for, by request id.
    watched: BTreeMap<u64, Ticket>,
    /// What stores have cut for snapshots.
    cuts: Arc<Mutex<Vec<Sliced>>>,
    /// Snapshots that arrived.
    pub snapshots: usize,
    /// Kept for their memory.
    able: Vec<(usize, Step)>,
}

impl Cluster {
    /// A new cluster of so many members, all running.
    pub fn new(seed: u64, members: usize, circumstances: Circumstances) -> Result<Cluster, Violation> {
        let mut cluster = Cluster {
            now: Duration::ZERO,
            dice: Dice::new(seed),
            story: Story::default(),
            nodes: Vec::new(),
            network: Network::new(),
            ledger: Ledger::default(),
            by_id: BTreeMap::new(),
            circumstances,
            watched: BTreeMap::new(),
            cuts: Arc::default(),
            snapshots: 0,
            able: Vec::new(),
        };
        let peers: Vec<(String, Vec<String>)> = (1..=members).map(|number| (name(number), peer_urls(number))).collect();
        for number in 1..=members {
            let new = NewCluster { members: peers.clone(), own_name: name(number), token: TOKEN.to_owned() };
            let ids = new.ids().expect("each name and each URL is there once");
            cluster.add(Node::new(ids, name(number), Beginning::New(new)));
        }
        for number in 0..members {
            cluster.start(number)?;
        }
        Ok(cluster)
    }

    fn add(&mut self, node: Node) {
        self.by_id.insert(node.id().0, self.nodes.len());
        self.nodes.push(node);
    }

    /// A member that the running cluster has added: it is started.
    pub fn join(&mut self, id: NodeId) -> Result<(), Violation> {
        let ids = Ids { member: id, cluster: self.nodes[0].ids.cluster };
        let number = self.nodes.len();
        self.tell(&format_args!("m{} ({id:x}) joins", number + 1));
        self.add(Node::new(ids, name(number + 1), Beginning::Join(ids)));
        self.start(number)
    }

    pub fn tell(&mut self, what: &dyn std::fmt::Display) {
        self.story.tell(self.now, what);
    }

    /// The number of a node.
    pub fn number_of(&self, id: NodeId) -> Option<usize> {
        self.by_id.get(&id.0).copied()
    }

    /// The running node with this number.
    pub fn life(&self, number: usize) -> Option<&Life> {
        self.nodes[number].life.as_ref()
    }

    /// One that is awake, and leads as far as it knows.
    pub fn leader(&self) -> Option<usize> {
        let leads = |node: &Node| {
            node.is_awake(self.now) && node.life.as_ref().is_some_and(|life| life.leader() == Some(node.id()))
        };
        // After a partition there may be two: the one of the later term.
        let leaders = (0..self.nodes.len()).filter(|number| leads(&self.nodes[*number]));
        leaders.max_by_key(|number| self.life(*number).map(|life| life.engine.member().term()))
    }

    /// Some member that has not been removed.
    pub fn any_node(&mut self) -> usize {
        let there: Vec<usize> = (0..self.nodes.len()).filter(|number| !self.nodes[*number].is_retired).collect();
        there[self.dice.below(there.len() as u64) as usize]
    }

    /// The power of a member goes.
    pub fn crash(&mut self, number: usize, down: Duration) {
        let node = &mut self.nodes[number];
        if node.life.is_none() {
            return;
        }
        node.crash(&mut self.dice);
        (node.down_until, node.asleep_until) = (self.now + down, Duration::ZERO);
        self.tell(&format_args!("m{} loses its power for {down:?}", number + 1));
    }

    /// The process of a member is killed.
    pub fn kill(&mut self, number: usize, down: Duration) {
        let node = &mut self.nodes[number];
        if node.life.is_none() {
            return;
        }
        node.kill();
        (node.down_until, node.asleep_until) = (self.now + down, Duration::ZERO);
        self.hang_up(number);
        self.tell(&format_args!("m{} is killed for {down:?}", number + 1));
    }

    /// The process of a member has ended: its kernel tells the others.
    fn hang_up(&mut self, number: usize) {
        let Cluster { nodes, network, dice, now, .. } = self;
        let gone = nodes[number].id();
        for other in nodes.iter().filter(|node| node.id() != gone) {
            network.hang_up(dice, *now, gone, other.id());
        }
    }

    fn start(&mut self, number: usize) -> Result<(), Violation> {
        let Cluster { nodes, dice, now, circumstances, .. } = self;
        match nodes[number].start(*circumstances, *now, dice) {
            Ok(()) => Ok(()),
            // No room to start: it is tried again when there may be some.
            Err(Stopped::Start(error)) if nodes[number].may_stop() => {
                nodes[number].down_until = *now + Duration::from_secs(1);
                self.tell(&format_args!("m{} cannot start: {error}", number + 1));
                Ok(())
            }
            Err(stopped) => Err(self.has_stopped(number, &stopped)),
        }
    }

    fn has_stopped(&self, number: usize, stopped: &Stopped) -> Violation {
        let is_start = matches!(stopped, Stopped::Start(StartError::Raft(_)));
        let how = if is_start { "does not start" } else { "stops" };
        Violation::new(Check::Stopped, format!("m{} {how}: {stopped}", number + 1))
    }

    /// A member finds out that it has been removed.
    pub fn retire(&mut self, number: usize) {
        if !self.nodes[number].is_retired {
            self.nodes[number].retire();
            self.hang_up(number);
            self.tell(&format_args!("m{} has been removed, and ends", number + 1));
        }
    }

    /// Starts those whose time has come.
    fn recover(&mut self) -> Result<(), Violation> {
        for number in 0..self.nodes.len() {
            let node = &self.nodes[number];
            if node.life.is_none() && !node.is_retired && node.down_until <= self.now {
                self.tell(&format_args!("m{} starts", number + 1));
                self.start(number)?;
            }
        }
        Ok(())
    }

    /// Who has ended is known to those who were connected, unless it runs again when they dial.
    fn deliver_hang_ups(&mut self) {
        for (gone, to) in self.network.hung_up(self.now) {
            let is_back = self.number_of(gone).is_some_and(|number| self.nodes[number].life.is_some());
            if !is_back && let Some(life) = self.number_of(to).and_then(|number| self.nodes[number].life.as_mut()) {
                life.engine.bring(Input::Gone(gone));
            }
        }
    }

    /// Messages that have arrived are handed on, unless the receiver knows that the sender was removed: then that one is
    /// told, and ends.
    fn deliver(&mut self) {
        for (message, database) in self.network.arrived(self.now) {
            self.story.hear(message.from.0 ^ message.to.0.rotate_left(1) ^ message.term.0.rotate_left(2));
            let Some(number) = self.number_of(message.to) else { continue };
            if matches!(message.body, Body::Snapshot(_)) {
                self.deliver_snapshot(number, message, &database);
                continue;
            }
            let Some(life) = self.nodes[number].life.as_mut() else { continue };
            if !life.engine.shared.tables().cluster.is_removed(message.from) {
                life.receive(message);
            } else if let Some(removed) = self.number_of(message.from) {
                self.retire(removed);
            }
        }
    }

    /// A snapshot has arrived, or without its database only the news that it will not. Its sender is told.
    fn deliver_snapshot(&mut self, number: usize, message: Message, database: &[Bytes]) {
        let (from, to) = (message.from, message.to);
        let is_awake = self.nodes[number].is_awake(self.now);
        let arrived = is_awake && !database.is_empty() && self.nodes[number].receive_snapshot(message, database);
        self.snapshots += usize::from(arrived);
        let how = if arrived { "arrives" } else { "does not arrive" };
        self.tell(&format_args!("a snapshot for m{} {how}", number + 1));
        if let Some(sender) = self.number_of(from).and_then(|sender| self.nodes[sender].life.as_mut()) {
            sender.engine.bring(Input::SnapshotSent { to, arrived });
        }
    }

    /// A snapshot is to be sent: first the store says what is in it.
    fn cut(&mut self, number: usize, message: Message) {
        let cuts = self.cuts.clone();
        let life = self.nodes[number].lives;
        let take = move |snapshot| cuts.lock().expect("nobody panics with it").push((number, life, message, snapshot));
        if let Some(life) = self.nodes[number].life.as_mut() {
            life.engine.cut(Cut::new(take));
        }
    }

    /// Sends what stores have cut.
    fn send_cuts(&mut self) {
        let cuts = std::mem::take(&mut *self.cuts.lock().expect("nobody panics with it"));
        for (number, lives, message, snapshot) in cuts {
            if self.nodes[number].lives != lives || self.nodes[number].life.is_none() {
                continue;
            }
            let (message, mut plan) = transfer(&message, snapshot).expect("the store's rows are ours");
            while !plan.step(usize::MAX) {}
            let mut export = plan.finish();
            let mut database = Vec::new();
            while let Some(piece) = export.next_piece().expect("a whole disk can be read") {
                database.push(piece);
            }
            let to = message.to;
            if !self.network.send_snapshot(&mut self.dice, self.now, message, database)
                && let Some(life) = self.nodes[number].life.as_mut()
            {
                life.engine.bring(Input::SnapshotSent { to, arrived: false });
            }
        }
    }

    /// One step of a member that can make one: its number, and what others have to do about it. Nothing if nobody can.
    pub fn turn(&mut self, happened: &mut Vec<Happening>) -> Result<Option<usize>, Violation> {
        self.deliver();
        self.deliver_hang_ups();
        self.recover()?;
        self.able.clear();
        for (number, node) in self.nodes.iter().enumerate() {
            self.able.extend(node.steps(self.now).map(|step| (number, step)));
        }
        if self.able.is_empty() {
            return Ok(None);
        }
        let (number, step) = self.able[self.dice.below(self.able.len() as u64) as usize];
        let node = &mut self.nodes[number];
        let stepped = node.step(step, self.now, &mut self.dice, happened);
        match stepped {
            Ok(()) => {}
            Err(stopped) if node.may_stop() => {
                let down = Duration::from_millis(self.dice.below(3000));
                self.tell(&format_args!("m{} stops: {stopped}", number + 1));
                // Whoever starts it again may be quicker than what has hurt its disk.
                if self.dice.once_in(2) {
                    self.kill(number, down);
                } else {
                    self.crash(number, down);
                    self.hang_up(number);
                }
            }
            Err(stopped) => return Err(self.has_stopped(number, &stopped)),
        }
        if self.nodes[number].has_swallowed_a_failure() {
            let what = format!("m{} goes on although its disk has failed", number + 1);
            return Err(Violation::new(Check::Swallowed, what));
        }
        self.take_note(number, happened)?;
        self.send_cuts();
        self.now += Duration::from_micros(5 + self.dice.below(100));
        Ok(Some(number))
    }

    /// What the cluster itself has to do about a step; the rest is left.
    fn take_note(&mut self, number: usize, happened: &mut Vec<Happening>) -> Result<(), Violation> {
        let mut early = Vec::new();
        let mut sent = Vec::new();
        for happening in happened.iter() {
            match happening {
                Happening::Applying(entries) => self.ledger.applies(&self.nodes[number].name, entries, self.now)?,
                Happening::Saving(entries) if self.circumstances.defect == Some(Defect::AcknowledgedWhenSaved) => {
                    let ids = entries.iter().filter_map(|entry| Proposal::parse(entry).ok());
                    early.extend(ids.filter_map(|proposal| self.watched.remove(&proposal.id.0)));
                }
                _ => {}
            }
        }
        for happening in happened.extract_if(.., |happening| matches!(happening, Happening::Sent(_))) {
            if let Happening::Sent(message) = happening {
                sent.push(message);
            }
        }
        let Some(life) = &self.nodes[number].life else { return Ok(()) };
        if happened.iter().any(|happening| matches!(happening, Happening::Published | Happening::Installed)) {
            self.ledger.published(&life.engine.shared.keyspace());
        }
        let revision = life.engine.shared.keyspace().revision() as i64 + 1;
        let answer = || Ok(Response::Put(PutAnswer { revision, prev_kv: None }));
        happened.extend(early.into_iter().map(|ticket| Happening::Answered(ticket, answer())));
        let (id, term) = (self.nodes[number].id(), life.engine.member().term());
        let knows_for = self.now.saturating_sub(life.knows_since);
        if life.leader() == Some(id) && self.ledger.leads(term, id, self.now, knows_for)? {
            self.tell(&format_args!("m{} leads term {term}", number + 1));
        }
        sent.into_iter().for_each(|message| self.send(number, message));
        if self.nodes.iter().any(Node::disk_is_full) {
            self.ledger.delays.disk_is_full(self.now);
        }
        Ok(())
    }

    fn send(&mut self, number: usize, message: Message) {
        let to = message.to;
        if matches!(message.body, Body::Snapshot(_)) {
            return self.cut(number, message);
        }
        let is_vote = matches!(message.body, Body::VoteAnswer { kind: VoteKind::Binding, verdict: Verdict::Granted });
        if !self.network.send(&mut self.dice, self.now, message)
            && self.dice.once_in(2)
            && let Some(life) = self.nodes[number].life.as_mut()
        {
            life.engine.bring(Input::Unreachable(to));
        }
        // Whoever has voted must know it when it comes back.
        if is_vote && self.circumstances.crashes && self.dice.once_in(VOTERS_FORGET) {
            let down = Duration::from_millis(self.dice.below(50));
            self.crash(number, down);
        }
    }

    /// Puts a request to a running member.
    pub fn propose(
        &mut self,
        number: usize,
        ticket: Ticket,
        request: ferrite_proto::etcdserverpb::InternalRaftRequest,
    ) {
        let Some(life) = self.nodes[number].life.as_mut() else { return };
        let id = life.engine.next_id();
        match (self.circumstances.defect, ticket.errand) {
            (Some(Defect::AcknowledgedWhenSaved), Errand::Request(_)) if request.put.is_some() => {
                self.watched.insert(id.0, ticket.clone());
            }
            _ => {}
        }
        life.engine.propose(id, request, ticket);
    }

    /// Somebody wants to know that a running member is not behind. True: it is not.
    pub fn confirm(&mut self, number: usize, ticket: Ticket) -> bool {
        let id = self.nodes[number].id();
        let Some(life) = self.nodes[number].life.as_mut() else { return false };
        let leads = life.leader() == Some(id);
        let is_lease = matches!(ticket.errand, Errand::Lease(..));
        match self.circumstances.defect {
            Some(Defect::LeaderReadsAtOnce) if leads && !is_lease => true,
            Some(Defect::FollowerReadsAtOnce) if !is_lease => true,
            Some(Defect::RenewedByOldLeader) if leads && is_lease => true,
            _ => life.confirm(ticket),
        }
    }

    pub fn defect(&self) -> Option<Defect> {
        self.circumstances.defect
    }

    /// When something happens next by itself.
    pub fn next_event(&self) -> Duration {
        let starts = self.nodes.iter().filter(|node| node.life.is_none() && !node.is_retired);
        let starts = starts.map(|node| node.down_until);
        let steps = self.nodes.iter().filter_map(Node::next_step);
        starts.chain(steps).chain(self.network.next_arrival()).min().unwrap_or(Duration::MAX)
    }

    /// All faults end: nothing is lost, members start, wake, and have whole disks.
    pub fn calm_down(&mut self) {
        self.network.heal();
        self.network.weather = Weather::FINE;
        for node in &mut self.nodes {
            node.asleep_until = Duration::ZERO;
            node.down_until = Duration::ZERO;
            node.mend_disk();
        }
    }
}

/// The name of a member, counted from 1.
fn name(number: usize) -> String {
    format!("m{number}")
}

/// Where others reach a member, counted from 1.
pub(crate) fn peer_urls(number: usize) -> Vec<String> {
    vec![format!("http://m{number}:2380")]
}
