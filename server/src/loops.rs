//! The loop around each owner: take what has arrived, step, hand on what came of it.
//!
//!   member ──Save──▶ log ──Saved──▶ member
//!      │ Apply                        │ Checkpoint
//!      ▼                              ▼
//!    apply ──Write, Trim──▶ store ──Checkpoint──▶ log ──Checkpointed──▶ member
//!      └──▶ answers, watchers
//!
//! Each loop runs on a thread of its own and ends when it is told to close, in the order member, apply, store, log. An
//! error ends the process: `Fatal` says why. The member and the applier do not wait for files, so while their threads
//! sleep their work is done by whoever brings it: a thread that is woken costs more than a small step.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use ferrite_member::duty::Room;
use ferrite_member::{
    Applier, ApplierError, ApplyJob, ApplyNews, Inbox, Input, LogJob, LogWriter, LogWriterError, Member, Outlet,
    StandIn, StoreJob, StoreKeeper, StoreKeeperError,
};
use ferrite_peer::Transport;
use ferrite_raft::{Body, Index, Message};
use ferrite_state::lease::Assurance;
use ferrite_storage::vfs::Vfs;
use parking_lot::Mutex;

use tokio::sync::watch;

use crate::handle::{MemberInput, ProposalAnswer, ReadAnswer};
use crate::peers::{Lane, SnapshotSender};
use crate::post::{Post, Reply};
use crate::reign::Reign;

/// The log says that all is synced when nothing has come for so long.
const LOG_IDLE: Duration = Duration::from_millis(20);
/// How long effects gather before the store writes them. They are durable in the log, and readable, all the while.
const STORE_LINGER: Duration = Duration::from_millis(100);
/// So many entries are applied by whoever brings them.
const FEW_ENTRIES: usize = 16;
/// A window with so many bytes is written without lingering.
const STORE_BATCH_BYTES: u64 = 4 << 20;

/// A caller of Defragment.
pub type Defragmented = Reply<()>;

/// Where the work of each owner is handed in.
#[derive(Clone, Debug)]
pub struct Outlets {
    pub member: Outlet<MemberInput>,
    pub log: Outlet<LogJob>,
    pub apply: Outlet<ApplyJob<Reply<ProposalAnswer>>>,
    pub store: Outlet<StoreJob<Defragmented>>,
}

/// What threads tell one another besides work.
#[derive(Debug, Default)]
pub struct Signals {
    /// The leader's id, 0 if none is known.
    pub leader: AtomicU64,
    /// Whether this member does not vote yet.
    pub is_learner: AtomicBool,
    /// The same, for who waits until it changes.
    pub leadership: watch::Sender<u64>,
    pub reign: Reign,
    /// This member has made itself known in this life.
    pub published: AtomicBool,
    /// The disk has been at work on one save for an election timeout.
    pub disk_stalls: AtomicBool,
    /// Whether leases may be renewed without asking the others.
    pub assurance: Assurance,
    /// What is applied is new enough for any read: see [`Member::reads_need_no_round`].
    pub reads_at_once: AtomicBool,
    /// Whether the log and the store found room for their next files.
    pub room: Arc<Room>,
    /// How often another leader became known.
    pub leader_changes: AtomicU64,
    /// How often the log was synced.
    pub log_syncs: AtomicU64,
    /// How many defragmentations health is to hide.
    pub pauses: watch::Sender<usize>,
}

/// Why the process has to end.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    #[error(transparent)]
    Log(#[from] LogWriterError),
    #[error(transparent)]
    Apply(#[from] ApplierError),
    #[error(transparent)]
    Store(#[from] StoreKeeperError),
}

/// Time since this member's clock was started.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    pub fn start() -> Clock {
        Clock(Instant::now())
    }

    pub fn now(self) -> Duration {
        self.0.elapsed()
    }

    fn at(self, time: Duration) -> Instant {
        self.0 + time
    }
}

/// The member, and what has been brought for it. Whoever brings something while its thread sleeps takes the turn: that
/// is how a put goes from the net thread to the log, and from the log to the applier, without waking anybody between.
#[derive(Debug)]
pub struct MemberSeat {
    inbox: Inbox<MemberInput>,
    member: Mutex<MemberLoop>,
}

/// What a turn of the member needs.
#[derive(Debug)]
struct MemberLoop {
    member: Member<Reply<ProposalAnswer>, Reply<ReadAnswer>>,
    arrived: Vec<MemberInput>,
    outlets: Outlets,
    posts: Vec<Arc<Post>>,
    signals: Arc<Signals>,
    peers: PeerLane,
    clock: Clock,
    last_leader: u64,
}

/// Messages of peers and to them.
#[derive(Clone, Debug)]
pub struct PeerLane {
    pub transport: Transport,
    pub snapshots: SnapshotSender,
    pub arriving: Arc<Lane>,
}

impl MemberSeat {
    pub fn new(
        member: Member<Reply<ProposalAnswer>, Reply<ReadAnswer>>,
        inbox: Inbox<MemberInput>,
        outlets: Outlets,
        posts: Vec<Arc<Post>>,
        signals: Arc<Signals>,
        peers: PeerLane,
        clock: Clock,
    ) -> Arc<MemberSeat> {
        let member = MemberLoop { member, arrived: Vec::new(), outlets, posts, signals, peers, clock, last_leader: 0 };
        let seat = Arc::new(MemberSeat { inbox, member: Mutex::new(member) });
        let stand_in: Weak<MemberSeat> = Arc::downgrade(&seat);
        seat.inbox.let_stand_in(stand_in);
        seat
    }

    /// Runs the member until it is told to stop.
    pub fn run(&self) {
        loop {
            let due = {
                let owner = self.member.lock();
                if owner.member.is_stopping() {
                    return owner.close();
                }
                owner.clock.at(owner.member.next_turn())
            };
            self.inbox.wait(Some(due));
            self.member.lock().turn(&self.inbox);
        }
    }
}

impl StandIn for MemberSeat {
    fn stand_in(&self) -> bool {
        let Some(mut owner) = self.member.try_lock() else { return false };
        if owner.member.is_stopping() {
            return false;
        }
        owner.turn(&self.inbox);
        // What came meanwhile is the thread's, and so is the end.
        !owner.member.is_stopping() && self.inbox.look(<[_]>::is_empty)
    }
}

impl PeerLane {
    fn send(&self, messages: Vec<Message>) {
        let (snapshots, others): (Vec<Message>, Vec<Message>) =
            messages.into_iter().partition(|message| matches!(message.body, Body::Snapshot(_)));
        self.transport.send(others);
        snapshots.into_iter().for_each(|snapshot| self.snapshots.send(snapshot));
    }
}

impl MemberLoop {
    fn turn(&mut self, inbox: &Inbox<MemberInput>) {
        let MemberLoop { member, outlets, signals, peers, .. } = self;
        inbox.take_now(&mut self.arrived);
        for input in &self.arrived {
            if let Input::Message(message) = input {
                peers.arriving.taken(message);
            }
        }
        let now = self.clock.now();
        let mut out = member.turn(now, &mut self.arrived);
        let leader = member.leader().map_or(0, |leader| leader.0);
        signals.leader.store(leader, Ordering::Relaxed);
        if signals.leadership.send_if_modified(|known| std::mem::replace(known, leader) != leader) {
            signals.reign.changed(leader, member.id().0, Instant::now());
        }
        signals.published.store(member.is_published(), Ordering::Relaxed);
        signals.disk_stalls.store(member.disk_stalls(), Ordering::Relaxed);
        if leader != 0 && leader != self.last_leader {
            self.last_leader = leader;
            signals.leader_changes.fetch_add(1, Ordering::Relaxed);
        }
        signals.is_learner.store(member.is_learner(), Ordering::Relaxed);
        // Before any message of this turn is sent.
        signals.reads_at_once.store(member.reads_need_no_round(), Ordering::SeqCst);
        // A leader's entries go out while its own disk still works on them.
        peers.send(out.messages);
        for save in out.save.drain(..) {
            hand_on(&outlets.log, LogJob::Save(save));
        }
        if let Some(prepared) = out.install {
            hand_on(&outlets.apply, ApplyJob::Install(prepared));
        }
        if out.discard {
            hand_on(&outlets.store, StoreJob::Discard);
        }
        for apply in out.apply.drain(..) {
            hand_on(&outlets.apply, ApplyJob::Apply(apply));
        }
        if let Some((_, hard_state)) = out.checkpoint {
            hand_on(&outlets.store, StoreJob::Checkpoint(hard_state));
        }
        let answers = !out.reads.is_empty() || !out.refused.is_empty();
        out.reads.drain(..).for_each(|(reader, answer)| reader.answer(answer));
        out.refused.drain(..).for_each(|(waiter, why)| waiter.answer(Err(why)));
        if answers {
            self.posts.iter().for_each(|post| post.flush());
        }
    }

    fn close(&self) {
        hand_on(&self.outlets.log, LogJob::Close(self.member.unwritten_hard_state()));
        hand_on(&self.outlets.apply, ApplyJob::Close);
    }
}

/// What the log writer has to say that is worth a line.
#[derive(Clone, Copy, Debug)]
pub enum LogNews {
    /// A checkpoint stands here.
    Saved(Index),
    SlowSync(Duration),
}

/// Runs the log writer until it is closed.
pub fn log<V: Vfs>(
    mut writer: LogWriter<V>,
    inbox: &Inbox<LogJob>,
    outlets: &Outlets,
    signals: &Signals,
    news: &mut dyn FnMut(LogNews),
) -> Result<(), Fatal> {
    let mut jobs = Vec::new();
    let mut idle_at = None;
    loop {
        inbox.take(&mut jobs, idle_at);
        let done = match jobs.is_empty() {
            true => writer.idle()?,
            false => writer.step(&mut jobs, &mut |number| hand_on(&outlets.member, Input::Saved(number)))?,
        };
        signals.room.set_log_is_short(done.is_short_of_space);
        if let Some(took) = done.slow_sync {
            news(LogNews::SlowSync(took));
        }
        signals.log_syncs.fetch_add(done.syncs.into(), Ordering::Relaxed);
        let worked = done.syncs > 0 || done.checkpointed.is_some();
        if let Some((index, conf)) = done.checkpointed {
            news(LogNews::Saved(index));
            hand_on(&outlets.member, Input::Checkpointed { index, conf });
        }
        if done.is_closed {
            return Ok(());
        }
        // A disk without room is looked at again now and then.
        idle_at = match (worked, done.is_short_of_space) {
            (true, _) => Some(Instant::now() + LOG_IDLE),
            (false, true) => Some(Instant::now() + Duration::from_secs(1)),
            (false, false) => None,
        };
    }
}

/// The applier, and the entries that wait for it. Whoever brings a few while its thread sleeps applies them.
pub struct ApplySeat {
    inbox: Inbox<ApplyJob<Reply<ProposalAnswer>>>,
    applier: Mutex<ApplyLoop>,
    /// Ends the process: applying has failed.
    fatal: Box<dyn Fn(Fatal) + Send + Sync>,
}

/// Whom the applier tells what.
pub struct ApplyListeners {
    /// What is worth a line in the log.
    pub news: Box<dyn FnMut(ApplyNews) + Send>,
    /// The cluster's members have changed.
    pub members: Box<dyn FnMut() + Send>,
}

impl fmt::Debug for ApplyListeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApplyListeners").finish_non_exhaustive()
    }
}

impl fmt::Debug for ApplySeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApplySeat").finish_non_exhaustive()
    }
}

/// What a step of the applier needs.
struct ApplyLoop {
    applier: Applier<Reply<ProposalAnswer>>,
    jobs: Vec<ApplyJob<Reply<ProposalAnswer>>>,
    outlets: Outlets,
    posts: Vec<Arc<Post>>,
    store_knows: Arc<AtomicBool>,
    listeners: ApplyListeners,
    /// There is more to trim, from then on.
    trim_at: Option<Instant>,
    is_closed: bool,
}

impl ApplySeat {
    pub fn new(
        mut applier: Applier<Reply<ProposalAnswer>>,
        inbox: Inbox<ApplyJob<Reply<ProposalAnswer>>>,
        outlets: Outlets,
        posts: Vec<Arc<Post>>,
        store_knows: Arc<AtomicBool>,
        listeners: ApplyListeners,
        fatal: Box<dyn Fn(Fatal) + Send + Sync>,
    ) -> Arc<ApplySeat> {
        let store = outlets.store.clone();
        applier.wake_store_with(move || hand_on(&store, StoreJob::Flush));
        let applier = ApplyLoop {
            applier,
            jobs: Vec::new(),
            outlets,
            posts,
            store_knows,
            listeners,
            trim_at: None,
            is_closed: false,
        };
        let seat = Arc::new(ApplySeat { inbox, applier: Mutex::new(applier), fatal });
        let stand_in: Weak<ApplySeat> = Arc::downgrade(&seat);
        seat.inbox.let_stand_in(stand_in);
        seat
    }

    /// Runs the applier until it is closed.
    pub fn run(&self) {
        loop {
            let trim_at = {
                let owner = self.applier.lock();
                if owner.is_closed {
                    return;
                }
                owner.trim_at
            };
            self.inbox.wait(trim_at);
            let mut owner = self.applier.lock();
            let trims = owner.trim_at.is_none_or(|at| at <= Instant::now());
            if let Err(error) = owner.step(&self.inbox, trims) {
                return (self.fatal)(error);
            }
        }
    }
}

impl StandIn for ApplySeat {
    fn stand_in(&self) -> bool {
        let Some(mut owner) = self.applier.try_lock() else { return false };
        let is_small = |job: &ApplyJob<_>| matches!(job, ApplyJob::Apply(apply) if apply.entries.len() <= FEW_ENTRIES);
        let is_easy = self.inbox.look(|jobs| jobs.len() == 1 && jobs.iter().all(is_small));
        if !is_easy || !owner.applier.has_much_room() {
            return false;
        }
        if let Err(error) = owner.step(&self.inbox, false) {
            (self.fatal)(error);
        }
        // Trimming is the thread's, and it may be the entry just applied that calls for it.
        !owner.applier.has_to_trim() && self.inbox.look(<[_]>::is_empty)
    }
}

impl ApplyLoop {
    fn step(&mut self, inbox: &Inbox<ApplyJob<Reply<ProposalAnswer>>>, trims: bool) -> Result<(), Fatal> {
        let ApplyLoop { applier, outlets, posts, .. } = self;
        inbox.take_now(&mut self.jobs);
        let done = applier.step(&mut self.jobs, trims)?;
        if trims {
            self.trim_at = done.has_more.then(|| Instant::now() + applier.trim_pause());
        }
        done.news.into_iter().for_each(&mut self.listeners.news);
        if !done.conf_changes.is_empty() || done.has_installed {
            // Before Raft says anything to those who have come.
            (self.listeners.members)();
        }
        for changed in done.conf_changes {
            hand_on(&outlets.member, Input::ConfChanged(changed));
        }
        if done.has_installed {
            // The member first: who is told of it last can be sent another snapshot.
            hand_on(&outlets.member, Input::Installed);
            hand_on(&outlets.store, StoreJob::Install);
        }
        if !done.duties_done.is_empty() {
            hand_on(&outlets.member, Input::DutyDone(done.duties_done));
        } else if done.wakes_member {
            hand_on(&outlets.member, Input::Applied);
        }
        if !done.answers.is_empty() {
            done.answers.into_iter().for_each(|(waiter, outcome)| waiter.answer(Ok(outcome)));
            posts.iter().for_each(|post| post.flush());
        }
        if done.has_applied {
            posts.iter().for_each(|post| post.announce());
        }
        if !done.dead.is_empty() {
            hand_on(&outlets.store, StoreJob::Trim(done.dead));
        }
        if done.waits_for_store || done.window_bytes > STORE_BATCH_BYTES {
            hand_on(&outlets.store, StoreJob::Flush);
        } else if done.has_applied && !self.store_knows.swap(true, Ordering::SeqCst) {
            hand_on(&outlets.store, StoreJob::Write);
        }
        if done.is_closed {
            self.is_closed = true;
            hand_on(&outlets.store, StoreJob::Close);
        }
        Ok(())
    }
}

/// Runs the store keeper until it is closed. `store_knows` is set by the applier when it has said that there is something
/// to write.
pub fn store<V: Vfs>(
    mut keeper: StoreKeeper<V, Defragmented>,
    inbox: &Inbox<StoreJob<Defragmented>>,
    outlets: &Outlets,
    posts: &[Arc<Post>],
    signals: &Signals,
    store_knows: &AtomicBool,
) -> Result<(), Fatal> {
    let mut jobs = Vec::new();
    let mut more = Vec::new();
    let mut again_at = Some(Instant::now());
    loop {
        inbox.take(&mut jobs, again_at);
        let linger = Instant::now() + STORE_LINGER;
        while !jobs.is_empty() && jobs.iter().all(|job| matches!(job, StoreJob::Write)) && Instant::now() < linger {
            inbox.take(&mut more, Some(linger));
            jobs.append(&mut more);
        }
        store_knows.store(false, Ordering::SeqCst);
        let done = keeper.step(&mut jobs)?;
        // A disk without room is looked at again now and then.
        again_at = match (done.has_more, done.is_short_of_space) {
            (true, _) => Some(Instant::now()),
            (false, true) => Some(Instant::now() + Duration::from_secs(1)),
            (false, false) => None,
        };
        signals.room.set_store_is_short(done.is_short_of_space);
        if let Some(index) = done.flushed {
            hand_on(&outlets.apply, ApplyJob::Stored(index));
        }
        if let Some(checkpoint) = done.checkpoint {
            hand_on(&outlets.log, LogJob::Checkpoint(checkpoint));
        }
        if !done.defragmented.is_empty() {
            done.defragmented.into_iter().for_each(|waiter| waiter.answer(()));
            posts.iter().for_each(|post| post.flush());
        }
        if done.is_closed {
            return Ok(());
        }
    }
}

/// An owner that has gone needs no work any more: the process is ending.
fn hand_on<T>(outlet: &Outlet<T>, work: T) {
    let _ = outlet.push(work);
}
