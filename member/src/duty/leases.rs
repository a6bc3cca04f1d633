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

#[cfg(test)]
mod tests {
    use ferrite_state::lease::Lessor;

    use super::*;

    const fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn lease(id: i64) -> LeaseId {
        LeaseId::new(id).expect("not 0")
    }

    /// The duty of a leader since time 0 that has been told of leases of so many seconds.
    fn leader(ttls: &[i64]) -> Leases {
        let mut lessor = Lessor::new(1);
        for (id, ttl) in (1..).zip(ttls) {
            lessor.grant(lease(id), *ttl).expect("a new lease");
        }
        let mut duty = Leases::new(Arc::new(SharedLessor::new(lessor)), true, &Registry::new());
        duty.promote(at(0), Duration::ZERO);
        duty
    }

    /// Leases to be revoked.
    fn expired(duty: &mut Leases, now: Duration) -> Vec<LeaseId> {
        let lease = |what| match what {
            What::Revoke(lease) => lease,
            What::Checkpoints(_) => panic!("not asked for"),
        };
        duty.expired(now).into_iter().map(lease).collect()
    }

    #[test]
    fn what_is_not_taken_is_tried_again_at_once() {
        let mut duty = leader(&[3]);
        assert_eq!(expired(&mut duty, at(3100)), [lease(1)]);
        duty.proposed(RequestId(7), What::Revoke(lease(1)), at(3100));
        duty.refused(RequestId(7), at(3100));
        assert_eq!(expired(&mut duty, at(3199)), [], "not in the same breath");
        assert_eq!(expired(&mut duty, at(3200)), [lease(1)]);
    }

    #[test]
    fn a_revocation_that_nothing_came_of_is_given_up_and_a_checkpoint_is_not() {
        let mut duty = leader(&[3, 100]);
        let mut told = duty.checkpoints(at(0));
        assert_eq!(told.len(), 1);
        duty.proposed(RequestId(7), told.remove(0), at(0));
        assert_eq!(expired(&mut duty, at(3100)), [lease(1)]);
        duty.proposed(RequestId(8), What::Revoke(lease(1)), at(3100));
        let later = at(3100) + RETRY;
        duty.expire(later);
        assert_eq!(expired(&mut duty, later), [lease(1)]);
        assert!(duty.checkpoints(later).is_empty(), "it stands in the log, and counts whenever it is committed");
        duty.answered(RequestId(7));
        assert_eq!(duty.checkpoints(later + at(5000)).len(), 1);
    }

    /// More leases than are written at once: some wait, and no more is under way than may be.
    #[test]
    fn checkpoints_are_paced() {
        let mut duty = leader(&vec![100; 20_000]);
        let mut entries = 0;
        for interval in 0..5 {
            for told in duty.checkpoints(at(interval * 100)) {
                entries += 1;
                duty.proposed(RequestId(entries), told, at(0));
            }
            assert_eq!(duty.checkpoints(at(interval * 100 + 99)).len(), 0);
        }
        assert_eq!(entries as usize, MAX_UNANSWERED_ENTRIES);
        duty.answered(RequestId(1));
        assert_eq!(duty.checkpoints(at(500)).len(), 1);
    }
}
