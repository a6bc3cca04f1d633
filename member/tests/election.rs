//! How a member comes to lead.

use std::sync::Arc;
use std::time::Duration;

use ferrite_member::duty::{Duties, Facts, Leases, Publish, Room};
use ferrite_member::{Checkpoints, Input, Limits, Member, Progress, RequestIds, Waiter};
use ferrite_proto::membershippb::Attributes;
use ferrite_raft::{ConfState, Config, Index, MemoryLog, NodeId, RawNode, Term};
use ferrite_state::cluster::ClusterVersion;
use ferrite_state::lease::{Lessor, SharedLessor};

const ME: NodeId = NodeId(1);
const HEARTBEAT: Duration = Duration::from_millis(100);

#[derive(Debug)]
struct Nobody;

impl Waiter for Nobody {
    fn gone(&self) -> bool {
        false
    }
}

/// An empty store.
#[derive(Debug)]
struct Empty;

impl Facts for Empty {
    fn revision(&self) -> u64 {
        1
    }

    fn compacted(&self) -> i64 {
        0
    }

    fn cluster_version(&self) -> Option<ClusterVersion> {
        None
    }

    fn attributes(&self, _: u64) -> Option<Attributes> {
        None
    }

    fn has_no_space(&self, _: u64) -> bool {
        false
    }
}

fn sole_voter(pre_vote: bool) -> Member<Nobody, Nobody> {
    let mut log = MemoryLog::new();
    log.set_conf(ConfState { voters: vec![ME], ..ConfState::default() });
    let raft = RawNode::new(Config { pre_vote, ..Config::new(ME) }, log).expect("a configuration that works");
    let progress = Arc::new(Progress::new(Index(0), Term(0)));
    let duties = Duties::new(
        Arc::new(Empty),
        progress.clone(),
        Arc::new(RequestIds::new(ME, 1)),
        Publish::new(ME.0, "one".into(), vec!["http://127.0.0.1:2379".into()]),
        Arc::new(Room::default()),
        ClusterVersion::new(3, 7),
        Leases::new(Arc::new(SharedLessor::new(Lessor::new(1))), HEARTBEAT * 10),
        None,
    );
    let checkpoints = Checkpoints::new(Limits { entries: 1000, bytes: 1 << 20, catch_up: 5 }, Index(0));
    Member::new(raft, HEARTBEAT, checkpoints, duties, progress, Duration::ZERO)
}

#[test]
fn an_election_under_way_is_not_begun_again() {
    // Turns come for many reasons; a save may take as long as several of them.
    for (pre_vote, turns_a_save_takes) in [(false, 0), (true, 0), (false, 1), (true, 1), (true, 5)] {
        let mut member = sole_voter(pre_vote);
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
