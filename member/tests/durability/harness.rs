//! A member in one thread: its owners are stepped in the order that the dice say, and time is a number.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ferrite_member::bootstrap::{self, Directories, FileOptions, NewCluster, Parts, StartError, Timing};
use ferrite_member::duty::{Duties, Leases, Publish, Room};
use ferrite_member::{
    Applier, ApplyJob, ApplyTiming, ByKind, Checkpoints, Input, Keep, Limits, LogJob, LogTiming, LogWriter, Member,
    Progress, Proposal, RequestIds, StoreJob, StoreKeeper, StoreTiming, TrimPace, Waiter,
};
use ferrite_observe::metrics::Registry;
use ferrite_proto::etcdserverpb as pb;
use ferrite_raft::{Entry, Index, LogStore, Silent};
use ferrite_state::cluster::ClusterVersion;
use ferrite_state::command::{Caller, Proposal as Parsed, encode};
use ferrite_state::{RequestId, Settings, Shared};
use ferrite_storage::vfs::lying::{Dice, LyingDisk};
use ferrite_storage::{store, wal};

use crate::model::{Model, Outcome};
use crate::workload;

pub const DATA_DIR: &str = "/data";
/// More than it takes to do all that waits.
const MOST_STEPS: usize = 10_000;
const HEARTBEAT: Duration = Duration::from_millis(100);

/// Small, so that everything happens often.
const FILES: FileOptions = FileOptions {
    log: wal::Options { segment_bytes: 4096 },
    store: store::Options { segment_bytes: 4096, window_bytes: 1 << 20, dump_bytes: 512 },
};
const LIMITS: Limits = Limits { entries: 15, bytes: 1 << 20, catch_up: 5 };

/// Why a member has stopped.
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

/// Who waits for the outcome of a request.
#[derive(Clone, Copy, Debug)]
pub struct Client(RequestId);

impl Waiter for Client {
    fn gone(&self) -> bool {
        false
    }
}

/// All entries that were ever in the log, and what they come to.
#[derive(Clone, Debug, Default)]
pub struct Past {
    entries: Vec<Entry>,
    models: Vec<Model>,
}

impl Past {
    fn push(&mut self, entry: Entry) {
        assert_eq!(entry.index.0, self.entries.len() as u64 + 1, "the log goes on where it ended");
        assert!(
            self.entries.last().is_none_or(|last| last.term <= entry.term),
            "the term goes back at {}",
            entry.index
        );
        self.models.push(self.model().after(&entry));
        self.entries.push(entry);
    }

    pub fn last(&self) -> Index {
        Index(self.entries.len() as u64)
    }

    /// What the entries come to.
    pub fn model(&self) -> Model {
        self.models.last().cloned().unwrap_or_default()
    }

    pub fn outcome(&self, index: Index) -> Outcome {
        self.models[index.0 as usize - 1].outcome
    }

    /// Takes the log of a member that has just been opened: the beginning of this one.
    fn continue_with(mut self, log: &impl LogStore) -> Past {
        let (first, last) = (log.first_index(), log.last_index());
        for entry in log.entries(first, last.next(), u64::MAX).unwrap_or_default() {
            match self.entries.get(entry.index.0 as usize - 1) {
                Some(known) => assert_eq!(&entry, known, "another entry than was saved"),
                None => self.push(entry),
            }
        }
        self.entries.truncate(last.0 as usize);
        self.models.truncate(last.0 as usize);
        assert_eq!(self.last(), last);
        self
    }
}

/// An outcome that somebody was told.
#[derive(Clone, Copy, Debug)]
pub struct Acknowledged {
    /// So many operations of the disk had been done.
    pub operations: usize,
    pub index: Index,
}

/// What the disk must not lose when the power goes after so many operations.
pub fn promised(acknowledged: &[Acknowledged], operations: usize) -> Index {
    let before = acknowledged.iter().filter(|one| one.operations <= operations);
    before.map(|one| one.index).max().unwrap_or(Index(0))
}

/// A running member.
pub struct Life {
    pub disk: LyingDisk,
    pub past: Past,
    pub acknowledged: Vec<Acknowledged>,
    pub warnings: Vec<String>,
    pub seen: Seen,
    owners: Owners,
    waiting: Waiting,
    shared: Shared,
    progress: Arc<Progress>,
    pub room: Arc<Room>,
    ids: Arc<RequestIds>,
    by_id: HashMap<RequestId, Index>,
    now: Duration,
    /// The last entry that was synced, and the last one of which the log itself says so.
    saved: Index,
    pub marked: Index,
}

/// What has happened, so that a test can say that it did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    pub checkpoints: usize,
    pub trimmed: usize,
    pub refused: usize,
}

struct Owners {
    member: Member<Client, Client>,
    log: LogWriter<LyingDisk>,
    apply: Applier<Client>,
    store: StoreKeeper<LyingDisk, ()>,
}

/// The inbox of each owner.
#[derive(Debug, Default)]
struct Waiting {
    member: Vec<Input<Client, Client>>,
    log: Vec<LogJob>,
    apply: Vec<ApplyJob<Client>>,
    store: Vec<StoreJob<()>>,
    /// There is more to trim, to clean, or to say in the log.
    apply_has_more: bool,
    store_has_more: bool,
    log_may_mark: bool,
    is_closed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Member,
    Log,
    Apply,
    Store,
}

/// Opens the parts of the one member there is.
pub fn open_parts(disk: &LyingDisk) -> Result<Parts<LyingDisk>, StartError> {
    open_as(disk, "one")
}

/// Opens the parts of a member that is alone in its cluster.
pub fn open_as(disk: &LyingDisk, name: &str) -> Result<Parts<LyingDisk>, StartError> {
    let peers = vec![format!("http://{name}:2380")];
    let own_name = name.to_string();
    let cluster = NewCluster { members: vec![(own_name.clone(), peers)], own_name, token: "etcd-cluster".to_string() };
    let timing = Timing { election_ticks: 10, pre_vote: true };
    let directories = Directories::new(Path::new(DATA_DIR), None);
    bootstrap::open(disk, &directories, &cluster, timing, Settings::default(), FILES, Box::new(Silent))
}

impl Life {
    /// Opens the member on this disk. `past` is what is known of its log, `promised` what it must still have.
    pub fn open(disk: &LyingDisk, past: Past, promised: Index) -> Result<Life, Stopped> {
        let parts = open_parts(disk)?;
        let log = parts.raft.log();
        let (last, commit) = (log.last_index(), log.hard_state().commit);
        assert!(last >= promised, "the log ends at {last}, but {promised} was acknowledged");
        assert!(parts.applied.0 <= commit && commit <= last, "{:?}, {commit}, {last}", parts.applied);
        assert!(parts.checkpoint <= parts.applied.0, "{}, {:?}", parts.checkpoint, parts.applied);
        let past = past.continue_with(log);
        Ok(Life::assemble(disk.clone(), parts, past))
    }

    fn assemble(disk: LyingDisk, parts: Parts<LyingDisk>, past: Past) -> Life {
        let Parts { ids: identity, raft, log, snapshots, mut store, state, dead, window, applied, checkpoint, .. } =
            parts;
        store.trim(&dead);
        let progress = Arc::new(Progress::new(applied.0, applied.1));
        let registry = Arc::new(Registry::new());
        // An id must not come twice: each life begins behind the log that it found.
        let ids = Arc::new(RequestIds::new(identity.member, 1 + past.last().0));
        let shared = state.shared().clone();
        let publish = Publish::new(identity.member.0, "one".into(), vec!["http://127.0.0.1:2379".into()]);
        let room = Arc::new(Room::default());
        let leases = Leases::new(shared.lessor.clone(), HEARTBEAT * 10, true, &registry);
        let duties = Duties::new(
            shared.clone(),
            progress.clone(),
            ids.clone(),
            publish,
            room.clone(),
            ClusterVersion::new(3, 7),
            leases,
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
        Life {
            disk,
            past,
            acknowledged: Vec::new(),
            warnings: parts.warnings,
            seen: Seen::default(),
            owners,
            waiting: Waiting { store_has_more: true, ..Waiting::default() },
            shared,
            progress,
            room,
            ids,
            by_id: HashMap::new(),
            now: Duration::ZERO,
            saved: Index(0),
            marked: Index(0),
        }
    }

    /// A client sends a request.
    pub fn propose(&mut self, request: pb::InternalRaftRequest) {
        let id = self.ids.take();
        let data = encode(id, &Caller::default(), request);
        self.waiting.member.push(Input::Propose(Proposal { id, data, waiter: Client(id) }));
    }

    /// So many requests, a few at a time, with steps in between.
    pub fn work(&mut self, dice: &mut Dice, requests: usize) -> Result<(), Stopped> {
        for _ in 0..requests {
            let request = workload::request(dice, &self.past.model());
            self.propose(request);
            if dice.once_in(2) {
                for _ in 0..dice.below(25) {
                    self.step(dice)?;
                }
            }
        }
        Ok(())
    }

    /// Steps until nobody has anything to do, so that all that is in the log is applied.
    pub fn settle(&mut self, dice: &mut Dice) -> Result<(), Stopped> {
        // The member is told the time once more: a duty may look at what has been published.
        for _ in 0..3 {
            self.pass(HEARTBEAT);
            let mut steps = 0;
            while self.step(dice)? {
                steps += 1;
                assert!(steps < MOST_STEPS, "it goes round in circles: {:?}", self.waiting);
            }
        }
        assert_eq!(self.progress.applied(), self.past.last(), "not all is applied");
        Ok(())
    }

    /// Stops as on SIGTERM.
    pub fn close(&mut self, dice: &mut Dice) -> Result<(), Stopped> {
        self.settle(dice)?;
        self.waiting.member.push(Input::Stop);
        self.step_member(Duration::ZERO);
        self.waiting.log.push(LogJob::Close(self.owners.member.unwritten_hard_state()));
        self.waiting.apply.push(ApplyJob::Close);
        while !self.waiting.is_closed || !self.waiting.log.is_empty() {
            self.step(dice)?;
        }
        Ok(())
    }

    /// Time passes: the member sees it, and those who are short of space try again.
    pub fn pass(&mut self, time: Duration) {
        self.waiting.log_may_mark |= self.room.is_short();
        self.waiting.store_has_more |= self.room.is_short();
        self.step_member(time);
    }

    /// Panics unless readers see what the model says of the log.
    pub fn check(&self, dice: &mut Dice) {
        self.past.model().check(&self.shared, dice.roll());
    }

    /// One step of an owner that has something to do; false if none has.
    pub fn step(&mut self, dice: &mut Dice) -> Result<bool, Stopped> {
        let waiting = &self.waiting;
        let busy = [
            (Owner::Member, !waiting.member.is_empty()),
            (Owner::Log, !waiting.log.is_empty() || waiting.log_may_mark),
            (Owner::Apply, !waiting.apply.is_empty() || waiting.apply_has_more),
            (Owner::Store, !waiting.store.is_empty() || waiting.store_has_more),
        ];
        let busy: Vec<Owner> = busy.into_iter().filter_map(|(owner, busy)| busy.then_some(owner)).collect();
        if busy.is_empty() {
            return Ok(false);
        }
        match busy[dice.below(busy.len() as u64) as usize] {
            Owner::Member => self.step_member(Duration::from_millis(dice.below(40))),
            Owner::Log => self.step_log()?,
            Owner::Apply => self.step_apply()?,
            Owner::Store => self.step_store()?,
        }
        Ok(true)
    }

    fn step_member(&mut self, elapsed: Duration) {
        self.now += elapsed;
        let out = self.owners.member.turn(self.now, &mut self.waiting.member);
        for save in out.save {
            for entry in &save.entries {
                let parsed = Parsed::parse(entry).expect("an entry that was proposed");
                self.by_id.insert(parsed.id, entry.index);
                self.past.push(entry.clone());
            }
            self.waiting.log.push(LogJob::Save(save));
        }
        self.waiting.apply.extend(out.apply.into_iter().map(ApplyJob::Apply));
        self.waiting.store.extend(out.checkpoint.map(|(_, hard_state)| StoreJob::Checkpoint(hard_state)));
        assert!(out.refused.is_empty(), "{:?}", out.refused);
    }

    fn step_log(&mut self) -> Result<(), Stopped> {
        // The writer says that what it has synced was synced, now or before the next batch.
        self.marked = self.saved;
        let saves = self.waiting.log.iter().filter_map(|job| match job {
            LogJob::Save(save) => save.entries.last().map(|entry| entry.index),
            _ => None,
        });
        self.saved = saves.last().unwrap_or(self.saved);
        let done = match self.waiting.log.is_empty() {
            true => self.owners.log.idle()?,
            false => self.owners.log.step(&mut self.waiting.log)?,
        };
        self.room.set_log_is_short(done.is_short_of_space);
        self.waiting.log_may_mark = done.saved.is_some() || done.checkpointed.is_some();
        self.waiting.member.extend(done.saved.map(Input::Saved));
        if let Some((index, conf)) = done.checkpointed {
            self.seen.checkpoints += 1;
            self.waiting.member.push(Input::Checkpointed { index, conf });
        }
        Ok(())
    }

    fn step_apply(&mut self) -> Result<(), Stopped> {
        let done = self.owners.apply.step(&mut self.waiting.apply, true)?;
        self.waiting.apply_has_more = done.has_more;
        self.waiting.member.extend(done.conf_changes.into_iter().map(Input::ConfChanged));
        if !done.duties_done.is_empty() {
            self.waiting.member.push(Input::DutyDone(done.duties_done));
        } else if done.wakes_member {
            self.waiting.member.push(Input::Applied);
        }
        for (Client(id), outcome) in done.answers {
            let index = *self.by_id.get(&id).expect("an answer belongs to an entry");
            match (self.past.outcome(index), outcome) {
                (Outcome::Done(None), Ok(_)) => {}
                (Outcome::Done(Some(expected)), Ok(answer)) => assert_eq!(answer.revision(), expected, "entry {index}"),
                (Outcome::Refused, Err(_)) => self.seen.refused += 1,
                (expected, outcome) => panic!("entry {index}: {outcome:?}, not {expected:?}"),
            }
            self.acknowledged.push(Acknowledged { operations: self.disk.operations(), index });
        }
        if !done.dead.is_empty() {
            self.seen.trimmed += done.dead.len();
            self.waiting.store.push(StoreJob::Trim(done.dead));
        }
        if done.is_closed {
            self.waiting.store.push(StoreJob::Close);
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
        self.waiting.is_closed |= done.is_closed;
        self.room.set_store_is_short(done.is_short_of_space);
        self.waiting.apply.extend(done.flushed.map(ApplyJob::Stored));
        self.waiting.log.extend(done.checkpoint.map(LogJob::Checkpoint));
        Ok(())
    }
}
