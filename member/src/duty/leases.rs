//! Leases end through the log, in the order of their deadlines; what is left of the others is checkpointed there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ferrite_observe::metrics::{Counter, Registry, families};
use ferrite_proto::etcdserverpb as pb;
use ferrite_state::RequestId;
use ferrite_state::clock::Millis;
use ferrite_state::lease::{Checkpoint, LeaseId, MAX_UNANSWERED_REVOKES, SharedLessor};

use super::RETRY;

/// How often the leader looks which leases to checkpoint. They are late by so much, and so is what the log says of them.
const CHECKPOINT_INTERVAL: Duration = Duration::from_millis(100);
/// Checkpoints in one entry.
const CHECKPOINTS_PER_ENTRY: usize = 1000;
/// Such entries each interval: 50,000 leases a second, which costs a member less than a tenth of a core. What does
/// not fit waits for the next one.
const ENTRIES_PER_INTERVAL: usize = 5;
/// Entries of checkpoints that may be proposed and not yet applied. Full: the log is slow, and is given no more to do.
const MAX_UNANSWERED_ENTRIES: usize = 2 * ENTRIES_PER_INTERVAL;

/// The leader's duties for leases.
#[derive(Debug)]
pub struct Leases {
    lessor: Arc<SharedLessor>,
    next_checkpoint: Duration,
    /// What is left of leases is written to the log.
    checkpoints: bool,
    expired: Counter,
    primary: bool,
    /// In the order of proposing, as ids count up. At most `MAX_UNANSWERED_REVOKES` and `MAX_UNANSWERED_ENTRIES`.
    unanswered: BTreeMap<RequestId, Unanswered>,
}

#[derive(Debug)]
struct Unanswered {
    since: Duration,
    what: What,
}

/// What a lease duty has proposed.
#[derive(Debug)]
pub(super) enum What {
    Revoke(LeaseId),
    Checkpoints(Vec<Checkpoint>),
}

impl Leases {
    pub fn new(lessor: Arc<SharedLessor>, checkpoints: bool, registry: &Registry) -> Leases {
        let next_checkpoint = Duration::ZERO;
        let expired = registry.metric(&families::ETCD_DEBUGGING_SERVER_LEASE_EXPIRED_TOTAL, &[]);
        Leases { lessor, next_checkpoint, checkpoints, expired, primary: false, unanswered: BTreeMap::new() }
    }

    /// Whether the leases' deadlines are kept here.
    pub(super) fn is_primary(&self) -> bool {
        self.primary
    }

    pub(super) fn demote(&mut self) {
        self.primary = false;
        self.unanswered.clear();
        self.lessor.lock().demote();
    }

    /// A tick, whoever leads.
    pub(super) fn tick(&self, now: Duration) {
        self.lessor.lock().look(millis(now));
    }

    /// This member leads, and has applied what it must have. Nobody had led for `outage`.
    pub(super) fn promote(&mut self, now: Duration, outage: Duration) {
        self.lessor.lock().promote(millis(now), outage.as_millis() as u64);
        (self.primary, self.next_checkpoint) = (true, now);
    }

    /// What has run out by `now`.
    pub(super) fn expired(&mut self, now: Duration) -> Vec<What> {
        let due = self.lessor.lock().due(millis(now), MAX_UNANSWERED_REVOKES);
        due.into_iter().map(What::Revoke).collect()
    }

    /// What has to be checkpointed by `now`.
    pub(super) fn checkpoints(&mut self, now: Duration) -> Vec<What> {
        if !self.checkpoints || now < self.next_checkpoint {
            return Vec::new();
        }
        self.next_checkpoint = now + CHECKPOINT_INTERVAL;
        let under_way = self.unanswered.values().filter(|unanswered| matches!(unanswered.what, What::Checkpoints(_)));
        let room = MAX_UNANSWERED_ENTRIES.saturating_sub(under_way.count()).min(ENTRIES_PER_INTERVAL);
        // One entry after the other, so that renewals wait for the lock no longer than one takes.
        let due = (0..room).map(|_| self.lessor.lock().checkpoints_due(millis(now), CHECKPOINTS_PER_ENTRY));
        due.take_while(|checkpoints| !checkpoints.is_empty()).map(What::Checkpoints).collect()
    }

    /// This was proposed under `id`.
    pub(super) fn proposed(&mut self, id: RequestId, what: What, now: Duration) {
        self.unanswered.insert(id, Unanswered { since: now, what });
    }

    /// The entry has been applied, whatever came of it.
    pub(super) fn answered(&mut self, id: RequestId) {
        if let Some(unanswered) = self.unanswered.remove(&id) {
            if let What::Revoke(_) = unanswered.what {
                self.expired.increment();
            }
            self.settle(unanswered.what);
        }
    }

    /// Gives up what has been proposed too long ago, so that it is proposed again.
    pub(super) fn expire(&mut self, now: Duration) {
        while let Some(oldest) = self.unanswered.first_entry()
            && now.saturating_sub(oldest.get().since) >= RETRY
        {
            let what = oldest.remove().what;
            self.settle(what);
        }
    }

    fn settle(&self, what: What) {
        let mut lessor = self.lessor.lock();
        match what {
            // If it has been revoked, there is nothing to fail.
            What::Revoke(id) => lessor.revoke_failed(id),
            What::Checkpoints(checkpoints) => lessor.checkpoints_answered(&checkpoints),
        }
    }
}

fn millis(now: Duration) -> Millis {
    Millis(now.as_millis() as u64)
}

impl What {
    pub(super) fn request(&self) -> pb::InternalRaftRequest {
        match self {
            What::Revoke(id) => pb::InternalRaftRequest {
                lease_revoke: Some(pb::LeaseRevokeRequest { id: id.get() }),
                ..Default::default()
            },
            What::Checkpoints(checkpoints) => {
                let checkpoints = checkpoints.iter().map(|checkpoint| pb::LeaseCheckpoint {
                    id: checkpoint.id.get(),
                    remaining_ttl: checkpoint.remaining_seconds,
                });
                let request = pb::LeaseCheckpointRequest { checkpoints: checkpoints.collect() };
                pb::InternalRaftRequest { lease_checkpoint: Some(request), ..Default::default() }
            }
        }
    }
}
