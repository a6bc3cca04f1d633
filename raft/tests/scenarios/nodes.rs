//! The nodes of an environment, each with a disk and a state machine.
//!
//! In asynchronous mode the scenarios print two more kinds of message: orders to the disk and to the state machine, and
//! their answers. Ours are calls (`saved`, `applied`), so this is where they are given a form that can be printed, kept in
//! the network's list, and delivered.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use bytes::Bytes;
use ferrite_raft::{
    Body, ConfState, Config, Entry, HardState, Index, LogError, LogPosition, LogStore, MemoryLog, Message, NodeId,
    Payload, RawNode, Ready, SaveTicket, Snapshot, SnapshotMeta, Term, VoteKind,
};

use crate::describe::{self, Line};

/// The state machine: it appends all data, and keeps a snapshot of every state.
pub type History = Rc<RefCell<Vec<Snapshot>>>;

/// A log in memory that offers the newest state as its snapshot.
pub struct Disk {
    pub log: MemoryLog,
    pub history: History,
}

impl LogStore for Disk {
    fn initial_state(&self) -> (HardState, ConfState) {
        self.log.initial_state()
    }

    fn first_index(&self) -> Index {
        self.log.first_index()
    }

    fn last_index(&self) -> Index {
        self.log.last_index()
    }

    fn term(&self, index: Index) -> Result<Term, LogError> {
        self.log.term(index)
    }

    fn entries(&self, from: Index, until: Index, max_size: u64, into: &mut Vec<Entry>) -> Result<(), LogError> {
        self.log.entries(from, until, max_size, into)
    }

    fn snapshot(&self) -> Result<Snapshot, LogError> {
        Ok(self.history.borrow().last().expect("a first state").clone())
    }
}

pub struct Node {
    pub config: Config,
    pub raft: RawNode<Disk>,
    pub asynchronous: bool,
    pub history: History,
    pub saves: VecDeque<Save>,
    pub applies: VecDeque<Vec<Entry>>,
}

/// An order to the disk.
pub struct Save {
    hard_state: Option<HardState>,
    entries: Vec<Entry>,
    snapshot: Option<Snapshot>,
    answers: Vec<Flight>,
}

/// Something on its way to a node.
#[derive(Clone)]
pub enum Flight {
    Message(Message),
    /// A part of a ticket. All parts are queued at once and one behind the other, so the first that arrives hands in the
    /// whole ticket.
    Saved {
        node: NodeId,
        part: Part,
        ticket: Rc<RefCell<Option<SaveTicket>>>,
    },
    Applied {
        node: NodeId,
        entries: Vec<Entry>,
    },
}

/// What a ticket stands for, as the scenarios print it.
#[derive(Clone)]
pub enum Part {
    OwnVote { kind: VoteKind, term: Term },
    OwnAppend(LogPosition),
    Log { term: Term, end: Option<LogPosition>, snapshot: Option<Snapshot> },
}

impl Flight {
    pub fn to(&self) -> NodeId {
        match self {
            Flight::Message(message) => message.to,
            Flight::Saved { node, .. } | Flight::Applied { node, .. } => *node,
        }
    }

    /// Whether it never leaves the node.
    pub fn is_local(&self) -> bool {
        !matches!(self, Flight::Message(_))
    }

    pub fn line(&self) -> Line<'_> {
        match self {
            Flight::Message(message) => describe::message(message),
            Flight::Saved { node, part, .. } => {
                let own = Line { from: format!("{node:x}"), to: format!("{node:x}"), ..Line::default() };
                match part {
                    Part::OwnVote { kind: VoteKind::Pre, term } => Line { name: "MsgPreVoteResp", term: term.0, ..own },
                    Part::OwnVote { kind: VoteKind::Binding, term } => {
                        Line { name: "MsgVoteResp", term: term.0, ..own }
                    }
                    Part::OwnAppend(at) => Line { name: "MsgAppResp", term: at.term.0, index: at.index.0, ..own },
                    Part::Log { term, end, snapshot } => Line {
                        from: "AppendThread".to_owned(),
                        name: "MsgStorageAppendResp",
                        term: term.0,
                        log_term: end.map_or(0, |end| end.term.0),
                        index: end.map_or(0, |end| end.index.0),
                        snapshot: snapshot.as_ref(),
                        ..own
                    },
                }
            }
            Flight::Applied { node, entries } => Line {
                from: "ApplyThread".to_owned(),
                to: format!("{node:x}"),
                name: "MsgStorageApplyResp",
                entries,
                ..Line::default()
            },
        }
    }
}

impl Node {
    pub fn id(&self) -> NodeId {
        self.raft.id()
    }

    /// Handles a `Ready`: prints it, and returns what goes to the network. In synchronous mode everything is done here;
    /// in asynchronous mode the disk and the state machine get orders.
    pub fn handle_ready(&mut self, print: impl Fn(&str)) -> Vec<Flight> {
        let Some(mut ready) = self.raft.take_ready() else {
            print("<empty Ready>");
            return Vec::new();
        };
        let mut sent: Vec<Flight> = std::mem::take(&mut ready.messages).into_iter().map(Flight::Message).collect();
        // In etcd's library requests for votes do not wait for the disk.
        let asks = |message: &mut Message| matches!(message.body, Body::Vote(_));
        sent.extend(ready.messages_after_save.extract_if(.., asks).map(Flight::Message));
        let after_save = std::mem::take(&mut ready.messages_after_save).into_iter().map(Flight::Message);
        if self.asynchronous {
            let mut lines: Vec<String> = sent.iter().map(|flight| flight.line().print("")).collect();
            let ticket = ready.save.take();
            let save = ticket.map(|ticket| self.order_save(&ready, after_save.collect(), ticket));
            lines.extend(save.as_ref().map(|save| save.line(self.id(), true).print("")));
            if !ready.committed.is_empty() {
                lines.push(apply_line(self.id(), &ready.committed, true).print(""));
            }
            print(&describe::ready(&ready, &lines));
            self.saves.extend(save);
            if !ready.committed.is_empty() {
                self.applies.push_back(ready.committed);
            }
        } else {
            sent.extend(after_save);
            let lines: Vec<String> = sent.iter().map(|flight| flight.line().print("")).collect();
            print(&describe::ready(&ready, &lines));
            self.write(ready.hard_state, ready.entries, ready.snapshot);
            self.apply(&ready.committed);
            if let Some(ticket) = ready.save {
                self.raft.saved(ticket);
            }
            if let Some(last) = ready.committed.last() {
                self.raft.applied(last.index);
            }
        }
        sent
    }

    fn order_save(&self, ready: &Ready, after_save: Vec<Flight>, ticket: SaveTicket) -> Save {
        let mut parts = Vec::new();
        parts.extend(ticket.own().votes.iter().map(|vote| Part::OwnVote { kind: vote.kind, term: vote.term }));
        parts.extend(ticket.own().appended.map(Part::OwnAppend));
        if ticket.log_end().is_some() || ticket.snapshot().is_some() {
            parts.push(Part::Log { term: ticket.term(), end: ticket.log_end(), snapshot: ready.snapshot.clone() });
        }
        let (node, ticket) = (self.id(), Rc::new(RefCell::new(Some(ticket))));
        let mut answers = after_save;
        answers.extend(parts.into_iter().map(|part| Flight::Saved { node, part, ticket: Rc::clone(&ticket) }));
        Save { hard_state: ready.hard_state, entries: ready.entries.clone(), snapshot: ready.snapshot.clone(), answers }
    }

    /// Does the next order of the disk, and returns its answers.
    pub fn do_save(&mut self, print: impl Fn(&str)) -> Vec<Flight> {
        let Some(save) = self.saves.pop_front() else {
            print("no append work to perform");
            return Vec::new();
        };
        print(&format!("Processing:\n{}\n", save.line(self.id(), false).print("")));
        self.write(save.hard_state, save.entries, save.snapshot);
        print("Responses:\n");
        for answer in &save.answers {
            print(&format!("{}\n", answer.line().print("")));
        }
        save.answers
    }

    /// Does the next order of the state machine, and returns its answer.
    pub fn do_apply(&mut self, print: impl Fn(&str)) -> Vec<Flight> {
        let Some(entries) = self.applies.pop_front() else {
            print("no apply work to perform");
            return Vec::new();
        };
        print(&format!("Processing:\n{}\n", apply_line(self.id(), &entries, false).print("")));
        self.apply(&entries);
        let answer = Flight::Applied { node: self.id(), entries };
        print(&format!("Responses:\n{}\n", answer.line().print("")));
        vec![answer]
    }

    /// Takes what arrives. An error is the text that is printed.
    pub fn deliver(&mut self, flight: Flight) -> Result<(), String> {
        match flight {
            Flight::Message(message) => self.raft.step(message).map_err(|error| match error {
                ferrite_raft::StepError::Propose(_) => "raft proposal dropped".to_owned(),
                other => other.to_string(),
            }),
            Flight::Saved { ticket, .. } => {
                if let Some(ticket) = ticket.borrow_mut().take() {
                    self.raft.saved(ticket);
                }
                Ok(())
            }
            Flight::Applied { entries, .. } => {
                self.raft.applied(entries.last().expect("an entry").index);
                Ok(())
            }
        }
    }

    fn write(&mut self, hard_state: Option<HardState>, entries: Vec<Entry>, snapshot: Option<Snapshot>) {
        assert!(snapshot.is_none() || entries.is_empty(), "can't apply snapshot and entries at the same time");
        self.raft.log_mut().log.save(snapshot, entries, hard_state).expect("a newer snapshot");
    }

    fn apply(&mut self, entries: &[Entry]) {
        for entry in entries {
            let (update, conf) = match &entry.payload {
                Payload::Data(data) => (data.clone(), None),
                Payload::Change(change) => {
                    let change = change.to_v2();
                    let conf = self.raft.apply_conf_change(&change).expect("a change that fits");
                    (change.context, Some(conf))
                }
            };
            let mut history = self.history.borrow_mut();
            let state = history.last().expect("a first state");
            let conf = conf.unwrap_or_else(|| state.meta.conf.clone());
            let data = Bytes::from([&state.data[..], &update[..]].concat());
            history.push(Snapshot { meta: SnapshotMeta { index: entry.index, term: entry.term, conf }, data });
        }
    }
}

impl Save {
    fn line(&self, node: NodeId, with_answers: bool) -> Line<'_> {
        let state = self.hard_state.unwrap_or_default();
        Line {
            from: format!("{node:x}"),
            to: "AppendThread".to_owned(),
            name: "MsgStorageAppend",
            term: state.term.0,
            commit: state.commit.0,
            vote: state.vote.map_or(0, |id| id.0),
            entries: &self.entries,
            snapshot: self.snapshot.as_ref(),
            responses: if with_answers { self.answers.iter().map(Flight::line).collect() } else { Vec::new() },
            ..Line::default()
        }
    }
}

fn apply_line(node: NodeId, entries: &[Entry], with_answer: bool) -> Line<'_> {
    let answer = Line {
        from: "ApplyThread".to_owned(),
        to: format!("{node:x}"),
        name: "MsgStorageApplyResp",
        entries,
        ..Line::default()
    };
    Line {
        from: format!("{node:x}"),
        to: "ApplyThread".to_owned(),
        name: "MsgStorageApply",
        entries,
        responses: if with_answer { vec![answer] } else { Vec::new() },
        ..Line::default()
    }
}
