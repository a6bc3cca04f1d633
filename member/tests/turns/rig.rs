//! One member, and those who work for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use ferrite_member::duty::{Checkpointing, Duties, Leases, Publish, Room};
use ferrite_member::{
    ByKind, Checkpoints, ConfChanged, Input, Limits, Member, MembersProposal, Pace, Progress, Proposal, RequestIds,
    Waiter,
};
use ferrite_observe::metrics::Registry;
use ferrite_raft::{
    ChangeKind, ConfChangeV1, ConfChangeV2, ConfState, Config, Entry, HardState, Index, MemberChange, MemoryLog,
    NodeId, RawNode, Rules, Snapshot, Term,
};
use ferrite_state::cluster::ClusterVersion;
use ferrite_state::lease::{Lessor, SharedLessor};
use ferrite_state::{RequestId, Settings, State};
use ferrite_storage::{Table, in_memory};

pub const ME: NodeId = NodeId(1);
const HEARTBEAT: Duration = Duration::from_millis(100);
/// Log between two checkpoints.
pub const CHECKPOINT_BYTES: u64 = 1 << 20;
const PACE: Pace = Pace { heartbeat: HEARTBEAT, election_ticks: 10 };

/// A waiter whom nobody hears of again; it may have given up.
#[derive(Debug, Default)]
pub struct Nobody {
    gave_up: Arc<AtomicBool>,
}

impl Waiter for Nobody {
    fn gone(&self) -> bool {
        self.gave_up.load(Ordering::SeqCst)
    }
}

pub fn sole_voter(pre_vote: bool) -> (Member<Nobody, Nobody>, Arc<Progress>) {
    one_of(vec![ME], pre_vote)
}

/// A member among these voters.
pub fn one_of(voters: Vec<NodeId>, pre_vote: bool) -> (Member<Nobody, Nobody>, Arc<Progress>) {
    with_leases(voters, pre_vote, Arc::new(SharedLessor::new(Lessor::new(1))))
}

fn with_leases(
    voters: Vec<NodeId>,
    pre_vote: bool,
    lessor: Arc<SharedLessor>,
) -> (Member<Nobody, Nobody>, Arc<Progress>) {
    on_log(MemoryLog::new(), voters, pre_vote, lessor)
}

fn on_log(
    mut log: MemoryLog,
    voters: Vec<NodeId>,
    pre_vote: bool,
    lessor: Arc<SharedLessor>,
) -> (Member<Nobody, Nobody>, Arc<Progress>) {
    let rows: [(Table, Bytes, Bytes); 0] = [];
    let (state, _) = State::load(rows, in_memory().1, Settings::default()).expect("an empty state");
    log.set_conf(ConfState { voters, ..ConfState::default() });
    let rules = Rules { pre_vote, ..Rules::default() };
    let raft = RawNode::new(Config { rules, ..Config::new(ME) }, log).expect("a configuration that works");
    let progress = Arc::new(Progress::new(Index(0), Term(0)));
    let registry = Arc::new(Registry::new());
    let duties = Duties::new(
        state.shared().clone(),
        progress.clone(),
        Arc::new(RequestIds::new(ME, 1)),
        Publish::new(ME.0, "one".into(), vec!["http://127.0.0.1:2379".into()]),
        Arc::new(Room::default()),
        ClusterVersion::new(3, 7),
        Leases::new(lessor, Checkpointing::Always, &registry),
        None,
        Arc::new(ByKind::requests(&registry)),
    );
    let limits = Limits { entries: 1000, bytes: CHECKPOINT_BYTES, catch_up: 5 };
    let checkpoints = Checkpoints::new(limits, Index(0));
    (Member::new(raft, PACE, checkpoints, duties, progress.clone(), Duration::ZERO), progress)
}

/// A member and those who work for it: whatever it wants saved is saved at once.
pub struct Rig {
    pub member: Member<Nobody, Nobody>,
    pub progress: Arc<Progress>,
    pub lessor: Arc<SharedLessor>,
    pub now: Duration,
    /// Entries that were handed out to be saved.
    pub saved: Vec<Entry>,
    /// The last entry handed out to be applied.
    pub committed: (Index, Term),
    /// Where the store was to be made whole.
    pub checkpoint: Option<Index>,
}

impl Rig {
    pub fn new() -> Rig {
        let lessor = Arc::new(SharedLessor::new(Lessor::new(1)));
        Rig::on(MemoryLog::new(), lessor)
    }

    /// One that finds a log, none of which is in its store.
    pub fn after(entries: Vec<Entry>) -> Rig {
        let last = entries.last().map_or((Index(0), Term(0)), |last| (last.index, last.term));
        let hard_state = HardState { term: last.1, vote: None, commit: last.0 };
        let log = MemoryLog::restore(hard_state, Snapshot::default(), entries);
        Rig::on(log, Arc::new(SharedLessor::new(Lessor::new(1))))
    }

    fn on(log: MemoryLog, lessor: Arc<SharedLessor>) -> Rig {
        let (member, progress) = on_log(log, vec![ME], true, lessor.clone());
        Rig {
            member,
            progress,
            lessor,
            now: Duration::ZERO,
            saved: Vec::new(),
            committed: (Index(0), Term(0)),
            checkpoint: None,
        }
    }

    /// Takes turns until it rests. Nothing is applied.
    pub fn rest(&mut self, mut arrived: Vec<Input<Nobody, Nobody>>) {
        for _ in 0..20 {
            self.now += Duration::from_millis(1);
            let out = self.member.turn(self.now, &mut arrived);
            self.checkpoint = out.checkpoint.map(|(index, _)| index).or(self.checkpoint);
            for save in out.save {
                arrived.push(Input::Saved(save.number));
                self.saved.extend(save.entries);
            }
            let applied = out.apply.iter().flat_map(|apply| &apply.entries).last();
            self.committed = applied.map_or(self.committed, |entry| (entry.index, entry.term));
        }
    }

    pub fn apply(&mut self) {
        self.progress.set_applied(self.committed.0, self.committed.1);
    }

    /// Changes what node 2 is, and takes the turn in which the applier has come to it.
    pub fn change_members(&mut self, kind: ChangeKind) {
        let before = self.committed;
        self.rest(vec![proposed(7, kind)]);
        assert!(self.committed > before, "the change is committed");
        self.apply();
        self.member.turn(self.now, &mut vec![applied(kind)]);
    }
}

/// Somebody proposes what node 2 is to be.
pub fn proposed(id: u64, kind: ChangeKind) -> Input<Nobody, Nobody> {
    let change = ConfChangeV1 { id, change: MemberChange { kind, node: NodeId(2) }, context: Bytes::new() };
    Input::ChangeMembers(MembersProposal { change, waiter: Nobody::default() })
}

/// The applier has come to that change.
pub fn applied(kind: ChangeKind) -> Input<Nobody, Nobody> {
    let change = MemberChange { kind, node: NodeId(2) };
    Input::ConfChanged(ConfChanged { change: ConfChangeV2 { changes: vec![change], ..ConfChangeV2::default() } })
}

/// Somebody proposes a command.
pub fn command(id: u64) -> Input<Nobody, Nobody> {
    proposal(id, Bytes::from_static(b"command"))
}

/// Somebody proposes this.
pub fn proposal(id: u64, data: Bytes) -> Input<Nobody, Nobody> {
    Input::Propose(Proposal { id: RequestId(id), data, waiter: Nobody::default() })
}

/// A command and a change of members, whose proposers give up when that becomes true.
pub fn impatient() -> (Vec<Input<Nobody, Nobody>>, Arc<AtomicBool>) {
    let gave_up = Arc::new(AtomicBool::new(false));
    let waiter = || Nobody { gave_up: gave_up.clone() };
    let command = Proposal { id: RequestId(1), data: Bytes::from_static(b"command"), waiter: waiter() };
    let Input::ChangeMembers(change) = proposed(2, ChangeKind::AddNode) else { unreachable!() };
    let change = MembersProposal { waiter: waiter(), ..change };
    (vec![Input::Propose(command), Input::ChangeMembers(change)], gave_up)
}
