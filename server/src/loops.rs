//! The loop around each owner: take what has arrived, step, hand on what came of it.
//!
//!   member ──Save──▶ log ──Saved──▶ member
//!      │ Apply                        │ Checkpoint
//!      ▼                              ▼
//!    apply ──Write, Trim──▶ store ──Checkpoint──▶ log ──Checkpointed──▶ member
//!      └──▶ answers, watchers
//!
//! Each loop runs on a thread of its own and ends when it is told to close, in the order member, apply, store, log. An
//! error ends the process: `Fatal` says why.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ferrite_member::duty::Room;
use ferrite_member::{
    Applier, ApplierError, ApplyJob, ApplyNews, Inbox, Input, LogJob, LogWriter, LogWriterError, Member, Outlet,
    StoreJob, StoreKeeper, StoreKeeperError,
};
use ferrite_raft::Index;
use ferrite_storage::vfs::Vfs;

use tokio::sync::watch;

use crate::handle::{MemberInput, ProposalAnswer, ReadAnswer};
use crate::post::{Post, Reply};

/// The log says that all is synced when nothing has come for so long.
const LOG_IDLE: Duration = Duration::from_millis(20);
/// How long effects gather before the store writes them. They are durable in the log, and readable, all the while.
const STORE_LINGER: Duration = Duration::from_millis(100);
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

/// Runs the member until it is told to stop.
pub fn member(
    mut member: Member<Reply<ProposalAnswer>, Reply<ReadAnswer>>,
    inbox: &Inbox<MemberInput>,
    outlets: &Outlets,
    posts: &[Arc<Post>],
    signals: &Signals,
    clock: Clock,
) {
    let mut arrived = Vec::new();
    let mut last_leader = 0;
    while !member.is_stopping() {
        inbox.take(&mut arrived, Some(clock.at(member.next_turn())));
        let mut out = member.turn(clock.now(), &mut arrived);
        let leader = member.leader().map_or(0, |leader| leader.0);
        signals.leader.store(leader, Ordering::Relaxed);
        if leader != 0 && leader != last_leader {
            last_leader = leader;
            signals.leader_changes.fetch_add(1, Ordering::Relaxed);
        }
        // Before any message of this turn is sent.
        signals.reads_at_once.store(member.reads_need_no_round(), Ordering::SeqCst);
        for save in out.save.drain(..) {
            hand_on(&outlets.log, LogJob::Save(save));
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
            posts.iter().for_each(|post| post.flush());
        }
    }
    hand_on(&outlets.log, LogJob::Close(member.unwritten_hard_state()));
    hand_on(&outlets.apply, ApplyJob::Close);
}

/// Runs the log writer until it is closed.
pub fn log<V: Vfs>(
    mut writer: LogWriter<V>,
    inbox: &Inbox<LogJob>,
    outlets: &Outlets,
    signals: &Signals,
    saved: &mut dyn FnMut(Index),
) -> Result<(), Fatal> {
    let mut jobs = Vec::new();
    let mut idle_at = None;
    loop {
        inbox.take(&mut jobs, idle_at);
        let done = match jobs.is_empty() {
            true => writer.idle()?,
            false => writer.step(&mut jobs)?,
        };
        signals.room.set_log_is_short(done.is_short_of_space);
        signals.log_syncs.fetch_add(done.syncs.into(), Ordering::Relaxed);
        let worked = done.saved.is_some() || done.checkpointed.is_some();
        if let Some(number) = done.saved {
            hand_on(&outlets.member, Input::Saved(number));
        }
        if let Some((index, conf)) = done.checkpointed {
            saved(index);
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

/// Runs the applier until it is closed.
pub fn apply(
    mut applier: Applier<Reply<ProposalAnswer>>,
    inbox: &Inbox<ApplyJob<Reply<ProposalAnswer>>>,
    outlets: &Outlets,
    posts: &[Arc<Post>],
    store_knows: &AtomicBool,
    told: &mut dyn FnMut(ApplyNews),
) -> Result<(), Fatal> {
    let mut jobs = Vec::new();
    // There is more to trim, from then on.
    let mut trim_at = None;
    loop {
        inbox.take(&mut jobs, trim_at);
        let trims = trim_at.is_none_or(|at| at <= Instant::now());
        let done = applier.step(&mut jobs, trims)?;
        if trims {
            trim_at = done.has_more.then(|| Instant::now() + applier.trim_pause());
        }
        done.news.into_iter().for_each(&mut *told);
        for changed in done.conf_changes {
            hand_on(&outlets.member, Input::ConfChanged(changed));
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
        } else if done.has_applied && !store_knows.swap(true, Ordering::SeqCst) {
            hand_on(&outlets.store, StoreJob::Write);
        }
        if done.is_closed {
            hand_on(&outlets.store, StoreJob::Close);
            return Ok(());
        }
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
