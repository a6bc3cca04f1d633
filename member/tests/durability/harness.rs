//! A member in one thread: its owners are stepped in the order that the dice say, and time is a number.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use ferrite_member::bootstrap::{self, Beginning, Directories, NewCluster, Parts, StartError};
use ferrite_member::duty::Room;
use ferrite_member::{Limits, Waiter};
use ferrite_proto::etcdserverpb as pb;
use ferrite_raft::{Entry, Index, LogStore, Silent};
use ferrite_sim::engine::{Engine, HEARTBEAT, Happening, Owner, SMALL_FILES, Setup, TIMING};
use ferrite_state::command::Proposal as Parsed;
use ferrite_state::{RequestId, Settings};
use ferrite_storage::vfs::lying::{Dice, LyingDisk};

use crate::model::{Model, Outcome};
use crate::workload;

pub use ferrite_sim::engine::Stopped;

pub const DATA_DIR: &str = "/data";
/// More than it takes to do all that waits.
const MOST_STEPS: usize = 10_000;
/// Small, so that everything happens often.
const LIMITS: Limits = Limits { entries: 15, bytes: 1 << 20, catch_up: 5 };

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
        let mut entries = Vec::new();
        if first <= last {
            log.entries(first, last.next(), u64::MAX, &mut entries).expect("all from the first to the last entry");
        }
        for entry in entries {
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
    engine: Engine<Client, Client>,
    by_id: HashMap<RequestId, Index>,
    now: Duration,
    /// The last entry that was synced, and the last one of which the log itself says so.
    saved: Index,
    pub marked: Index,
    is_closed: bool,
}

/// What has happened, so that a test can say that it did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    pub checkpoints: usize,
    pub trimmed: usize,
    pub refused: usize,
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
    let directories = Directories::new(Path::new(DATA_DIR), None);
    bootstrap::open(
        disk,
        &directories,
        Some(&Beginning::New(cluster)),
        TIMING,
        Settings::default(),
        SMALL_FILES,
        Box::new(Silent),
    )
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
        let warnings = parts.warnings.clone();
        let setup = Setup {
            name: "one".into(),
            limits: LIMITS,
            // An id must not come twice: each life begins behind the log that it found.
            first_request: 1 + past.last().0,
            defect: None,
        };
        Life {
            disk,
            past,
            acknowledged: Vec::new(),
            warnings,
            seen: Seen::default(),
            engine: Engine::new(parts, setup),
            by_id: HashMap::new(),
            now: Duration::ZERO,
            saved: Index(0),
            marked: Index(0),
            is_closed: false,
        }
    }

    /// A client sends a request.
    pub fn propose(&mut self, request: pb::InternalRaftRequest) {
        let id = self.engine.next_id();
        self.engine.propose(id, request, Client(id));
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
            self.pass(HEARTBEAT)?;
            let mut steps = 0;
            while self.step(dice)? {
                steps += 1;
                assert!(steps < MOST_STEPS, "it goes round in circles: {:?}", self.busy());
            }
        }
        assert_eq!(self.engine.progress.applied(), self.past.last(), "not all is applied");
        Ok(())
    }

    /// Stops as on SIGTERM.
    pub fn close(&mut self, dice: &mut Dice) -> Result<(), Stopped> {
        self.settle(dice)?;
        let mut happened = Vec::new();
        self.engine.close(self.now, &mut happened);
        happened.into_iter().for_each(|happening| self.see(happening));
        while !self.is_closed || !self.engine.log_is_idle() {
            self.step(dice)?;
        }
        Ok(())
    }

    /// Time passes: the member sees it, and those who are short of space try again.
    pub fn pass(&mut self, time: Duration) -> Result<(), Stopped> {
        self.engine.look_for_space();
        self.step_owner(Owner::Member, time)
    }

    /// Whether the disk is too full.
    pub fn room(&self) -> &Room {
        &self.engine.room
    }

    /// Panics unless readers see what the model says of the log.
    pub fn check(&self, dice: &mut Dice) {
        self.past.model().check(&self.engine.shared, dice.roll());
    }

    fn busy(&self) -> Vec<Owner> {
        self.engine.busy(self.now).collect()
    }

    /// One step of an owner that has something to do; false if none has.
    pub fn step(&mut self, dice: &mut Dice) -> Result<bool, Stopped> {
        let busy = self.busy();
        if busy.is_empty() {
            return Ok(false);
        }
        let owner = busy[dice.below(busy.len() as u64) as usize];
        let elapsed = if owner == Owner::Member { Duration::from_millis(dice.below(40)) } else { Duration::ZERO };
        self.step_owner(owner, elapsed)?;
        Ok(true)
    }

    fn step_owner(&mut self, owner: Owner, elapsed: Duration) -> Result<(), Stopped> {
        self.now += elapsed;
        if owner == Owner::Log {
            // The writer says that what it has synced was synced, now or before the next batch.
            self.marked = self.saved;
        }
        let mut happened = Vec::new();
        let stepped = self.engine.step(owner, self.now, &mut happened);
        happened.into_iter().for_each(|happening| self.see(happening));
        stepped
    }

    fn see(&mut self, happening: Happening<Client, Client>) {
        match happening {
            Happening::Saving(entries) => {
                for entry in entries {
                    let parsed = Parsed::parse(&entry).expect("an entry that was proposed");
                    self.by_id.insert(parsed.id, entry.index);
                    self.past.push(entry);
                }
            }
            Happening::Logged(last) => self.saved = last.unwrap_or(self.saved),
            Happening::Checkpointed(_) => self.seen.checkpoints += 1,
            Happening::Trimmed(revisions) => self.seen.trimmed += revisions,
            Happening::Answered(Client(id), outcome) => self.answered(id, &outcome),
            Happening::Closed => self.is_closed = true,
            Happening::Refused(client, why) => panic!("{client:?} is refused: {why:?}"),
            Happening::Sent(_)
            | Happening::Applying(_)
            | Happening::Published
            | Happening::Installed
            | Happening::Read(..) => {}
        }
    }

    fn answered(&mut self, id: RequestId, outcome: &ferrite_state::Outcome) {
        let index = *self.by_id.get(&id).expect("an answer belongs to an entry");
        match (self.past.outcome(index), outcome) {
            (Outcome::Done(None), Ok(_)) => {}
            (Outcome::Done(Some(expected)), Ok(answer)) => assert_eq!(answer.revision(), expected, "entry {index}"),
            (Outcome::Refused, Err(_)) => self.seen.refused += 1,
            (expected, outcome) => panic!("entry {index}: {outcome:?}, not {expected:?}"),
        }
        self.acknowledged.push(Acknowledged { operations: self.disk.operations(), index });
    }
}
