//! Messages that nobody sent: whatever a peer says, a node does not panic, with one exception. A peer that claims to lead
//! may contradict what this node knows to be committed; then one of the two has lost what it acknowledged, and the node
//! stops rather than apply something else.
//!
//! The messages are half plausible: numbers near those that the node has, so that they get past the first checks.
//! `FUZZ_SEED=n` runs one seed alone, `FUZZ_SEEDS=n` so many.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use ferrite_raft::{
    Body, ChangeKind, ConfChangeV1, ConfChangeV2, ConfState, Config, Entries, Entry, HardState, Index, Limits,
    LogPosition, LogStore, MemberChange, MemoryLog, Message, NodeId, Payload, RawNode, ReadOnlyMode, Rules, Snapshot,
    SnapshotMeta, StorageWrites, Term, Transition, Verdict, VoteKind, VoteRequest,
};

/// How many nodes are fuzzed, and with how many messages each.
const SEEDS: u64 = 3000;
const MESSAGES: usize = 150;

/// What a node may say when it stops, and why that is not the peer's to cause.
const OWN_DEFECTS: [&str; 2] = [
    // The leader knows more to be committed than we hold: we lost what we had acknowledged.
    "is out of range [lastIndex(",
    // The leader has another entry where one is committed: two leaders, or a log that was changed.
    "conflict with committed entry",
];

struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    /// A number near another one, or one of the edges.
    fn near(&mut self, number: u64) -> u64 {
        match self.below(20) {
            0 => 0,
            1 => u64::MAX,
            2 => self.next(),
            3..8 => number,
            _ => (number + self.below(4)).saturating_sub(2),
        }
    }

    fn bytes(&mut self) -> Bytes {
        let length = self.pick(&[0, 1, 7, 8, 8, 9, 40]);
        (0..length).map(|_| self.pick(&[0, 1, 2, 0xff])).collect()
    }

    fn node(&mut self) -> NodeId {
        NodeId(self.pick(&[0, 1, 2, 2, 3, 3, 4, 5, u64::MAX, u64::MAX - 1]))
    }

    fn nodes(&mut self) -> Vec<NodeId> {
        (0..self.below(4)).map(|_| self.node()).collect()
    }
}

struct Fuzzed {
    node: RawNode<MemoryLog>,
    dice: Dice,
}

impl Fuzzed {
    fn new(seed: u64) -> Fuzzed {
        let mut dice = Dice(seed);
        let mut log = MemoryLog::new();
        let conf =
            ConfState { voters: [1, 2, 3].map(NodeId).to_vec(), learners: vec![NodeId(4)], ..ConfState::default() };
        let check_quorum = dice.pick(&[true, false]);
        let config = Config {
            rules: Rules {
                pre_vote: dice.pick(&[true, false]),
                check_quorum,
                read_only: match check_quorum {
                    true => dice.pick(&[ReadOnlyMode::Safe, ReadOnlyMode::LeaseBased]),
                    false => ReadOnlyMode::Safe,
                },
                disable_conf_change_validation: dice.below(4) == 0,
                ..Rules::default()
            },
            writes: dice.pick(&[StorageWrites::Asynchronous, StorageWrites::Synchronous]),
            limits: Limits {
                max_inflight_messages: dice.pick(&[1, 3, 256]),
                max_size_per_message: dice.pick(&[0, 50, 1 << 20]),
                ..Limits::default()
            },
            seed,
            ..Config::new(NodeId(1))
        };
        if dice.below(2) == 0 {
            // One that has run before.
            let length = 2 + dice.below(6);
            log.append((1..=length).map(|index| Entry {
                term: Term(1 + index / 3),
                index: Index(index),
                ..Entry::default()
            }));
            let commit = Index(1 + dice.below(length));
            log.set_hard_state(HardState { term: Term(3), vote: None, commit });
            log.create_snapshot(Index(1), conf.clone(), Bytes::new()).expect("a newer snapshot");
            log.compact(Index(1)).expect("an entry to forget");
            log.set_conf(conf);
            return Fuzzed { node: RawNode::new(Config { applied: Index(1), ..config }, log).expect("valid"), dice };
        }
        log.set_conf(conf);
        Fuzzed { node: RawNode::new(config, log).expect("valid"), dice }
    }

    fn term(&mut self) -> Term {
        let own = self.node.hard_state().term.0;
        Term(self.dice.near(own))
    }

    fn index(&mut self) -> Index {
        let (commit, last) = (self.node.hard_state().commit.0, self.node.log().last_index().0);
        let around = self.dice.pick(&[commit, last]);
        Index(self.dice.near(around))
    }

    /// How far a leader says the log is committed: rarely further than this node's log, for that stops it.
    fn commit(&mut self) -> Index {
        let index = self.index();
        if self.dice.below(100) == 0 { index } else { index.min(self.node.log().last_index()) }
    }

    /// A position: often one that the node holds.
    fn position(&mut self) -> LogPosition {
        let index = self.index();
        let held = self.node.log().term(index);
        let term = if self.dice.below(3) == 0 { self.term() } else { held.unwrap_or(Term(1)) };
        LogPosition { term, index }
    }

    fn payload(&mut self) -> Payload {
        match self.dice.below(6) {
            0 | 1 => {
                let kind = self.dice.pick(&[
                    ChangeKind::AddNode,
                    ChangeKind::RemoveNode,
                    ChangeKind::UpdateNode,
                    ChangeKind::AddLearnerNode,
                ]);
                let changes = self.dice.nodes().into_iter().map(|node| MemberChange { kind, node }).collect();
                let transition =
                    self.dice.pick(&[Transition::Auto, Transition::JointImplicit, Transition::JointExplicit]);
                match self.dice.below(2) {
                    0 => ConfChangeV2 { transition, changes, context: self.dice.bytes() }.into(),
                    _ => ConfChangeV1 {
                        id: self.dice.below(9),
                        change: changes.first().copied().unwrap_or(MemberChange { kind, node: NodeId(0) }),
                        context: self.dice.bytes(),
                    }
                    .into(),
                }
            }
            _ => self.dice.bytes().into(),
        }
    }

    fn entries(&mut self, prev: LogPosition) -> Entries {
        let mut before = prev;
        let orderly = self.dice.below(8) > 0;
        let count = self.dice.pick(&[0, 0, 1, 1, 2, 5]);
        (0..count)
            .map(|_| {
                let payload = self.payload();
                let index = if orderly { before.index.next() } else { self.index() };
                let term = if orderly { Term(before.term.0.max(1)) } else { self.term() };
                before = LogPosition { term, index };
                Entry { term, index, payload }
            })
            .collect()
    }

    fn body(&mut self) -> Body {
        match self.dice.below(15) {
            0 => {
                let prev = LogPosition::default();
                Body::Propose(self.entries(prev))
            }
            1..4 => {
                let prev = self.position();
                Body::Append { prev, entries: self.entries(prev), commit: self.commit() }
            }
            4 => Body::AppendAccepted { index: self.index() },
            5 => Body::AppendRejected { index: self.index(), hint: self.position() },
            6 => {
                let kind = self.dice.pick(&[VoteKind::Pre, VoteKind::Binding]);
                Body::Vote(VoteRequest { kind, last: self.position(), transfer: self.dice.below(2) == 0 })
            }
            7 | 8 => {
                let kind = self.dice.pick(&[VoteKind::Pre, VoteKind::Binding]);
                let rejected = Verdict::Rejected { committed: self.position() };
                Body::VoteAnswer { kind, verdict: self.dice.pick(&[Verdict::Granted, Verdict::Granted, rejected]) }
            }
            9 => {
                let position = self.position();
                let conf = ConfState {
                    voters: self.dice.nodes(),
                    learners: self.dice.nodes(),
                    voters_outgoing: self.dice.nodes(),
                    learners_next: self.dice.nodes(),
                    auto_leave: self.dice.below(2) == 0,
                };
                let conf = if self.dice.below(2) == 0 {
                    conf
                } else {
                    ConfState { voters: vec![NodeId(1)], ..ConfState::default() }
                };
                let meta = SnapshotMeta { index: position.index, term: position.term, conf };
                Body::Snapshot(Box::new(Snapshot { meta, data: self.dice.bytes() }))
            }
            10 => Body::Heartbeat { commit: self.commit(), context: self.dice.bytes() },
            11 => Body::HeartbeatAnswer { context: self.dice.bytes() },
            12 => self.dice.pick(&[&Body::TransferLeader, &Body::TimeoutNow, &Body::ForgetLeader]).clone(),
            13 => Body::ReadIndex { context: self.dice.bytes() },
            _ => Body::ReadIndexAnswer { index: self.index(), context: self.dice.bytes() },
        }
    }

    /// Now and then the owner does something, so that all roles are met.
    fn owner_acts(&mut self) {
        match self.dice.below(12) {
            0 => (0..self.dice.below(25)).for_each(|_| self.node.tick()),
            1 => self.node.campaign(),
            2 => self.node.read_index(Bytes::from_static(b"read")),
            3 => {
                let _ = self.node.propose(Bytes::from_static(b"data"));
            }
            4 => self.node.transfer_leader(NodeId(2)),
            _ => {}
        }
        while let Some(ready) = self.node.take_ready() {
            let log = self.node.log_mut();
            log.save(ready.snapshot, ready.entries, ready.hard_state).expect("a newer snapshot");
            if let Some(ticket) = ready.save {
                self.node.saved(ticket);
            }
            for entry in ready.committed {
                // An owner refuses what does not fit: no leader of ours would have let it pass.
                if let Some(change) = entry.change() {
                    let _ = self.node.apply_conf_change(&change.to_v2());
                }
                self.node.applied(entry.index);
            }
        }
    }
}

fn fuzz(seed: u64) -> (usize, Option<String>) {
    let mut fuzzed = Fuzzed::new(seed);
    let mut taken = 0;
    for _ in 0..MESSAGES {
        let (from, term, body) = (fuzzed.dice.node(), fuzzed.term(), fuzzed.body());
        let message = Message { to: NodeId(1), from, term, body };
        let text = format!("{message:?}");
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let taken = fuzzed.node.step(message).is_ok();
            fuzzed.owner_acts();
            taken
        }));
        match outcome {
            Ok(true) => taken += 1,
            Ok(false) => {}
            Err(panic) => {
                let said = panic.downcast_ref::<String>().cloned();
                let said =
                    said.or_else(|| panic.downcast_ref::<&str>().map(|said| (*said).to_owned())).unwrap_or_default();
                assert!(
                    OWN_DEFECTS.iter().any(|known| said.contains(known)),
                    "FUZZ_SEED={seed}: {text} made it panic: {said}"
                );
                return (taken, Some(said));
            }
        }
    }
    (taken, None)
}

fn number_from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

#[test]
fn no_message_makes_a_node_panic() {
    let seeds = match number_from_env("FUZZ_SEED") {
        Some(seed) => seed..seed + 1,
        None => 1..1 + number_from_env("FUZZ_SEEDS").unwrap_or(SEEDS),
    };
    let (mut taken, mut stopped) = (0, 0);
    for seed in seeds.clone() {
        let (count, said) = fuzz(seed);
        taken += count;
        stopped += usize::from(said.is_some());
    }
    println!("{taken} messages taken; {stopped} nodes of {} stopped for what they had lost", seeds.end - seeds.start);
    // Messages that are all refused at the door would prove nothing.
    assert!(taken as u64 >= (seeds.end - seeds.start) * 10);
}
