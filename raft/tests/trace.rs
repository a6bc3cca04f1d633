//! The trace events of a small run, held against those that etcd's own library emits in the same run: elections, proposals
//! here and there, heartbeats, a learner, a joint change, a transfer.
//!
//! `trace.ndjson` was written by etcd-io/raft 3.7.0, built with its tag `with_tla`, in the plain form (save, send, apply,
//! advance), with its fields in the order in which we write them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use ferrite_raft::{
    ChangeKind, ConfChangeV1, ConfChangeV2, Config, Entry, Index, MemberChange, MemoryLog, Message, NodeId, RawNode,
    Silent, Snapshot, SnapshotMeta, StorageWrites, Term, Tracer,
};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Tracer for Lines {
    fn event(&self, line: &str) {
        self.0.lock().expect("nobody panics while tracing").push(line.to_owned());
    }
}

struct Cluster {
    nodes: Vec<RawNode<MemoryLog>>,
    network: VecDeque<Message>,
}

impl Cluster {
    fn new(lines: &Lines) -> Cluster {
        let node = |id| {
            let mut meta = SnapshotMeta { index: Index(1), term: Term(1), ..SnapshotMeta::default() };
            meta.conf.voters = [1, 2, 3].map(NodeId).to_vec();
            let mut log = MemoryLog::new();
            log.apply_snapshot(Snapshot { meta, data: Bytes::new() }).expect("an empty log");
            let config = Config { applied: Index(1), writes: StorageWrites::Synchronous, ..Config::new(NodeId(id)) };
            RawNode::with_tracer(config, log, Box::new(Silent), Box::new(lines.clone())).expect("valid")
        };
        Cluster { nodes: (1..=4).map(node).collect(), network: VecDeque::new() }
    }

    fn settle(&mut self) {
        loop {
            let mut busy = false;
            for node in &mut self.nodes {
                while let Some(ready) = node.take_ready() {
                    busy = true;
                    let ready = ready.into_plain();
                    let log = node.log_mut();
                    log.save(ready.snapshot, ready.entries, ready.hard_state).expect("a newer snapshot");
                    self.network.extend(ready.messages);
                    for change in ready.committed.iter().filter_map(Entry::change) {
                        node.apply_conf_change(&change.to_v2()).expect("a change that fits");
                    }
                    node.advance(ready.advance);
                }
            }
            if !busy && self.network.is_empty() {
                return;
            }
            for message in std::mem::take(&mut self.network) {
                // Answers of those who are no members any more are refused.
                let _ = self.nodes[message.to.0 as usize - 1].step(message);
            }
        }
    }

    fn then(&mut self, act: impl FnOnce(&mut [RawNode<MemoryLog>])) {
        act(&mut self.nodes);
        self.settle();
    }
}

#[test]
fn a_run_leaves_the_trace_that_etcds_library_leaves() {
    let lines = Lines::default();
    let mut cluster = Cluster::new(&lines);
    let change = |kind, node| MemberChange { kind, node: NodeId(node) };
    cluster.then(|nodes| nodes[0].campaign());
    cluster.then(|nodes| {
        nodes[0].propose(Bytes::from_static(b"one")).expect("it leads");
        nodes[1].propose(Bytes::from_static(b"two")).expect("it follows");
    });
    cluster.then(|nodes| nodes[0].tick());
    cluster.then(|nodes| {
        let change = change(ChangeKind::AddLearnerNode, 4);
        nodes[0].propose_conf_change(ConfChangeV1 { id: 0, change, context: Bytes::new() }).expect("it leads");
    });
    cluster.then(|nodes| {
        let changes = vec![change(ChangeKind::RemoveNode, 3), change(ChangeKind::AddNode, 4)];
        nodes[0].propose_conf_change(ConfChangeV2 { changes, ..ConfChangeV2::default() }).expect("it leads");
    });
    cluster.then(|nodes| nodes[0].transfer_leader(NodeId(2)));
    cluster.then(|nodes| nodes[1].propose(Bytes::from_static(b"three")).expect("it leads"));

    let ours = lines.0.lock().expect("nobody panics while tracing");
    if let Some(path) = std::env::var_os("TRACE_OUT") {
        std::fs::write(path, ours.join("\n") + "\n").expect("the file can be written");
    }
    let theirs: Vec<&str> = include_str!("trace.ndjson").lines().collect();
    for (number, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
        assert_eq!(ours, theirs, "event {}", number + 1);
    }
    assert_eq!(ours.len(), theirs.len());
}
