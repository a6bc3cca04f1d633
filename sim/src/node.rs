//! One member of the cluster: its owners are stepped in the order that the dice say, on a disk that lies.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ferrite_member::bootstrap::{self, Beginning, Directories, FileOptions, NewCluster, Timing};
use ferrite_member::{Input, Limits, Waiter};
use ferrite_proto::etcdserverpb as pb;
use ferrite_raft::{Message, NodeId, Silent};
use ferrite_state::Settings;
use ferrite_storage::vfs::lying::{Dice, LyingDisk, Survival};
use ferrite_storage::{store, wal};

use crate::engine::{self, Engine, Owner, Setup, Stopped};

const DATA_DIR: &str = "/data";
pub(crate) const HEARTBEAT: Duration = Duration::from_millis(100);
const ELECTION_TICKS: u32 = 10;

/// Small, so that segments are cut often.
const FILES: FileOptions = FileOptions {
    log: wal::Options { segment_bytes: 16 << 10 },
    store: store::Options { segment_bytes: 16 << 10, window_bytes: 1 << 20, dump_bytes: 4 << 10 },
};
/// Members that were away are sent entries only: a snapshot cannot be sent yet, so no log is given up.
const LIMITS: Limits = Limits { entries: u64::MAX, bytes: u64::MAX, catch_up: u64::MAX };

/// A client's request, as the member holds it.
#[derive(Clone, Debug)]
pub(crate) struct Ticket {
    pub request: usize,
    gone: Arc<AtomicBool>,
}

impl Ticket {
    pub fn new(request: usize) -> Ticket {
        Ticket { request, gone: Arc::default() }
    }

    /// The client has given up.
    pub fn give_up(&self) {
        self.gone.store(true, Ordering::Relaxed);
    }
}

impl Waiter for Ticket {
    fn gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }
}

pub(crate) type Happening = engine::Happening<Ticket, Ticket>;

/// A member, running or not. Its disk outlives it.
pub(crate) struct Node {
    pub id: NodeId,
    name: String,
    pub disk: LyingDisk,
    pub life: Option<Life>,
    /// Lives so far.
    lives: u64,
}

/// A running member.
pub(crate) struct Life {
    pub engine: Engine<Ticket, Ticket>,
    /// The world's time at which its clock stood at 0.
    born: Duration,
}

/// Name and peer URL of the members that a cluster of `count` begins with.
pub(crate) fn members(count: usize) -> Vec<(String, Vec<String>)> {
    (1..=count).map(|number| (format!("m{number}"), vec![format!("http://m{number}:2380")])).collect()
}

impl Node {
    /// A member of a new cluster of `count`, with an empty disk.
    pub fn new(number: usize, count: usize) -> Result<Node, Stopped> {
        let (name, _) = members(count).swap_remove(number);
        let mut node = Node { id: NodeId(0), name, disk: LyingDisk::new(), life: None, lives: 0 };
        node.start(count, Duration::ZERO)?;
        Ok(node)
    }

    /// Starts the member on what is on its disk.
    pub fn start(&mut self, count: usize, now: Duration) -> Result<(), Stopped> {
        let cluster =
            NewCluster { members: members(count), own_name: self.name.clone(), token: "etcd-cluster".to_owned() };
        let timing = Timing { election_ticks: ELECTION_TICKS, pre_vote: true };
        let directories = Directories::new(Path::new(DATA_DIR), None);
        let parts = bootstrap::open(
            &self.disk,
            &directories,
            Some(&Beginning::New(cluster)),
            timing,
            Settings::default(),
            FILES,
            Box::new(Silent),
        )?;
        self.id = parts.ids.member;
        self.lives += 1;
        let setup = Setup {
            name: self.name.clone(),
            heartbeat: HEARTBEAT,
            election_ticks: ELECTION_TICKS,
            limits: LIMITS,
            // As far apart as the milliseconds between two real lives.
            first_request: self.lives << 20,
        };
        self.life = Some(Life { engine: Engine::new(parts, setup), born: now });
        Ok(())
    }

    /// The power goes. What was not synced is lost, or in part, as the dice say.
    pub fn crash(&mut self, dice: &mut Dice) {
        self.life = None;
        let survival = match dice.below(4) {
            0 => Survival::Nothing,
            1 => Survival::Everything,
            _ => Survival::Seeded(dice.roll()),
        };
        self.disk = self.disk.crash(survival);
    }
}

impl Life {
    pub fn leader(&self) -> Option<NodeId> {
        self.engine.member().leader()
    }

    pub fn propose(&mut self, ticket: Ticket, request: pb::InternalRaftRequest) {
        let id = self.engine.next_id();
        self.engine.propose(id, request, ticket);
    }

    /// A client wants to read. True: at once.
    pub fn read(&mut self, ticket: Ticket) -> bool {
        if self.engine.member().reads_need_no_round() {
            return true;
        }
        self.engine.bring(Input::Read(ticket));
        false
    }

    pub fn receive(&mut self, message: Message) {
        self.engine.bring(Input::Message(message));
    }

    pub fn unreachable(&mut self, id: NodeId) {
        self.engine.bring(Input::Unreachable(id));
    }

    /// When the member wants a turn even if nothing arrives, in the world's time.
    pub fn next_turn(&self) -> Duration {
        self.born + self.engine.member().next_turn()
    }

    /// Whether somebody here has something to do.
    pub fn is_busy(&self, now: Duration) -> bool {
        self.engine.busy(now - self.born).next().is_some()
    }

    /// One step of an owner that has something to do.
    pub fn step(&mut self, dice: &mut Dice, now: Duration) -> Result<Vec<Happening>, Stopped> {
        let now = now - self.born;
        let busy: Vec<Owner> = self.engine.busy(now).collect();
        let mut happened = Vec::new();
        if let Some(owner) = busy.get(dice.below(busy.len().max(1) as u64) as usize) {
            self.engine.step(*owner, now, &mut happened)?;
        }
        Ok(happened)
    }
}
