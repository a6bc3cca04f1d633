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

/// How often the leader looks which leases to checkpoint.
const CHECKPOINT_INTERVAL: Duration = Duration::from_millis(500);
/// Checkpoints in one entry.
const CHECKPOINTS_PER_ENTRY: usize = 1000;

/// The leader's duties for leases.
#[derive(Debug)]
pub struct Leases {
    lessor: Arc<SharedLessor>,
    /// What every lease lives longer after a change of leader: an election timeout.
    extension: Duration,
    next_checkpoint: Duration,
    /// What is left of leases is written to the log.
    checkpoints: bool,
    expired: Counter,
    primary: bool,
    /// In the order of proposing, as ids count up. At most `MAX_UNANSWERED_REVOKES` and one checkpoint each interval.
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
    pub fn new(lessor: Arc<SharedLessor>, extension: Duration, checkpoints: bool, registry: &Registry) -> Leases {
        let next_checkpoint = Duration::ZERO;
        let expired = registry.metric(&families::ETCD_DEBUGGING_SERVER_LEASE_EXPIRED_TOTAL, &[]);
        Leases { lessor, extension, next_checkpoint, checkpoints, expired, primary: false, unanswered: BTreeMap::new() }
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

    /// What has run out by `now`, and what has to be checkpointed.
    pub(super) fn due(&mut self, now: Duration) -> Vec<What> {
        let millis = Millis(now.as_millis() as u64);
        let mut lessor = self.lessor.lock();
        if !self.primary {
            lessor.promote(millis, self.extension.as_millis() as u64);
            self.primary = true;
        }
        let mut due: Vec<What> = lessor.due(millis, MAX_UNANSWERED_REVOKES).into_iter().map(What::Revoke).collect();
        if self.checkpoints && now >= self.next_checkpoint {
            self.next_checkpoint = now + CHECKPOINT_INTERVAL;
            let checkpoints = lessor.checkpoints_due(millis, CHECKPOINTS_PER_ENTRY);
            due.extend((!checkpoints.is_empty()).then_some(What::Checkpoints(checkpoints)));
        }
        due
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
