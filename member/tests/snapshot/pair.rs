//! Two members in one thread: one that decides alone, and a learner that is sent everything over a cable that may be
//! unplugged. Snapshots go as whole databases, in pieces.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::mpsc::channel;
use std::time::Duration;

use ferrite_member::bootstrap::{self, Beginning, Directories, Ids, NewCluster, Parts, StartError};
use ferrite_member::{Cut, Input, Limits, MembersProposal, Receiver, Waiter, transfer};
use ferrite_proto::etcdserverpb as pb;
use ferrite_raft::{Body, Index, Message, NodeId, Silent};
use ferrite_sim::engine::{Engine, HEARTBEAT, Happening, SMALL_FILES, Setup, Stopped, TIMING, without_note};
use ferrite_state::clock::Millis;
use ferrite_state::cluster::Member;
use ferrite_state::command::{ConfChange, MemberChange};
use ferrite_state::{Settings, Shared};
use ferrite_storage::vfs::lying::{Dice, LyingDisk, Survival};

/// Small, so that who is away for a while needs a snapshot.
const LIMITS: Limits = Limits { entries: 10, bytes: 1 << 20, catch_up: 2 };

#[derive(Debug)]
pub struct Nobody;

impl Waiter for Nobody {
    fn gone(&self) -> bool {
        false
    }
}

/// A member that runs, and its disk.
pub struct Node {
    pub disk: LyingDisk,
    pub engine: Engine<Nobody, Nobody>,
    ids: Ids,
    pub receiver: Receiver<LyingDisk>,
    now: Duration,
}

fn directories() -> Directories {
    Directories::new(Path::new("/data"), None)
}

impl Node {
    /// Opens what is on a disk. `life` is another number each time.
    pub fn open(disk: &LyingDisk, name: &str, beginning: &Beginning, life: u64) -> Result<Node, StartError> {
        let directories = directories();
        let settings = Settings::default();
        let parts: Parts<LyingDisk> =
            bootstrap::open(disk, &directories, Some(beginning), TIMING, settings, SMALL_FILES, Box::new(Silent))?;
        let ids = parts.ids;
        let setup = Setup { name: name.to_owned(), limits: LIMITS, first_request: life << 20, defect: None };
        let engine = Engine::new(parts, setup);
        let receiver = Receiver::new(disk.clone(), directories, ids, settings, SMALL_FILES.store, engine.place());
        Ok(Node { disk: disk.clone(), engine, ids, receiver, now: Duration::ZERO })
    }

    pub fn id(&self) -> NodeId {
        self.ids.member
    }

    /// One step of somebody who has something to do; false if nobody has.
    fn step(&mut self, dice: &mut Dice, happened: &mut Vec<Happening<Nobody, Nobody>>) -> Result<bool, Stopped> {
        let busy: Vec<_> = self.engine.busy(self.now).collect();
        if busy.is_empty() {
            return Ok(false);
        }
        let owner = busy[dice.below(busy.len() as u64) as usize];
        self.engine.step(owner, self.now, happened)?;
        Ok(true)
    }

    /// A snapshot arrives, in pieces.
    fn receive(&mut self, message: Message, pieces: &[bytes::Bytes]) {
        let Body::Snapshot(snapshot) = &message.body else { panic!("a database comes with a snapshot") };
        let Ok(mut arriving) = self.receiver.begin(&snapshot.meta) else { return };
        // Every other one arrives as if etcd had written it, and goes through a file.
        let pieces = match snapshot.meta.index.0.is_multiple_of(2) {
            true => pieces.to_vec(),
            false => without_note(pieces),
        };
        pieces.iter().for_each(|piece| arriving.write(piece).unwrap());
        let prepared = Box::new(arriving.finish().unwrap());
        self.engine.bring(Input::Snapshot { message, prepared });
    }
}

/// The two of them.
pub struct Pair {
    pub leader: Node,
    pub learner: Option<Node>,
    dice: Dice,
    /// Messages to the learner get lost.
    pub is_unplugged: bool,
    /// Snapshots that the learner went over to.
    pub installed: usize,
    requests: u64,
}

pub fn learner_ids(leader: Ids) -> Ids {
    Ids { member: NodeId(0xbeef), cluster: leader.cluster }
}

fn cluster() -> Beginning {
    Beginning::New(NewCluster {
        members: vec![("one".to_owned(), vec!["http://one:2380".to_owned()])],
        own_name: "one".to_owned(),
        token: "t".to_owned(),
    })
}

impl Pair {
    /// The learner has been added, and has heard nothing yet.
    pub fn new(seed: u64) -> Pair {
        let leader = Node::open(&LyingDisk::new(), "one", &cluster(), 1).unwrap();
        let learner = Node::open(&LyingDisk::new(), "two", &Beginning::Join(learner_ids(leader.ids)), 2).unwrap();
        let mut pair = Pair {
            leader,
            learner: Some(learner),
            dice: Dice::new(seed),
            is_unplugged: true,
            installed: 0,
            requests: 0,
        };
        pair.settle();
        pair.add_learner();
        pair.settle();
        pair
    }

    fn add_learner(&mut self) {
        let (id, peer_urls) = (learner_ids(self.leader.ids).member, vec!["http://two:2380".to_owned()]);
        let member = Member { id, peer_urls, is_learner: true, ..Member::default() };
        let change = ConfChange { node: id, change: MemberChange::Add { member, as_voter: false } };
        let change = change.proposed_as(self.leader.engine.next_id());
        self.leader.engine.bring(Input::ChangeMembers(MembersProposal { change, waiter: Nobody }));
    }

    pub fn propose(&mut self, request: pb::InternalRaftRequest) {
        self.requests += 1;
        let id = self.leader.engine.next_id();
        self.leader.engine.propose(id, request, Nobody);
    }

    /// Puts, deletes, leases and compactions.
    pub fn write(&mut self, count: u64) {
        for _ in 0..count {
            let key = bytes::Bytes::from(format!("key {}", self.dice.below(12)));
            let revision = self.leader.engine.shared.keyspace().revision() as i64;
            let mut request = pb::InternalRaftRequest::default();
            match self.dice.below(10) {
                0 => request.delete_range = Some(pb::DeleteRangeRequest { key, ..Default::default() }),
                1 => request.compaction = Some(pb::CompactionRequest { revision: revision - 3, physical: false }),
                2 => request.lease_grant = Some(pb::LeaseGrantRequest { id: self.requests as i64 + 1, ttl: 1000 }),
                _ => {
                    let value = vec![b'v'; self.dice.below(300) as usize].into();
                    request.put = Some(pb::PutRequest { key, value, ..Default::default() });
                }
            }
            self.propose(request);
            self.settle();
        }
    }

    /// Puts only: each has a revision.
    pub fn put(&mut self, count: u64) {
        for _ in 0..count {
            let key = bytes::Bytes::from(format!("key {}", self.dice.below(12)));
            let put = Some(pb::PutRequest { key, value: "v".into(), ..Default::default() });
            self.propose(pb::InternalRaftRequest { put, ..Default::default() });
            self.settle();
        }
    }

    pub fn compact(&mut self, revision: i64) {
        let compaction = Some(pb::CompactionRequest { revision, physical: false });
        self.propose(pb::InternalRaftRequest { compaction, ..Default::default() });
        self.settle();
    }

    /// The leader's newest.
    pub fn revision(&self) -> i64 {
        self.leader.engine.shared.keyspace().revision() as i64
    }

    /// Lets both do what they have to, and time go on, until the learner has what the leader has, or can have nothing.
    pub fn settle(&mut self) {
        for _ in 0..400 {
            self.work();
            let applied = self.leader.engine.progress.applied();
            let committed = self.leader.engine.progress.committed();
            let follows = self.learner.as_ref().is_none_or(|learner| learner.engine.progress.applied() == applied);
            if self.leader.engine.member().leader().is_some() && applied == committed && (follows || self.is_unplugged)
            {
                return;
            }
            self.leader.now += HEARTBEAT;
            if let Some(learner) = &mut self.learner {
                learner.now += HEARTBEAT;
            }
        }
        panic!("they do not settle");
    }

    /// All that can be done without time going on.
    fn work(&mut self) {
        for _ in 0..20_000 {
            let mut happened = Vec::new();
            let worked = self.leader.step(&mut self.dice, &mut happened).unwrap();
            for happening in happened {
                if let Happening::Sent(message) = happening {
                    self.carry(message);
                }
            }
            let Some(learner) = &mut self.learner else { if worked { continue } else { return } };
            let mut happened = Vec::new();
            let worked_too = learner.step(&mut self.dice, &mut happened).unwrap();
            for happening in happened {
                match happening {
                    Happening::Sent(message) if !self.is_unplugged => self.leader.engine.bring(Input::Message(message)),
                    Happening::Installed => self.installed += 1,
                    _ => {}
                }
            }
            if !worked && !worked_too {
                return;
            }
        }
        panic!("they find no rest");
    }

    fn carry(&mut self, message: Message) {
        let to = message.to;
        let is_snapshot = matches!(message.body, Body::Snapshot(_));
        let arrives = !self.is_unplugged && self.learner.as_ref().is_some_and(|learner| learner.id() == to);
        if is_snapshot && arrives {
            let (message, pieces) = self.transfer(&message);
            self.learner.as_mut().unwrap().receive(message, &pieces);
        } else if arrives {
            self.learner.as_mut().unwrap().engine.bring(Input::Message(message));
        } else {
            self.leader.engine.bring(Input::Unreachable(to));
        }
        if is_snapshot {
            self.leader.engine.bring(Input::SnapshotSent { to, arrived: arrives });
        }
    }

    /// The database as the leader's store has it now.
    pub fn transfer(&mut self, message: &Message) -> (Message, Vec<bytes::Bytes>) {
        let (sender, cut) = channel();
        self.leader.engine.cut(Cut::new(move |snapshot| sender.send(snapshot).unwrap()));
        let snapshot = loop {
            if let Ok(snapshot) = cut.try_recv() {
                break snapshot;
            }
            let now = self.leader.now;
            let mut happened = Vec::new();
            self.leader.engine.step(ferrite_sim::engine::Owner::Store, now, &mut happened).unwrap();
        };
        let (message, mut plan) = transfer(message, snapshot).unwrap();
        while !plan.step(7) {}
        let mut export = plan.finish();
        let mut pieces = Vec::new();
        while let Some(piece) = export.next_piece().unwrap() {
            pieces.push(piece);
        }
        (message, pieces)
    }

    /// Log that was kept for who has just got a snapshot is not any more.
    pub fn wait_for_a_minute(&mut self) {
        self.leader.now += Duration::from_secs(60);
        self.learner.as_mut().unwrap().now += Duration::from_secs(60);
    }

    /// The leader stops and begins again: it knows no more what the learner has.
    pub fn restart_leader(&mut self, life: u64) {
        let disk = self.leader.disk.crash(Survival::Everything);
        self.leader = Node::open(&disk, "one", &cluster(), life).unwrap();
    }

    /// The learner stops, and another one begins on what is left on a disk.
    pub fn restart_learner(&mut self, disk: &LyingDisk, life: u64) -> Result<(), StartError> {
        self.learner = None;
        let beginning = Beginning::Join(learner_ids(self.leader.ids));
        self.learner = Some(Node::open(disk, "two", &beginning, life)?);
        Ok(())
    }

    /// Both hold the same.
    pub fn check(&self) {
        let learner = self.learner.as_ref().unwrap();
        let (one, two) = (&self.leader.engine.shared, &learner.engine.shared);
        assert_eq!(self.leader.engine.progress.applied(), learner.engine.progress.applied());
        assert_eq!(one.keyspace().revision(), two.keyspace().revision());
        assert_eq!(one.keyspace().compacted(), two.keyspace().compacted());
        assert_eq!(one.tables().cluster, two.tables().cluster);
        let revision = one.keyspace().revision() as i64;
        assert_eq!(one.keyspace().hash_kv(revision), two.keyspace().hash_kv(revision));
        let all = pb::RangeRequest { key: "\0".into(), range_end: "\0".into(), ..Default::default() };
        assert_eq!(one.keyspace().range(&all).unwrap(), two.keyspace().range(&all).unwrap());
        let leases = |shared: &Shared| shared.lessor.list(Millis::default()).into_iter().collect::<BTreeSet<_>>();
        assert_eq!(leases(one), leases(two));
    }

    /// What the learner's disk says when it is opened after a crash.
    pub fn learner_applied(&self) -> Index {
        self.learner.as_ref().unwrap().engine.progress.applied()
    }
}
