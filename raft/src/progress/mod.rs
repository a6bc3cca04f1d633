//! What a leader knows of each follower, and in which phase its replication is.
//!
//! ```text
//!            accepted                     too far behind
//!   Probe ─────────────▶ Replicate    any ─────────────▶ Snapshot ── accepted behind it ──▶ Replicate
//!     ▲  one message at a   │ a stream within the window     │
//!     └─── rejected, lost ──┘                                └── reported done or failed ──▶ Probe
//! ```
//!
//! `matched` only grows. `next > matched`: no entry is sent that is known to be there.

mod inflights;
mod peers;

use std::fmt;

pub use inflights::{InflightLimits, Inflights};
pub use peers::Peers;

use crate::types::Index;

/// One follower, as its leader sees it (thesis, figure 3.1 and 10.2.2). Ids, entries and snapshots are named by their index.
#[derive(Clone, Debug)]
pub struct Progress {
    matched: Index,
    /// The largest commit index it was told: it need not be told again.
    sent_commit: Index,
    phase: Phase,
    /// It was heard since quorum was last checked.
    pub(crate) active: bool,
    limits: InflightLimits,
}

/// In which phase replication to a follower is, as etcd's library has them.
#[derive(Clone, Debug)]
pub enum Phase {
    /// Looking for where the logs meet (thesis, 3.5), one message at a time; paused while it is under way.
    Probe {
        /// The index to send next.
        next: Index,
        /// A message is under way.
        paused: bool,
    },
    /// Streaming (thesis, 10.2.2); paused while the window is full.
    Replicate {
        /// The index to send next.
        next: Index,
        /// What was sent and not acknowledged.
        inflight: Inflights,
        /// The window was full when something was last sent.
        paused: bool,
    },
    /// It needs what the log no longer has: a snapshot is under way (thesis, 5).
    Snapshot {
        /// The last index that the snapshot stands for.
        at: Index,
    },
}

impl Phase {
    /// The name that etcd's library prints.
    pub fn name(&self) -> &'static str {
        match self {
            Phase::Probe { .. } => "StateProbe",
            Phase::Replicate { .. } => "StateReplicate",
            Phase::Snapshot { .. } => "StateSnapshot",
        }
    }
}

impl Progress {
    /// A follower of which nothing is known yet: it is probed at `next`.
    pub(crate) fn new(next: Index, limits: InflightLimits) -> Progress {
        let phase = Phase::Probe { next, paused: false };
        Progress { matched: Index(0), sent_commit: Index(0), phase, active: false, limits }
    }

    /// The last index up to which it is known to hold the leader's log, saved (`matchIndex` of the thesis); 0 at first.
    pub fn matched(&self) -> Index {
        self.matched
    }

    /// Whether it was heard since the leader last looked whether a quorum is (thesis, 6.2), at most an election timeout ago.
    /// Without `Rules::check_quorum`, since the node began to lead.
    pub fn is_active(&self) -> bool {
        self.active
    }

    /// In which phase it is.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// The next index to send (`nextIndex` of the thesis); behind a snapshot while one is under way.
    pub fn next(&self) -> Index {
        match &self.phase {
            Phase::Probe { next, .. } | Phase::Replicate { next, .. } => *next,
            Phase::Snapshot { at } => (*at).max(self.matched).next(),
        }
    }

    /// Whether no message with entries may go now.
    pub fn is_paused(&self) -> bool {
        match &self.phase {
            Phase::Probe { paused, .. } | Phase::Replicate { paused, .. } => *paused,
            Phase::Snapshot { .. } => true,
        }
    }

    /// Whether the logs' meeting place is looked for.
    pub(crate) fn is_probing(&self) -> bool {
        matches!(self.phase, Phase::Probe { .. })
    }

    /// Whether entries are streamed.
    pub(crate) fn is_replicating(&self) -> bool {
        matches!(self.phase, Phase::Replicate { .. })
    }

    /// Whether a snapshot is under way.
    pub(crate) fn is_in_snapshot(&self) -> bool {
        matches!(self.phase, Phase::Snapshot { .. })
    }

    /// Whether there is room for another message with entries.
    pub(crate) fn has_room(&self) -> bool {
        match &self.phase {
            Phase::Replicate { inflight, .. } => !inflight.is_full(),
            Phase::Probe { .. } | Phase::Snapshot { .. } => true,
        }
    }

    /// Probes from behind what is matched, or from behind the snapshot that was sent.
    pub(crate) fn become_probe(&mut self) {
        let next = match self.phase {
            Phase::Snapshot { at } => at.max(self.matched).next(),
            Phase::Probe { .. } | Phase::Replicate { .. } => self.matched.next(),
        };
        self.phase = Phase::Probe { next, paused: false };
        self.clamp_sent_commit();
    }

    /// Probes again from behind what is matched: the snapshot did not arrive.
    pub(crate) fn snapshot_failed(&mut self) {
        self.phase = Phase::Probe { next: self.matched.next(), paused: false };
        self.clamp_sent_commit();
    }

    /// Streams from behind what is matched.
    pub(crate) fn become_replicate(&mut self) {
        let inflight = Inflights::new(self.limits);
        self.phase = Phase::Replicate { next: self.matched.next(), inflight, paused: false };
    }

    /// Sends nothing more until a snapshot at `at` has arrived, or has not.
    pub(crate) fn become_snapshot(&mut self, at: Index) {
        self.phase = Phase::Snapshot { at };
        self.sent_commit = at;
    }

    /// Stops sending until the next answer or heartbeat round.
    pub(crate) fn pause(&mut self) {
        self.set_paused(true);
    }

    /// Lets one more message go.
    pub(crate) fn unpause(&mut self) {
        self.set_paused(false);
    }

    fn set_paused(&mut self, value: bool) {
        match &mut self.phase {
            Phase::Probe { paused, .. } | Phase::Replicate { paused, .. } => *paused = value,
            Phase::Snapshot { .. } => {}
        }
    }

    /// Notes that a message with `count` entries was sent.
    pub(crate) fn sent_entries(&mut self, count: usize, bytes: u64) {
        match &mut self.phase {
            Phase::Replicate { next, inflight, paused } => {
                if count > 0 {
                    *next = Index(next.0 + count as u64);
                    inflight.add(next.prev(), bytes);
                }
                *paused = inflight.is_full();
            }
            Phase::Probe { paused, .. } => *paused |= count > 0,
            Phase::Snapshot { .. } => unreachable!("no entries are sent while a snapshot is under way"),
        }
    }

    /// Notes which commit index it was told.
    pub(crate) fn sent_commit(&mut self, commit: Index) {
        self.sent_commit = commit;
    }

    /// Whether telling it this commit index would let it commit more.
    pub(crate) fn can_bump_commit(&self, commit: Index) -> bool {
        commit > self.sent_commit && self.sent_commit < self.next().prev()
    }

    /// Notes an acknowledgement. False if it says nothing new.
    pub(crate) fn accepted(&mut self, index: Index) -> bool {
        if index <= self.matched {
            return false;
        }
        self.matched = index;
        match &mut self.phase {
            Phase::Probe { next, paused } | Phase::Replicate { next, paused, .. } => {
                *next = (*next).max(index.next());
                *paused = false;
            }
            Phase::Snapshot { .. } => {}
        }
        true
    }

    /// Frees the window up to `index`.
    pub(crate) fn acknowledge(&mut self, index: Index) {
        if let Phase::Replicate { inflight, .. } = &mut self.phase {
            inflight.acknowledge(index);
        }
    }

    /// Notes that the follower does not hold `rejected`, and that the logs may meet at `hint`. False if this is old news.
    pub(crate) fn rejected(&mut self, rejected: Index, hint: Index) -> bool {
        let fresh = match &mut self.phase {
            // The window was sent blindly: an old rejection is one of an entry that is known to be there.
            Phase::Replicate { next, .. } => {
                let fresh = rejected > self.matched;
                if fresh {
                    *next = self.matched.next();
                }
                fresh
            }
            // One message is under way: any other index is an old one.
            Phase::Probe { next, paused } => {
                let fresh = next.prev() == rejected;
                if fresh {
                    *next = rejected.min(hint.next()).max(self.matched.next());
                    *paused = false;
                }
                fresh
            }
            Phase::Snapshot { .. } => false,
        };
        if fresh {
            self.clamp_sent_commit();
        }
        fresh
    }

    fn clamp_sent_commit(&mut self) {
        self.sent_commit = self.sent_commit.min(self.next().prev());
    }
}

/// A progress as it is printed: with what the configuration says of the follower.
pub struct Shown<'p> {
    pub progress: &'p Progress,
    pub learner: bool,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let progress = self.progress;
        write!(f, "{} match={} next={}", progress.phase.name(), progress.matched, progress.next())?;
        if self.learner {
            f.write_str(" learner")?;
        }
        if progress.is_paused() {
            f.write_str(" paused")?;
        }
        if let Phase::Snapshot { at } = progress.phase
            && at.0 > 0
        {
            write!(f, " pendingSnap={at}")?;
        }
        if !progress.active {
            f.write_str(" inactive")?;
        }
        if let Phase::Replicate { inflight, .. } = &progress.phase
            && inflight.count() > 0
        {
            write!(f, " inflight={}", inflight.count())?;
            if inflight.is_full() {
                f.write_str("[full]")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: InflightLimits = InflightLimits { messages: 2, bytes: u64::MAX };

    fn probe(matched: u64, next: u64) -> Progress {
        let mut progress = Progress::new(Index(1), LIMITS);
        progress.accepted(Index(matched));
        progress.phase = Phase::Probe { next: Index(next), paused: true };
        progress.active = true;
        progress
    }

    fn replicate(matched: u64, sent: &[usize]) -> Progress {
        let mut progress = probe(matched, matched + 1);
        progress.become_replicate();
        sent.iter().for_each(|count| progress.sent_entries(*count, 10));
        progress
    }

    fn snapshot(matched: u64, at: u64) -> Progress {
        let mut progress = probe(matched, matched + 1);
        progress.become_snapshot(Index(at));
        progress
    }

    #[track_caller]
    fn check(mut progress: Progress, act: impl FnOnce(&mut Progress), expected: &str) {
        let before = shown(&progress);
        act(&mut progress);
        assert_eq!(shown(&progress), expected, "from {before}");
    }

    fn shown(progress: &Progress) -> String {
        Shown { progress, learner: false }.to_string()
    }

    #[test]
    fn a_window_fills_and_an_acknowledgement_frees_it() {
        check(replicate(3, &[2]), |_| {}, "StateReplicate match=3 next=6 inflight=1");
        check(replicate(3, &[2, 1]), |_| {}, "StateReplicate match=3 next=7 paused inflight=2[full]");
        let accept = |progress: &mut Progress| {
            assert!(progress.accepted(Index(5)));
            progress.acknowledge(Index(5));
        };
        check(replicate(3, &[2, 1]), accept, "StateReplicate match=5 next=7 inflight=1");
        // An empty message is let through a full window, and leaves it as it was.
        check(replicate(3, &[2, 1]), |p| p.sent_entries(0, 0), "StateReplicate match=3 next=7 paused inflight=2[full]");
    }

    #[test]
    fn an_old_acknowledgement_says_nothing() {
        let accept = |index| move |p: &mut Progress| assert!(!p.accepted(Index(index)));
        check(probe(5, 9), accept(5), "StateProbe match=5 next=9 paused");
        check(probe(5, 9), accept(4), "StateProbe match=5 next=9 paused");
        check(probe(5, 9), |p| assert!(p.accepted(Index(6))), "StateProbe match=6 next=9");
        check(probe(5, 9), |p| assert!(p.accepted(Index(12))), "StateProbe match=12 next=13");
    }

    #[test]
    fn a_rejection_moves_back_but_never_behind_the_match() {
        let reject = |at, hint, fresh| move |p: &mut Progress| assert_eq!(p.rejected(Index(at), Index(hint)), fresh);
        //    from            rejected, hint, news      then
        check(probe(3, 9), reject(8, 6, true), "StateProbe match=3 next=7");
        check(probe(3, 9), reject(8, 8, true), "StateProbe match=3 next=8");
        check(probe(3, 9), reject(8, 1, true), "StateProbe match=3 next=4");
        check(probe(3, 9), reject(7, 6, false), "StateProbe match=3 next=9 paused");
        check(replicate(3, &[2]), reject(5, 4, true), "StateReplicate match=3 next=4 inflight=1");
        check(replicate(3, &[2]), reject(3, 2, false), "StateReplicate match=3 next=6 inflight=1");
        check(snapshot(3, 9), reject(9, 3, false), "StateSnapshot match=3 next=10 paused pendingSnap=9");
    }

    #[test]
    fn a_snapshot_ends_in_probing() {
        check(snapshot(3, 9), Progress::become_probe, "StateProbe match=3 next=10");
        check(snapshot(3, 9), Progress::snapshot_failed, "StateProbe match=3 next=4");
        let accepted_more = |p: &mut Progress| {
            p.accepted(Index(11));
            p.become_probe();
        };
        check(snapshot(3, 9), accepted_more, "StateProbe match=11 next=12");
        check(replicate(3, &[2]), Progress::become_probe, "StateProbe match=3 next=4");
    }

    #[test]
    fn the_commit_index_is_told_once_and_only_up_to_what_was_sent() {
        let bump = |told, commit| {
            let mut progress = replicate(5, &[3]); // next is 9
            progress.sent_commit(Index(told));
            progress.can_bump_commit(Index(commit))
        };
        assert!(bump(6, 7));
        assert!(!bump(7, 7));
        assert!(bump(7, 20));
        assert!(!bump(8, 20), "all that was sent is told to be committed");
    }
}
