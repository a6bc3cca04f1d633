//! The contracts at the door: what an owner in the plain form does, how a cluster begins, what is told, and what happens
//! when the log store does not do as it should.

use bytes::Bytes;
use ferrite_raft::{
    Body, BootstrapError, ConfState, Config, Entries, Entry, HardState, Index, LogError, LogStore, MemoryLog, Message,
    NewError, NodeId, Payload, Peer, RawNode, RoleKind, Rules, Snapshot, StorageWrites, Term,
};

use crate::one::conf;

fn config(id: u64) -> Config {
    Config { writes: StorageWrites::Synchronous, ..Config::new(NodeId(id)) }
}

/// A node and the owner that drives it in the plain form.
struct Owner {
    node: RawNode<MemoryLog>,
    applied: Vec<Bytes>,
}

impl Owner {
    fn new(id: u64, log: MemoryLog) -> Owner {
        Owner { node: RawNode::new(config(id), log).expect("a valid configuration"), applied: Vec::new() }
    }

    /// Does all that is owed, and returns what is to be sent.
    fn work(&mut self) -> Vec<Message> {
        let mut sent = Vec::new();
        while let Some(ready) = self.node.take_ready() {
            let ready = ready.into_plain();
            let log = self.node.log_mut();
            log.save(ready.snapshot, ready.entries, ready.hard_state).expect("a newer snapshot");
            sent.extend(ready.messages);
            for entry in &ready.committed {
                match &entry.payload {
                    Payload::Change(change) => {
                        self.node.apply_conf_change(&change.to_v2()).expect("a change that fits");
                    }
                    Payload::Data(data) if data.is_empty() => {}
                    Payload::Data(data) => self.applied.push(data.clone()),
                }
            }
            self.node.advance(ready.advance);
        }
        sent
    }
}

fn settle(owners: &mut [Owner]) {
    loop {
        let sent: Vec<Message> = owners.iter_mut().flat_map(Owner::work).collect();
        if sent.is_empty() {
            return;
        }
        for message in sent {
            owners[message.to.0 as usize - 1].node.step(message).expect("a message of a node");
        }
    }
}

fn peers(ids: &[u64]) -> Vec<Peer> {
    let context = |id: &u64| Bytes::from(format!("address of {id}"));
    ids.iter().map(|id| Peer { id: NodeId(*id), context: context(id) }).collect()
}

#[test]
fn a_cluster_that_is_bootstrapped_commits_in_the_plain_form() {
    let mut owners = [1, 2, 3].map(|id| Owner::new(id, MemoryLog::new()));
    for owner in &mut owners {
        owner.node.bootstrap(&peers(&[1, 2, 3])).expect("a log that is empty");
        // The term and the entries are owed although they were never anything else in memory.
        let ready = owner.node.take_ready().expect("the first entries").into_plain();
        assert_eq!(ready.hard_state, Some(HardState { term: Term(1), vote: None, commit: Index(3) }));
        assert_eq!((ready.entries.len(), ready.committed.len()), (3, 3));
        owner.node.log_mut().save(None, ready.entries, ready.hard_state).expect("no snapshot");
        for entry in &ready.committed {
            let change = entry.change().expect("a change").to_v2();
            assert_eq!(change.context, format!("address of {}", change.changes[0].node));
            owner.node.apply_conf_change(&change).expect("in force already, which changes nothing");
        }
        owner.node.advance(ready.advance);
        assert_eq!(owner.node.status().membership.conf_state(), conf(&[1, 2, 3]));
    }
    owners[0].node.campaign();
    settle(&mut owners);
    owners[1].node.propose(Bytes::from_static(b"through a follower")).expect("it knows the leader");
    owners[0].node.propose(Bytes::from_static(b"through the leader")).expect("it leads");
    settle(&mut owners);
    for owner in &owners {
        let mut applied = owner.applied.clone();
        applied.sort();
        assert_eq!(applied, [&b"through a follower"[..], b"through the leader"]);
        assert_eq!(owner.node.status().applied, Index(6));
    }
}

#[test]
fn only_a_node_that_has_never_run_is_bootstrapped() {
    let mut fresh = Owner::new(1, MemoryLog::new());
    assert_eq!(fresh.node.bootstrap(&[]), Err(BootstrapError::NoPeers));
    assert_eq!(fresh.node.bootstrap(&peers(&[1, 2, 1])), Err(BootstrapError::Peer(NodeId(1))));
    assert_eq!(fresh.node.bootstrap(&peers(&[0])), Err(BootstrapError::Peer(NodeId(0))));
    assert!(!fresh.node.has_ready(), "a refusal changes nothing");
    fresh.node.bootstrap(&peers(&[1])).expect("a log that is empty");
    assert_eq!(fresh.node.bootstrap(&peers(&[1])), Err(BootstrapError::NotEmpty { last: Index(1) }));
    // One voter alone stands as soon as it has applied its entry.
    fresh.work();
    fresh.node.campaign();
    fresh.work();
    assert_eq!(fresh.node.soft_state().role, RoleKind::Leader);
}

#[test]
fn a_status_is_written_as_etcd_writes_it() {
    let mut log = MemoryLog::new();
    log.set_conf(conf(&[1, 2, 31]));
    let mut owners = [Owner::new(1, log)];
    let follower = r#"{"id":"1","term":0,"vote":"0","commit":0,"lead":"0","raftState":"StateFollower","applied":0,"progress":{},"leadtransferee":"0"}"#;
    assert_eq!(owners[0].node.status().to_json(), follower);
    let mut alone = MemoryLog::new();
    alone.set_conf(ConfState { learners: vec![NodeId(31)], ..conf(&[1]) });
    owners[0] = Owner::new(1, alone);
    owners[0].node.campaign();
    owners[0].work();
    let leader = r#"{"id":"1","term":1,"vote":"1","commit":1,"lead":"1","raftState":"StateLeader","applied":1,"progress":{"1":{"match":1,"next":2,"state":"StateReplicate"},"1f":{"match":0,"next":1,"state":"StateProbe"}},"leadtransferee":"0"}"#;
    assert_eq!(owners[0].node.status().to_json(), leader);
}

#[test]
fn a_group_that_sleeps_counts_time_and_does_nothing() {
    let mut log = MemoryLog::new();
    log.set_conf(conf(&[1, 2, 3]));
    let mut owner = Owner::new(1, log);
    for _ in 0..100 {
        owner.node.tick_quiesced();
        assert!(!owner.node.has_ready());
    }
    owner.node.tick();
    assert_eq!(owner.node.soft_state().role, RoleKind::PreCandidate, "the time that it slept counts");
}

/// A log store that does one thing wrong.
struct Faulty {
    log: MemoryLog,
    fault: Fault,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    NoEntries,
    LostEntries,
    Gap,
    LostTerm,
    EmptySnapshot,
    NoSnapshot,
    NoFirst,
    NoEnd,
}

impl LogStore for Faulty {
    fn initial_state(&self) -> (HardState, ConfState) {
        self.log.initial_state()
    }

    fn first_index(&self) -> Index {
        if self.fault == Fault::NoFirst { Index(0) } else { self.log.first_index() }
    }

    fn last_index(&self) -> Index {
        if self.fault == Fault::NoEnd { Index(0) } else { self.log.last_index() }
    }

    fn term(&self, index: Index) -> Result<Term, LogError> {
        if self.fault == Fault::LostTerm && index == Index(3) {
            Err(LogError::Unavailable)
        } else {
            self.log.term(index)
        }
    }

    fn entries(&self, from: Index, until: Index, max_size: u64, into: &mut Vec<Entry>) -> Result<(), LogError> {
        let held = into.len();
        self.log.entries(from, until, max_size, into)?;
        match self.fault {
            Fault::NoEntries => into.truncate(held),
            Fault::LostEntries => return Err(LogError::Unavailable),
            Fault::Gap => into[held..].iter_mut().for_each(|entry| entry.index = entry.index.next()),
            _ => {}
        }
        Ok(())
    }

    fn snapshot(&self) -> Result<Snapshot, LogError> {
        match self.fault {
            Fault::EmptySnapshot => Ok(Snapshot::default()),
            Fault::NoSnapshot => Err(LogError::Unavailable),
            _ => self.log.snapshot(),
        }
    }
}

/// A log from 3 to 4 in term 1, of which all is committed.
fn faulty(fault: Fault) -> Faulty {
    let mut log = MemoryLog::new();
    log.append((1..=4).map(|index| Entry { term: Term(1), index: Index(index), ..Entry::default() }));
    log.create_snapshot(Index(2), conf(&[1, 2]), Bytes::new()).expect("a newer snapshot");
    log.compact(Index(2)).expect("entries to forget");
    log.set_hard_state(HardState { term: Term(1), vote: None, commit: Index(4) });
    Faulty { log, fault }
}

#[test]
fn a_log_store_that_breaks_its_contract_stops_the_node_and_is_told_which_one() {
    #[track_caller]
    fn check(fault: Fault, contract: &str, work: impl FnOnce(&mut RawNode<Faulty>) + std::panic::UnwindSafe) {
        let stopped = std::panic::catch_unwind(move || {
            let rules = Rules { pre_vote: false, ..Rules::default() };
            let config = Config { applied: Index(2), rules, ..Config::new(NodeId(1)) };
            let mut node = RawNode::new(config, faulty(fault)).expect("a store that seems sound");
            work(&mut node);
        });
        let why = stopped.expect_err("the node goes on");
        let why = why.downcast_ref::<String>().expect("a text");
        assert!(why.starts_with(&format!("the log store broke its contract: {contract}")), "{fault:?}: {why}");
    }
    fn apply(node: &mut RawNode<Faulty>) {
        let _ = node.take_ready();
    }
    /// The other voter lost its log and needs a snapshot.
    fn lead(node: &mut RawNode<Faulty>) {
        let ready = node.take_ready().expect("entries to apply");
        node.applied(ready.committed.last().expect("an entry").index);
        node.campaign();
        let from_2 = |body| Message { to: NodeId(1), from: NodeId(2), term: Term(2), body };
        let ready = node.take_ready().expect("a vote to save");
        node.saved(ready.save.expect("a ticket"));
        let verdict = ferrite_raft::Verdict::Granted;
        node.step(from_2(Body::VoteAnswer { kind: ferrite_raft::VoteKind::Binding, verdict })).expect("a vote");
        let hint = ferrite_raft::LogPosition::default();
        node.step(from_2(Body::AppendRejected { index: Index(4), hint })).expect("an answer");
    }
    let in_order = "entries() returns entries in order, and their terms never go down";
    let some = "entries() returns at least one entry, and none beyond what is asked for";
    let all = "entries() has all from first_index to last_index";
    let snapshot = "snapshot() has what was compacted";
    check(Fault::NoEntries, some, apply);
    check(Fault::LostEntries, all, apply);
    check(Fault::Gap, in_order, apply);
    check(Fault::EmptySnapshot, snapshot, lead);
    check(Fault::NoSnapshot, snapshot, lead);
    check(Fault::LostTerm, "term() has all from the one before first_index to last_index", |node| {
        let prev = ferrite_raft::LogPosition { term: Term(1), index: Index(3) };
        let body = Body::Append { prev, entries: Entries::default(), commit: Index(4) };
        let mut short = node.log().log.clone();
        short.set_hard_state(HardState { commit: Index(2), ..short.hard_state() });
        let store = Faulty { log: short, fault: Fault::LostTerm };
        let mut node = RawNode::new(Config { applied: Index(2), ..Config::new(NodeId(1)) }, store).expect("sound");
        let _ = node.step(Message { to: NodeId(1), from: NodeId(2), term: Term(1), body });
    });
    // An owner that reports what it never wrote.
    check(Fault::NoSnapshot, "what is reported as saved can be read", |node| {
        let prev = ferrite_raft::LogPosition { term: Term(1), index: Index(4) };
        let entries = vec![Entry { term: Term(1), index: Index(5), ..Entry::default() }];
        let body = Body::Append { prev, entries: entries.into(), commit: Index(4) };
        node.step(Message { to: NodeId(1), from: NodeId(2), term: Term(1), body }).expect("entries");
        let ready = node.take_ready().expect("an entry to save");
        node.saved(ready.save.expect("a ticket"));
    });
    for (fault, contract) in [
        (Fault::NoFirst, "first_index() is at least 1: there is no entry 0"),
        (Fault::NoEnd, "last_index() is at least the one before first_index()"),
    ] {
        let refusal = RawNode::new(Config::new(NodeId(1)), faulty(fault)).expect_err("a broken store");
        assert_eq!(refusal, NewError::Store { contract });
        assert_eq!(refusal.to_string(), format!("the log store broke its contract: {contract}"));
    }
}
