//! The owner of the state: applies what is committed, in order, and says what came of it.
//!
//!   entries ──▶ parse ▸ apply ▸ window ──▶ publish ──▶ progress ──▶ answers
//!                                            └──▶ watchers, store keeper are woken by the caller
//!   stored  ──▶ trim what a compaction left, a step at a time
//!
//! A revision is published when it can be read, an outcome is answered after that: a client that reads on its answer
//! sees its own write. Entries that the store already holds are not given to the state again: Raft starts behind them.
//! An effect that finds no room waits for the store. If the member closes meanwhile, that entry and those behind it are not
//! applied in this life: the log has them.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ferrite_raft::{ChangeKind, ConfChangeV2, Entry, Index, MemberChange, NodeId, Term};
use ferrite_state::command::{Command, CommandError, ConfChange, Kind, MemberChange as StateChange, Proposal};
use ferrite_state::{ApplyError, Backwards, Halt, State, Want};
use ferrite_state::{Outcome, RequestId, Response};
use ferrite_storage::{Revision, Waited, WindowWriter};

use crate::closing::Closing;
use crate::member::{Apply, ConfChanged, Waiter, Waits};
use crate::progress::Progress;
use crate::receive::Prepared;
use crate::timing::ApplyTiming;

/// Entries between two looks for waiters that have given up: their entries may never come.
const SWEEP_ENTRIES: usize = 100_000;

/// Work for the applier.
#[derive(Debug)]
pub enum ApplyJob<P> {
    Apply(Apply<P>),
    /// Go on as the state of a snapshot.
    Install(Box<Prepared>),
    /// The store's files hold everything up to this entry.
    Stored(Index),
    /// Nothing more will come.
    Close,
}

/// What has been done.
#[derive(Debug)]
pub struct ApplyDone<P> {
    pub answers: Vec<(P, Outcome)>,
    pub duties_done: Vec<RequestId>,
    pub conf_changes: Vec<ConfChanged>,
    /// The state is that of a snapshot now: the store keeper has to go over to its store before anything else it is told
    /// here, and the member waits for it.
    pub has_installed: bool,
    /// Revisions that the store is to forget.
    pub dead: Vec<Revision>,
    /// Something was applied: the store and the watchers have work.
    pub has_applied: bool,
    /// The member wants to know that something was applied.
    pub wakes_member: bool,
    /// There is more to trim: step again when nothing else waits.
    pub has_more: bool,
    /// Trimming waits for the store: ask it to flush.
    pub waits_for_store: bool,
    /// What the window takes up in memory.
    pub window_bytes: u64,
    /// What an operator may want to know.
    pub news: Vec<ApplyNews>,
    pub is_closed: bool,
}

/// What is worth a line in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApplyNews {
    /// An entry took longer than is usual.
    Slow { index: Index, kind: Kind, took: Duration },
    /// A snapshot of the leader's is in force.
    Installed { index: Index, term: Term },
    /// A compaction is trimmed.
    Trimmed { revision: u64, took: Duration },
}

/// Applying cannot go on: the member stops.
#[derive(Debug, thiserror::Error)]
pub enum ApplierError {
    #[error(transparent)]
    Command(#[from] CommandError),
    #[error(transparent)]
    Halt(#[from] Halt),
    #[error(transparent)]
    Backwards(#[from] Backwards),
    #[error("the store has gone")]
    StoreGone,
}

/// The owner of the state.
#[derive(Debug)]
pub struct Applier<P> {
    state: State,
    window: WindowWriter,
    progress: Arc<Progress>,
    pending: Pending<P>,
    stored: Index,
    closing: Arc<Closing>,
    wake_store: WakeStore,
    /// An entry was left to the next life, so all behind it are.
    has_given_up: bool,
    pace: TrimPace,
    /// When the compaction that is being trimmed was begun.
    trimming_since: Option<Instant>,
    timing: ApplyTiming,
}

/// What tells the store keeper, who may sleep, that there is something to write.
struct WakeStore(Box<dyn FnMut() + Send>);

impl fmt::Debug for WakeStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WakeStore").finish_non_exhaustive()
    }
}

/// How fast a compaction is trimmed.
#[derive(Clone, Copy, Debug)]
pub struct TrimPace {
    /// Keys that one step looks at (`--compaction-batch-limit`).
    pub keys: usize,
    /// How long it rests between two steps (`--compaction-sleep-interval`).
    pub pause: Duration,
}

impl Default for TrimPace {
    fn default() -> TrimPace {
        TrimPace { keys: 1000, pause: Duration::ZERO }
    }
}

/// Those who wait for an entry that has been proposed here.
#[derive(Debug)]
struct Pending<P> {
    waiters: HashMap<RequestId, Waits<P>>,
    entries_since_sweep: usize,
    /// Those whose compaction is applied, and who want it trimmed before they are answered.
    physical: Vec<(i64, P, Outcome)>,
}

impl<P: Waiter> Applier<P> {
    /// `stored` is the last entry that is in the store. `dead` is what loading the state left for the store to forget.
    pub fn new(
        state: State,
        window: WindowWriter,
        progress: Arc<Progress>,
        stored: Index,
        pace: TrimPace,
        timing: ApplyTiming,
    ) -> Applier<P> {
        let pending = Pending { waiters: HashMap::new(), entries_since_sweep: 0, physical: Vec::new() };
        let closing = Arc::new(Closing::new(&window));
        Applier {
            state,
            window,
            progress,
            pending,
            stored,
            closing,
            wake_store: WakeStore(Box::new(|| ())),
            has_given_up: false,
            pace,
            trimming_since: None,
            timing,
        }
    }

    /// What tells it, from another thread, that the member closes.
    pub fn closing(&self) -> Arc<Closing> {
        self.closing.clone()
    }

    /// What to call before it waits for the store: the store keeper is told of a step's entries when the step is over, and
    /// they may fill the window before.
    pub fn wake_store_with(&mut self, call: impl FnMut() + Send + 'static) {
        self.wake_store = WakeStore(Box::new(call));
    }

    /// Whether an entry can be applied without waiting for the store.
    pub fn has_room(&self) -> bool {
        self.window.has_room()
    }

    /// Whether half of the window is free, so that a step that applies a few entries will not wait for the store.
    pub fn has_much_room(&self) -> bool {
        self.window.has_much_room()
    }

    /// Whether a compaction has not been trimmed to its end, or somebody waits to be told that it has.
    pub fn has_to_trim(&self) -> bool {
        self.state.next_trim().is_some() || !self.pending.physical.is_empty()
    }

    /// How long to rest between two steps of trimming.
    pub fn trim_pause(&self) -> Duration {
        self.pace.pause
    }

    /// Does all that waits, and if `trims` a step of trimming.
    pub fn step(&mut self, jobs: &mut Vec<ApplyJob<P>>, trims: bool) -> Result<ApplyDone<P>, ApplierError> {
        let mut done = ApplyDone {
            answers: Vec::new(),
            duties_done: Vec::new(),
            conf_changes: Vec::new(),
            has_installed: false,
            dead: Vec::new(),
            has_applied: false,
            wakes_member: false,
            has_more: false,
            waits_for_store: false,
            window_bytes: 0,
            news: Vec::new(),
            is_closed: false,
        };
        let mut last = None;
        for job in jobs.drain(..) {
            match job {
                // Who waits for these is told that nothing came of it; a snapshot's store is found by the next life.
                ApplyJob::Apply(_) | ApplyJob::Install(_) if self.has_given_up => {}
                ApplyJob::Apply(apply) => {
                    self.pending.waiters.extend(apply.waiters);
                    let mut begun = Instant::now();
                    for entry in &apply.entries {
                        let Some(ended) = self.apply(entry, begun, &mut done)? else {
                            self.give_up();
                            break;
                        };
                        begun = ended;
                        last = Some((entry.index, entry.term));
                    }
                }
                ApplyJob::Install(prepared) => last = Some(self.install(*prepared, &mut done)?),
                // One that is said of the store before a snapshot's is late.
                ApplyJob::Stored(index) => self.stored = self.stored.max(index),
                ApplyJob::Close => done.is_closed = true,
            }
        }
        if let Some((index, term)) = last {
            self.publish();
            done.has_applied = true;
            let is_new_term = self.progress.applied_term() < term;
            done.wakes_member = self.progress.set_applied(index, term);
            self.pending.sweep(term, is_new_term);
        }
        if trims {
            self.trim(&mut done);
        }
        done.window_bytes = self.window.bytes();
        Ok(done)
    }

    fn install(&mut self, prepared: Prepared, done: &mut ApplyDone<P>) -> Result<(Index, Term), ApplierError> {
        let Prepared { index, term, state, window, dead, .. } = prepared;
        self.state.become_another(state)?;
        self.window = window;
        self.closing.goes_on_in(&self.window);
        self.stored = index;
        self.trimming_since = None;
        done.has_installed = true;
        done.dead = dead;
        done.news.push(ApplyNews::Installed { index, term });
        Ok((index, term))
    }

    /// The next entry is not applied, nor any behind it.
    fn give_up(&mut self) {
        self.has_given_up = true;
        self.pending.waiters.clear();
    }

    /// Applies an entry. Returns when it was done: one look at the clock ends this one and begins the next. None: the member
    /// closes, and there is no room for the entry.
    fn apply(
        &mut self,
        entry: &Entry,
        begun: Instant,
        done: &mut ApplyDone<P>,
    ) -> Result<Option<Instant>, ApplierError> {
        let Proposal { id, command, .. } = Proposal::parse(entry)?;
        let waiter = self.pending.waiters.remove(&id);
        let want = match waiter {
            Some(Waits::Client(_)) => Want::Answer,
            Some(Waits::Duty(_)) | None => Want::Effect,
        };
        if !self.window.has_room() {
            // Those who read must see what the store is given: publishing makes the window's front movable. All that is
            // applied is in the window here; a revision that is published before its records are there cannot be read.
            self.publish();
            (self.wake_store.0)();
            match self.window.wait_for_room() {
                Waited::Room => {}
                Waited::Closing => return Ok(None),
                Waited::StoreGone => return Err(ApplierError::StoreGone),
            }
        }
        let applied = self.state.apply(entry.index, entry.term, &command, want)?;
        let ended = Instant::now();
        if let Some(kind) = command.kind() {
            // What has been compacted before is nobody's mistake.
            let success = matches!(applied.outcome, Ok(_) | Err(ApplyError::Compacted));
            let took = ended - begun;
            self.timing.applied.observe(kind, success, took);
            if took > self.timing.slow_after {
                self.timing.slow.increment();
                done.news.push(ApplyNews::Slow { index: entry.index, kind, took });
            }
        }
        self.window.append(applied.effect);
        self.pending.entries_since_sweep += 1;
        done.conf_changes.extend(applied.conf_change.map(|changed| ConfChanged { change: for_raft(changed.change) }));
        match waiter {
            Some(Waits::Client(waiter)) => match (&command, &applied.outcome) {
                (Command::Compaction(request), Ok(Response::Compaction(answer))) if request.physical => {
                    self.pending.physical.push((answer.compacted as i64, waiter, applied.outcome));
                }
                // It is refused, but not before what is compacted is trimmed.
                (Command::Compaction(request), Err(ApplyError::Compacted)) if request.physical => {
                    self.pending.physical.push((self.state.compacted(), waiter, applied.outcome));
                }
                _ => done.answers.push((waiter, applied.outcome)),
            },
            Some(Waits::Duty(_)) => done.duties_done.push(id),
            None => {}
        }
        Ok(Some(ended))
    }

    fn publish(&mut self) {
        self.window.publish();
        self.state.publish();
    }

    fn trim(&mut self, done: &mut ApplyDone<P>) {
        match self.state.next_trim() {
            Some(index) if index <= self.stored => {
                let begun = Instant::now();
                let since = *self.trimming_since.get_or_insert(begun);
                let trimmed = self.state.trim_step(self.pace.keys);
                let (ended, timing) = (Instant::now(), &self.timing.trim);
                timing.index_step.observe(milliseconds(ended - begun));
                timing.step.observe(milliseconds(ended - begun));
                timing.revisions.add(trimmed.dead.len() as u64);
                if let Some(revision) = trimmed.finished {
                    self.trimming_since = None;
                    done.news.push(ApplyNews::Trimmed { revision, took: ended - since });
                    timing.whole.observe(milliseconds(ended - since));
                    timing
                        .last
                        .set(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |now| now.as_secs() as f64));
                }
                done.dead.extend(trimmed.dead);
                done.has_more = trimmed.more;
            }
            waits => done.waits_for_store = waits.is_some(),
        }
        let finished = self.state.finished_compaction();
        let physical = self.pending.physical.extract_if(.., |(compacted, ..)| *compacted <= finished);
        done.answers.extend(physical.map(|(_, waiter, outcome)| (waiter, outcome)));
    }
}

fn milliseconds(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}

impl<P: Waiter> Pending<P> {
    /// What a leader proposed in an earlier term stands in front of what has been applied by now, or never comes. A follower's
    /// may still be on its way to the new leader: what depends on an answer is proposed again.
    fn sweep(&mut self, applied: Term, is_new_term: bool) {
        if is_new_term || self.entries_since_sweep >= SWEEP_ENTRIES {
            self.entries_since_sweep = 0;
            self.waiters.retain(|_, waits| match waits {
                Waits::Client(waiter) => !waiter.gone(),
                Waits::Duty(term) => *term >= applied,
            });
        }
    }
}

/// What a change of members is to Raft. One that was refused names node 0: Raft learns that the change is over.
fn for_raft(change: Option<ConfChange>) -> ConfChangeV2 {
    let (kind, node) = match change {
        None => (ChangeKind::AddNode, NodeId(0)),
        Some(ConfChange { node, change }) => match change {
            StateChange::Add { as_voter: true, .. } | StateChange::Promote => (ChangeKind::AddNode, node),
            StateChange::Add { as_voter: false, .. } => (ChangeKind::AddLearnerNode, node),
            StateChange::Remove => (ChangeKind::RemoveNode, node),
            StateChange::Update { .. } => (ChangeKind::UpdateNode, node),
        },
    };
    ConfChangeV2 { changes: vec![MemberChange { kind, node }], ..ConfChangeV2::default() }
}

#[cfg(test)]
mod tests {
    use ferrite_observe::metrics::Registry;
    use ferrite_proto::etcdserverpb as pb;
    use ferrite_state::Settings;
    use ferrite_state::command::{Caller, encode};
    use ferrite_storage::{Table, in_memory};

    use super::*;

    struct Client(u64);

    impl Waiter for Client {
        fn gone(&self) -> bool {
            false
        }
    }

    fn applier() -> Applier<Client> {
        let (window, revisions) = in_memory();
        let rows = std::iter::empty::<(Table, Vec<u8>, Vec<u8>)>();
        let (state, _) = State::load(rows, revisions, Settings::default()).unwrap();
        let timing = ApplyTiming::new(&Arc::new(Registry::new()), Duration::MAX);
        let progress = Arc::new(Progress::new(Index(0), Term(0)));
        Applier::new(state, window, progress, Index(0), TrimPace::default(), timing)
    }

    /// Entries of clients who wait, numbered like them.
    fn apply(first: u64, requests: Vec<pb::InternalRaftRequest>) -> ApplyJob<Client> {
        let (mut entries, mut waiters) = (Vec::new(), Vec::new());
        for (number, request) in (first..).zip(requests) {
            let data = encode(RequestId(number), &Caller::default(), request);
            entries.push(Entry { index: Index(number), term: Term(1), payload: data.into() });
            waiters.push((RequestId(number), Waits::Client(Client(number))));
        }
        ApplyJob::Apply(Apply { entries, waiters })
    }

    #[test]
    fn a_physical_compaction_is_answered_when_all_that_is_compacted_is_trimmed() {
        let put = || pb::InternalRaftRequest {
            put: Some(pb::PutRequest { key: "k".into(), ..Default::default() }),
            ..Default::default()
        };
        let compact = |revision| pb::InternalRaftRequest {
            compaction: Some(pb::CompactionRequest { revision, physical: true }),
            ..Default::default()
        };
        let mut applier = applier();
        let refused_at_once = applier.step(&mut vec![apply(1, vec![put(), put(), compact(-1)])], true).unwrap();
        assert_eq!(refused_at_once.answers.len(), 3, "nothing is compacted that could be waited for");

        let jobs = &mut vec![apply(4, vec![compact(3), compact(3), compact(2)])];
        let answered = applier.step(jobs, true).unwrap();
        assert!(answered.answers.is_empty() && answered.waits_for_store);
        let mut answers = Vec::new();
        let mut jobs = vec![ApplyJob::Stored(Index(6))];
        while answers.is_empty() {
            answers = applier.step(&mut jobs, true).unwrap().answers;
        }
        let answers: Vec<_> = answers.iter().map(|(client, outcome)| (client.0, outcome.as_ref().err())).collect();
        let compacted = Some(&ApplyError::Compacted);
        assert_eq!(answers, [(4, None), (5, compacted), (6, compacted)]);
    }

    #[test]
    fn trimming_rests_while_it_is_told_to() {
        let put = pb::PutRequest { key: "k".into(), ..Default::default() };
        let put = pb::InternalRaftRequest { put: Some(put), ..Default::default() };
        let compaction = Some(pb::CompactionRequest { revision: 3, physical: false });
        let compact = pb::InternalRaftRequest { compaction, ..Default::default() };
        let mut applier = applier();
        applier.step(&mut vec![apply(1, vec![put.clone(), put, compact]), ApplyJob::Stored(Index(3))], false).unwrap();
        for _ in 0..10 {
            assert!(applier.step(&mut Vec::new(), false).unwrap().dead.is_empty());
        }
        let mut dead = Vec::new();
        while dead.is_empty() {
            dead = applier.step(&mut Vec::new(), true).unwrap().dead;
        }
        assert_eq!(dead, [Revision { main: 2, sub: 0 }]);
    }

    /// Duties' proposals 7, 8 and 9 of terms 1, 1 and 2; those that come.
    #[test]
    fn a_duty_of_an_earlier_term_is_waited_for_no_longer() {
        let entry = |index: u64, term, id: u64| {
            let put = Some(pb::PutRequest { key: "k".into(), ..Default::default() });
            let request = pb::InternalRaftRequest { put, ..Default::default() };
            let data = encode(RequestId(id), &Caller::default(), request);
            Entry { index: Index(index), term: Term(term), payload: data.into() }
        };
        let mut applier = applier();
        let waiters = [(7, 1), (8, 1), (9, 2)].map(|(id, term)| (RequestId(id), Waits::Duty(Term(term)))).into();
        let jobs = &mut vec![ApplyJob::Apply(Apply { entries: vec![entry(1, 1, 50)], waiters })];
        assert!(applier.step(jobs, true).unwrap().duties_done.is_empty());
        assert_eq!(applier.pending.waiters.len(), 3, "an entry of term 1 may come");

        // What comes together with the new term is answered.
        let entries = vec![entry(2, 1, 7), entry(3, 2, 51)];
        let done = applier.step(&mut vec![ApplyJob::Apply(Apply { entries, waiters: vec![] })], true).unwrap();
        assert_eq!(done.duties_done, [RequestId(7)]);
        assert_eq!(applier.pending.waiters.keys().collect::<Vec<_>>(), [&RequestId(9)]);
    }
}
