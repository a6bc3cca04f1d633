//! How a member comes to lead.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ferrite_member::duty::{Duties, Leases, Publish, Room};
use ferrite_member::{
    ByKind, Checkpoints, ConfChanged, Input, Limits, Member, MembersProposal, Progress, RequestIds, Waiter,
};
use ferrite_observe::metrics::Registry;
use ferrite_raft::{
    ChangeKind, ConfChangeV1, ConfChangeV2, ConfState, Config, Index, MemberChange, MemoryLog, NodeId, RawNode, Term,
};
use ferrite_state::cluster::ClusterVersion;
use ferrite_state::lease::{Lessor, SharedLessor};
use ferrite_state::{Settings, State};
use ferrite_storage::{Table, in_memory};

const ME: NodeId = NodeId(1);
const HEARTBEAT: Duration = Duration::from_millis(100);

#[derive(Debug)]
struct Nobody;

impl Waiter for Nobody {
    fn gone(&self) -> bool {
        false
    }
}

fn sole_voter(pre_vote: bool) -> (Member<Nobody, Nobody>, Arc<Progress>) {
    let rows: [(Table, Bytes, Bytes); 0] = [];
    let (state, _) = State::load(rows, in_memory().1, Settings::default()).expect("an empty state");
    let mut log = MemoryLog::new();
    log.set_conf(ConfState { voters: vec![ME], ..ConfState::default() });
    let raft = RawNode::new(Config { pre_vote, ..Config::new(ME) }, log).expect("a configuration that works");
    let progress = Arc::new(Progress::new(Index(0), Term(0)));
    let registry = Arc::new(Registry::new());
    let duties = Duties::new(
        state.shared().clone(),
        progress.clone(),
        Arc::new(RequestIds::new(ME, 1)),
        Publish::new(ME.0, "one".into(), vec!["http://127.0.0.1:2379".into()]),
        Arc::new(Room::default()),
        ClusterVersion::new(3, 7),
        Leases::new(Arc::new(SharedLessor::new(Lessor::new(1))), HEARTBEAT * 10, true, &registry),
        None,
        Arc::new(ByKind::requests(&registry)),
    );
    let checkpoints = Checkpoints::new(Limits { entries: 1000, bytes: 1 << 20, catch_up: 5 }, Index(0));
    (Member::new(raft, HEARTBEAT, checkpoints, duties, progress.clone(), Duration::ZERO), progress)
}

/// A member and those who work for it: whatever it wants saved is saved at once.
struct Rig {
    member: Member<Nobody, Nobody>,
    progress: Arc<Progress>,
    now: Duration,
    /// The last entry handed out to be applied.
    committed: (Index, Term),
}

impl Rig {
    fn new() -> Rig {
        let (member, progress) = sole_voter(true);
        Rig { member, progress, now: Duration::ZERO, committed: (Index(0), Term(0)) }
    }

    /// Takes turns until it rests. Nothing is applied.
    fn rest(&mut self, mut arrived: Vec<Input<Nobody, Nobody>>) {
        for _ in 0..20 {
            self.now += Duration::from_millis(1);
            let out = self.member.turn(self.now, &mut arrived);
            arrived.extend(out.save.into_iter().map(|save| Input::Saved(save.number)));
            let applied = out.apply.iter().flat_map(|apply| &apply.entries).last();
            self.committed = applied.map_or(self.committed, |entry| (entry.index, entry.term));
        }
    }

    fn apply(&mut self) {
        self.progress.set_applied(self.committed.0, self.committed.1);
    }

    /// Changes what node 2 is, and takes the turn in which the applier has come to it.
    fn change_members(&mut self, kind: ChangeKind) {
        let change = MemberChange { kind, node: NodeId(2) };
        let proposed = ConfChangeV1 { id: 7, change, context: Bytes::new() };
        let before = self.committed;
        self.rest(vec![Input::ChangeMembers(MembersProposal { change: proposed, waiter: Nobody })]);
        assert!(self.committed > before, "the change is committed");
        self.apply();
        let change = ConfChangeV2 { changes: vec![change], ..ConfChangeV2::default() };
        self.member.turn(self.now, &mut vec![Input::ConfChanged(ConfChanged { change })]);
    }
}

#[test]
fn reads_need_no_round_once_an_entry_of_the_term_is_applied_and_nobody_else_votes() {
    let mut rig = Rig::new();
    rig.rest(Vec::new());
    assert_eq!(rig.member.leader(), Some(ME));
    assert!(!rig.member.reads_need_no_round(), "what it has committed in its first life is not applied");
    rig.apply();
    rig.rest(Vec::new());
    assert!(rig.member.reads_need_no_round());
    rig.change_members(ChangeKind::AddLearnerNode);
    assert!(rig.member.reads_need_no_round(), "a learner decides nothing");
    rig.change_members(ChangeKind::AddNode);
    assert!(!rig.member.reads_need_no_round(), "in the very turn in which there is another voter");
}

#[test]
fn an_election_under_way_is_not_begun_again() {
    // Turns come for many reasons; a save may take as long as several of them.
    for (pre_vote, turns_a_save_takes) in [(false, 0), (true, 0), (false, 1), (true, 1), (true, 5)] {
        let (mut member, _) = sole_voter(pre_vote);
        let mut saves: Vec<(usize, _)> = Vec::new();
        for turn in 0..40 {
            let mut done: Vec<Input<Nobody, Nobody>> =
                saves.extract_if(.., |(due, _)| *due <= turn).map(|(_, number)| Input::Saved(number)).collect();
            let out = member.turn(Duration::from_millis(turn as u64), &mut done);
            saves.extend(out.save.into_iter().map(|save| (turn + 1 + turns_a_save_takes, save.number)));
        }
        assert_eq!(member.leader(), Some(ME), "pre-vote {pre_vote}, a save takes {turns_a_save_takes} turns");
    }
}
