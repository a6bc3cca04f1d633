//! The node: Raft, and what it asks for, done in one thread and in the plain order.
//!
//! ```text
//!   Input, tick ──▶ Raft ──▶ Ready ──▶ save ──▶ send ──▶ apply ──▶ advance ──▶ (now and then) snapshot
//! ```

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Instant;

use bytes::Bytes;
use ferrite_peer::Transport;
use ferrite_raft::{
    Body, ChangeError, ConfChange, ConfChangeV2, ConfState, Entry, Index, LogStore, MemoryLog, Message, NodeId,
    Payload, PlainReady, ProposeError, RawNode, RoleKind, Snapshot, SoftState,
};
use parking_lot::RwLock;
use tokio::sync::{mpsc, oneshot};

use crate::disk::{Disk, DiskError};
use crate::member::{Ended, Settings};
use crate::state::{State, Unreadable};

/// What a node is told.
#[derive(Debug)]
pub enum Input {
    Put {
        data: Bytes,
        answer: oneshot::Sender<Result<(), ProposeError>>,
    },
    Change {
        change: ConfChange,
        answer: oneshot::Sender<Result<(), ProposeError>>,
    },
    Message(Message),
    /// A snapshot, all of it. The sender hears when it is saved, or that it was not needed.
    Snapshot {
        message: Message,
        taken: oneshot::Sender<()>,
    },
    SnapshotSent {
        to: NodeId,
        arrived: bool,
    },
    Unreachable(NodeId),
    /// This member's process has ended.
    Gone(NodeId),
    /// A member says that this one was removed.
    Removed,
    Stop,
}

/// Why a member cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Nobody knows what is on the disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("entry {index} cannot be applied: {why}: is another program a member of this cluster?")]
    Entry { index: Index, why: String },
    #[error("the snapshot at {index} cannot be installed: {why}: is another program a member of this cluster?")]
    Snapshot { index: Index, why: Unreadable },
}

/// So many inputs are taken in before what comes of them is done: what waits shares one write.
const BATCH: usize = 256;

pub struct Node {
    pub raft: RawNode<MemoryLog>,
    pub disk: Disk,
    /// Read by whoever asks; written by this thread alone.
    pub state: Arc<RwLock<State>>,
    pub transport: Transport,
    pub settings: Settings,
    pub place: Place,
}

/// How far the state has come.
#[derive(Debug)]
pub struct Place {
    pub applied: Index,
    /// The members there.
    pub conf: ConfState,
    /// Where the last snapshot was made.
    pub snapshot: Index,
    /// Another one is to be made whatever its distance.
    pub due: bool,
}

impl Node {
    /// Works until the member ends.
    pub fn run(mut self, inputs: &Receiver<Input>) -> Result<Ended, NodeError> {
        let mut next_tick = Instant::now() + self.settings.tick;
        loop {
            match inputs.recv_timeout(next_tick.saturating_duration_since(Instant::now())) {
                Ok(first) => {
                    let mut taken = Vec::new();
                    for input in std::iter::once(first).chain(inputs.try_iter()).take(BATCH) {
                        if let Some(ended) = self.take_in(input, &mut taken) {
                            return Ok(ended);
                        }
                    }
                    if let Some(ended) = self.work()? {
                        return Ok(ended);
                    }
                    // Whoever asked may be gone.
                    taken.into_iter().for_each(|sender: oneshot::Sender<()>| _ = sender.send(()));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(Ended::Stopped),
            }
            if Instant::now() >= next_tick {
                // Ticks that were missed, because the disk was slow or the process slept, are not made up for.
                next_tick = Instant::now() + self.settings.tick;
                self.raft.tick();
                if let Some(ended) = self.work()? {
                    return Ok(ended);
                }
            }
        }
    }

    fn take_in(&mut self, input: Input, taken: &mut Vec<oneshot::Sender<()>>) -> Option<Ended> {
        match input {
            Input::Put { data, answer } => _ = answer.send(self.raft.propose(data)),
            Input::Change { change, answer } => _ = answer.send(self.raft.propose_conf_change(change)),
            // A message that Raft refuses was lost on the way, as far as its sender knows.
            Input::Message(message) => drop(self.raft.step(message)),
            Input::Snapshot { message, taken: sender } => {
                _ = self.raft.step(message);
                taken.push(sender);
            }
            Input::SnapshotSent { to, arrived } => self.raft.report_snapshot(to, arrived),
            Input::Unreachable(id) => self.raft.report_unreachable(id),
            Input::Gone(id) => self.raft.report_gone(id),
            Input::Removed => return Some(Ended::Removed),
            Input::Stop => return Some(Ended::Stopped),
        }
        None
    }

    /// Does all that is owed.
    fn work(&mut self) -> Result<Option<Ended>, NodeError> {
        while let Some(ready) = self.raft.take_ready() {
            let PlainReady { soft_state, hard_state, entries, snapshot, messages, committed, advance, .. } =
                ready.into_plain();
            if let Some(soft_state) = soft_state {
                self.say(soft_state);
            }
            self.disk.save(snapshot.as_ref(), &entries, hard_state.as_ref())?;
            let installed = snapshot.clone();
            self.raft.log_mut().save(snapshot, entries, hard_state).expect("Raft asks for newer snapshots only");
            self.send(messages);
            if let Some(snapshot) = installed {
                self.install(&snapshot)?;
            }
            for entry in committed {
                self.apply(&entry)?;
            }
            self.raft.advance(advance);
            if self.state.read().is_removed(self.raft.id()) {
                return Ok(Some(Ended::Removed));
            }
            self.snapshot_if_due()?;
        }
        Ok(None)
    }

    fn say(&self, SoftState { leader, role }: SoftState) {
        let id = self.raft.id();
        match (role, leader) {
            (RoleKind::Leader, _) => eprintln!("member {id} leads"),
            (_, Some(leader)) => eprintln!("member {id} follows {leader}"),
            (_, None) => eprintln!("member {id} knows no leader"),
        }
    }

    fn send(&self, messages: Vec<Message>) {
        let (snapshots, messages): (Vec<_>, Vec<_>) =
            messages.into_iter().partition(|message| matches!(message.body, Body::Snapshot(_)));
        self.transport.send(messages);
        for mut message in snapshots {
            let Body::Snapshot(snapshot) = &mut message.body else { continue };
            // The state goes behind the message, where etcd has its database: a message has to fit into memory at once.
            let (sender, pieces) = mpsc::channel(1);
            let sent = sender.try_send(Ok(std::mem::take(&mut snapshot.data)));
            sent.expect("a new queue has room for one");
            self.transport.send_snapshot(message, pieces);
        }
    }

    /// Replaces the state by that of a snapshot.
    fn install(&mut self, snapshot: &Snapshot) -> Result<(), NodeError> {
        let index = snapshot.meta.index;
        let state = State::decode(snapshot.data.clone()).map_err(|why| NodeError::Snapshot { index, why })?;
        *self.state.write() = state;
        self.place = Place { applied: index, conf: snapshot.meta.conf.clone(), snapshot: index, due: false };
        self.connect();
        Ok(self.disk.purge(index)?)
    }

    fn apply(&mut self, entry: &Entry) -> Result<(), NodeError> {
        let refused = |why: &dyn std::fmt::Display| NodeError::Entry { index: entry.index, why: why.to_string() };
        self.place.applied = entry.index;
        match &entry.payload {
            Payload::Data(data) => self.state.write().put(data.clone()).map_err(|why| refused(&why)),
            Payload::Change(change) => self.change_members(&change.to_v2()).map_err(|why| refused(&why)),
        }
    }

    fn change_members(&mut self, change: &ConfChangeV2) -> Result<(), ChangeError> {
        if self.state.read().admits(change) {
            self.place.conf = self.raft.apply_conf_change(change)?;
            self.state.write().change_members(change);
            self.connect();
            // Who is new refuses a snapshot that does not name it.
            self.place.due = true;
        }
        Ok(())
    }

    /// Has the transport talk to the members, and to nobody else.
    pub fn connect(&self) {
        let state = self.state.read();
        for (id, url) in state.members() {
            self.transport.add_peer(*id, std::slice::from_ref(url));
            self.transport.update_peer(*id, std::slice::from_ref(url));
        }
        state.removed().for_each(|id| self.transport.remove_peer(id));
    }

    fn snapshot_if_due(&mut self) -> Result<(), NodeError> {
        let Place { applied, conf, snapshot, due } = &mut self.place;
        if !std::mem::take(due) && applied.0 - snapshot.0 <= self.settings.snapshot_entries {
            return Ok(());
        }
        let data = self.state.read().encode();
        let log = self.raft.log_mut();
        let made = log.create_snapshot(*applied, conf.clone(), data).expect("what was applied is in the log");
        self.disk.save_snapshot(made)?;
        *snapshot = *applied;
        // Those who are a little behind need no snapshot.
        let forget = Index(applied.0.saturating_sub(self.settings.kept_entries));
        if forget >= log.first_index() {
            log.compact(forget).expect("an index between the first and the last");
        }
        Ok(self.disk.purge(*applied)?)
    }
}
