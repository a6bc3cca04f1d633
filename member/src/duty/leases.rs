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
/// Such entries each interval: 50,000 leases a second, which costs a leader about a tenth of a core. What does
/// not fit waits for the next one.
const ENTRIES_PER_INTERVAL: usize = 5;
/// Entries of checkpoints that may be proposed and not yet applied. Full: the log is slow, and is given no more to do.
const MAX_UNANSWERED_ENTRIES: usize = 2 * ENTRIES_PER_INTERVAL;

/// Between two tries while proposals are not taken.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);

/// Whether what is left of leases is written to the log. A leader that runs etcd and was not told to do so renews a lease to
/// the rest that is there, not to its TTL: beside such a member nothing may be written, and what was is taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checkpointing {
    /// All members were told to (etcd's feature gate `LeaseCheckpoint`).
    Always,
    /// While all members run Ferrite.
    AmongOurs,
    /// Told not to.
    Never,
}

/// The leader's duties for leases.
#[derive(Debug)]
pub struct Leases {
    lessor: Arc<SharedLessor>,
    next_checkpoint: Duration,
    /// Proposals are not taken before.
    refused_until: Duration,
    checkpointing: Checkpointing,
    /// Rests that have to be taken back.
    resets: Resets,
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

/// How far rests have been taken back that may not be in the log.
#[derive(Debug)]
enum Resets {
    /// It is not known which there are.
    Unknown,
    /// Those of these leases, at most all, and perhaps some that have come meanwhile.
    Left(Vec<LeaseId>),
    /// None is in the log or on its way there, and none will be for now.
    Done,
}

/// What a lease duty has proposed.
#[derive(Debug)]
pub(super) enum What {
    Revoke(LeaseId),
    Checkpoints(Vec<Checkpoint>),
}

impl Leases {
    pub fn new(lessor: Arc<SharedLessor>, checkpointing: Checkpointing, registry: &Registry) -> Leases {
        let expired = registry.metric(&families::ETCD_DEBUGGING_SERVER_LEASE_EXPIRED_TOTAL, &[]);
        Leases {
            lessor,
            next_checkpoint: Duration::ZERO,
            refused_until: Duration::ZERO,
            checkpointing,
            resets: Resets::Unknown,
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

    /// This member leads, and has applied what it must have. Nobody had led for `outage`, and a leader before may have gone
    /// on renewing for `unseen`.
    pub(super) fn promote(&mut self, now: Duration, outage: Duration, unseen: Duration) {
        self.lessor.lock().promote(millis(now), outage.as_millis() as u64, unseen.as_millis() as u64);
        (self.primary, self.next_checkpoint, self.resets) = (true, now, Resets::Unknown);
    }

    /// What has run out by `now`.
    pub(super) fn expired(&mut self, now: Duration) -> Vec<What> {
        if now < self.refused_until {
            return Vec::new();
        }
        let due = self.lessor.lock().due(millis(now), MAX_UNANSWERED_REVOKES);
        due.into_iter().map(What::Revoke).collect()
    }

    /// What has to be checkpointed by `now`, or reset. A disk without room keeps what it has for what makes room: then
    /// nothing is checkpointed, and leases are late if the leader changes.
    pub(super) fn checkpoints(
        &mut self,
        now: Duration,
        is_short_of_room: bool,
        are_among_ours: impl FnOnce() -> bool,
    ) -> Vec<What> {
        if now < self.next_checkpoint.max(self.refused_until) {
            return Vec::new();
        }
        self.next_checkpoint = now + CHECKPOINT_INTERVAL;
        let room = MAX_UNANSWERED_ENTRIES.saturating_sub(self.checkpoints.len()).min(ENTRIES_PER_INTERVAL);
        let may_be_told = match self.checkpointing {
            Checkpointing::Always => true,
            Checkpointing::AmongOurs => are_among_ours(),
            Checkpointing::Never => false,
        };
        if !may_be_told {
            return self.take_back(room);
        }
        if is_short_of_room {
            return Vec::new();
        }
        self.resets = Resets::Unknown;
        // One entry after the other, so that renewals wait for the lock no longer than one takes.
        let due = (0..room).map(|_| self.lessor.lock().checkpoints_due(millis(now), CHECKPOINTS_PER_ENTRY));
        due.take_while(|checkpoints| !checkpoints.is_empty()).map(What::Checkpoints).collect()
    }

    /// Takes the rests back that are in the log, at most so many entries of them. All leases are looked at twice: to find
    /// those that have one, and to see that none is left.
    fn take_back(&mut self, room: usize) -> Vec<What> {
        if matches!(self.resets, Resets::Unknown) {
            // What is under way would come behind it.
            if !self.checkpoints.is_empty() {
                return Vec::new();
            }
            let told = self.lessor.lock().checkpointed();
            self.resets = if told.is_empty() { Resets::Done } else { Resets::Left(told) };
        }
        let Resets::Left(told) = &mut self.resets else { return Vec::new() };
        let count = told.len().min(room * CHECKPOINTS_PER_ENTRY);
        let resets: Vec<Checkpoint> =
            told.drain(told.len() - count..).map(|id| Checkpoint { id, remaining_seconds: 0 }).collect();
        if told.is_empty() {
            self.resets = Resets::Unknown;
        }
        resets.chunks(CHECKPOINTS_PER_ENTRY).map(|resets| What::Checkpoints(resets.to_vec())).collect()
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
        let mut duty = Leases::new(Arc::new(SharedLessor::new(lessor)), Checkpointing::AmongOurs, &Registry::new());
        duty.promote(at(0), Duration::ZERO, Duration::ZERO);
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
        let mut told = duty.checkpoints(at(0), false, || true);
        assert_eq!(told.len(), 1);
        duty.proposed(RequestId(7), told.remove(0), at(0));
        assert_eq!(expired(&mut duty, at(3100)), [lease(1)]);
        duty.proposed(RequestId(8), What::Revoke(lease(1)), at(3100));
        let later = at(3100) + RETRY;
        duty.expire(later);
        assert_eq!(expired(&mut duty, later), [lease(1)]);
        assert!(
            duty.checkpoints(later, false, || true).is_empty(),
            "it stands in the log, and counts whenever it is committed"
        );
        duty.answered(RequestId(7));
        assert_eq!(duty.checkpoints(later + at(5000), false, || true).len(), 1);
    }

    /// More leases than are written at once: some wait, and no more is under way than may be.
    #[test]
    fn checkpoints_are_paced() {
        let mut duty = leader(&vec![100; 20_000]);
        let mut entries = 0;
        for interval in 0..5 {
            for told in duty.checkpoints(at(interval * 100), false, || true) {
                entries += 1;
                duty.proposed(RequestId(entries), told, at(0));
            }
            assert_eq!(duty.checkpoints(at(interval * 100 + 99), false, || true).len(), 0);
        }
        assert_eq!(entries as usize, MAX_UNANSWERED_ENTRIES);
        duty.answered(RequestId(1));
        assert_eq!(duty.checkpoints(at(500), false, || true).len(), 1);
    }

    #[test]
    fn beside_a_leader_of_etcd_rests_are_taken_back() {
        let mut duty = leader(&[100; 2500]);
        let told: Vec<What> = duty.checkpoints(at(0), false, || true);
        for (id, what) in (1..).zip(told) {
            let What::Checkpoints(checkpoints) = &what else { panic!("nothing ends") };
            for Checkpoint { id, remaining_seconds } in checkpoints {
                duty.lessor.lock().checkpoint(*id, *remaining_seconds);
            }
            duty.proposed(RequestId(id), what, at(0));
        }
        assert!(duty.checkpoints(at(100), false, || false).is_empty(), "what is under way comes first");
        (1..=3).for_each(|id| duty.answered(RequestId(id)));
        let resets = duty.checkpoints(at(200), false, || false);
        assert_eq!(resets.len(), 3);
        for (id, what) in (4..).zip(resets) {
            let What::Checkpoints(resets) = &what else { panic!("nothing ends") };
            assert!(resets.iter().all(|reset| reset.remaining_seconds == 0));
            resets.iter().for_each(|reset| _ = duty.lessor.lock().checkpoint(reset.id, 0));
            duty.proposed(RequestId(id), what, at(200));
        }
        (4..=6).for_each(|id| duty.answered(RequestId(id)));
        assert!(duty.checkpoints(at(300), false, || false).is_empty());
        assert!(matches!(duty.resets, Resets::Done) && duty.lessor.lock().checkpointed().is_empty());
        // Whoever was there has gone.
        assert!(!duty.checkpoints(at(10_000), false, || true).is_empty());
    }
}
