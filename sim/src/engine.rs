//! One member in one thread: the owners that production runs on threads of their own, and what they hand one another.
//!
//!   inputs ──▶ Member ──▶ LogWriter ──▶ Saved ──▶ Member ──▶ Applier ──▶ answers
//!                 │           ▲                                 │
//!                 │           └── checkpoint ── StoreKeeper ◀───┘
//!                 └──▶ messages
//!
//! Whoever drives it says which owner takes a step, and is told what came of it. What holds: an owner is handed its work in
//! the order in which it was brought, as by an inbox; nothing here looks at a clock, so the same steps do the same.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ferrite_member::bootstrap::{FileOptions, Parts, StartError, Timing};
use ferrite_member::duty::{Checkpointing, Duties, Leases, Publish, Room};
use ferrite_member::{
    Applier, ApplyJob, ApplyTiming, ByKind, Checkpoints, Cut, Input, Keep, Limits, LogDone, LogJob, LogTiming,
    LogWriter, Member, Pace, Place, Progress, Proposal, ReadFailed, Refused, RequestIds, StoreJob, StoreKeeper,
    StoreTiming, TrimPace, Waiter,
};
use ferrite_observe::metrics::Registry;
use ferrite_proto::etcdserverpb as pb;
use ferrite_raft::{Entry, Index, Message, Payload};
use ferrite_state::cluster::ClusterVersion;
use ferrite_state::command::{Caller, encode};
use ferrite_state::{RequestId, Shared};
use ferrite_storage::vfs::LyingDisk;
use ferrite_storage::{store, wal};

use crate::defect::Defect;

/// A tick of a member.
pub const HEARTBEAT: Duration = Duration::from_millis(100);
pub const ELECTION_TICKS: u32 = 10;
pub const TIMING: Timing = Timing { election_ticks: ELECTION_TICKS, pre_vote: true };
/// So small that every few writes begin a new file.
pub const SMALL_FILES: FileOptions = FileOptions {
    log: wal::Options { segment_bytes: 4096 },
    store: store::Options { segment_bytes: 4096, window_bytes: 1 << 20, dump_bytes: 512 },
};

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

/// How a member is run.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Its name in the cluster, and of its client URL.
    pub name: String,
    pub limits: Limits,
    /// Requests of this life are numbered from here on: above those of earlier ones.
    pub first_request: u64,
    /// What is done wrong here, to show that it is noticed.
    pub defect: Option<Defect>,
}

/// Who may take a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    Member,
    Log,
    Apply,
    Store,
}

/// What comes of a step.
#[derive(Debug)]
pub enum Happening<P, R> {
    Sent(Message),
    /// These are on their way into the log.
    Saving(Vec<Entry>),
    /// The log has been written and synced, up to this entry if there was one.
    Logged(Option<Index>),
    /// The log says that the store is whole up to here.
    Checkpointed(Index),
    /// These are committed, and on their way to the applier.
    Applying(Vec<Entry>),
    /// More can be read and watched.
    Published,
    /// The state is that of a snapshot from the leader.
    Installed,
    /// So many revisions were taken out of the index.
    Trimmed(usize),
    Answered(P, ferrite_state::Outcome),
    Refused(P, Refused),
    Read(R, Result<(), ReadFailed>),
    /// All is written: the member has ended.
    Closed,
}

/// A running member.
#[derive(Debug)]
pub struct Engine<P, R> {
    owners: Owners<P, R>,
    waiting: Waiting<P, R>,
    ids: Arc<RequestIds>,
    defect: Option<Defect>,
    pub shared: Shared,
    pub progress: Arc<Progress>,
    pub room: Arc<Room>,
}

#[derive(Debug)]
struct Owners<P, R> {
    member: Member<P, R>,
    log: LogWriter<LyingDisk>,
    apply: Applier<P>,
    store: StoreKeeper<LyingDisk, ()>,
}

/// The inbox of each owner.
#[derive(Debug)]
struct Waiting<P, R> {
    member: Vec<Input<P, R>>,
    log: Vec<LogJob>,
    apply: Vec<ApplyJob<P>>,
    store: Vec<StoreJob<()>>,
    /// There is more to trim, to clean, or to say in the log.
    apply_has_more: bool,
    store_has_more: bool,
    log_may_mark: bool,
    /// The applier waits for nothing any more.
    is_closing: bool,
}

impl<P: Waiter, R: Waiter> Engine<P, R> {
    /// The member of these parts, whose clock stands at 0.
    pub fn new(parts: Parts<LyingDisk>, setup: Setup) -> Engine<P, R> {
        let Parts { ids: identity, raft, log, snapshots, mut store, state, dead, window, applied, checkpoint, .. } =
            parts;
        let Setup { name, limits, first_request, defect } = setup;
        store.trim(&dead);
        let progress = Arc::new(Progress::new(applied.0, applied.1));
        let registry = Arc::new(Registry::new());
        let ids = Arc::new(RequestIds::new(identity.member, first_request));
        let shared = state.shared().clone();
        let room = Arc::new(Room::default());
        let client_urls = vec![format!("http://{name}:2379")];
        let checkpointing = match defect {
            Some(Defect::RestsNotWritten) => Checkpointing::Never,
            _ => Checkpointing::AmongOurs,
        };
        let duties = Duties::new(
            shared.clone(),
            progress.clone(),
            ids.clone(),
            Publish::new(identity.member.0, name, client_urls),
            room.clone(),
            ClusterVersion::new(3, 7),
            Leases::new(shared.lessor.clone(), checkpointing, &registry),
            None,
            Arc::new(ByKind::requests(&registry)),
        );
        let checkpoints = Checkpoints::new(limits, checkpoint);
        let timing = ApplyTiming::new(&registry, Duration::MAX);
        let owners = Owners {
            member: Member::new(
                raft,
                Pace { heartbeat: HEARTBEAT, election_ticks: ELECTION_TICKS },
                checkpoints,
                duties,
                progress.clone(),
                Duration::ZERO,
            ),
            log: LogWriter::new(
                log,
                snapshots,
                Keep { segments: 2, snapshots: 2 },
                LogTiming::new(&registry, Duration::MAX),
            ),
            apply: Applier::new(state, window, progress.clone(), applied.0, TrimPace::default(), timing),
            store: StoreKeeper::new(store, StoreTiming::new(&registry)),
        };
        let waiting = Waiting {
            member: Vec::new(),
            log: Vec::new(),
            apply: Vec::new(),
            store: Vec::new(),
            apply_has_more: false,
            store_has_more: true,
            log_may_mark: false,
            is_closing: false,
        };
        Engine { owners, waiting, ids, defect, shared, progress, room }
    }

    /// The member itself, to look at.
    pub fn member(&self) -> &Member<P, R> {
        &self.owners.member
    }

    /// A number for a request, as no other request has it.
    pub fn next_id(&self) -> RequestId {
        self.ids.take()
    }

    /// Hands the member something.
    pub fn bring(&mut self, input: Input<P, R>) {
        self.waiting.member.push(input);
    }

    /// Somebody wants a request in the log.
    pub fn propose(&mut self, id: RequestId, request: pb::InternalRaftRequest, waiter: P) {
        let data = encode(id, &Caller::default(), request);
        self.bring(Input::Propose(Proposal { id, data, waiter }));
    }

    /// Somebody wants the store as it is.
    pub fn cut(&mut self, cut: Cut) {
        self.waiting.store.push(StoreJob::Cut(cut));
    }

    /// Where the stores of snapshots are made ready.
    pub fn place(&self) -> Place<LyingDisk> {
        self.owners.store.place()
    }

    /// Those who are short of space try again, as they do now and then.
    pub fn look_for_space(&mut self) {
        self.waiting.log_may_mark |= self.room.is_short();
        self.waiting.store_has_more |= self.room.is_short();
    }

    /// Who has something to do.
    pub fn busy(&self, now: Duration) -> impl Iterator<Item = Owner> {
        let Waiting { member, log, apply, store, apply_has_more, store_has_more, log_may_mark, is_closing } =
            &self.waiting;
        let has_room = self.owners.apply.has_room() || *is_closing;
        [
            (Owner::Member, !member.is_empty() || self.owners.member.next_turn() <= now),
            (Owner::Log, !log.is_empty() || *log_may_mark),
            // Its thread would wait for the store to make room.
            (Owner::Apply, (!apply.is_empty() || *apply_has_more) && has_room),
            (Owner::Store, !store.is_empty() || *store_has_more),
        ]
        .into_iter()
        .filter_map(|(owner, is_busy)| is_busy.then_some(owner))
    }

    /// One step of an owner. `now` is on the member's clock.
    pub fn step(&mut self, owner: Owner, now: Duration, happened: &mut Vec<Happening<P, R>>) -> Result<(), Stopped> {
        match owner {
            Owner::Member => self.step_member(now, happened),
            Owner::Log => self.step_log(happened)?,
            Owner::Apply => self.step_apply(happened)?,
            Owner::Store => self.step_store(happened)?,
        }
        Ok(())
    }

    /// Begins to stop as on SIGTERM: [`Happening::Closed`] is the end.
    pub fn close(&mut self, now: Duration, happened: &mut Vec<Happening<P, R>>) {
        self.owners.apply.closing().begin();
        self.waiting.is_closing = true;
        self.bring(Input::Stop);
        self.step_member(now, happened);
        self.waiting.log.push(LogJob::Close(self.owners.member.unwritten_hard_state()));
        self.waiting.apply.push(ApplyJob::Close);
    }

    /// Whether nothing waits for the log writer.
    pub fn log_is_idle(&self) -> bool {
        self.waiting.log.is_empty()
    }

    fn step_member(&mut self, now: Duration, happened: &mut Vec<Happening<P, R>>) {
        let out = self.owners.member.turn(now, &mut self.waiting.member);
        for mut save in out.save {
            happened.push(Happening::Saving(save.entries.clone()));
            match (self.defect, &mut save.hard_state) {
                (Some(Defect::SavedBeforeWritten), _) => self.waiting.member.push(Input::Saved(save.number)),
                (Some(Defect::VoteNotSaved), Some(hard_state)) => hard_state.vote = None,
                _ => {}
            }
            self.waiting.log.push(LogJob::Save(save));
        }
        self.waiting.apply.extend(out.install.map(ApplyJob::Install));
        self.waiting.store.extend(out.discard.then_some(StoreJob::Discard));
        for mut apply in out.apply {
            happened.push(Happening::Applying(apply.entries.clone()));
            if self.defect == Some(Defect::EntrySkipped) {
                skip_some(&mut apply.entries);
            }
            self.waiting.apply.push(ApplyJob::Apply(apply));
        }
        self.waiting.store.extend(out.checkpoint.map(|(_, hard_state)| StoreJob::Checkpoint(hard_state)));
        happened.extend(out.messages.into_iter().map(Happening::Sent));
        happened.extend(out.refused.into_iter().map(|(waiter, why)| Happening::Refused(waiter, why)));
        happened.extend(out.reads.into_iter().map(|(reader, confirmed)| Happening::Read(reader, confirmed)));
    }

    fn step_log(&mut self, happened: &mut Vec<Happening<P, R>>) -> Result<(), Stopped> {
        let saves = self.waiting.log.iter().filter_map(|job| match job {
            LogJob::Save(save) => save.entries.last().map(|entry| entry.index),
            _ => None,
        });
        let last = saves.last();
        let numbers = self.waiting.log.iter().filter_map(|job| match job {
            LogJob::Save(save) => Some(save.number),
            _ => None,
        });
        let last_number = numbers.last();
        let mut saved = None;
        let done = match self.waiting.log.is_empty() {
            true => self.owners.log.idle(),
            false => self.owners.log.step(&mut self.waiting.log, &mut |number| saved = Some(number)),
        };
        let done = match done {
            Err(_) if self.defect == Some(Defect::SyncErrorIgnored) => {
                saved = last_number;
                LogDone::default()
            }
            done => done?,
        };
        happened.push(Happening::Logged(last));
        self.room.set_log_is_short(done.is_short_of_space);
        self.waiting.log_may_mark = saved.is_some() || done.checkpointed.is_some();
        self.waiting.member.extend(saved.map(Input::Saved));
        if let Some((index, conf)) = done.checkpointed {
            happened.push(Happening::Checkpointed(index));
            self.waiting.member.push(Input::Checkpointed { index, conf });
        }
        Ok(())
    }

    fn step_apply(&mut self, happened: &mut Vec<Happening<P, R>>) -> Result<(), Stopped> {
        let done = self.owners.apply.step(&mut self.waiting.apply, true)?;
        self.waiting.apply_has_more = done.has_more;
        if done.has_applied {
            happened.push(Happening::Published);
        }
        self.waiting.member.extend(done.conf_changes.into_iter().map(Input::ConfChanged));
        if done.has_installed {
            happened.push(Happening::Installed);
            self.waiting.member.push(Input::Installed);
            self.waiting.store.push(StoreJob::Install);
        }
        if !done.duties_done.is_empty() {
            self.waiting.member.push(Input::DutyDone(done.duties_done));
        } else if done.wakes_member {
            self.waiting.member.push(Input::Applied);
        }
        happened.extend(done.answers.into_iter().map(|(waiter, outcome)| Happening::Answered(waiter, outcome)));
        if !done.dead.is_empty() {
            happened.push(Happening::Trimmed(done.dead.len()));
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

    fn step_store(&mut self, happened: &mut Vec<Happening<P, R>>) -> Result<(), Stopped> {
        let done = self.owners.store.step(&mut self.waiting.store)?;
        self.waiting.store_has_more = done.has_more;
        self.room.set_store_is_short(done.is_short_of_space);
        self.waiting.apply.extend(done.flushed.map(ApplyJob::Stored));
        self.waiting.log.extend(done.checkpoint.map(LogJob::Checkpoint));
        if done.is_closed {
            happened.push(Happening::Closed);
        }
        Ok(())
    }
}

/// Empties an entry now and then, as if it said nothing.
fn skip_some(entries: &mut [Entry]) {
    const ONE_IN: u64 = 50;
    let skipped = entries.iter_mut().filter(|entry| entry.index.0 % ONE_IN == 0 && entry.change().is_none());
    skipped.for_each(|entry| entry.payload = Payload::default());
}

/// A database as etcd might have written it: without the note that its pages stand in order, which lies behind the first meta
/// and lets it become a store while it arrives.
pub fn without_note(pieces: &[Bytes]) -> Vec<Bytes> {
    let mut database = pieces.concat();
    let end = database.len().min(4096);
    if let Some(note) = database.get_mut(80..end) {
        note.fill(0);
    }
    vec![database.into()]
}
