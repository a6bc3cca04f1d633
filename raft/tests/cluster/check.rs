//! What must hold in every run, whatever happens.

use std::collections::BTreeMap;

use ferrite_raft::{ConfState, Entry, Index, LogStore, MemoryLog, NodeId, RawNode, RoleKind, Term};

/// What all nodes together have shown.
#[derive(Default)]
pub struct Checker {
    leaders: BTreeMap<Term, NodeId>,
    /// What was applied at each index, and the state after it.
    applied: BTreeMap<Index, (Entry, u64)>,
    /// The newest configuration that any node put into force.
    conf: Option<(Index, ConfState)>,
    /// How far entries were applied anywhere when each read was asked.
    reads: Vec<Index>,
    pub reads_answered: usize,
    pub snapshots_taken: usize,
}

impl Checker {
    /// One leader a term, and it holds all that was ever applied.
    pub fn leader(&mut self, node: &RawNode<MemoryLog>) {
        let state = node.soft_state();
        if state.role != RoleKind::Leader {
            return;
        }
        let term = node.hard_state().term;
        match self.leaders.insert(term, node.id()) {
            Some(known) => assert_eq!(known, node.id(), "two leaders in term {term}"),
            None => self.holds_all_applied(node),
        }
    }

    fn holds_all_applied(&self, node: &RawNode<MemoryLog>) {
        // What is not saved yet is not in its log store, but the election was won with what was there before.
        let log = node.log();
        for (index, (entry, _)) in self.applied.range(log.first_index()..) {
            // The leader of an old term may learn late that it was elected: later terms are none of its business.
            if entry.term < node.hard_state().term {
                let held = log.term(*index);
                assert_eq!(held, Ok(entry.term), "leader {} does not hold entry {index}, which was applied", node.id());
            }
        }
    }

    /// All nodes apply the same entries and come to the same states.
    pub fn applied(&mut self, node: NodeId, entry: &Entry, state: u64, conf: Option<ConfState>) {
        let index = entry.index;
        let (known, known_state) = self.applied.entry(index).or_insert_with(|| (entry.clone(), state));
        assert_eq!(known, entry, "{node} applies another entry at {index} than the others");
        assert_eq!(*known_state, state, "{node} is in another state after {index} than the others");
        if let Some(conf) = conf
            && self.conf.as_ref().is_none_or(|(known, _)| *known <= index)
        {
            self.conf = Some((index, conf));
        }
    }

    /// A snapshot that was installed holds the state that the others had there.
    pub fn installed(&self, node: NodeId, index: Index, state: u64) {
        if let Some((_, known)) = self.applied.get(&index) {
            assert_eq!(*known, state, "{node} was given another state at {index} than the others had");
        }
    }

    /// A read is asked: it must see all that is applied anywhere by now.
    pub fn ask(&mut self) -> [u8; 8] {
        self.reads.push(self.last_applied());
        (self.reads.len() as u64 - 1).to_le_bytes()
    }

    pub fn read(&mut self, node: NodeId, index: Index, context: &[u8]) {
        let number = u64::from_le_bytes(context.try_into().expect("the context that was asked with"));
        let floor = self.reads[number as usize];
        assert!(index >= floor, "{node} reads at {index}, but {floor} was applied before it asked");
        self.reads_answered += 1;
    }

    pub fn last_applied(&self) -> Index {
        self.applied.last_key_value().map_or(Index(0), |(index, _)| *index)
    }

    pub fn has_applied(&self, data: &[u8]) -> bool {
        self.applied.values().rev().any(|(entry, _)| entry.data == data)
    }

    /// The newest configuration, if it ever changed.
    pub fn conf(&self) -> Option<&ConfState> {
        self.conf.as_ref().map(|(_, conf)| conf)
    }
}

/// Two logs that have an entry of the same index and term are equal up to it.
pub fn logs_match(one: &MemoryLog, other: &MemoryLog) {
    let from = one.first_index().max(other.first_index());
    let last = one.last_index().min(other.last_index());
    let entries = |log: &MemoryLog| log.entries(from, last.next(), u64::MAX).expect("all that both hold");
    if from > last {
        return;
    }
    let (ones, others) = (entries(one), entries(other));
    let meeting = ones.iter().zip(&others).rposition(|(one, other)| one.term == other.term);
    if let Some(meeting) = meeting {
        assert_eq!(ones[..=meeting], others[..=meeting], "logs differ before a common entry");
    }
}
