//! Which lease runs out next, and whose rest is to be written to the log: what only a leader knows, for as long as it leads.
//!
//! Two heaps order the leases by deadline and by next checkpoint. A renewal touches neither: it writes the new times beside
//! the lease, and the heap's entry is put back with the true time when it comes up (times only move forward). An entry
//! that is not where its lease says it waits is stale, and dropped; when stale entries outnumber leases they are swept out.
//!
//! When the rest is written is decided by what may be lost of it (see the module): a twentieth of the TTL after the grant or
//! renewal, each twentieth from then on, at once when somebody begins to lead, and when a member has been started. A
//! checkpoint counts whole seconds, so it is made when the rest is a whole number of them.

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
    /// A member has been started: it does not know for how long the rests in the log have been there.
    tell_again: bool,
}

#[derive(Debug)]
struct Timer {
    ttl_seconds: i64,
    phase: Phase,
    /// The log has a rest of it, or is about to: a renewal has to clear it.
    is_told: bool,
    /// When its rest is written next.
    checkpoint_at: Millis,
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

/// How long what is known of a lease may stay out of the log, in milliseconds: a twentieth of the TTL, in whole seconds and at
/// least one.
fn unwritten_millis(ttl_seconds: i64) -> u64 {
    u64::try_from(ttl_seconds / 20).unwrap_or(0).max(1).saturating_mul(1000)
}

/// The last moment up to `limit` at which a whole number of seconds is left up to `deadline`.
fn at_whole_seconds(limit: Millis, deadline: Millis) -> Millis {
    Millis(limit.0.saturating_sub((1000 - deadline.since(limit).rem_euclid(1000) as u64) % 1000))
}

/// The first moment from `now` on at which a whole number of seconds is left: before, a rest would be rounded up to more than
/// the TTL, and the next leader would go by that.
fn at_whole_ttl(now: Millis, deadline: Millis) -> Millis {
    now + deadline.since(now).rem_euclid(1000) as u64
}

impl Timer {
    /// One that has been granted.
    fn unstarted(ttl_seconds: i64) -> Timer {
        Timer {
            ttl_seconds,
            phase: Phase::Unstarted,
            is_told: false,
            checkpoint_at: Millis::default(),
            end_queued: Millis::default(),
            checkpoint_queued: Millis::default(),
            checkpoint_under_way: false,
        }
    }

    /// It lives to the end of `deadline`, and its rest is written at `checkpoint_at`.
    fn until(ttl_seconds: i64, deadline: Millis, is_told: bool, checkpoint_at: Millis) -> Timer {
        Timer {
            phase: Phase::Until(deadline),
            is_told,
            checkpoint_at,
            end_queued: deadline,
            checkpoint_queued: checkpoint_at,
            ..Timer::unstarted(ttl_seconds)
        }
    }

    /// When to write its rest if that is known in the log at `now`, or does not matter because it is the whole TTL.
    fn next_checkpoint(&self, deadline: Millis, now: Millis) -> Millis {
        at_whole_seconds(now + unwritten_millis(self.ttl_seconds), deadline)
    }
}

/// A lease that a leader finds when it begins.
#[derive(Clone, Copy, Debug)]
pub struct Inherited {
    pub id: LeaseId,
    pub ttl_seconds: i64,
    pub deadline: Millis,
    /// The log has a rest of it.
    pub is_told: bool,
}

impl Expiry {
    /// The deadlines of a leader that begins now. It writes all rests soon: those that the log does not have at once, the
    /// others as soon as they are a whole number of seconds.
    pub fn new(now: Millis, leases: impl Iterator<Item = Inherited>) -> Expiry {
        let timer = |Inherited { id, ttl_seconds, deadline, is_told }| {
            let checkpoint_at =
                if is_told { at_whole_seconds(now + 1000, deadline) } else { at_whole_ttl(now, deadline) };
            (id, Timer::until(ttl_seconds, deadline, is_told, checkpoint_at))
        };
        let timers: HashMap<LeaseId, Timer> = leases.map(timer).collect();
        let ends: Vec<_> = timers.iter().map(|(id, timer)| Reverse((timer.end_queued, *id))).collect();
        let checkpoints: Vec<_> = timers.iter().map(|(id, timer)| Reverse((timer.checkpoint_queued, *id))).collect();
        Expiry {
            timers,
            unstarted: Vec::new(),
            ends: ends.into(),
            checkpoints: checkpoints.into(),
            unanswered: 0,
            tell_again: false,
        }
    }

    pub fn granted(&mut self, id: LeaseId, ttl_seconds: i64) {
        let before = self.timers.insert(id, Timer::unstarted(ttl_seconds));
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
            Phase::Until(_) => {}
        }
        let deadline = now.plus_seconds(ttl_seconds);
        timer.phase = Phase::Until(deadline);
        timer.checkpoint_at = timer.next_checkpoint(deadline, now);
        timer.is_told = checkpointed || timer.checkpoint_under_way;
        if timer.is_told { Renewal::ClearCheckpoint } else { Renewal::Renewed { ttl_seconds } }
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
        if std::mem::take(&mut self.tell_again) {
            self.bring_forward(now);
        }
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
            // Who is about to end has nothing left that is worth a word, and if its revocation fails it is due at once.
            let Phase::Until(deadline) = timer.phase else { continue };
            if deadline < now {
                continue;
            }
            if timer.checkpoint_at <= now {
                timer.checkpoint_at = timer.next_checkpoint(deadline, now);
                if !timer.checkpoint_under_way {
                    // Rounded up: the rest is never understated, and never the 0 that means "no checkpoint".
                    let remaining_seconds = ((deadline.since(now) + 999) / 1000).max(1);
                    (timer.is_told, timer.checkpoint_under_way) = (true, true);
                    due.push(Checkpoint { id, remaining_seconds });
                }
            }
            timer.checkpoint_queued = timer.checkpoint_at;
            self.checkpoints.push(Reverse((timer.checkpoint_queued, id)));
        }
        due
    }

    /// A member has been started, and does not know when the rests were written that it finds in its log.
    pub fn tell_again(&mut self) {
        self.tell_again = true;
    }

    /// Every rest that has been told is told again within a second.
    fn bring_forward(&mut self, now: Millis) {
        for timer in self.timers.values_mut() {
            if let (Phase::Until(deadline), true) = (timer.phase, timer.is_told) {
                timer.checkpoint_at = timer.checkpoint_at.min(at_whole_seconds(now + 1000, deadline));
                timer.checkpoint_queued = timer.checkpoint_at;
            }
        }
        let started = self.timers.iter().filter(|(_, timer)| matches!(timer.phase, Phase::Until(_)));
        self.checkpoints = started.map(|(id, timer)| Reverse((timer.checkpoint_queued, *id))).collect();
    }

    pub fn checkpoints_answered(&mut self, checkpoints: &[Checkpoint]) {
        for checkpoint in checkpoints {
            if let Some(timer) = self.timers.get_mut(&checkpoint.id) {
                timer.checkpoint_under_way = false;
            }
        }
    }

    /// They are not in the log: they are due again within a second.
    pub fn checkpoints_failed(&mut self, checkpoints: &[Checkpoint], now: Millis) {
        self.checkpoints_answered(checkpoints);
        for Checkpoint { id, .. } in checkpoints {
            if let Some(timer) = self.timers.get_mut(id)
                && let Phase::Until(deadline) = timer.phase
            {
                timer.checkpoint_at = timer.checkpoint_at.min(at_whole_seconds(now + 1000, deadline));
                timer.checkpoint_queued = timer.checkpoint_at;
                self.checkpoints.push(Reverse((timer.checkpoint_queued, *id)));
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
            *timer = Timer::until(timer.ttl_seconds, deadline, false, timer.next_checkpoint(deadline, now));
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
    use super::super::{Lessor, SharedLessor, UNSEEN_MILLIS};
    use super::*;

    const NONE: [i64; 0] = [];

    fn id(id: i64) -> LeaseId {
        LeaseId::new(id).expect("not 0")
    }

    /// A leader since time 0 with leases of the given TTLs, the first with id 1, granted (as far as it knows) at time 0.
    fn leader(ttls: &[i64]) -> Lessor {
        let mut lessor = Lessor::new(1);
        lessor.promote(Millis(0), 0, 0);
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
    fn a_new_leader_gives_what_is_left_and_the_time_without_a_leader() {
        let mut lessor = Lessor::new(1);
        for lease in 1..=3 {
            lessor.grant(id(lease), 60).unwrap();
        }
        lessor.checkpoint(id(2), 30);
        lessor.look(Millis(100));
        lessor.checkpoint(id(3), 20);
        assert_eq!(lessor.time_to_live(id(1), Millis(5)), Err(super::super::NotPrimary));
        lessor.promote(Millis(9_100), 2000, 0);
        let mut left = |lease| {
            let deadline = lessor.expiry_of(id(lease), Millis(9_100));
            deadline.since(Millis(9_100))
        };
        assert_eq!(left(1), 60_000, "it may have been renewed a moment ago");
        assert_eq!(left(2), 23_000, "9 s ago there were 30 s left, and for 2 of them nobody led");
        assert_eq!(left(3), 20_000, "not more than its rest, however long nobody led");
        assert_eq!(due(&mut lessor, 29_100), NONE);
        assert_eq!(due(&mut lessor, 29_101), [3]);
    }

    /// Two members lead in turn, and are up all the time: what the first one promised ends when it would have ended, plus
    /// the time in which nobody led the last time.
    #[test]
    fn changes_of_leader_do_not_add_up() {
        let mut members = [leader(&[60, 60]), Lessor::new(1)];
        for lease in [1, 2] {
            members[1].grant(id(lease), 60).unwrap();
        }
        // The one is written after 3 s; the other has been renewed when its leader goes.
        let log = |members: &mut [Lessor; 2], now: u64, leads: usize| {
            let due = members[leads].checkpoints_due(Millis(now), 100);
            for member in members.iter_mut() {
                for checkpoint in &due {
                    member.checkpoint(checkpoint.id, checkpoint.remaining_seconds);
                }
                member.look(Millis(now + 20));
            }
            members[leads].checkpoints_answered(&due);
        };
        let (mut now, mut leads) = (0, 0);
        for reign in 1..=9 {
            let end = now + 4_000;
            while now < end {
                if reign == 1 && now == 2_800 {
                    assert_eq!(
                        members[0].renew(id(2), Millis(now)),
                        Ok(Renewal::Renewed { ttl_seconds: 60 }),
                        "nothing is written of it yet"
                    );
                }
                log(&mut members, now, leads);
                now += 100;
            }
            members[leads].demote();
            now += 1_500;
            leads = 1 - leads;
            members[leads].promote(Millis(now), 1_400, 0);
        }
        let mut left = |lease| members[leads].expiry_of(id(lease), Millis(now)).0;
        assert_eq!(left(1), 60_000 + 20 + 1_400);
        // It was renewed 1.2 s before its leader went, and has been known since the next one told.
        assert_eq!(left(2), 60_000 + 4_000 + 1_500 + 20 + 1_400);
    }

    /// Whoever was started in between goes by what it finds, and that is a twentieth old at most.
    #[test]
    fn a_leader_that_was_started_since_counts_from_its_start() {
        let mut before = leader(&[60]);
        for now in (0..=8_000).step_by(100) {
            let due = before.checkpoints_due(Millis(now), 100);
            for checkpoint in &due {
                before.checkpoint(checkpoint.id, checkpoint.remaining_seconds);
            }
            before.checkpoints_answered(&due);
        }
        let row = before.row(id(1)).unwrap();
        let mut after = Lessor::load(1, [(super::super::row_key(id(1)), row)]).unwrap();
        // Its clock began with it, 8 s after the grant.
        after.look(Millis(0));
        after.promote(Millis(1_500), 1_400, 0);
        assert_eq!(after.expiry_of(id(1), Millis(1_500)), Millis(54_000 + 1_400));
    }

    #[test]
    fn the_first_rest_that_a_leader_tells_is_no_more_than_the_ttl() {
        let mut lessor = leader(&[3]);
        lessor.demote();
        lessor.promote(Millis(5_000), 900, UNSEEN_MILLIS);
        assert_eq!(lessor.expiry_of(id(1), Millis(5_000)), Millis(8_000 + UNSEEN_MILLIS));
        assert_eq!(lessor.checkpoints_due(Millis(5_000 + UNSEEN_MILLIS - 1), 100), []);
        let due = lessor.checkpoints_due(Millis(5_000 + UNSEEN_MILLIS), 100);
        assert_eq!(due, [Checkpoint { id: id(1), remaining_seconds: 3 }]);
    }

    /// A member was started: it is told soon what is left, and of leases that nothing was written of it need not be told.
    #[test]
    fn rests_are_told_again_to_who_was_started() {
        let mut lessor = leader(&[100, 100]);
        let told = |lessor: &mut Lessor, now| {
            let due = lessor.checkpoints_due(Millis(now), 100);
            lessor.checkpoints_answered(&due);
            due.iter().map(|checkpoint| (checkpoint.id.get(), checkpoint.remaining_seconds)).collect::<Vec<_>>()
        };
        lessor.renew(id(2), Millis(4_000)).unwrap();
        assert_eq!(told(&mut lessor, 5_000), [(1, 95)]);
        assert_eq!(told(&mut lessor, 6_300), []);
        lessor.tell_again();
        assert_eq!(told(&mut lessor, 6_300), []);
        assert_eq!(told(&mut lessor, 7_000), [(1, 93)]);
        assert_eq!(told(&mut lessor, 8_999), []);
        assert_eq!(told(&mut lessor, 9_000), [(2, 95)]);
        assert_eq!(told(&mut lessor, 12_000), [(1, 88)]);
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
        let mut expiry = Expiry::new(Millis(0), std::iter::empty());
        for lease in 1..=10 * STALE_ALLOWED as i64 {
            expiry.granted(id(lease), 3600);
            expiry.look(Millis(0));
            expiry.revoked(id(lease));
            assert!(expiry.ends.len() <= STALE_ALLOWED + 1 && expiry.checkpoints.len() <= STALE_ALLOWED + 1);
        }
    }

    #[test]
    fn checkpoints_after_each_twentieth_without_renewal() {
        let mut lessor = leader(&[100, 5]);
        let check = |lessor: &mut Lessor, now, expected: &[(i64, i64)]| {
            let due = lessor.checkpoints_due(Millis(now), 100);
            let found: Vec<_> = due.iter().map(|c| (c.id.get(), c.remaining_seconds)).collect();
            assert_eq!(found, expected, "at {now}");
            lessor.checkpoints_answered(&due);
        };
        check(&mut lessor, 999, &[]);
        check(&mut lessor, 1000, &[(2, 4)]);
        check(&mut lessor, 1999, &[]);
        check(&mut lessor, 2090, &[(2, 3)]); // a little less is left
        check(&mut lessor, 3000, &[(2, 2)]); // when it is so much
        lessor.renew(id(1), Millis(4700)).unwrap();
        check(&mut lessor, 9699, &[]); // lease 2 has run out meanwhile
        check(&mut lessor, 9700, &[(1, 95)]);
        lessor.demote();
        // A new leader says at once what the log does not have.
        lessor.grant(id(3), 100).unwrap();
        lessor.promote(Millis(10_000), 0, 0);
        check(&mut lessor, 10_000, &[(1, 100), (2, 5), (3, 100)]);
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
    fn checkpoints_that_come_to_nothing_are_due_again_soon() {
        let mut lessor = leader(&[100]);
        let refused = lessor.checkpoints_due(Millis(5_000), 100);
        assert_eq!(refused.len(), 1);
        assert_eq!(lessor.checkpoints_due(Millis(8_000), 100), [], "it is under way");
        lessor.checkpoints_failed(&refused, Millis(8_200));
        assert_eq!(lessor.checkpoints_due(Millis(8_999), 100), []);
        let again = Checkpoint { id: id(1), remaining_seconds: 91 };
        assert_eq!(lessor.checkpoints_due(Millis(9_000), 100), [again]);
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
