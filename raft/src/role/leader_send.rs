//! What a leader says: entries, heartbeats, snapshots.

use crate::core::Core;
use crate::entries::Entries;
use crate::log::contract;
use crate::log::store::{LogError, LogStore};
use crate::logger::line;
use crate::message::Body;
use crate::progress::{Progress, Shown};
use crate::role::leader::Leader;
use crate::types::{LogPosition, NodeId};

/// Whether a message without entries is worth sending: it tells how far the log is committed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Empty {
    Send,
    Skip,
}

impl Leader {
    /// Sends to every follower what it misses, and how far the log is committed.
    pub fn broadcast_append<L: LogStore>(&mut self, core: &mut Core<L>) {
        for (to, progress) in self.peers.iter_mut_but(core.id) {
            send_append(core, to, progress, Empty::Send);
        }
    }

    /// Sends to every follower what it misses, and nothing to those that miss nothing.
    pub fn broadcast_entries<L: LogStore>(&mut self, core: &mut Core<L>) {
        for (to, progress) in self.peers.iter_mut_but(core.id) {
            send_append(core, to, progress, Empty::Skip);
        }
    }

    /// Sends to one follower what it misses, and how far the log is committed.
    pub fn send_append<L: LogStore>(&mut self, core: &mut Core<L>, to: NodeId) {
        if let Some(progress) = self.peers.get_mut(to) {
            send_append(core, to, progress, Empty::Send);
        }
    }

    /// Sends to one follower all that its window has room for.
    pub fn send_all_entries<L: LogStore>(&mut self, core: &mut Core<L>, to: NodeId) {
        if let Some(progress) = self.peers.get_mut(to) {
            while send_append(core, to, progress, Empty::Skip) {}
        }
    }

    pub fn broadcast_heartbeat<L: LogStore>(&mut self, core: &mut Core<L>) {
        let context = self.reads.heartbeat_context();
        for (to, progress) in self.peers.iter_mut_but(core.id) {
            // Nobody may commit what it is not known to hold: its log may still differ from ours.
            let commit = progress.matched().min(core.log.committed());
            core.send(to, Body::Heartbeat { commit, context: context.clone() });
            progress.sent_commit(commit);
        }
    }
}

/// Sends one message, if the follower's phase lets it go. True if it went.
fn send_append<L: LogStore>(core: &mut Core<L>, to: NodeId, progress: &mut Progress, empty: Empty) -> bool {
    if progress.is_paused() {
        return false;
    }
    let prev = progress.next().prev();
    let Ok(prev_term) = core.log.term(prev) else {
        // The log no longer has what comes before: it was compacted.
        return send_snapshot(core, to, progress);
    };
    // With a full window only empty messages go, so that a follower is asked again if all that filled it was lost.
    let entries = match progress.has_room() {
        true => core.log.entries(progress.next(), core.limits.max_size_per_message),
        false => Ok(Entries::default()),
    };
    let Ok(entries) = entries else {
        return send_snapshot(core, to, progress);
    };
    if entries.is_empty() && empty == Empty::Skip {
        return false;
    }
    let commit = core.log.committed();
    let count = entries.len();
    let bytes = entries.iter().map(|entry| entry.payload.encoded_len()).sum();
    core.send(to, Body::Append { prev: LogPosition { term: prev_term, index: prev }, entries, commit });
    progress.sent_entries(count, bytes);
    progress.sent_commit(commit);
    true
}

fn send_snapshot<L: LogStore>(core: &mut Core<L>, to: NodeId, progress: &mut Progress) -> bool {
    if !progress.active {
        // Nobody may be there: a snapshot is too much to send in the hope that somebody is.
        line!(core.logger, Debug, "ignore sending snapshot to {to:x} since it is not recently active");
        return false;
    }
    let snapshot = match core.log.snapshot() {
        Ok(snapshot) => snapshot,
        Err(LogError::SnapshotTemporarilyUnavailable) => {
            line!(
                core.logger,
                Debug,
                "{:x} failed to send snapshot to {to:x} because snapshot is temporarily unavailable",
                core.id
            );
            return false;
        }
        Err(error) => contract::broken("snapshot() has what was compacted", &format!("there is none: {error}")),
    };
    let (index, term) = (snapshot.meta.index, snapshot.meta.term);
    if index.0 == 0 {
        contract::broken("snapshot() has what was compacted", "need non-empty snapshot");
    }
    let learner = core.membership.is_learner(to);
    line!(
        core.logger,
        Debug,
        "{:x} [firstindex: {}, commit: {}] sent snapshot[index: {index}, term: {term}] to {to:x} [{}]",
        core.id,
        core.log.first_index(),
        core.log.committed(),
        Shown { progress, learner }
    );
    progress.become_snapshot(index);
    line!(
        core.logger,
        Debug,
        "{:x} paused sending replication messages to {to:x} [{}]",
        core.id,
        Shown { progress, learner }
    );
    core.send(to, Body::Snapshot(Box::new(snapshot)));
    true
}
