//! What a leader is answered: how far each log goes, who is alive, what arrived.

use crate::core::Core;
use crate::log::store::LogStore;
use crate::logger::{line, traced};
use crate::message::Body;
use crate::mutation::{Mutation, planted};
use crate::progress::{Progress, Shown};
use crate::role::leader::{Leader, answer_read};
use crate::types::{Index, LogPosition, NodeId, Term};

impl Leader {
    /// Commits what a quorum holds, if it is of our own term (Raft paper, figure 8). True if that is more than before.
    pub fn commit<L: LogStore>(&mut self, core: &mut Core<L>) -> bool {
        let matched = |id| self.peers.get(id).map(|progress| progress.matched().0);
        let index = Index(core.membership.voters().acknowledged(matched));
        let own_term = core.log.term(index) == Ok(core.term) || planted(Mutation::CommitOlderTerm);
        let more = index > core.log.committed() && own_term;
        if more {
            core.log.commit_to(index);
        }
        traced!(core, Commit);
        more
    }

    /// A node holds our log up to `index`: a follower, or this node itself once it is saved.
    pub fn append_accepted<L: LogStore>(&mut self, core: &mut Core<L>, from: NodeId, index: Index) {
        let learner = core.membership.is_learner(from);
        let Some(progress) = self.peers.get_mut(from) else { return no_progress(core, from) };
        progress.active = true;
        // A probe that was accepted where it already matched ends the probing.
        let news = progress.accepted(index) || (progress.matched() == index && progress.is_probing());
        if !news {
            return;
        }
        if progress.is_probing() {
            progress.become_replicate();
        } else if progress.is_in_snapshot() && progress.matched().next() >= core.log.first_index() {
            // Whatever snapshot it took, the log now has all that it misses.
            line!(
                core.logger,
                Debug,
                "{:x} recovered from needing snapshot, resumed sending replication messages to {from:x} [{}]",
                core.id,
                Shown { progress, learner }
            );
            progress.become_probe();
            progress.become_replicate();
        } else {
            progress.acknowledge(index);
        }
        let (caught_up, behind_commit) =
            (progress.matched() == core.log.last_index(), progress.can_bump_commit(core.log.committed()));
        let own = from == core.id;
        #[cfg(feature = "trace")]
        if own {
            core.trace.own_matched = Some(index.max(core.trace.own_matched.unwrap_or_default()));
        }
        if self.commit(core) {
            self.start_waiting_reads(core);
            self.broadcast_append(core);
        } else if !own && behind_commit {
            // Heartbeats would tell it too, later.
            self.send_append(core, from);
        }
        if !own {
            self.send_all_entries(core, from);
        }
        if self.transferee == Some(from) && caught_up {
            line!(core.logger, Info, "{:x} sent MsgTimeoutNow to {from:x} after received MsgAppResp", core.id);
            core.send(from, Body::TimeoutNow);
        }
    }

    /// A follower does not hold what comes before the entries at `index`.
    pub fn append_rejected<L: LogStore>(&mut self, core: &mut Core<L>, from: NodeId, index: Index, hint: LogPosition) {
        let learner = core.membership.is_learner(from);
        let Some(progress) = self.peers.get_mut(from) else { return no_progress(core, from) };
        progress.active = true;
        line!(
            core.logger,
            Debug,
            "{:x} received MsgAppResp(rejected, hint: (index {}, term {})) from {from:x} for index {index}",
            core.id,
            hint.index,
            hint.term
        );
        // The follower's entry at the hint has this term, and ours of greater terms cannot match there: skip them.
        let meeting = match hint.term {
            Term(0) => hint.index,
            term => core.log.find_conflict_by_term(hint.index, term).index,
        };
        if !progress.rejected(index, meeting) {
            return;
        }
        line!(core.logger, Debug, "{:x} decreased progress of {from:x} to [{}]", core.id, Shown { progress, learner });
        if progress.is_replicating() {
            progress.become_probe();
        }
        self.send_append(core, from);
    }

    pub fn heartbeat_answered<L: LogStore>(&mut self, core: &mut Core<L>, from: NodeId, context: &[u8]) {
        let Some(progress) = self.peers.get_mut(from) else { return no_progress(core, from) };
        progress.active = true;
        progress.unpause();
        // It is alive: if it misses something or is not known to match, what was sent may be lost.
        if progress.matched() < core.log.last_index() || progress.is_probing() {
            self.send_append(core, from);
        }
        if context.is_empty() {
            return;
        }
        for (index, request) in self.reads.echoed(from, context, &core.membership.voters().clone()) {
            answer_read(core, index, request);
        }
    }

    pub fn snapshot_reported<L: LogStore>(&mut self, core: &mut Core<L>, to: NodeId, arrived: bool) {
        let learner = core.membership.is_learner(to);
        let Some(progress) = self.in_snapshot(core, to) else { return };
        let outcome = if arrived {
            progress.become_probe();
            "succeeded"
        } else {
            progress.snapshot_failed();
            "failed"
        };
        line!(
            core.logger,
            Debug,
            "{:x} snapshot {outcome}, resumed sending replication messages to {to:x} [{}]",
            core.id,
            Shown { progress, learner }
        );
        // It must take the snapshot in first; its answer, or the next heartbeat round, lets us go on.
        progress.pause();
    }

    fn in_snapshot<L: LogStore>(&mut self, core: &Core<L>, to: NodeId) -> Option<&mut Progress> {
        let progress = self.peers.get_mut(to);
        if progress.is_none() {
            no_progress(core, to);
        }
        progress.filter(|progress| progress.is_in_snapshot())
    }

    /// What was streamed to it is probably lost.
    pub fn unreachable<L: LogStore>(&mut self, core: &Core<L>, to: NodeId) {
        let learner = core.membership.is_learner(to);
        let Some(progress) = self.peers.get_mut(to) else { return no_progress(core, to) };
        if progress.is_replicating() {
            progress.become_probe();
        }
        line!(
            core.logger,
            Debug,
            "{:x} failed to send message to {to:x} because it is unreachable [{}]",
            core.id,
            Shown { progress, learner }
        );
    }
}

fn no_progress<L: LogStore>(core: &Core<L>, of: NodeId) {
    line!(core.logger, Debug, "{:x} no progress available for {of:x}", core.id);
}
