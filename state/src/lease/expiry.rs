//! Which lease runs out next, and whose rest is to be written to the log: what only a leader knows, for as long as it leads.
//!
//! Two heaps order the leases by deadline and by next checkpoint. A renewal touches neither: it writes the new deadline beside
//! the lease, and the heap's entry is put back with the true time when it comes up (deadlines only move forward). An entry
//! that is not where its lease says it waits is stale, and dropped; when stale entries outnumber leases they are swept out.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::LeaseId;
use crate::clock::Millis;

/// How many revocations may be proposed and not yet applied. Full: leases that have run out live until there is room again,
/// so that a burst of expiries does not crowd out clients' requests.
pub const MAX_UNANSWERED_REVOKES: usize = 1024;

/// Heap entries looked at in one call, which bounds how long the lessor's lock is held. What is left is for the next call,
/// and `next_due` says that it is due at once.
const LOOKS_PER_CALL: usize = 4096;

/// Stale entries that are not worth a sweep.
const STALE_ALLOWED: usize = 1024;

/// What came of a keep-alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The lease has its whole TTL again: answer it.
    Renewed {
        ttl_seconds: i64,
    },
    /// It has, but the log holds (or is about to hold) a smaller rest, which the next leader would believe: propose a
    /// checkpoint of this lease with 0 remaining, and when that is applied renew again; then there is an answer.
    ClearCheckpoint,
    /// Too late: it ends as soon as its revocation is applied. Wait for that, then answer as for a lease that is not found.
    Expired,
    NotFound,
}

/// What is left of a lease, to be remembered by every member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub id: LeaseId,
    /// Whole seconds, rounded up, at least 1.
    pub remaining_seconds: i64,
}

type Queue = BinaryHeap<Reverse<(Millis, LeaseId)>>;

#[derive(Debug)]
pub struct Expiry {
    timers: HashMap<LeaseId, Timer>,
    /// Granted since the last look at the clock.
    unstarted: Vec<LeaseId>,
    /// By deadline.
    ends: Queue,
    /// By next checkpoint.
    checkpoints: Queue,
    /// How many leases were handed out as due and are neither revoked nor given back.
    unanswered: usize,
}

#[derive(Debug)]
struct Timer {
    ttl_seconds: i64,
    phase: Phase,
    /// When it was last renewed, granted or checkpointed.
    noted: Millis,
    /// Where it waits in the two queues.
    end_queued: Millis,
    checkpoint_queued: Millis,
    /// A checkpoint was handed out, and may yet be written to the log.
    checkpoint_under_way: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Granted by an entry of the log; applying sees no clock, so the time starts at the next look.
    Unstarted,
    /// It lives to the end of this millisecond.
    Until(Millis),
    /// Handed out as due.
    Ending(Millis),
}

impl Timer {
    fn new(ttl_seconds: i64, phase: Phase, now: Millis) -> Timer {
        let mut timer = Timer {
            ttl_seconds,
            phase,
            noted: now,
            end_queued: now,
            checkpoint_queued: now,
            checkpoint_under_way: false,
        };
        if let Phase::Until(deadline) = phase {
            timer.end_queued = deadline;
            timer.checkpoint_queued = timer.next_checkpoint();
        }
        timer
    }

    /// A tenth of the TTL, at least a second, after the last time its rest was noted.
    fn next_checkpoint(&self) -> Millis {
        self.noted + u64::try_from(self.ttl_seconds.saturating_mul(100)).unwrap_or(0).max(1000)
    }
}

impl Expiry {
    /// The deadlines of a leader that begins now: for each lease its id, TTL and what is left of it.
    pub fn new(now: Millis, extension_millis: u64, rests: impl Iterator<Item = (LeaseId, i64, i64)>) -> Expiry {
        let start = now + extension_millis;
        let timers: HashMap<LeaseId, Timer> =
            rests.map(|(id, ttl, rest)| (id, Timer::new(ttl, Phase::Until(start.plus_seconds(rest)), now))).collect();
        let ends: Vec<_> = timers.iter().map(|(id, timer)| Reverse((timer.end_queued, *id))).collect();
        let checkpoints: Vec<_> = timers.iter().map(|(id, timer)| Reverse((timer.checkpoint_queued, *id))).collect();
        Expiry { timers, unstarted: Vec::new(), ends: ends.into(), checkpoints: checkpoints.into(), unanswered: 0 }
    }

    pub fn granted(&mut self, id: LeaseId, ttl_seconds: i64) {
        let timer = Timer::new(ttl_seconds, Phase::Unstarted, Millis::default());
        let before = self.timers.insert(id, timer);
        assert!(before.is_none(), "lease {id} was granted twice");
        self.unstarted.push(id);
    }

    pub fn revoked(&mut self, id: LeaseId) {
        let timer = self.timers.remove(&id);
        if matches!(timer, Some(Timer { phase: Phase::Ending(_), .. })) {
            self.unanswered -= 1;
        }
        // Entries of leases that are gone stay in the queues until their time; do not let them pile up.
        if self.ends.len() > 2 * self.timers.len() + STALE_ALLOWED {
            let timers = &self.timers;
            self.ends.retain(|Reverse((at, id))| timers.get(id).is_some_and(|timer| timer.end_queued == *at));
        }
        if self.checkpoints.len() > 2 * self.timers.len() + STALE_ALLOWED {
            let timers = &self.timers;
            self.checkpoints
                .retain(|Reverse((at, id))| timers.get(id).is_some_and(|timer| timer.checkpoint_queued == *at));
        }
    }

    pub fn renew(&mut self, id: LeaseId, ttl_seconds: i64, checkpointed: bool, now: Millis) -> Renewal {
        self.look(now);
        let timer = self.timers.get_mut(&id).expect("every lease has a timer");
        match timer.phase {
            Phase::Unstarted => unreachable!("look starts every timer"),
            Phase::Ending(_) => return Renewal::Expired,
            Phase::Until(deadline) if now > deadline => return Renewal::Expired,
            // A deadline never moves back: a new leader's extension is not taken away.
            Phase::Until(deadline) => timer.phase = Phase::Until(deadline.max(now.plus_seconds(ttl_seconds))),
        }
        timer.noted = now;
        if checkpointed || timer.checkpoint_under_way {
            return Renewal::ClearCheckpoint;
        }
        Renewal::Renewed { ttl_seconds }
    }

    pub fn deadline(&mut self, id: LeaseId, now: Millis) -> Millis {
        self.look(now);
        match self.timers[&id].phase {
            Phase::Unstarted => unreachable!("look starts every timer"),
            Phase::Until(deadline) | Phase::Ending(deadline) => deadline,
        }
    }

    pub fn due(&mut self, now: Millis, limit: usize) -> Vec<LeaseId> {
        self.look(now);
        let mut due = Vec::new();
        for _ in 0..LOOKS_PER_CALL {
            if self.unanswered >= limit {
                break;
            }
            let Some(Reverse((at, id))) = pop_before(&mut self.ends, now) else {
                break;
            };
            match self.timers.get_mut(&id) {
                Some(timer) if timer.end_queued == at => match timer.phase {
                    Phase::Until(deadline) if deadline >= now => {
                        timer.end_queued = deadline;
                        self.ends.push(Reverse((deadline, id)));
                    }
                    Phase::Until(deadline) => {
                        timer.phase = Phase::Ending(deadline);
                        self.unanswered += 1;
                        due.push(id);
                    }
                    Phase::Unstarted | Phase::Ending(_) => {}
                },
                _ => {}
            }
        }
        due
    }

    pub fn next_due(&mut self, now: Millis) -> Option<Millis> {
        self.look(now);
        self.ends.peek().map(|Reverse((at, _))| *at + 1)
    }

    pub fn revoke_failed(&mut self, id: LeaseId) {
        if let Some(timer) = self.timers.get_mut(&id)
            && let Phase::Ending(deadline) = timer.phase
        {
            timer.phase = Phase::Until(deadline);
            timer.end_queued = deadline;
            self.ends.push(Reverse((deadline, id)));
            self.unanswered -= 1;
        }
    }

    pub fn checkpoints_due(&mut self, now: Millis, max: usize) -> Vec<Checkpoint> {
        self.look(now);
        let mut due = Vec::new();
        for _ in 0..LOOKS_PER_CALL.max(max) {
            if due.len() >= max {
                break;
            }
            let Some(Reverse((at, id))) = pop_before(&mut self.checkpoints, now + 1) else {
                break;
            };
            let Some(timer) = self.timers.get_mut(&id).filter(|timer| timer.checkpoint_queued == at) else {
                continue;
            };
            if timer.next_checkpoint() <= now {
                timer.noted = now;
                if let Phase::Until(deadline) = timer.phase
                    && deadline >= now
                    && !timer.checkpoint_under_way
                {
                    // Rounded up: the rest is never understated, and never the 0 that means "no checkpoint".
                    let remaining_seconds = ((deadline.since(now) + 999) / 1000).max(1);
                    // Otherwise the checkpoint would say what everybody believes anyway.
                    if remaining_seconds < timer.ttl_seconds {
                        timer.checkpoint_under_way = true;
                        due.push(Checkpoint { id, remaining_seconds });
                    }
                }
            }
            timer.checkpoint_queued = timer.next_checkpoint();
            self.checkpoints.push(Reverse((timer.checkpoint_queued, id)));
        }
        due
    }

    pub fn checkpoints_answered(&mut self, checkpoints: &[Checkpoint]) {
        for checkpoint in checkpoints {
            if let Some(timer) = self.timers.get_mut(&checkpoint.id) {
                timer.checkpoint_under_way = false;
            }
        }
    }

    /// A look at the clock: the time of leases that were granted since the last one begins.
    fn look(&mut self, now: Millis) {
        for id in self.unstarted.drain(..) {
            // It may have been revoked since, and even granted again.
            let Some(timer) = self.timers.get_mut(&id).filter(|timer| timer.phase == Phase::Unstarted) else {
                continue;
            };
            let deadline = now.plus_seconds(timer.ttl_seconds);
            *timer = Timer::new(timer.ttl_seconds, Phase::Until(deadline), now);
            self.ends.push(Reverse((timer.end_queued, id)));
            self.checkpoints.push(Reverse((timer.checkpoint_queued, id)));
        }
    }
}

/// The first entry, if its time is before `now`.
fn pop_before(queue: &mut Queue, now: Millis) -> Option<Reverse<(Millis, LeaseId)>> {
    if queue.peek()?.0.0 >= now {
        return None;
    }
    queue.pop()
}

#[cfg(test)]
mod tests {
    use super::super::{Lessor, SharedLessor};
    use super::*;

    const NONE: [i64; 0] = [];

    fn id(id: i64) -> LeaseId {
        LeaseId::new(id).expect("not 0")
    }

    /// A leader since time 0 with leases of the given TTLs, the first with id 1, granted (as far as it knows) at time 0.
    fn leader(ttls: &[i64]) -> Lessor {
        let mut lessor = Lessor::new(1);
        lessor.promote(Millis(0), 0);
        for (i, ttl) in ttls.iter().enumerate() {
            lessor.grant(id(i as i64 + 1), *ttl).unwrap();
        }
        assert_eq!(lessor.due(Millis(0), 1), []);
        lessor
    }

    fn due(lessor: &mut Lessor, now: u64) -> Vec<i64> {
        lessor.due(Millis(now), MAX_UNANSWERED_REVOKES).into_iter().map(LeaseId::get).collect()
    }

    #[test]
    fn due_in_order_and_not_before_the_end_of_the_last_millisecond() {
        let mut lessor = leader(&[5, 3, 4]);
        assert_eq!(lessor.next_due(Millis(0)), Some(Millis(3001)));
        let mut check = |now, leases: &[i64]| assert_eq!(due(&mut lessor, now), leases, "at {now}");
        check(3000, &[]);
        check(3001, &[2]);
        check(3001, &[]);
        check(9000, &[3, 1]);
    }

    #[test]
    fn a_renewed_lease_lives_to_the_end_of_its_new_deadline() {
        // The queue still knows the old deadline when it is first looked at.
        for first_look in [10_000, 10_001, 12_999, 13_000] {
            let mut lessor = leader(&[10]);
            lessor.renew(id(1), Millis(3000)).unwrap();
            assert_eq!(due(&mut lessor, first_look), NONE);
            assert_eq!(due(&mut lessor, 13_000), NONE);
            assert_eq!(due(&mut lessor, 13_001), [1]);
        }
    }

    #[test]
    fn a_grant_counts_from_the_first_look_after_it() {
        let mut lessor = leader(&[]);
        lessor.grant(id(1), 2).unwrap();
        assert_eq!(lessor.time_to_live(id(1), Millis(700)).unwrap().unwrap().remaining_seconds, 2);
        assert_eq!(due(&mut lessor, 2700), NONE);
        assert_eq!(due(&mut lessor, 2701), [1]);
    }

    #[test]
    fn renewals() {
        let mut lessor = leader(&[10, 10]);
        lessor.checkpoint(id(2), 4);
        let mut check = |lease, now, outcome| assert_eq!(lessor.renew(id(lease), Millis(now)), Ok(outcome), "{now}");
        check(3, 0, Renewal::NotFound);
        check(1, 5000, Renewal::Renewed { ttl_seconds: 10 });
        check(1, 15000, Renewal::Renewed { ttl_seconds: 10 });
        check(1, 25001, Renewal::Expired);
        check(2, 10000, Renewal::ClearCheckpoint);
        check(2, 20001, Renewal::Expired);
        assert_eq!(due(&mut lessor, 30000), [1, 2]);
        assert_eq!(lessor.renew(id(1), Millis(30000)), Ok(Renewal::Expired));
        lessor.revoke(id(1)).unwrap();
        assert_eq!(lessor.renew(id(1), Millis(30000)), Ok(Renewal::NotFound));
        lessor.demote();
        assert_eq!(lessor.renew(id(2), Millis(30000)), Err(super::super::NotPrimary));
    }

    #[test]
    fn a_new_leader_gives_the_checkpointed_rest_and_the_extension() {
        let mut lessor = Lessor::new(1);
        lessor.grant(id(1), 60).unwrap();
        lessor.grant(id(2), 60).unwrap();
        lessor.checkpoint(id(2), 7);
        assert_eq!(lessor.time_to_live(id(1), Millis(5)), Err(super::super::NotPrimary));
        lessor.promote(Millis(100), 1000);
        assert_eq!(lessor.next_due(Millis(100)), Some(Millis(8101)));
        assert_eq!(lessor.time_to_live(id(1), Millis(100)).unwrap().unwrap().remaining_seconds, 61);
        // A renewal does not take the extension away.
        lessor.renew(id(1), Millis(200)).unwrap();
        assert_eq!(due(&mut lessor, 61100), [2]);
        assert_eq!(due(&mut lessor, 61101), [1]);
    }

    #[test]
    fn time_to_live_is_cut_off_and_goes_below_zero() {
        let mut lessor = leader(&[10]);
        let mut check = |now, remaining| {
            let found = lessor.time_to_live(id(1), Millis(now)).unwrap().unwrap();
            assert_eq!((found.granted_seconds, found.remaining_seconds), (10, remaining), "at {now}");
        };
        check(0, 10);
        check(1, 9);
        check(9999, 0);
        check(10999, 0);
        check(12000, -2);
    }

    #[test]
    fn a_lease_whose_revocation_failed_is_due_again() {
        let mut lessor = leader(&[1, 1, 1]);
        assert_eq!(lessor.due(Millis(5000), 2), [id(1), id(2)], "no more than the limit are unanswered");
        assert_eq!(due(&mut lessor, 5000), [3]);
        lessor.revoke_failed(id(2));
        lessor.revoke_failed(id(2));
        assert_eq!(due(&mut lessor, 5000), [2]);
        lessor.revoke(id(1)).unwrap();
        lessor.revoke_failed(id(1));
        lessor.grant(id(1), 1).unwrap();
        assert_eq!(due(&mut lessor, 6000), NONE);
        lessor.revoke_failed(id(1));
        assert_eq!(due(&mut lessor, 7001), [1], "a lease of the same id is another lease");
    }

    /// 20,000 leases that end together are handed out as fast as they are answered.
    #[test]
    fn a_burst_is_handed_out_in_windows() {
        let mut lessor = leader(&vec![10; 20_000]);
        let mut next = 1;
        while next <= 20_000 {
            let window = due(&mut lessor, 10_001);
            assert!(!window.is_empty() && window.len() <= MAX_UNANSWERED_REVOKES);
            assert_eq!(due(&mut lessor, 10_001), NONE, "the window is full");
            for lease in window {
                assert_eq!(lease, next, "in order");
                lessor.revoke(id(lease)).unwrap();
                next += 1;
            }
        }
        assert!(lessor.is_empty());
    }

    /// Renewed leases come up at their old times; that costs bounded steps and hands nothing out.
    #[test]
    fn renewed_leases_are_put_back_in_bounded_steps() {
        let count = 3 * LOOKS_PER_CALL;
        let mut lessor = leader(&vec![10; count]);
        for lease in 1..=count as i64 {
            lessor.renew(id(lease), Millis(9000)).unwrap();
        }
        for _ in 0..count / LOOKS_PER_CALL {
            assert_eq!(lessor.next_due(Millis(10_001)), Some(Millis(10_001)), "there is more to look at");
            assert_eq!(due(&mut lessor, 10_001), NONE);
        }
        assert_eq!(lessor.next_due(Millis(10_001)), Some(Millis(19_001)));
    }

    #[test]
    fn entries_of_leases_that_are_gone_do_not_pile_up() {
        let mut lessor = leader(&[]);
        for lease in 1..=10 * STALE_ALLOWED as i64 {
            lessor.grant(id(lease), 3600).unwrap();
            assert_eq!(due(&mut lessor, 0), NONE);
            lessor.revoke(id(lease)).unwrap();
        }
        let mut expiry = Expiry::new(Millis(0), 0, std::iter::empty());
        for lease in 1..=10 * STALE_ALLOWED as i64 {
            expiry.granted(id(lease), 3600);
            expiry.look(Millis(0));
            expiry.revoked(id(lease));
            assert!(expiry.ends.len() <= STALE_ALLOWED + 1 && expiry.checkpoints.len() <= STALE_ALLOWED + 1);
        }
    }

    #[test]
    fn checkpoints_after_each_tenth_without_renewal() {
        let mut lessor = leader(&[100, 5]);
        let check = |lessor: &mut Lessor, now, expected: &[(i64, i64)]| {
            let due = lessor.checkpoints_due(Millis(now), 100);
            let found: Vec<_> = due.iter().map(|c| (c.id.get(), c.remaining_seconds)).collect();
            assert_eq!(found, expected, "at {now}");
            lessor.checkpoints_answered(&due);
        };
        check(&mut lessor, 999, &[]);
        check(&mut lessor, 1000, &[(2, 4)]);
        check(&mut lessor, 1500, &[]);
        check(&mut lessor, 2500, &[(2, 3)]); // 2.5 s are left
        lessor.renew(id(1), Millis(9000)).unwrap();
        check(&mut lessor, 18999, &[]); // lease 2 has run out meanwhile
        check(&mut lessor, 19000, &[(1, 90)]);
    }

    /// A checkpoint that has been handed out may be written after a renewal, so the renewal has to be written too.
    #[test]
    fn a_renewal_waits_for_a_checkpoint_under_way() {
        let mut lessor = leader(&[100]);
        let under_way = lessor.checkpoints_due(Millis(20_000), 100);
        assert_eq!(under_way.len(), 1);
        assert_eq!(lessor.renew(id(1), Millis(20_001)), Ok(Renewal::ClearCheckpoint));
        lessor.checkpoint(id(1), 80);
        lessor.checkpoints_answered(&under_way);
        assert_eq!(lessor.renew(id(1), Millis(20_002)), Ok(Renewal::ClearCheckpoint));
        lessor.checkpoint(id(1), 0);
        assert_eq!(lessor.renew(id(1), Millis(20_003)), Ok(Renewal::Renewed { ttl_seconds: 100 }));
    }

    #[test]
    fn the_list_is_ordered_by_remaining_time() {
        let lessor = SharedLessor::new(leader(&[5, 3, 4]));
        assert_eq!(lessor.list(Millis(0)), [id(2), id(3), id(1)]);
        lessor.renew(id(2), Millis(2999)).unwrap();
        assert_eq!(lessor.list(Millis(2999)), [id(3), id(1), id(2)]);
        lessor.lock().demote();
        assert_eq!(lessor.list(Millis(0)), [id(1), id(2), id(3)]);
    }
}
