//! One member of the cluster: its engine, its clock, the hub of its watchers, and the disk that outlives them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use ferrite_member::bootstrap::{self, Beginning, Directories, FileOptions, Ids};
use ferrite_member::{Input, Limits, ReceiveError, Receiver, Waiter};
use ferrite_raft::{Body, Message, NodeId, Silent};
use ferrite_state::Settings;
use ferrite_state::cluster::ClusterVersion;
use ferrite_state::lease::Assurance;
use ferrite_state::mvcc::Keyspace;
use ferrite_state::watch::{Config, Hub};
use ferrite_storage::vfs::lying::{Dice, LyingDisk, Survival};
use ferrite_storage::{store, wal};

use crate::clock::Clock;
use crate::defect::Defect;
use crate::engine::{self, Engine, Owner, Setup, Stopped, TIMING, without_note};

const DATA_DIR: &str = "/data";
/// What all members run.
const VERSION: ClusterVersion = ClusterVersion::new(3, 7);
/// How often a member that is short of space looks for more.
const SPACE_INTERVAL: Duration = Duration::from_secs(1);
/// How often a leader asks the others for their versions.
const VERSION_INTERVAL: Duration = Duration::from_secs(4);

/// Small, so that segments are cut often.
const FILES: FileOptions = FileOptions {
    log: wal::Options { segment_bytes: 16 << 10 },
    store: store::Options { segment_bytes: 4 << 10, window_bytes: 1 << 20, dump_bytes: 1 << 10 },
};
/// So little that who was away for some seconds needs a snapshot.
const LIMITS: Limits = Limits { entries: 100, bytes: 64 << 10, catch_up: 20 };
/// Small, so that watchers lag.
const QUEUE_BYTES: usize = 2 << 10;

/// What somebody has asked a member for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Errand {
    /// A request of the history, by number.
    Request(usize),
    /// Something about a lease, by number.
    Lease(usize, LeaseErrand),
    /// A change of members.
    Change,
    /// A compaction.
    Compact,
    /// An alarm that is no more.
    Disarm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaseErrand {
    Grant,
    /// A put with the lease, a request of the history.
    Attach(usize),
    /// Whether the member leads, before it renews.
    Confirm,
    ClearCheckpoint,
    /// It has run out, and its revocation is under way.
    Expired,
    /// Its holder wants it no more: a request of the history.
    Revoke(usize),
}

/// An errand, as the member holds it.
#[derive(Clone, Debug)]
pub(crate) struct Ticket {
    pub errand: Errand,
    gone: Arc<AtomicBool>,
}

impl Ticket {
    pub fn new(errand: Errand) -> Ticket {
        Ticket { errand, gone: Arc::default() }
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
    pub ids: Ids,
    pub name: String,
    beginning: Beginning,
    disk: Drive,
    pub life: Option<Life>,
    /// Lives so far.
    pub lives: u64,
    /// It does nothing until then.
    pub asleep_until: Duration,
    /// Without power until then.
    pub down_until: Duration,
    /// It was removed, and has ended.
    pub is_retired: bool,
}

/// A disk, and what is wrong with it.
struct Drive {
    disk: LyingDisk,
    /// Something is wrong that may stop the member.
    is_hurt: bool,
    /// There is an end to what fits.
    is_full: bool,
    /// Failures that the member has been stopped for.
    failures: u64,
    /// A step takes up to this long.
    slowest: Duration,
}

/// A running member.
pub(crate) struct Life {
    pub engine: Engine<Ticket, Ticket>,
    pub hub: Hub<Arc<Keyspace>>,
    /// The hub has something to do.
    pub hub_has_more: bool,
    pub clock: Clock,
    pub assurance: Assurance,
    /// When it was started, or given a snapshot.
    pub knows_since: Duration,
    /// The disk is at work until then.
    disk_busy_until: Duration,
    next_look_for_space: Duration,
    next_look_for_versions: Duration,
    /// Where snapshots of others arrive.
    receiver: Receiver<LyingDisk>,
}

/// A step that a node can make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Owner(Owner),
    Hub,
}

/// A life's circumstances.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Circumstances {
    pub clocks_drift: bool,
    pub crashes: bool,
    pub defect: Option<Defect>,
}

impl Node {
    /// A member with an empty disk, that has not been started.
    pub fn new(ids: Ids, name: String, beginning: Beginning) -> Node {
        let disk =
            Drive { disk: LyingDisk::new(), is_hurt: false, is_full: false, failures: 0, slowest: Duration::ZERO };
        Node {
            ids,
            name,
            beginning,
            disk,
            life: None,
            lives: 0,
            asleep_until: Duration::ZERO,
            down_until: Duration::ZERO,
            is_retired: false,
        }
    }

    pub fn id(&self) -> NodeId {
        self.ids.member
    }

    /// Starts the member on what is on its disk.
    pub fn start(&mut self, circumstances: Circumstances, now: Duration, dice: &mut Dice) -> Result<(), Stopped> {
        if circumstances.defect == Some(Defect::LogNotSynced) {
            self.disk.disk.ignore_syncs(&Path::new(DATA_DIR).join("member/wal"));
        }
        if circumstances.defect == Some(Defect::DirectoryNotSynced) {
            self.disk.disk.ignore_name_syncs(&Path::new(DATA_DIR).join("member"));
        }
        let directories = Directories::new(Path::new(DATA_DIR), None);
        let (disk, settings, logger) = (&self.disk.disk, Settings::default(), Box::new(Silent));
        let parts = bootstrap::open(disk, &directories, Some(&self.beginning), TIMING, settings, FILES, logger)?;
        assert_eq!(parts.ids, self.ids);
        // What failed while it tried to start kept it from starting.
        self.disk.failures = self.disk.disk.failures();
        self.lives += 1;
        let setup = Setup {
            name: self.name.clone(),
            limits: LIMITS,
            // As far apart as the milliseconds between two real lives.
            first_request: self.lives << 20,
            defect: circumstances.defect.filter(|defect| *defect != Defect::EntrySkipped || self.name == "m1"),
        };
        let engine = Engine::new(parts, setup);
        let receiver = Receiver::new(disk.clone(), directories, self.ids, settings, FILES.store, engine.place());
        let config = Config { queue_bytes: QUEUE_BYTES, progress_interval_millis: 1000, seed: dice.roll() };
        let hub = Hub::new(config, &*engine.shared.keyspace());
        let clock = Clock::new(now, circumstances.clocks_drift, dice);
        self.life = Some(Life {
            engine,
            hub,
            hub_has_more: false,
            clock,
            assurance: Assurance::default(),
            knows_since: now,
            disk_busy_until: now,
            next_look_for_space: now,
            next_look_for_versions: now,
            receiver,
        });
        Ok(())
    }

    /// The process ends. What it had written is seen by the next, and what was not synced is still not durable.
    pub fn kill(&mut self) {
        self.life = None;
        let disk = self.disk.disk.clone();
        disk.mend();
        disk.forget_history();
        self.come_back_on(disk);
    }

    /// The power goes. What was not synced is lost, or in part, as the dice say.
    pub fn crash(&mut self, dice: &mut Dice) {
        let survival = match dice.below(4) {
            0 => Survival::Nothing,
            1 => Survival::Everything,
            _ => Survival::Seeded(dice.roll()),
        };
        self.life = None;
        self.come_back_on(self.disk.disk.crash(survival));
    }

    fn come_back_on(&mut self, disk: LyingDisk) {
        self.disk = Drive { disk, is_hurt: false, is_full: false, failures: 0, slowest: self.disk.slowest };
    }

    /// The member ends by itself, for good.
    pub fn retire(&mut self) {
        self.life = None;
        self.is_retired = true;
    }

    /// Whether it runs and is awake.
    pub fn is_awake(&self, now: Duration) -> bool {
        self.life.is_some() && self.asleep_until <= now
    }

    /// What it can do now.
    pub fn steps(&self, now: Duration) -> impl Iterator<Item = Step> {
        let life = self.life.as_ref().filter(|_| self.asleep_until <= now);
        life.into_iter().flat_map(move |life| life.steps(now))
    }

    /// When it wants a step even if nothing arrives.
    pub fn next_step(&self) -> Option<Duration> {
        let life = self.life.as_ref()?;
        let turn = life.clock.when(life.engine.member().next_turn());
        let next = turn.min(if life.disk_is_wanted() { life.disk_busy_until } else { Duration::MAX });
        Some(next.max(self.asleep_until))
    }

    /// Makes a step. The result of one that a disk has made to fail is an error.
    pub fn step(
        &mut self,
        step: Step,
        now: Duration,
        dice: &mut Dice,
        happened: &mut Vec<Happening>,
    ) -> Result<(), Stopped> {
        let Some(life) = self.life.as_mut() else { return Ok(()) };
        let Step::Owner(owner) = step else {
            let stepped = life.hub.step(life.clock.millis(now), &life.engine.shared.keyspace());
            life.hub_has_more = stepped.expect("what is in memory or on a whole disk can be read");
            return Ok(());
        };
        if owner == Owner::Member && now >= life.next_look_for_space {
            life.next_look_for_space = now + SPACE_INTERVAL;
            life.engine.look_for_space();
        }
        if owner == Owner::Member && now >= life.next_look_for_versions && life.leader() == Some(self.ids.member) {
            life.next_look_for_versions = now + VERSION_INTERVAL;
            life.engine.bring(Input::LowestVersion(Some(VERSION)));
        }
        let stepped = life.engine.step(owner, life.clock.at(now), happened);
        if matches!(owner, Owner::Log | Owner::Store) && self.disk.slowest > Duration::ZERO {
            life.disk_busy_until = now + Duration::from_micros(dice.below(self.disk.slowest.as_micros() as u64));
        }
        let is_news = |happening: &Happening| matches!(happening, Happening::Published | Happening::Installed);
        life.hub_has_more |= happened.iter().any(is_news);
        if happened.iter().any(|happening| matches!(happening, Happening::Installed)) {
            life.knows_since = now;
        }
        stepped
    }

    /// A snapshot has arrived. False: it cannot be taken now.
    pub fn receive_snapshot(&mut self, message: Message, database: &[Bytes]) -> bool {
        let Some(life) = self.life.as_mut() else { return false };
        let Body::Snapshot(snapshot) = &message.body else { return false };
        let receive = || -> Result<_, ReceiveError> {
            let mut arriving = life.receiver.begin(&snapshot.meta)?;
            // Every other one arrives as if etcd had written it, and goes through a file.
            match snapshot.meta.index.0.is_multiple_of(2) {
                true => database.iter().try_for_each(|piece| arriving.write(piece))?,
                false => without_note(database).iter().try_for_each(|piece| arriving.write(piece))?,
            }
            arriving.finish()
        };
        let received = receive();
        // Nothing that the member relies on was in what failed to be written.
        self.disk.failures = self.disk.disk.failures();
        let Ok(prepared) = received else { return false };
        life.engine.bring(Input::Snapshot { message, prepared: Box::new(prepared) });
        true
    }

    /// A sync fails soon.
    pub fn fail_sync(&mut self, dice: &mut Dice) {
        self.disk.is_hurt = true;
        self.disk.disk.fail_sync_after(dice.below(8), dice.roll());
    }

    /// A write fails soon.
    pub fn fail_write(&mut self, dice: &mut Dice) {
        self.disk.is_hurt = true;
        self.disk.disk.fail_write_after(dice.below(8));
    }

    /// So much fits on the disk, besides what is there.
    pub fn fill(&mut self, room: u64) {
        (self.disk.is_hurt, self.disk.is_full) = (true, true);
        self.disk.disk.set_capacity(self.disk.disk.used() + room);
    }

    /// The disk takes up to this long for a step.
    pub fn slow_down(&mut self, slowest: Duration) {
        self.disk.slowest = slowest;
    }

    /// The disk is as it should be: a fault that has not struck will not.
    pub fn mend_disk(&mut self) {
        self.disk.disk.mend();
        (self.disk.is_hurt, self.disk.is_full) = (false, false);
        self.disk.slowest = Duration::ZERO;
    }

    /// Whether there is an end to what fits on its disk.
    pub fn disk_is_full(&self) -> bool {
        self.disk.is_full
    }

    /// Whether the disk may have stopped the member.
    pub fn may_stop(&self) -> bool {
        self.disk.is_hurt
    }

    /// Whether the disk has failed and the member goes on.
    pub fn has_swallowed_a_failure(&mut self) -> bool {
        let failures = self.disk.disk.failures();
        std::mem::replace(&mut self.disk.failures, failures) < failures && self.life.is_some()
    }
}

impl Life {
    pub fn leader(&self) -> Option<NodeId> {
        self.engine.member().leader()
    }

    /// Somebody wants to know that this member is not behind. True: it is not.
    pub fn confirm(&mut self, ticket: Ticket) -> bool {
        if self.engine.member().reads_need_no_round() {
            return true;
        }
        self.engine.bring(Input::Read(ticket));
        false
    }

    pub fn receive(&mut self, message: Message) {
        self.engine.bring(Input::Message(message));
    }

    fn disk_is_wanted(&self) -> bool {
        self.engine.busy(Duration::ZERO).any(|owner| matches!(owner, Owner::Log | Owner::Store))
    }

    fn steps(&self, now: Duration) -> impl Iterator<Item = Step> {
        let is_free = self.disk_busy_until <= now;
        let owners = self.engine.busy(self.clock.at(now));
        let owners = owners.filter(move |owner| is_free || !matches!(owner, Owner::Log | Owner::Store));
        owners.map(Step::Owner).chain(self.hub_has_more.then_some(Step::Hub))
    }
}
