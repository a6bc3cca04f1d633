//! What must hold in every schedule after every step (Raft paper, figure 3, and what clients were promised).

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::cluster::node::{State, number_of};
use crate::log::memory::MemoryLog;
use crate::raw_node::RawNode;
use crate::ready::RoleKind;
use crate::types::{ConfState, Entry, Index, LogPosition, NodeId, Term};

/// What all nodes together have shown.
#[derive(Debug)]
pub struct Checker {
    leaders: BTreeMap<Term, NodeId>,
    /// What is committed, and so may never be anything else.
    committed: Vec<Committed>,
    /// For each position that was ever in a log, what the log up to it was.
    prefixes: HashMap<LogPosition, Prefix>,
    views: Vec<View>,
    clients: Clients,
    /// The newest configuration that any node put into force.
    conf: Option<(Index, ConfState)>,
    pub snapshots_installed: usize,
    pub changes: usize,
}

/// A number that stands for a whole log up to one place.
type Prefix = u64;

#[derive(Debug)]
struct Committed {
    term: Term,
    prefix: Prefix,
    entry: Entry,
    /// The term of the node that first said so.
    in_term: Term,
}

/// A node as it was seen last.
#[derive(Clone, Debug, Default)]
struct View {
    /// Its log from index 1 on, whether it still holds it or has a snapshot in its place.
    log: Vec<(Term, Prefix)>,
    commit: Index,
    term: Term,
}

/// What clients know.
#[derive(Debug, Default)]
struct Clients {
    /// How far entries were applied anywhere when each read was asked.
    reads: Vec<Index>,
    last_applied: Index,
    acknowledged: Vec<u64>,
    reads_answered: usize,
}

impl Checker {
    pub fn new(nodes: usize) -> Checker {
        Checker {
            leaders: BTreeMap::new(),
            committed: Vec::new(),
            prefixes: HashMap::new(),
            views: vec![View::default(); nodes],
            clients: Clients::default(),
            conf: None,
            snapshots_installed: 0,
            changes: 0,
        }
    }

    /// A node was started again, from less than it had.
    pub fn restarted(&mut self, node: &RawNode<MemoryLog>) {
        let view = &mut self.views[place(node.id())];
        (view.commit, view.term) = (node.core().log.committed(), node.core().term);
        self.look(node);
    }

    /// Looks at a node after something happened to it.
    pub fn look(&mut self, node: &RawNode<MemoryLog>) {
        self.look_at_log(node);
        self.look_at_commit(node);
        self.look_at_term(node);
    }

    /// Log matching: logs that have an entry of the same index and term are equal up to it.
    fn look_at_log(&mut self, node: &RawNode<MemoryLog>) {
        let log = &node.core().log;
        let view = &mut self.views[place(node.id())];
        let (last, first) = (log.last(), log.first_index());
        if view.log.len() as u64 == last.index.0 && view.log.last().map(|(term, _)| *term) == Some(last.term) {
            return;
        }
        // Find how much of what was seen is still there.
        let mut index = last.index.min(Index(view.log.len() as u64));
        while index.0 > 0 && index.next() >= first && log.term(index) != Ok(view.log[index.0 as usize - 1].0) {
            index = index.prev();
        }
        view.log.truncate(index.0 as usize);
        // What a snapshot stands for must be what is committed.
        let base = first.prev();
        if index < base {
            assert!(base.0 <= self.committed.len() as u64, "{} has a snapshot of what nobody committed", node.id());
            let committed = &self.committed[..base.0 as usize];
            assert_eq!(log.term(base), Ok(committed[committed.len() - 1].term), "{}: term of the snapshot", node.id());
            view.log = committed.iter().map(|entry| (entry.term, entry.prefix)).collect();
        }
        let new = log.slice(Index(view.log.len() as u64 + 1), last.index.next(), u64::MAX).expect("all behind it");
        for entry in new {
            let before = view.log.last().map_or(0, |(_, prefix)| *prefix);
            let prefix = prefix_of(before, &entry);
            let known = *self.prefixes.entry(entry.position()).or_insert(prefix);
            assert_eq!(known, prefix, "{}: another log before {} than elsewhere", node.id(), entry.index);
            view.log.push((entry.term, prefix));
        }
    }

    /// State machine safety: what is committed is the same everywhere and for ever, and commit never moves back.
    fn look_at_commit(&mut self, node: &RawNode<MemoryLog>) {
        let (id, core) = (node.id(), node.core());
        let (commit, applied) = (core.log.committed(), core.log.applied());
        let view = &mut self.views[place(id)];
        assert!(commit >= view.commit, "{id}: commit moved back from {} to {commit}", view.commit);
        assert!(applied <= commit && commit <= core.log.last_index(), "{id}: applied {applied}, committed {commit}");
        if commit == view.commit {
            return;
        }
        view.commit = commit;
        let known = self.committed.len() as u64;
        let common = Index(known.min(commit.0));
        if common.0 > 0 {
            let (ours, others) = (view.log[common.0 as usize - 1].1, self.committed[common.0 as usize - 1].prefix);
            assert_eq!(ours, others, "{id} has committed something else up to {common} than others");
        }
        if commit.0 > known {
            for entry in core.log.slice(Index(known + 1), commit.next(), u64::MAX).expect("all behind what others have")
            {
                let (term, prefix) = view.log[entry.index.0 as usize - 1];
                self.committed.push(Committed { term, prefix, entry, in_term: core.term });
            }
        }
    }

    /// One leader a term, and it holds all that was committed in earlier terms.
    fn look_at_term(&mut self, node: &RawNode<MemoryLog>) {
        let (id, term) = (node.id(), node.core().term);
        let view = &mut self.views[place(id)];
        assert!(term >= view.term, "{id}: term went back from {} to {term}", view.term);
        view.term = term;
        if node.soft_state().role != RoleKind::Leader {
            return;
        }
        match self.leaders.insert(term, id) {
            Some(known) => assert_eq!(known, id, "two leaders in term {term}"),
            None => {
                // A leader may learn late that it was elected: what later ones committed is none of its business.
                let earlier = self.committed.iter().rposition(|entry| entry.in_term < term);
                if let Some(last) = earlier {
                    let held = view.log.get(last).map(|(_, prefix)| *prefix);
                    assert_eq!(
                        held,
                        Some(self.committed[last].prefix),
                        "leader {id} of {term} lacks what is committed"
                    );
                }
            }
        }
    }

    /// All nodes apply what is committed.
    pub fn applied(&mut self, node: NodeId, entry: &Entry, state: &State, conf: Option<ConfState>) {
        let index = entry.index;
        let committed = self.committed.get(index.0 as usize - 1);
        assert_eq!(committed.map(|known| &known.entry), Some(entry), "{node} applies what is not committed at {index}");
        self.clients.last_applied = self.clients.last_applied.max(index);
        if let Some(number) = number_of(entry)
            && node_of(number) == node
        {
            self.clients.acknowledged.push(number);
        }
        if let Some(conf) = conf {
            self.changes += 1;
            if self.conf.as_ref().is_none_or(|(known, _)| *known <= index) {
                self.conf = Some((index, conf));
            }
        }
        debug_assert_eq!(state.applied, index);
    }

    /// A snapshot that was installed holds what the others applied up to there.
    pub fn installed(&mut self, node: NodeId, state: &State) {
        self.snapshots_installed += 1;
        let expected = self.numbers(state.applied);
        assert_eq!(state.numbers, expected, "{node} was given another state at {} than the others had", state.applied);
    }

    /// What a state machine holds at an index.
    fn numbers(&self, upto: Index) -> Vec<u64> {
        self.committed[..upto.0 as usize].iter().filter_map(|known| number_of(&known.entry)).collect()
    }

    /// A state machine holds all that it should, and nothing that was acknowledged is lost.
    pub fn finished(&self, node: NodeId, state: &State) {
        assert_eq!(state.applied, self.last_committed(), "{node} has not applied all");
        assert_eq!(state.numbers, self.numbers(state.applied), "{node} holds another state than the others");
        for number in &self.clients.acknowledged {
            assert!(state.numbers.contains(number), "{node} lost proposal {number}, which was acknowledged");
        }
    }

    /// A read is asked: it must see all that is applied anywhere by now.
    pub fn ask(&mut self) -> [u8; 8] {
        self.clients.reads.push(self.clients.last_applied);
        (self.clients.reads.len() as u64 - 1).to_le_bytes()
    }

    pub fn read(&mut self, node: NodeId, index: Index, context: &[u8]) {
        let number = u64::from_le_bytes(context.try_into().expect("the context that was asked with"));
        let floor = self.clients.reads[number as usize];
        assert!(index >= floor, "{node} reads at {index}, but {floor} was applied before it asked");
        self.clients.reads_answered += 1;
    }

    pub fn last_committed(&self) -> Index {
        Index(self.committed.len() as u64)
    }

    pub fn has_committed(&self, number: u64) -> bool {
        self.committed.iter().rev().any(|known| number_of(&known.entry) == Some(number))
    }

    pub fn acknowledged(&self) -> usize {
        self.clients.acknowledged.len()
    }

    pub fn reads_answered(&self) -> usize {
        self.clients.reads_answered
    }

    pub fn leaders(&self) -> usize {
        self.leaders.len()
    }

    /// The newest configuration, if it ever changed.
    pub fn conf(&self) -> Option<&ConfState> {
        self.conf.as_ref().map(|(_, conf)| conf)
    }
}

/// The node that a client gave a proposal to: its number says so.
fn node_of(number: u64) -> NodeId {
    NodeId(number % 8)
}

fn place(id: NodeId) -> usize {
    id.0 as usize - 1
}

fn prefix_of(before: Prefix, entry: &Entry) -> Prefix {
    let mut hasher = DefaultHasher::new();
    (before, entry.term, entry.index, &entry.payload).hash(&mut hasher);
    hasher.finish()
}
