//! A node with a disk and a state machine that both take their time.

use std::collections::VecDeque;
use std::fmt;

use bytes::Bytes;

use crate::cluster::check::Checker;
use crate::cluster::rng::Rng;
use crate::config::{Config, StorageWrites};
use crate::log::memory::MemoryLog;
use crate::log::store::LogStore;
use crate::logger::{BoxedLogger, Level, Logger, Silent};
use crate::membership::ChangeError;
use crate::message::{Body, Message};
use crate::raw_node::RawNode;
use crate::ready::{ReadState, SaveTicket};
use crate::types::{ConfState, Entry, HardState, Index, Snapshot};

pub struct Node {
    pub config: Config,
    /// `None` while it is down.
    pub up: Option<Up>,
    /// What survives a crash.
    pub disk: MemoryLog,
    pub haste: Option<Haste>,
}

/// What a crash takes away.
pub struct Up {
    pub raft: RawNode<MemoryLog>,
    saves: VecDeque<Save>,
    applies: VecDeque<Entry>,
    pub state: State,
    /// The members where the state machine is. Raft itself may know of newer ones: of a snapshot that is not saved yet.
    /// Then they may be unknown here.
    conf: Option<ConfState>,
}

/// The state machine: the numbers that were proposed, in the order in which they were applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub applied: Index,
    pub numbers: Vec<u64>,
}

struct Save {
    hard_state: Option<HardState>,
    entries: Vec<Entry>,
    snapshot: Option<Snapshot>,
    after: Vec<Message>,
    /// `None` if it was reported already.
    ticket: Option<SaveTicket>,
}

/// What an owner may do too early. Each is a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Haste {
    /// A vote is sent before it is on disk.
    Vote,
    /// Entries are acknowledged to the leader before they are on disk.
    Acknowledge,
    /// A save is reported before it is on disk.
    Report,
}

impl Haste {
    fn sends_early(self, body: &Body) -> bool {
        match self {
            Haste::Vote => matches!(body, Body::VoteAnswer { .. }),
            Haste::Acknowledge => matches!(body, Body::AppendAccepted { .. }),
            Haste::Report => false,
        }
    }
}

impl Up {
    pub fn has_saves(&self) -> bool {
        !self.saves.is_empty()
    }

    pub fn has_applies(&self) -> bool {
        !self.applies.is_empty()
    }
}

/// Prints log lines if somebody wants to see what a schedule does.
struct Printer;

impl Logger for Printer {
    fn enabled(&self, _: Level) -> bool {
        true
    }

    fn log(&self, _: Level, line: fmt::Arguments<'_>) {
        println!("{line}");
    }
}

fn logger() -> BoxedLogger {
    if std::env::var_os("RAFT_LOG").is_some() { Box::new(Printer) } else { Box::new(Silent) }
}

impl Node {
    pub fn new(config: Config, disk: MemoryLog, haste: Option<Haste>) -> Node {
        let mut node = Node { config, up: None, disk, haste };
        node.start();
        node
    }

    /// Starts from what is on disk. The state machine begins with the snapshot; all behind it is applied again.
    pub fn start(&mut self) {
        let snapshot = self.disk.snapshot().expect("a snapshot, if only the empty one");
        let config = Config { applied: snapshot.meta.index, seed: self.config.seed + 1, ..self.config.clone() };
        self.config = config.clone();
        let raft =
            RawNode::with_logger(config, self.disk.clone(), logger()).expect("what was saved can be started from");
        self.up = Some(Up {
            raft,
            saves: VecDeque::new(),
            applies: VecDeque::new(),
            state: State::restore(&snapshot),
            conf: Some(self.disk.initial_state().1),
        });
    }

    /// Loses what is not on disk. A write that was under way leaves a part of its entries.
    pub fn crash(&mut self, rng: &mut Rng) {
        let Some(up) = self.up.take() else { return };
        if let Some(torn) = up.saves.into_iter().next()
            && torn.snapshot.is_none()
        {
            let kept = rng.below(torn.entries.len() + 1);
            self.disk.append(torn.entries.into_iter().take(kept));
        }
    }

    /// Takes what is owed: messages leave, writes and entries to apply are queued.
    pub fn take_ready(&mut self, checker: &mut Checker) -> Vec<Message> {
        let Some(up) = &mut self.up else { return Vec::new() };
        let Some(mut ready) = up.raft.take_ready() else { return Vec::new() };
        assert!(
            ready.soft_state.is_some()
                || ready.save.is_some()
                || !ready.messages.is_empty()
                || !ready.committed.is_empty()
                || !ready.read_states.is_empty(),
            "a ready with nothing in it"
        );
        for ReadState { index, context } in ready.read_states {
            checker.read(self.config.id, index, &context);
        }
        // The hard state is told again when the node starts, from the disk.
        let entries = ready.entries.iter().cloned();
        up.raft.log_mut().save(ready.snapshot.clone(), entries, None).expect("a newer snapshot");
        let mut sent = std::mem::take(&mut ready.messages);
        if let Some(ticket) = ready.save {
            let mut save = Save {
                hard_state: ready.hard_state,
                entries: ready.entries,
                snapshot: ready.snapshot,
                after: ready.messages_after_save,
                ticket: Some(ticket),
            };
            if let Some(haste) = self.haste {
                let early = |message: &mut Message| haste.sends_early(&message.body);
                sent.extend(save.after.extract_if(.., early));
            }
            if self.haste == Some(Haste::Report)
                && save.snapshot.is_none()
                && let Some(ticket) = save.ticket.take()
            {
                up.raft.saved(ticket);
                checker.look(&up.raft);
            }
            up.saves.push_back(save);
        }
        up.applies.extend(ready.committed);
        if self.config.writes == StorageWrites::Synchronous {
            sent.extend(self.save_all(checker));
            self.apply(usize::MAX, checker);
        }
        sent
    }

    /// Finishes the oldest write, and returns what may be sent now.
    pub fn save(&mut self, checker: &mut Checker) -> Vec<Message> {
        let Some(up) = &mut self.up else { return Vec::new() };
        let Some(save) = up.saves.pop_front() else { return Vec::new() };
        if let Some(snapshot) = save.snapshot {
            // What was handed out before is in the snapshot already; what is applied from here on comes behind it.
            up.applies.retain(|entry| entry.index > snapshot.meta.index);
            up.state = State::restore(&snapshot);
            up.conf = Some(snapshot.meta.conf.clone());
            checker.installed(self.config.id, &up.state);
            self.disk.apply_snapshot(snapshot).expect("a newer snapshot");
        }
        self.disk.append(save.entries);
        if let Some(hard_state) = save.hard_state {
            // It may be older than the snapshot made meanwhile, which says more about what is committed.
            let commit = hard_state.commit.max(self.disk.hard_state().commit);
            self.disk.set_hard_state(HardState { commit, ..hard_state });
        }
        if let Some(ticket) = save.ticket {
            up.raft.saved(ticket);
        }
        checker.look(&up.raft);
        save.after
    }

    pub fn save_all(&mut self, checker: &mut Checker) -> Vec<Message> {
        let mut sent = Vec::new();
        while self.up.as_ref().is_some_and(|up| !up.saves.is_empty()) {
            sent.extend(self.save(checker));
        }
        sent
    }

    /// Applies up to `count` entries.
    pub fn apply(&mut self, count: usize, checker: &mut Checker) {
        let Some(up) = &mut self.up else { return };
        let count = count.min(up.applies.len());
        for entry in up.applies.drain(..count) {
            let id = self.config.id;
            assert_eq!(entry.index, up.state.applied.next(), "{id}: entries are applied one after the other");
            if self.config.writes == StorageWrites::Asynchronous {
                let on_disk = self.disk.term(entry.index);
                assert_eq!(on_disk, Ok(entry.term), "{id}: entry {} is applied before it is saved", entry.index);
            }
            up.state.apply(&entry);
            let mut changed = None;
            if let Some(change) = entry.change() {
                let change = change.to_v2();
                changed = match up.raft.apply_conf_change(&change) {
                    Ok(conf) => Some(conf),
                    Err(ChangeError::Superseded) => None,
                    Err(error) => panic!("{change} was checked when it was proposed: {error}"),
                };
                up.conf.clone_from(&changed);
            }
            checker.applied(id, &entry, &up.state, changed);
            up.raft.applied(entry.index);
            checker.look(&up.raft);
        }
    }

    /// Makes a snapshot of what is applied, and forgets most of the log before it.
    pub fn compact(&mut self, keep: u64) {
        let Some(up) = &mut self.up else { return };
        let index = up.state.applied;
        if index > self.disk.last_index() || self.disk.term(index) != up.raft.log().term(index) {
            return; // A snapshot says that the log is on disk up to here.
        }
        let Some(conf) = &up.conf else { return };
        let data = up.state.encode();
        for log in [&mut self.disk, up.raft.log_mut()] {
            if log.create_snapshot(index, conf.clone(), data.clone()).is_err() {
                return;
            }
            // Raft starts at the snapshot, so the hard state must have committed it.
            let hard_state = log.hard_state();
            log.set_hard_state(HardState { commit: hard_state.commit.max(index), ..hard_state });
            // A log that already is shorter has nothing to forget.
            let _ = log.compact(Index(index.0.saturating_sub(keep)));
        }
    }
}

impl State {
    fn restore(snapshot: &Snapshot) -> State {
        let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        State { applied: snapshot.meta.index, numbers: snapshot.data.chunks(8).map(number).collect() }
    }

    fn encode(&self) -> Bytes {
        self.numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    fn apply(&mut self, entry: &Entry) {
        self.applied = entry.index;
        self.numbers.extend(number_of(entry));
    }
}

/// The number that an entry carries, if it is a proposal of a client.
pub fn number_of(entry: &Entry) -> Option<u64> {
    entry.data()?[..].try_into().ok().map(u64::from_le_bytes)
}
