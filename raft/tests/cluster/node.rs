//! A node with a disk and a state machine that both take their time.

use std::collections::VecDeque;

use bytes::Bytes;
use ferrite_raft::{
    ChangeError, ConfChange, ConfState, Config, Entry, HardState, Index, LogStore, MemoryLog, Message, RawNode,
    ReadState, SaveTicket, Snapshot, StorageWrites,
};

use crate::check::Checker;
use crate::rng::Rng;

pub struct Node {
    pub config: Config,
    /// `None` while it is down.
    pub up: Option<Up>,
    /// What survives a crash.
    pub disk: MemoryLog,
}

/// What a crash takes away.
pub struct Up {
    pub raft: RawNode<MemoryLog>,
    saves: VecDeque<Save>,
    applies: VecDeque<Entry>,
    /// What the state machine holds, as a number that depends on every entry applied.
    pub state: u64,
    pub applied: Index,
    /// The members at that point. Raft itself may know of newer ones: of a snapshot that is not saved yet. Then they may be
    /// unknown here.
    conf: Option<ConfState>,
}

struct Save {
    hard_state: Option<HardState>,
    entries: Vec<Entry>,
    snapshot: Option<Snapshot>,
    after: Vec<Message>,
    ticket: SaveTicket,
}

impl Node {
    pub fn new(config: Config, disk: MemoryLog) -> Node {
        let mut node = Node { config, up: None, disk };
        node.start();
        node
    }

    /// Starts from what is on disk. The state machine begins with the snapshot; all behind it is applied again.
    pub fn start(&mut self) {
        let snapshot = self.disk.snapshot().expect("a snapshot, if only the empty one");
        let config = Config { applied: snapshot.meta.index, seed: self.config.seed + 1, ..self.config.clone() };
        self.config = config.clone();
        let raft = RawNode::new(config, self.disk.clone()).expect("what was saved can be started from");
        self.up = Some(Up {
            raft,
            saves: VecDeque::new(),
            applies: VecDeque::new(),
            state: state_of(&snapshot),
            applied: snapshot.meta.index,
            conf: Some(self.disk.initial_state().1),
        });
    }

    /// Loses what is not on disk. A write that was under way leaves a part of its entries.
    pub fn crash(&mut self, rng: &mut Rng) {
        let Some(up) = self.up.take() else { return };
        if let Some(torn) = up.saves.into_iter().next()
            && torn.snapshot.is_none()
        {
            let kept = rng.below(torn.entries.len() as u64 + 1) as usize;
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
        let log = up.raft.log_mut();
        if let Some(snapshot) = &ready.snapshot {
            log.apply_snapshot(snapshot.clone()).expect("a newer snapshot");
        }
        log.append(ready.entries.iter().cloned());
        if let Some(ticket) = ready.save {
            up.saves.push_back(Save {
                hard_state: ready.hard_state,
                entries: ready.entries,
                snapshot: ready.snapshot,
                after: ready.messages_after_save,
                ticket,
            });
        }
        up.applies.extend(ready.committed);
        let mut sent = std::mem::take(&mut ready.messages);
        if self.config.writes == StorageWrites::Synchronous {
            sent.extend(self.save_all());
            self.apply(usize::MAX, checker);
        }
        sent
    }

    /// Finishes the oldest write, and returns what may be sent now.
    pub fn save(&mut self) -> Vec<Message> {
        let Some(up) = &mut self.up else { return Vec::new() };
        let Some(save) = up.saves.pop_front() else { return Vec::new() };
        if let Some(snapshot) = save.snapshot {
            // What was handed out before is in the snapshot already; what is applied from here on comes behind it.
            up.applies.retain(|entry| entry.index > snapshot.meta.index);
            (up.state, up.applied) = (state_of(&snapshot), snapshot.meta.index);
            up.conf = Some(snapshot.meta.conf.clone());
            self.disk.apply_snapshot(snapshot).expect("a newer snapshot");
        }
        self.disk.append(save.entries);
        if let Some(hard_state) = save.hard_state {
            // It may be older than the snapshot made meanwhile, which says more about what is committed.
            let commit = hard_state.commit.max(self.disk.hard_state().commit);
            self.disk.set_hard_state(HardState { commit, ..hard_state });
        }
        up.raft.saved(save.ticket);
        save.after
    }

    pub fn save_all(&mut self) -> Vec<Message> {
        let mut sent = Vec::new();
        while self.up.as_ref().is_some_and(|up| !up.saves.is_empty()) {
            sent.extend(self.save());
        }
        sent
    }

    /// Applies up to `count` entries.
    pub fn apply(&mut self, count: usize, checker: &mut Checker) {
        let Some(up) = &mut self.up else { return };
        let count = count.min(up.applies.len());
        for entry in up.applies.drain(..count) {
            assert_eq!(entry.index, up.applied.next(), "{}: entries are applied one after the other", self.config.id);
            if self.config.writes == StorageWrites::Asynchronous {
                assert_eq!(
                    self.disk.term(entry.index),
                    Ok(entry.term),
                    "{}: entry {} is applied before it is saved",
                    self.config.id,
                    entry.index
                );
            }
            up.state = mix(up.state, &entry);
            up.applied = entry.index;
            let mut changed = None;
            if let Some(change) = ConfChange::from_entry(&entry) {
                let change = change.expect("a change that can be read").into_v2();
                changed = match up.raft.apply_conf_change(&change) {
                    Ok(conf) => Some(conf),
                    Err(ChangeError::Superseded) => None,
                    Err(error) => panic!("{change} was checked when it was proposed: {error}"),
                };
                up.conf.clone_from(&changed);
            }
            checker.applied(self.config.id, &entry, up.state, changed);
            up.raft.applied(entry.index);
        }
    }

    /// Makes a snapshot of what is applied, and forgets most of the log before it.
    pub fn compact(&mut self, keep: u64) {
        let Some(up) = &mut self.up else { return };
        let (index, state) = (up.applied, Bytes::copy_from_slice(&up.state.to_le_bytes()));
        if index > self.disk.last_index() || self.disk.term(index) != up.raft.log().term(index) {
            return; // A snapshot says that the log is on disk up to here.
        }
        let Some(conf) = &up.conf else { return };
        for log in [&mut self.disk, up.raft.log_mut()] {
            if log.create_snapshot(index, conf.clone(), state.clone()).is_err() {
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

fn state_of(snapshot: &Snapshot) -> u64 {
    let bytes = <[u8; 8]>::try_from(&snapshot.data[..]).unwrap_or_default();
    u64::from_le_bytes(bytes)
}

fn mix(state: u64, entry: &Entry) -> u64 {
    let mut state = state ^ entry.index.0 ^ (entry.term.0 << 32);
    for byte in entry.data.iter() {
        state = (state ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    state.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
