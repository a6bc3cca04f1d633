//! Three nodes in memory, in one thread, with a network that loses nothing: what a round costs is what the crate costs.

use std::collections::VecDeque;

use bytes::Bytes;
use ferrite_raft::{
    Config, Index, MemoryLog, Message, NodeId, ProposeError, RawNode, RoleKind, Snapshot, SnapshotMeta, StorageWrites,
    Term,
};

pub struct Trio {
    nodes: [Node; 3],
    network: VecDeque<Message>,
}

struct Node {
    raft: RawNode<MemoryLog>,
    applied: Index,
}

impl Node {
    fn new(id: u64, writes: StorageWrites) -> Node {
        let mut meta = SnapshotMeta { index: Index(1), term: Term(1), ..SnapshotMeta::default() };
        meta.conf.voters = vec![NodeId(1), NodeId(2), NodeId(3)];
        let mut log = MemoryLog::new();
        log.apply_snapshot(Snapshot { meta, data: Bytes::new() }).expect("an empty log");
        let config = Config { applied: Index(1), writes, ..Config::new(NodeId(id)) };
        Node { raft: RawNode::new(config, log).expect("a valid configuration"), applied: Index(1) }
    }
}

impl Trio {
    /// Three nodes, the first of which leads.
    pub fn new(writes: StorageWrites) -> Trio {
        let mut trio = Trio { nodes: [1, 2, 3].map(|id| Node::new(id, writes)), network: VecDeque::new() };
        trio.nodes[0].raft.campaign();
        trio.settle();
        assert_eq!(trio.nodes[0].raft.soft_state().role, RoleKind::Leader);
        trio
    }

    /// Has the leader propose something, and returns when all three nodes have applied it.
    pub fn round(&mut self, propose: impl FnOnce(&mut RawNode<MemoryLog>) -> Result<(), ProposeError>) {
        propose(&mut self.nodes[0].raft).expect("it leads");
        self.settle();
    }

    /// Forgets what all nodes have applied.
    pub fn compact(&mut self) {
        for node in &mut self.nodes {
            node.raft.log_mut().compact(node.applied).expect("entries to forget");
        }
    }

    /// How far all nodes have applied.
    pub fn applied(&self) -> Index {
        self.nodes.iter().map(|node| node.applied).min().expect("three nodes")
    }

    fn settle(&mut self) {
        loop {
            let mut busy = false;
            for node in &mut self.nodes {
                while let Some(mut ready) = node.raft.take_ready() {
                    busy = true;
                    let log = node.raft.log_mut();
                    let entries = ready.entries.drain(..);
                    log.save(ready.snapshot.take(), entries, ready.hard_state).expect("a newer snapshot");
                    self.network.extend(ready.messages.drain(..));
                    self.network.extend(ready.messages_after_save.drain(..));
                    if let Some(ticket) = ready.save.take() {
                        node.raft.saved(ticket);
                    }
                    if let Some(last) = ready.committed.last() {
                        node.applied = last.index;
                        node.raft.applied(last.index);
                    }
                    node.raft.recycle(ready);
                }
            }
            if !busy && self.network.is_empty() {
                return;
            }
            for _ in 0..self.network.len() {
                if let Some(message) = self.network.pop_front() {
                    self.nodes[message.to.0 as usize - 1].raft.step(message).expect("a message of a node");
                }
            }
        }
    }
}
