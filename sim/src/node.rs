//! One member of the cluster: its owners are stepped in the order that the dice say, on a disk that lies.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ferrite_member::bootstrap::{self, Directories, FileOptions, NewCluster, Parts, StartError, Timing};
use ferrite_member::duty::{Duties, Leases, Publish, Room};
use ferrite_member::{
    Applier, ApplyJob, ApplyTiming, ByKind, Checkpoints, Input, Keep, Limits, LogJob, LogTiming, LogWriter, Member,
    Progress, Proposal, RequestIds, StoreJob, StoreKeeper, StoreTiming, TrimPace, Waiter,
};
use ferrite_observe::metrics::Registry;
use ferrite_proto::etcdserverpb as pb;
use ferrite_raft::{Message, NodeId, Silent};
use ferrite_state::cluster::ClusterVersion;
use ferrite_state::command::{Caller, encode};
use ferrite_state::{RequestId, Settings, Shared};
use ferrite_storage::vfs::lying::{Dice, LyingDisk, Survival};
use ferrite_storage::{store, wal};

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

/// Why a member has stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Log(#[from] ferrite_member::LogWriterError),
    #[error(transparent)]
    Apply(#[from] ferrite_member::ApplierError),
    #[error(transparent)]
    Store(#[from] ferrite_member::StoreKeeperError),
}

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

/// What comes of a step.
#[derive(Debug)]
pub(crate) enum Happening {
    Sent(Message),
    Proposed(Ticket, ferrite_state::Outcome),
    /// The keyspace may be read for this request.
    MayRead(Ticket),
    /// Nothing came of the request, and nothing will.
    Refused(Ticket),
}

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
    owners: Owners,
    waiting: Waiting,
    pub shared: Shared,
    pub progress: Arc<Progress>,
    ids: Arc<RequestIds>,
    /// The world's time at which its clock stood at 0.
    born: Duration,
}

struct Owners {
    member: Member<Ticket, Ticket>,
    log: LogWriter<LyingDisk>,
    apply: Applier<Ticket>,
    store: StoreKeeper<LyingDisk, ()>,
}

/// The inbox of each owner.
#[derive(Debug, Default)]
struct Waiting {
    member: Vec<Input<Ticket, Ticket>>,
    log: Vec<LogJob>,
    apply: Vec<ApplyJob<Ticket>>,
    store: Vec<StoreJob<()>>,
    /// There is more to trim, to clean, or to say in the log.
    apply_has_more: bool,
    store_has_more: bool,
    log_may_mark: bool,
}

#[derive(Clone, Copy, Debug)]
enum Owner {
    Member,
    Log,
    Apply,
    Store,
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
        let parts =
            bootstrap::open(&self.disk, &directories, &cluster, timing, Settings::default(), FILES, Box::new(Silent))?;
        self.id = parts.ids.member;
        self.lives += 1;
        self.life = Some(Life::new(parts, &self.name, self.lives, now));
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
    fn new(parts: Parts<LyingDisk>, name: &str, lives: u64, now: Duration) -> Life {
        let Parts { ids: identity, raft, log, snapshots, mut store, state, dead, window, applied, checkpoint, .. } =
            parts;
        store.trim(&dead);
        let progress = Arc::new(Progress::new(applied.0, applied.1));
        // As far apart as the milliseconds between two real lives.
        let ids = Arc::new(RequestIds::new(identity.member, lives << 20));
        let shared = state.shared().clone();
        let registry = Arc::new(Registry::new());
        let publish = Publish::new(identity.member.0, name.to_owned(), vec![format!("http://{name}:2379")]);
        let duties = Duties::new(
            shared.clone(),
            progress.clone(),
            ids.clone(),
            publish,
            Arc::new(Room::default()),
            ClusterVersion::new(3, 7),
            Leases::new(shared.lessor.clone(), HEARTBEAT * ELECTION_TICKS, true, &registry),
            None,
            Arc::new(ByKind::requests(&registry)),
        );
        let checkpoints = Checkpoints::new(LIMITS, checkpoint);
        let timing = ApplyTiming::new(&registry, Duration::MAX);
        let owners = Owners {
            member: Member::new(raft, HEARTBEAT, checkpoints, duties, progress.clone(), Duration::ZERO),
            log: LogWriter::new(log, snapshots, Keep { segments: 2, snapshots: 2 }, LogTiming::new(&registry)),
            apply: Applier::new(state, window, progress.clone(), applied.0, TrimPace::default(), timing),
            store: StoreKeeper::new(store, StoreTiming::new(&registry)),
        };
        let waiting = Waiting { store_has_more: true, ..Waiting::default() };
        Life { owners, waiting, shared, progress, ids, born: now }
    }

    pub fn leader(&self) -> Option<NodeId> {
        self.owners.member.leader()
    }

    pub fn propose(&mut self, ticket: Ticket, request: pb::InternalRaftRequest) {
        let id: RequestId = self.ids.take();
        let data = encode(id, &Caller::default(), request);
        self.waiting.member.push(Input::Propose(Proposal { id, data, waiter: ticket }));
    }

    /// A client wants to read. True: at once.
    pub fn read(&mut self, ticket: Ticket) -> bool {
        if self.owners.member.reads_need_no_round() {
            return true;
        }
        self.waiting.member.push(Input::Read(ticket));
        false
    }

    pub fn receive(&mut self, message: Message) {
        self.waiting.member.push(Input::Message(message));
    }

    pub fn unreachable(&mut self, id: NodeId) {
        self.waiting.member.push(Input::Unreachable(id));
    }

    /// When the member wants a turn even if nothing arrives, in the world's time.
    pub fn next_turn(&self) -> Duration {
        self.born + self.owners.member.next_turn()
    }

    fn busy(&self, now: Duration) -> Vec<Owner> {
        let waiting = &self.waiting;
        let owners = [
            (Owner::Member, !waiting.member.is_empty() || self.next_turn() <= now),
            (Owner::Log, !waiting.log.is_empty() || waiting.log_may_mark),
            (Owner::Apply, !waiting.apply.is_empty() || waiting.apply_has_more),
            (Owner::Store, !waiting.store.is_empty() || waiting.store_has_more),
        ];
        owners.into_iter().filter_map(|(owner, busy)| busy.then_some(owner)).collect()
    }

    /// Whether somebody here has something to do.
    pub fn is_busy(&self, now: Duration) -> bool {
        !self.busy(now).is_empty()
    }

    /// One step of an owner that has something to do.
    pub fn step(&mut self, dice: &mut Dice, now: Duration) -> Result<Vec<Happening>, Stopped> {
        let busy = self.busy(now);
        let Some(owner) = busy.get(dice.below(busy.len().max(1) as u64) as usize) else { return Ok(Vec::new()) };
        let mut happened = Vec::new();
        match owner {
            Owner::Member => self.step_member(now, &mut happened),
            Owner::Log => self.step_log()?,
            Owner::Apply => self.step_apply(&mut happened)?,
            Owner::Store => self.step_store()?,
        }
        Ok(happened)
    }

    fn step_member(&mut self, now: Duration, happened: &mut Vec<Happening>) {
        let out = self.owners.member.turn(now - self.born, &mut self.waiting.member);
        self.waiting.log.extend(out.save.into_iter().map(LogJob::Save));
        self.waiting.apply.extend(out.apply.into_iter().map(ApplyJob::Apply));
        self.waiting.store.extend(out.checkpoint.map(|(_, hard_state)| StoreJob::Checkpoint(hard_state)));
        happened.extend(out.messages.into_iter().map(Happening::Sent));
        happened.extend(out.refused.into_iter().map(|(ticket, _)| Happening::Refused(ticket)));
        happened.extend(out.reads.into_iter().map(|(ticket, confirmed)| match confirmed {
            Ok(()) => Happening::MayRead(ticket),
            Err(_) => Happening::Refused(ticket),
        }));
    }

    fn step_log(&mut self) -> Result<(), Stopped> {
        let done = match self.waiting.log.is_empty() {
            true => self.owners.log.idle()?,
            false => self.owners.log.step(&mut self.waiting.log)?,
        };
        self.waiting.log_may_mark = done.saved.is_some() || done.checkpointed.is_some();
        self.waiting.member.extend(done.saved.map(Input::Saved));
        let checkpointed = done.checkpointed.map(|(index, conf)| Input::Checkpointed { index, conf });
        self.waiting.member.extend(checkpointed);
        Ok(())
    }

    fn step_apply(&mut self, happened: &mut Vec<Happening>) -> Result<(), Stopped> {
        let done = self.owners.apply.step(&mut self.waiting.apply, true)?;
        self.waiting.apply_has_more = done.has_more;
        self.waiting.member.extend(done.conf_changes.into_iter().map(Input::ConfChanged));
        if !done.duties_done.is_empty() {
            self.waiting.member.push(Input::DutyDone(done.duties_done));
        } else if done.wakes_member {
            self.waiting.member.push(Input::Applied);
        }
        happened.extend(done.answers.into_iter().map(|(ticket, outcome)| Happening::Proposed(ticket, outcome)));
        if !done.dead.is_empty() {
            self.waiting.store.push(StoreJob::Trim(done.dead));
        }
        if done.waits_for_store {
            self.waiting.store.push(StoreJob::Flush);
        } else if done.has_applied {
            self.waiting.store.push(StoreJob::Write);
        }
        Ok(())
    }

    fn step_store(&mut self) -> Result<(), Stopped> {
        let done = self.owners.store.step(&mut self.waiting.store)?;
        self.waiting.store_has_more = done.has_more;
        self.waiting.apply.extend(done.flushed.map(ApplyJob::Stored));
        self.waiting.log.extend(done.checkpoint.map(LogJob::Checkpoint));
        Ok(())
    }
}
