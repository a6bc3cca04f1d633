//! What has been handed to the log writer and to the applier, and is not done. When it is too much, a follower takes no more
//! entries from its leader: heartbeats and votes are answered all the same, and Raft sends again what was not taken.

use std::collections::VecDeque;

use ferrite_raft::{Body, Entry, Index, Message};

use crate::member::SaveNumber;

/// Bytes of entries that may wait to be saved, and as many to be applied.
const MAX_BYTES: usize = 64 << 20;

/// Entries on their way through the disk and the state machine.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    unsaved: Waiting<SaveNumber>,
    unapplied: Waiting<Index>,
}

/// Batches in order, each until its number is done.
#[derive(Debug)]
struct Waiting<N> {
    batches: VecDeque<(N, usize)>,
    bytes: usize,
}

impl<N> Default for Waiting<N> {
    fn default() -> Self {
        Waiting { batches: VecDeque::new(), bytes: 0 }
    }
}

impl<N: PartialOrd> Waiting<N> {
    fn add(&mut self, number: N, entries: &[Entry]) {
        let bytes = entries.iter().map(Entry::memory_len).sum();
        self.batches.push_back((number, bytes));
        self.bytes += bytes;
    }

    fn done(&mut self, upto: &N) {
        while let Some((_, bytes)) = self.batches.pop_front_if(|(number, _)| *number <= *upto) {
            self.bytes -= bytes;
        }
    }
}

impl Backlog {
    pub fn handed_to_log(&mut self, number: SaveNumber, entries: &[Entry]) {
        self.unsaved.add(number, entries);
    }

    pub fn handed_to_applier(&mut self, entries: &[Entry]) {
        if let Some(last) = entries.last() {
            self.unapplied.add(last.index, entries);
        }
    }

    pub fn saved(&mut self, upto: SaveNumber) {
        self.unsaved.done(&upto);
    }

    pub fn applied(&mut self, upto: Index) {
        self.unapplied.done(&upto);
    }

    /// Whether a message brings entries for which there is no room.
    pub fn refuses(&self, message: &Message) -> bool {
        let is_full = self.unsaved.bytes > MAX_BYTES || self.unapplied.bytes > MAX_BYTES;
        is_full && matches!(&message.body, Body::Append { entries, .. } if !entries.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use ferrite_raft::{LogPosition, NodeId, Term};

    use super::*;

    #[test]
    fn entries_wait_while_too_much_is_under_way_and_nothing_else_does() {
        let entry = |index| Entry {
            index: Index(index),
            payload: bytes::Bytes::from(vec![0; MAX_BYTES / 2]).into(),
            ..Entry::default()
        };
        let message = |body| Message { to: NodeId(1), from: NodeId(2), term: Term(1), body };
        let append = |entries: Vec<Entry>| {
            message(Body::Append { prev: LogPosition::default(), entries: entries.into(), commit: Index(0) })
        };
        let more = append(vec![entry(9)]);
        let mut backlog = Backlog::default();
        backlog.handed_to_log(SaveNumber(1), &[entry(1)]);
        assert!(!backlog.refuses(&more));
        backlog.handed_to_log(SaveNumber(2), &[entry(2)]);
        assert!(backlog.refuses(&more));
        assert!(!backlog.refuses(&append(Vec::new())), "a probe costs nothing");
        backlog.saved(SaveNumber(1));
        assert!(!backlog.refuses(&more));
        backlog.saved(SaveNumber(2));
        backlog.handed_to_applier(&[entry(1), entry(2)]);
        assert!(backlog.refuses(&more));
        backlog.applied(Index(1));
        assert!(backlog.refuses(&more));
        backlog.applied(Index(2));
        assert!(!backlog.refuses(&more));
    }
}
