//! The world: nodes, network, clients and faults, one step after the other.
//!
//!   turn: messages that have arrived ▸ faults that are due ▸ clients that want something ▸ one step of one node,
//!         or, if nobody has anything to do, on to the next time at which somebody has
//!
//! A step takes a little time. At the end all faults stop, and the cluster has to come to rest: then its members must be
//! equal, and the history must be one that a single machine could have had.

use std::collections::BTreeMap;
use std::time::Duration;

use ferrite_proto::etcdserverpb as pb;
use ferrite_proto::mvccpb::KeyValue;
use ferrite_raft::NodeId;
use ferrite_state::Response;
use ferrite_state::answer::OpAnswer;
use ferrite_storage::vfs::lying::Dice;
use prost::Message as _;

use crate::client::{Event, History, Operation, Outcome, Value};
use crate::engine::Stopped;
use crate::linearizable;
use crate::network::{Network, Weather};
use crate::node::{Happening, Node, Ticket};

/// What may go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults {
    pub network: bool,
    pub crashes: bool,
    pub pauses: bool,
}

impl Faults {
    pub const ALL: Faults = Faults { network: true, crashes: true, pauses: true };
    pub const NONE: Faults = Faults { network: false, crashes: false, pauses: false };
}

/// What is run: everything follows from it.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    pub seed: u64,
    pub members: usize,
    /// Simulated time with faults and clients. Coming to rest takes some seconds more.
    pub length: Duration,
    pub faults: Faults,
}

/// Something that must not be.
#[derive(Debug, thiserror::Error)]
#[error("seed {seed}, {members} members, at {at:?}: {what}\n{story}")]
pub struct Finding {
    pub seed: u64,
    pub members: usize,
    pub at: Duration,
    pub what: String,
    /// The last things that happened.
    pub story: String,
}

/// Clients that ask one thing after the other.
const CLIENTS: usize = 6;
const KEYS: u64 = 5;
/// Clients wait at least so long for an answer; the most patient one twelve times as long.
const PATIENCE: Duration = Duration::from_millis(250);
/// After the faults a leader must be found, and everything applied everywhere, within this time.
const REST: Duration = Duration::from_secs(20);
/// What is kept of the story for who has to understand a finding.
const STORY_LINES: usize = 60;

#[derive(Debug)]
struct Client {
    /// Whom it asks, until that one does not answer.
    node: usize,
    patience: Duration,
    /// The request that it waits for.
    waits: Option<(usize, Ticket)>,
    /// When it asks next.
    next: Duration,
}

/// A whole cluster.
pub struct World {
    run: Run,
    dice: Dice,
    now: Duration,
    nodes: Vec<Node>,
    by_id: BTreeMap<u64, usize>,
    network: Network,
    clients: Vec<Client>,
    history: History,
    next_value: Value,
    next_fault: Duration,
    /// Nodes that do nothing until then.
    paused: BTreeMap<usize, Duration>,
    /// Nodes that are down until then.
    down: BTreeMap<usize, Duration>,
    story: Vec<String>,
}

/// Runs a cluster and checks what came of it.
pub fn run(run: Run) -> Result<World, Box<Finding>> {
    let mut world = World::new(run)?;
    world.live()?;
    world.come_to_rest()?;
    world.check()?;
    Ok(world)
}

impl World {
    fn new(run: Run) -> Result<World, Box<Finding>> {
        let mut world = World {
            run,
            dice: Dice::new(run.seed),
            now: Duration::ZERO,
            nodes: Vec::new(),
            by_id: BTreeMap::new(),
            network: Network::new(),
            clients: Vec::new(),
            history: History::default(),
            next_value: 1,
            next_fault: Duration::from_secs(2),
            paused: BTreeMap::new(),
            down: BTreeMap::new(),
            story: Vec::new(),
        };
        for number in 0..run.members {
            let node = Node::new(number, run.members).map_err(|stopped| world.stopped(number, &stopped))?;
            world.by_id.insert(node.id.0, number);
            world.nodes.push(node);
        }
        for number in 0..CLIENTS {
            let next = Duration::from_millis(world.dice.below(2000));
            let patience = PATIENCE * (1 + 2 * number as u32);
            world.clients.push(Client { node: number % run.members, patience, waits: None, next });
        }
        Ok(world)
    }

    /// What clients asked and were told.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Simulated time.
    pub fn now(&self) -> Duration {
        self.now
    }

    fn finding(&self, what: String) -> Box<Finding> {
        let story = self.story.join("\n");
        Box::new(Finding { seed: self.run.seed, members: self.run.members, at: self.now, what, story })
    }

    fn stopped(&self, number: usize, stopped: &Stopped) -> Box<Finding> {
        self.finding(format!("member {} stopped: {stopped}", number + 1))
    }

    fn tell(&mut self, what: String) {
        if self.story.len() >= STORY_LINES {
            self.story.remove(0);
        }
        self.story.push(format!("{:>10.4} s  {what}", self.now.as_secs_f64()));
    }

    fn live(&mut self) -> Result<(), Box<Finding>> {
        while self.now < self.run.length {
            if self.now >= self.next_fault {
                self.fault()?;
            }
            self.clients_ask();
            self.turn()?;
        }
        Ok(())
    }

    /// One step of a node that can make one, or on to the next event.
    fn turn(&mut self) -> Result<(), Box<Finding>> {
        for message in self.network.arrived(self.now) {
            if let Some(life) = self.by_id.get(&message.to.0).and_then(|number| self.nodes[*number].life.as_mut()) {
                life.receive(message);
            }
        }
        self.recover()?;
        let able: Vec<usize> = (0..self.nodes.len())
            .filter(|number| {
                let is_busy = self.nodes[*number].life.as_ref().is_some_and(|life| life.is_busy(self.now));
                is_busy && !self.paused.contains_key(number)
            })
            .collect();
        if able.is_empty() {
            self.now = self.next_event().max(self.now + Duration::from_micros(1));
            return Ok(());
        }
        let number = able[self.dice.below(able.len() as u64) as usize];
        let life = self.nodes[number].life.as_mut().expect("a node that is able runs");
        let happened = match life.step(&mut self.dice, self.now) {
            Ok(happened) => happened,
            Err(stopped) => return Err(self.stopped(number, &stopped)),
        };
        for happening in happened {
            self.happen(number, happening);
        }
        self.now += Duration::from_micros(5 + self.dice.below(100));
        Ok(())
    }

    fn next_event(&self) -> Duration {
        let turns = self.nodes.iter().enumerate().filter(|(number, _)| !self.paused.contains_key(number));
        let turns = turns.filter_map(|(_, node)| node.life.as_ref().map(|life| life.next_turn()));
        let clients = self.clients.iter().map(|client| match &client.waits {
            Some((request, _)) => self.history.0[*request].asked + client.patience,
            None => client.next,
        });
        let arrival = self.network.next_arrival();
        let others = self.paused.values().chain(self.down.values()).copied();
        turns.chain(clients).chain(arrival).chain(others).chain([self.next_fault]).min().unwrap_or(self.now)
    }

    fn happen(&mut self, number: usize, happening: Happening) {
        match happening {
            Happening::Sent(message) => {
                let to = message.to;
                if !self.network.send(&mut self.dice, self.now, message)
                    && self.dice.once_in(2)
                    && let Some(life) = self.nodes[number].life.as_mut()
                {
                    life.unreachable(to);
                }
            }
            Happening::Answered(ticket, Ok(response)) => {
                let outcome = outcome(&response);
                self.answer(ticket.request, outcome);
            }
            Happening::Read(ticket, Ok(())) => {
                let outcome = self.read(number, self.history.0[ticket.request].key);
                self.answer(ticket.request, outcome);
            }
            Happening::Answered(ticket, Err(_)) | Happening::Refused(ticket, _) | Happening::Read(ticket, Err(_)) => {
                self.answer(ticket.request, Outcome::Refused);
            }
            Happening::Saving(_)
            | Happening::Logged(_)
            | Happening::Checkpointed(_)
            | Happening::Applying(_)
            | Happening::Published
            | Happening::Trimmed(_)
            | Happening::Installed
            | Happening::Closed => {}
        }
    }

    fn read(&self, number: usize, key: u64) -> Outcome {
        let life = self.nodes[number].life.as_ref().expect("it has just answered");
        let request = pb::RangeRequest { key: name(key), ..Default::default() };
        let answer = life.engine.shared.keyspace().range(&request).expect("the newest revision can be read");
        let value = answer.kvs.first().map_or(0, |kv| value_of(kv));
        Outcome::Found { value, revision: answer.revision }
    }

    fn answer(&mut self, request: usize, outcome: Outcome) {
        let is_waited_for = |client: &Client| client.waits.as_ref().is_some_and(|(waits, _)| *waits == request);
        let Some(client) = self.clients.iter().position(is_waited_for) else { return };
        self.history.0[request].answered = Some((self.now, outcome));
        let event = self.history.0[request];
        self.tell(format!("client {client}: key {} {:?} -> {outcome:?}", event.key, event.operation));
        self.rest(client);
    }

    fn rest(&mut self, client: usize) {
        let pause = Duration::from_millis(self.dice.below(80));
        let client = &mut self.clients[client];
        (client.waits, client.next) = (None, self.now + pause);
    }

    /// The client's member does not answer. It may stay with it all the same.
    fn try_another(&mut self, client: usize) {
        self.clients[client].node = self.dice.below(self.nodes.len() as u64) as usize;
        self.rest(client);
    }

    fn clients_ask(&mut self) {
        for client in 0..self.clients.len() {
            match &self.clients[client].waits {
                Some((request, ticket))
                    if self.history.0[*request].asked + self.clients[client].patience <= self.now =>
                {
                    ticket.give_up();
                    self.try_another(client);
                }
                None if self.clients[client].next <= self.now => self.ask(client),
                _ => {}
            }
        }
    }

    fn ask(&mut self, client: usize) {
        let number = self.clients[client].node;
        let Some(life) = self.nodes[number].life.as_mut() else { return self.try_another(client) };
        let key = self.dice.below(KEYS);
        let mut new = || {
            self.next_value += 1;
            self.next_value
        };
        let operation = match self.dice.below(10) {
            0..=3 => Operation::Put(new()),
            4 => Operation::Delete,
            5..=7 => Operation::Get,
            _ => {
                let new = new();
                Operation::Swap { expected: new.saturating_sub(1 + self.dice.below(12)), new }
            }
        };
        let request = self.history.0.len();
        self.history.0.push(Event { key, operation, asked: self.now, answered: None });
        let ticket = Ticket::new(request);
        self.clients[client].waits = Some((request, ticket.clone()));
        if operation == Operation::Get {
            if life.read(ticket.clone()) {
                self.happen(number, Happening::Read(ticket, Ok(())));
            }
            return;
        }
        life.propose(ticket, encoded(key, operation));
    }

    /// Something goes wrong, or right again.
    fn fault(&mut self) -> Result<(), Box<Finding>> {
        self.next_fault = self.now + Duration::from_millis(200 + self.dice.below(3000));
        let Faults { network, crashes, pauses } = self.run.faults;
        let count = self.nodes.len() as u64;
        match self.dice.below(10) {
            0 | 1 if network => {
                self.network.weather = match self.dice.below(3) {
                    0 => Weather::FINE,
                    1 => Weather { lost: 50, doubled: 50, slowest: Duration::from_millis(50) },
                    _ => Weather { lost: 200, doubled: 10, slowest: Duration::from_millis(300) },
                };
                self.tell(format!("the network: {:?}", self.network.weather));
            }
            2 | 3 if network => {
                let (one, other) = (self.dice.below(count) as usize, self.dice.below(count) as usize);
                let (one, other) = (self.nodes[one].id, self.nodes[other].id);
                self.network.cut(one.0, other.0);
                self.tell(format!("nothing gets from {one:x} to {other:x}"));
            }
            4 if network => {
                let victim = self.victim();
                let alone = self.nodes[victim].id;
                for other in self.nodes.iter().map(|node| node.id) {
                    self.network.cut(alone.0, other.0);
                    self.network.cut(other.0, alone.0);
                }
                self.tell(format!("{alone:x} is cut off"));
            }
            5 | 6 => {
                self.network.heal();
                self.tell("all ways are open".to_owned());
            }
            7 if crashes => {
                let number = self.victim();
                if self.nodes[number].life.is_some() {
                    self.crash(number);
                }
            }
            8 | 9 if pauses => {
                let number = self.victim();
                let until = self.now + Duration::from_millis(self.dice.below(6000));
                self.paused.insert(number, until);
                self.tell(format!("member {} sleeps until {until:?}", number + 1));
            }
            _ => {}
        }
        Ok(())
    }

    /// Whom it hits: often one that leads, where it hurts most.
    fn victim(&mut self) -> usize {
        let leads = |node: &Node| node.life.as_ref().is_some_and(|life| life.leader() == Some(node.id));
        let leaders: Vec<usize> = (0..self.nodes.len()).filter(|number| leads(&self.nodes[*number])).collect();
        match leaders.get(self.dice.below(leaders.len().max(1) as u64) as usize) {
            Some(leader) if self.dice.once_in(2) => *leader,
            _ => self.dice.below(self.nodes.len() as u64) as usize,
        }
    }

    fn crash(&mut self, number: usize) {
        self.nodes[number].crash(&mut self.dice);
        let until = self.now + Duration::from_millis(self.dice.below(3000));
        self.down.insert(number, until);
        self.paused.remove(&number);
        self.tell(format!("member {} loses its power until {until:?}", number + 1));
    }

    /// Wakes and starts those whose time has come.
    fn recover(&mut self) -> Result<(), Box<Finding>> {
        self.paused.retain(|_, until| *until > self.now);
        let due: Vec<usize> =
            self.down.extract_if(.., |_, until| *until <= self.now).map(|(number, _)| number).collect();
        for number in due {
            let (members, now) = (self.run.members, self.now);
            if let Err(stopped) = self.nodes[number].start(members, now) {
                return Err(self.stopped(number, &stopped));
            }
            self.tell(format!("member {} starts again", number + 1));
        }
        Ok(())
    }

    /// No more faults and no more clients: the cluster has to find a leader and to apply everything everywhere.
    fn come_to_rest(&mut self) -> Result<(), Box<Finding>> {
        self.network.heal();
        self.network.weather = Weather::FINE;
        self.paused.clear();
        self.down.values_mut().for_each(|until| *until = Duration::ZERO);
        self.next_fault = Duration::MAX;
        self.tell("the faults end".to_owned());
        let give_up = self.now + REST;
        while self.now < give_up {
            self.turn()?;
            for client in 0..self.clients.len() {
                // Nobody asks anything new; who waits may still be answered, or gives up.
                if let Some((request, _)) = self.clients[client].waits
                    && self.history.0[request].asked + self.clients[client].patience <= self.now
                {
                    self.clients[client].waits = None;
                }
                self.clients[client].next = Duration::MAX;
            }
            if self.is_at_rest() {
                return Ok(());
            }
        }
        let nodes: Vec<String> = self.nodes.iter().map(|node| self.describe(node)).collect();
        Err(self.finding(format!("no rest within {REST:?}:\n{}", nodes.join("\n"))))
    }

    fn describe(&self, node: &Node) -> String {
        match &node.life {
            None => format!("{:x}: down", node.id),
            Some(life) => format!(
                "{:x}: leader {:?}, committed {}, applied {}",
                node.id,
                life.leader(),
                life.engine.progress.committed(),
                life.engine.progress.applied()
            ),
        }
    }

    fn is_at_rest(&self) -> bool {
        let lives: Vec<_> = self.nodes.iter().filter_map(|node| node.life.as_ref()).collect();
        let leader = lives.first().and_then(|life| life.leader());
        let applied = lives.first().map(|life| life.engine.progress.applied());
        let version_is_set = |life: &&crate::node::Life| life.engine.shared.tables().cluster.version().is_some();
        lives.len() == self.nodes.len()
            && leader.is_some()
            && self.clients.iter().all(|client| client.waits.is_none())
            && lives.iter().all(|life| {
                life.leader() == leader
                    && Some(life.engine.progress.applied()) == applied
                    && life.engine.progress.committed() == life.engine.progress.applied()
            })
            && lives.iter().all(version_is_set)
    }

    fn check(&self) -> Result<(), Box<Finding>> {
        linearizable::check_revisions(&self.history).map_err(|violation| self.finding(violation.0))?;
        linearizable::check(&self.history).map_err(|violation| self.finding(violation.0))?;
        self.check_members()?;
        self.check_written()
    }

    /// Members hold the same, at every revision.
    fn check_members(&self) -> Result<(), Box<Finding>> {
        let keyspaces: Vec<_> = self
            .nodes
            .iter()
            .filter_map(|node| node.life.as_ref())
            .map(|life| life.engine.shared.keyspace().clone())
            .collect();
        let newest = keyspaces[0].revision() as i64;
        let step = (newest / 50).max(1);
        for revision in (1..=newest).rev().step_by(step as usize) {
            let hashes: Vec<_> = keyspaces.iter().map(|keyspace| keyspace.hash_kv(revision).ok()).collect();
            if hashes.windows(2).any(|pair| pair[0].map(|hash| hash.hash) != pair[1].map(|hash| hash.hash)) {
                return Err(self.finding(format!("members differ at revision {revision}: {hashes:?}")));
            }
        }
        Ok(())
    }

    /// What was acknowledged is there, at the revision that was told.
    fn check_written(&self) -> Result<(), Box<Finding>> {
        let life = self.nodes[0].life.as_ref().expect("all members run");
        for event in &self.history.0 {
            let Some((_, Outcome::Written { revision })) = event.answered else { continue };
            let written = match event.operation {
                Operation::Put(value) | Operation::Swap { new: value, .. } => value,
                Operation::Delete => 0,
                Operation::Get => continue,
            };
            let request = pb::RangeRequest { key: name(event.key), revision, ..Default::default() };
            let found = life
                .engine
                .shared
                .keyspace()
                .range(&request)
                .map(|answer| answer.kvs.first().map_or(0, |kv| value_of(kv)));
            if found.as_ref().ok() != Some(&written) {
                return Err(self.finding(format!("{event:?} was acknowledged, but there is {found:?}")));
            }
        }
        Ok(())
    }
}

fn name(key: u64) -> bytes::Bytes {
    format!("key{key}").into()
}

fn text(value: Value) -> bytes::Bytes {
    format!("{value}").into()
}

fn value_of(kv: &[u8]) -> Value {
    let kv = KeyValue::decode(kv).expect("what is stored is a KeyValue");
    std::str::from_utf8(&kv.value).ok().and_then(|text| text.parse().ok()).expect("a value of ours")
}

fn encoded(key: u64, operation: Operation) -> pb::InternalRaftRequest {
    let mut request = pb::InternalRaftRequest::default();
    match operation {
        Operation::Put(value) => {
            request.put = Some(pb::PutRequest { key: name(key), value: text(value), ..Default::default() });
        }
        Operation::Delete => {
            request.delete_range = Some(pb::DeleteRangeRequest { key: name(key), ..Default::default() });
        }
        Operation::Swap { expected, new } => {
            use pb::request_op::Request;
            let op = |request| vec![pb::RequestOp { request: Some(request) }];
            let put = pb::PutRequest { key: name(key), value: text(new), ..Default::default() };
            let get = pb::RangeRequest { key: name(key), ..Default::default() };
            let compare = match expected {
                0 => pb::Compare {
                    target: pb::compare::CompareTarget::Version as i32,
                    target_union: Some(pb::compare::TargetUnion::Version(0)),
                    key: name(key),
                    ..Default::default()
                },
                _ => pb::Compare {
                    target: pb::compare::CompareTarget::Value as i32,
                    target_union: Some(pb::compare::TargetUnion::Value(text(expected))),
                    key: name(key),
                    ..Default::default()
                },
            };
            request.txn = Some(pb::TxnRequest {
                compare: vec![compare],
                success: op(Request::RequestPut(put)),
                failure: op(Request::RequestRange(get)),
            });
        }
        Operation::Get => unreachable!("reads are not proposed"),
    }
    request
}

fn outcome(response: &Response) -> Outcome {
    match response {
        Response::Put(answer) => Outcome::Written { revision: answer.revision },
        Response::DeleteRange(answer) if answer.deleted == 0 => Outcome::Found { value: 0, revision: answer.revision },
        Response::DeleteRange(answer) => Outcome::Written { revision: answer.revision },
        Response::Txn(answer) => match &answer.levels[0].responses[..] {
            [OpAnswer::Range(range)] => {
                let value = range.kvs.first().map_or(0, |kv| value_of(kv));
                Outcome::Found { value, revision: answer.revision }
            }
            _ => Outcome::Written { revision: answer.revision },
        },
        other => panic!("no request of a client is answered like this: {other:?}"),
    }
}

/// A node's id, for messages.
impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ids: Vec<NodeId> = self.nodes.iter().map(|node| node.id).collect();
        f.debug_struct("World").field("run", &self.run).field("now", &self.now).field("nodes", &ids).finish()
    }
}
