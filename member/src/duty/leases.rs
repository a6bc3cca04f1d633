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

/// Between two tries while proposals are not taken.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);

/// The leader's duties for leases.
#[derive(Debug)]
pub struct Leases {
    lessor: Arc<SharedLessor>,
    next_checkpoint: Duration,
    /// Proposals are not taken before.
    refused_until: Duration,
    /// What is left of leases is written to the log.
    are_checkpointed: bool,
    expired: Counter,
    primary: bool,
    /// Revocations that have been proposed, in that order, as ids count up. At most `MAX_UNANSWERED_REVOKES`.
    revokes: BTreeMap<RequestId, Revoke>,
    /// The same of checkpoints, at most `MAX_UNANSWERED_ENTRIES`. They are not given up while this member leads: they stand
    /// in its log, and count whenever they are committed.
    checkpoints: BTreeMap<RequestId, Vec<Checkpoint>>,
}

#[derive(Debug)]
struct Revoke {
    since: Duration,
    lease: LeaseId,
}

/// What a lease duty has proposed.
#[derive(Debug)]
pub(super) enum What {
    Revoke(LeaseId),
    Checkpoints(Vec<Checkpoint>),
}

impl Leases {
    pub fn new(lessor: Arc<SharedLessor>, are_checkpointed: bool, registry: &Registry) -> Leases {
        let expired = registry.metric(&families::ETCD_DEBUGGING_SERVER_LEASE_EXPIRED_TOTAL, &[]);
        Leases {
            lessor,
            next_checkpoint: Duration::ZERO,
            refused_until: Duration::ZERO,
            are_checkpointed,
            expired,
            primary: false,
            revokes: BTreeMap::new(),
            checkpoints: BTreeMap::new(),
        }
    }

    /// Whether the leases' deadlines are kept here.
    pub(super) fn is_primary(&self) -> bool {
        self.primary
    }

    pub(super) fn demote(&mut self) {
        self.primary = false;
        self.revokes.clear();
        self.checkpoints.clear();
        self.lessor.lock().demote();
    }

    /// All rests are told again.
    pub(super) fn tell_again(&self) {
        self.lessor.lock().tell_again();
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
        if now < self.refused_until {
            return Vec::new();
        }
        let due = self.lessor.lock().due(millis(now), MAX_UNANSWERED_REVOKES);
        due.into_iter().map(What::Revoke).collect()
    }

    /// What has to be checkpointed by `now`.
    pub(super) fn checkpoints(&mut self, now: Duration) -> Vec<What> {
        if !self.are_checkpointed || now < self.next_checkpoint.max(self.refused_until) {
            return Vec::new();
        }
        self.next_checkpoint = now + CHECKPOINT_INTERVAL;
        let room = MAX_UNANSWERED_ENTRIES.saturating_sub(self.checkpoints.len()).min(ENTRIES_PER_INTERVAL);
        // One entry after the other, so that renewals wait for the lock no longer than one takes.
        let due = (0..room).map(|_| self.lessor.lock().checkpoints_due(millis(now), CHECKPOINTS_PER_ENTRY));
        due.take_while(|checkpoints| !checkpoints.is_empty()).map(What::Checkpoints).collect()
    }

    /// This was proposed under `id`.
    pub(super) fn proposed(&mut self, id: RequestId, what: What, now: Duration) {
        match what {
            What::Revoke(lease) => _ = self.revokes.insert(id, Revoke { since: now, lease }),
            What::Checkpoints(checkpoints) => _ = self.checkpoints.insert(id, checkpoints),
        }
    }

    /// The entry has been applied, whatever came of it.
    pub(super) fn answered(&mut self, id: RequestId) {
        if let Some(Revoke { lease, .. }) = self.revokes.remove(&id) {
            self.expired.increment();
            // If it has been revoked, there is nothing to fail.
            self.lessor.lock().revoke_failed(lease);
        } else if let Some(checkpoints) = self.checkpoints.remove(&id) {
            self.lessor.lock().checkpoints_answered(&checkpoints);
        }
    }

    /// What was proposed under `id` is not taken: all is tried again a little later.
    pub(super) fn refused(&mut self, id: RequestId, now: Duration) {
        if let Some(Revoke { lease, .. }) = self.revokes.remove(&id) {
            self.refused_until = now + REFUSED_PAUSE;
            self.lessor.lock().revoke_failed(lease);
        } else if let Some(checkpoints) = self.checkpoints.remove(&id) {
            self.refused_until = now + REFUSED_PAUSE;
            self.lessor.lock().checkpoints_failed(&checkpoints, millis(now));
        }
    }

    /// Gives up revocations that have been proposed too long ago, so that they are proposed again.
    pub(super) fn expire(&mut self, now: Duration) {
        while let Some(oldest) = self.revokes.first_entry()
            && now.saturating_sub(oldest.get().since) >= RETRY
        {
            let lease = oldest.remove().lease;
            self.lessor.lock().revoke_failed(lease);
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
