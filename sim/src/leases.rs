//! Holders of leases: each grants itself one, hangs a key on it, keeps it alive for a while at the leader, and then lets it
//! run out or revokes it.
//!
//!   grant ──▶ attach ──▶ renew, renew, … ──▶ silence ──▶ ended
//!                                      └──▶ revoke  ──▶ ended
//!
//! A renewal is served as production serves it: the leader makes sure that it leads, if it has not a moment ago, then renews,
//! and if the log holds a smaller rest, clears that first. What holds: a lease that was promised for its TTL lives that long from when the promise
//! was asked for, by the fastest clock there may be; and its key does as well, of which the history is told. Once a lease has
//! ended, nobody who asks for its key finds it.

use std::time::Duration;

use ferrite_proto::etcdserverpb as pb;
use ferrite_raft::{Index, NodeId};
use ferrite_state::lease::{LeaseId, Renewal};
use ferrite_state::{ApplyError, Outcome as Applied};

use crate::clock;
use crate::cluster::Cluster;
use crate::defect::Defect;
use crate::engine::{ELECTION_TICKS, HEARTBEAT};
use crate::finding::{Check, Violation};
use crate::history::{Event, History, Operation, Outcome, SLOTS, Value};
use crate::node::{Errand, LeaseErrand, Ticket};
use crate::requests;

/// Groups from here on have one key, that of a lease.
const FIRST_GROUP: u64 = 1000;
/// Leases that live at a time.
const HOLDERS: usize = 4;
const PATIENCE: Duration = Duration::from_millis(1500);

/// What the holder of a lease is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Attach,
    Renew,
    /// Nothing any more.
    Silent,
}

/// A lease, from the wish for it on.
#[derive(Debug)]
pub(crate) struct Lease {
    id: i64,
    pub ttl: Duration,
    stage: Stage,
    renewals_left: u64,
    waits: Option<Waits>,
    next: Duration,
    /// When its holder asked for what it was promised last: it lives for its TTL from then on.
    pub promised: Option<Duration>,
    /// When it had its whole TTL for the last time.
    renewed: Option<Renewed>,
    /// A renewal has come to nothing, or not: the lease may live for longer than its holder knows.
    is_in_doubt: bool,
    /// It is no surprise if it ends from here on.
    revoked: Option<Duration>,
    /// The first applied entry with which somebody had it.
    seen: Option<Index>,
    pub ended: Option<Duration>,
}

/// A lease that has its whole TTL.
#[derive(Clone, Copy, Debug)]
struct Renewed {
    at: Duration,
    /// For how long nothing had been committed by then.
    stood_still: Duration,
}

/// A holder's request that has not been answered.
#[derive(Debug)]
struct Waits {
    ticket: Ticket,
    asked: Duration,
}

impl Lease {
    /// A lease that nobody has asked for yet.
    fn new(id: i64, ttl: Duration, renewals_left: u64) -> Lease {
        Lease {
            id,
            ttl,
            stage: Stage::Attach,
            renewals_left,
            waits: None,
            next: Duration::MAX,
            promised: None,
            renewed: None,
            is_in_doubt: false,
            revoked: None,
            seen: None,
            ended: None,
        }
    }

    /// Until when it must live, by the slowest reckoning.
    fn earliest_end(&self) -> Option<Duration> {
        // Clocks of leases count whole milliseconds.
        let slack = Duration::from_millis(1);
        self.promised.map(|asked| asked + clock::at_least(self.ttl).saturating_sub(slack))
    }

    /// When it ends at the latest, as far as its holder can know.
    fn latest_end(&self, cluster: &Cluster) -> Option<Duration> {
        let Renewed { at, stood_still } = self.renewed.filter(|_| !self.is_in_doubt && self.revoked.is_none())?;
        let allowed = cluster.ledger.delays.allowed(self.ttl, at, stood_still, cluster.now)?;
        Some(at + clock::at_most(self.ttl) + allowed)
    }

    fn renew(&mut self, cluster: &Cluster) {
        self.renewed = Some(Renewed { at: cluster.now, stood_still: cluster.ledger.delays.stood_still(cluster.now) });
    }

    /// Nothing comes of a request, or something later.
    fn give_up(&mut self, waits: &Waits) {
        waits.ticket.give_up();
        self.is_in_doubt |= matches!(waits.ticket.errand, Errand::Lease(_, LeaseErrand::ClearCheckpoint));
    }

    /// Whether it exists, as far as anybody can tell.
    fn lives(&self) -> bool {
        self.ended.is_none() && self.seen.is_some()
    }
}

impl Plan {
    /// How long a holder waits between two renewals.
    fn pause(self, ttl: Duration) -> Duration {
        if matches!(self, Plan::Slow) { ttl * 2 / 3 } else { ttl / 3 }
    }
}

/// All leases of a run.
#[derive(Debug)]
pub(crate) struct Leases {
    pub leases: Vec<Lease>,
    next: Duration,
    plan: Plan,
    /// Nobody wants a lease any more.
    is_over: bool,
}

/// What holders do.
#[derive(Clone, Copy, Debug)]
pub enum Plan {
    /// A few at a time, of a few seconds each.
    Mixed,
    /// The same with leases of 12 s, renewed when two thirds are over.
    Slow,
    /// Leases of these TTLs in turn, all wished for at once and renewed never.
    Left { count: usize, ttl_seconds: &'static [i64] },
}

impl Leases {
    pub fn new(plan: Plan) -> Leases {
        Leases { leases: Vec::new(), next: Duration::from_secs(2), plan, is_over: false }
    }

    /// When a holder has something to do.
    pub fn next(&self) -> Duration {
        let next = |lease: &Lease| match (&lease.waits, lease.stage) {
            (Some(waits), _) => waits.asked + PATIENCE,
            (None, Stage::Silent) => Duration::MAX,
            (None, _) => lease.next,
        };
        self.leases.iter().map(next).chain([self.next]).min().unwrap_or(Duration::MAX)
    }

    /// Groups whose keys hang on leases, the newest ones.
    pub fn groups(&self) -> Vec<u64> {
        let first = self.leases.len().saturating_sub(HOLDERS);
        (first..self.leases.len()).map(|number| FIRST_GROUP + number as u64).collect()
    }

    /// No more leases, and no more renewals.
    pub fn fall_silent(&mut self) {
        self.next = Duration::MAX;
        self.is_over = true;
    }

    /// Leases that exist and have not ended.
    pub fn living(&self) -> impl Iterator<Item = &Lease> {
        self.leases.iter().filter(|lease| lease.lives())
    }

    pub fn ended(&self) -> usize {
        self.leases.iter().filter(|lease| lease.ended.is_some()).count()
    }

    /// Without faults, all leases are gone after this time.
    pub fn longest(&self) -> Duration {
        let ttl = self.leases.iter().map(|lease| lease.ttl).max().unwrap_or_default();
        clock::at_most(ttl) + ttl / 10 + HEARTBEAT * ELECTION_TICKS + Duration::from_secs(2)
    }

    /// Those whose time has come do what they want to do next.
    pub fn act(&mut self, cluster: &mut Cluster, history: &mut History, value: &mut dyn FnMut() -> Value) {
        if self.next <= cluster.now {
            self.begin(cluster);
        }
        for number in 0..self.leases.len() {
            let lease = &mut self.leases[number];
            if let Some(waits) = lease.waits.take_if(|waits| waits.asked + PATIENCE <= cluster.now) {
                lease.give_up(&waits);
                lease.next = cluster.now;
            }
            if self.is_over {
                lease.stage = Stage::Silent;
            }
            if lease.waits.is_some() || lease.next > cluster.now || lease.stage == Stage::Silent {
                continue;
            }
            match lease.stage {
                Stage::Attach => self.attach(number, cluster, history, value()),
                Stage::Renew if lease.renewals_left == 0 => self.leave(number, cluster, history),
                Stage::Renew => self.renew(number, cluster),
                Stage::Silent => {}
            }
        }
    }

    /// Wishes for new leases.
    fn begin(&mut self, cluster: &mut Cluster) {
        self.next = cluster.now + Duration::from_millis(500 + cluster.dice.below(2000));
        match self.plan {
            Plan::Left { count, ttl_seconds } => {
                self.next = Duration::MAX;
                (0..count).for_each(|number| self.grant(ttl_seconds[number % ttl_seconds.len()], 0, cluster));
            }
            Plan::Mixed | Plan::Slow => {
                let active = self.leases.iter().filter(|lease| lease.stage != Stage::Silent).count();
                if active < HOLDERS {
                    let ttl = if matches!(self.plan, Plan::Slow) { 12 } else { 2 + cluster.dice.below(6) as i64 };
                    let renewals = cluster.dice.below(10);
                    self.grant(ttl, renewals, cluster);
                }
            }
        }
    }

    fn grant(&mut self, ttl_seconds: i64, renewals_left: u64, cluster: &mut Cluster) {
        let number = self.leases.len();
        let ticket = Ticket::new(Errand::Lease(number, LeaseErrand::Grant));
        let id = 1 + number as i64;
        let mut lease = Lease::new(id, Duration::from_secs(ttl_seconds as u64), renewals_left);
        lease.waits = Some(Waits { ticket: ticket.clone(), asked: cluster.now });
        self.leases.push(lease);
        let grant = pb::LeaseGrantRequest { id, ttl: ttl_seconds };
        let node = cluster.any_node();
        cluster.propose(node, ticket, pb::InternalRaftRequest { lease_grant: Some(grant), ..Default::default() });
    }

    fn wait(&mut self, number: usize, what: LeaseErrand, now: Duration) -> Ticket {
        let ticket = Ticket::new(Errand::Lease(number, what));
        self.leases[number].waits = Some(Waits { ticket: ticket.clone(), asked: now });
        ticket
    }

    fn attach(&mut self, number: usize, cluster: &mut Cluster, history: &mut History, value: Value) {
        let group = FIRST_GROUP + number as u64;
        let request = history.ask(group, Operation::Put { slot: 0, value }, cluster.now);
        let ticket = self.wait(number, LeaseErrand::Attach(request), cluster.now);
        let lease = if cluster.defect() == Some(Defect::LeaseNotAttached) { 0 } else { self.leases[number].id };
        let put = requests::put(group, 0, value, lease);
        let node = cluster.any_node();
        cluster.propose(node, ticket, pb::InternalRaftRequest { put: Some(put), ..Default::default() });
    }

    /// Asks whoever leads, as far as some member knows.
    fn renew(&mut self, number: usize, cluster: &mut Cluster) {
        let asked = cluster.any_node();
        let leader = cluster.life(asked).and_then(|life| life.leader()).and_then(|id: NodeId| cluster.number_of(id));
        let Some(leader) = leader.filter(|leader| cluster.life(*leader).is_some()) else {
            self.leases[number].next = cluster.now + Duration::from_millis(100);
            return;
        };
        let ticket = self.wait(number, LeaseErrand::Confirm, cluster.now);
        let is_sure = cluster.life(leader).is_some_and(|life| life.assurance.is_fresh(life.clock.millis(cluster.now)));
        if is_sure {
            self.renewed(number, leader, cluster);
        } else if cluster.confirm(leader, ticket) {
            // It cannot find that the lease has ended early: that is found where it ends.
            self.confirmed(number, leader, true, cluster);
        }
    }

    /// A member has made sure that it leads, or could not.
    pub fn confirmed(&mut self, number: usize, node: usize, is_confirmed: bool, cluster: &mut Cluster) {
        let Some(waits) = &self.leases[number].waits else { return };
        let Ticket { errand: Errand::Lease(_, LeaseErrand::Confirm), .. } = waits.ticket else { return };
        if is_confirmed {
            if let Some(life) = cluster.life(node) {
                life.assurance.confirmed(life.clock.millis(waits.asked));
            }
            self.renewed(number, node, cluster);
        } else {
            self.again(number, cluster);
        }
    }

    /// The renewal is tried once more.
    fn again(&mut self, number: usize, cluster: &mut Cluster) {
        let lease = &mut self.leases[number];
        (lease.waits, lease.next) = (None, cluster.now + Duration::from_millis(100));
    }

    fn renewed(&mut self, number: usize, node: usize, cluster: &mut Cluster) {
        let lease = &mut self.leases[number];
        let (Some(waits), Some(id)) = (&lease.waits, LeaseId::new(lease.id)) else { return };
        let asked = waits.asked;
        let Some(life) = cluster.life(node) else { return };
        let renewal = life.engine.shared.lessor.renew(id, life.clock.millis(cluster.now));
        let renewal = match renewal {
            Ok(Renewal::ClearCheckpoint) if cluster.defect() == Some(Defect::RenewedOverCheckpoint) => {
                Ok(Renewal::Renewed { ttl_seconds: lease.ttl.as_secs() as i64 })
            }
            renewal => renewal,
        };
        match renewal {
            Ok(Renewal::Renewed { ttl_seconds }) => {
                lease.ttl = Duration::from_secs(ttl_seconds as u64);
                lease.promised = Some(asked);
                lease.renew(cluster);
                lease.renewals_left -= 1;
                (lease.waits, lease.next) = (None, asked + self.plan.pause(lease.ttl));
                cluster.tell(&format_args!("lease {id}: renewed by m{} for {ttl_seconds} s", node + 1));
            }
            Ok(Renewal::ClearCheckpoint) => {
                let checkpoint = pb::LeaseCheckpoint { id: id.get(), remaining_ttl: 0 };
                let request = pb::LeaseCheckpointRequest { checkpoints: vec![checkpoint] };
                let request = pb::InternalRaftRequest { lease_checkpoint: Some(request), ..Default::default() };
                let ticket = Ticket::new(Errand::Lease(number, LeaseErrand::ClearCheckpoint));
                lease.waits = Some(Waits { ticket: ticket.clone(), asked });
                cluster.propose(node, ticket, request);
            }
            Ok(Renewal::Expired) => {
                let ticket = self.wait(number, LeaseErrand::Expired, cluster.now);
                let revoke = pb::LeaseRevokeRequest { id: id.get() };
                let request = pb::InternalRaftRequest { lease_revoke: Some(revoke), ..Default::default() };
                cluster.propose(node, ticket, request);
            }
            Ok(Renewal::NotFound) => {
                (lease.stage, lease.waits) = (Stage::Silent, None);
            }
            Err(_) => self.again(number, cluster),
        }
    }

    /// The holder needs its lease no more.
    fn leave(&mut self, number: usize, cluster: &mut Cluster, history: &mut History) {
        let lease = &mut self.leases[number];
        lease.stage = Stage::Silent;
        if matches!(self.plan, Plan::Left { .. }) || cluster.dice.once_in(2) {
            return;
        }
        lease.revoked = Some(cluster.now);
        let id = lease.id;
        let request = history.ask(FIRST_GROUP + number as u64, Operation::Delete { slot: 0 }, cluster.now);
        let ticket = self.wait(number, LeaseErrand::Revoke(request), cluster.now);
        let revoke = pb::LeaseRevokeRequest { id };
        let node = cluster.any_node();
        cluster.propose(node, ticket, pb::InternalRaftRequest { lease_revoke: Some(revoke), ..Default::default() });
    }

    /// What was proposed for a lease has been applied at a member, or refused.
    pub fn applied(
        &mut self,
        number: usize,
        what: LeaseErrand,
        node: usize,
        outcome: &Applied,
        cluster: &mut Cluster,
        history: &mut History,
    ) {
        let lease = &mut self.leases[number];
        let is_waited_for =
            lease.waits.as_ref().is_some_and(|waits| waits.ticket.errand == Errand::Lease(number, what));
        let Some(Waits { asked, .. }) = lease.waits.as_ref().filter(|_| is_waited_for) else { return };
        let asked = *asked;
        match (what, outcome) {
            (LeaseErrand::Grant, Ok(_)) => {
                (lease.promised, lease.waits, lease.next) = (Some(asked), None, cluster.now);
                lease.renew(cluster);
                cluster.tell(&format_args!("lease {}: granted for {:?}", lease.id, lease.ttl));
            }
            (LeaseErrand::Attach(request), Ok(response)) => {
                history.answer(request, cluster.now, requests::outcome(response));
                (lease.stage, lease.waits, lease.next) = (Stage::Renew, None, asked + self.plan.pause(lease.ttl));
            }
            (LeaseErrand::Attach(request), Err(_)) => {
                history.answer(request, cluster.now, Outcome::Refused);
                (lease.stage, lease.waits) = (Stage::Silent, None);
            }
            (LeaseErrand::ClearCheckpoint, Ok(_)) => self.renewed(number, node, cluster),
            (LeaseErrand::Revoke(request), Ok(_) | Err(ApplyError::Lease(_))) => {
                history.answer(request, cluster.now, Outcome::Gone);
                lease.waits = None;
            }
            _ => (lease.stage, lease.waits) = (Stage::Silent, None),
        }
    }

    /// Nothing comes of what was proposed for a lease.
    pub fn refused(&mut self, number: usize, what: LeaseErrand, cluster: &mut Cluster, history: &mut History) {
        if let LeaseErrand::Attach(request) | LeaseErrand::Revoke(request) = what {
            history.answer(request, cluster.now, Outcome::Refused);
        }
        if let LeaseErrand::Revoke(_) = what {
            self.leases[number].revoked = None;
        }
        if let LeaseErrand::ClearCheckpoint = what {
            self.leases[number].is_in_doubt = true;
        }
        match what {
            LeaseErrand::Confirm | LeaseErrand::ClearCheckpoint => self.again(number, cluster),
            _ => (self.leases[number].stage, self.leases[number].waits) = (Stage::Silent, None),
        }
    }

    /// A member has applied more: leases that it had may be gone.
    pub fn look(&mut self, node: usize, cluster: &mut Cluster) -> Result<(), Violation> {
        let Some(life) = cluster.life(node) else { return Ok(()) };
        let mut ended = Vec::new();
        let applied = life.engine.progress.applied();
        {
            let lessor = life.engine.shared.lessor.lock();
            for lease in self.leases.iter_mut().filter(|lease| lease.ended.is_none()) {
                let has_it = LeaseId::new(lease.id).is_some_and(|id| lessor.contains(id));
                if has_it {
                    lease.seen = Some(lease.seen.map_or(applied, |seen| seen.min(applied)));
                } else if lease.seen.is_some_and(|seen| seen <= applied) {
                    lease.ended = Some(cluster.now);
                    ended.push(lease.id);
                }
            }
        }
        for id in ended {
            cluster.tell(&format_args!("lease {id}: has ended, m{} says first", node + 1));
            let lease = &self.leases[id as usize - 1];
            let earliest = lease.earliest_end().filter(|_| lease.revoked.is_none());
            if earliest.is_some_and(|earliest| cluster.now < earliest) {
                let what = format!(
                    "lease {id} of {:?}, promised when asked for at {:?}, has ended at {:?}",
                    lease.ttl,
                    lease.promised.unwrap_or_default(),
                    cluster.now
                );
                return Err(Violation::new(Check::LeaseEarly, what));
            }
            let stood_still = cluster.ledger.delays.stood_still(cluster.now);
            if let Some(latest) = lease.latest_end(cluster).filter(|latest| *latest < cluster.now) {
                let what = format!(
                    "lease {id} of {:?}, granted or renewed last as {:?} says, has ended at {:?}, not by {latest:?}; nothing \
                     was committed for {stood_still:?}",
                    lease.ttl, lease.renewed, cluster.now
                );
                return Err(Violation::new(Check::LeaseLate, what));
            }
        }
        Ok(())
    }

    /// A key goes with its lease. A member without the lease has applied what ended it, so that was committed when it was
    /// seen, and whoever asks later is answered from behind it. Nor does the key come back: its group has no other lease, and
    /// a put with one that is gone is refused, whenever it was asked for.
    pub fn check_keys(&self, history: &History) -> Result<(), Violation> {
        for (lease, group) in self.leases.iter().zip(FIRST_GROUP..) {
            let Some(ended) = lease.ended else { continue };
            let finds_it = |event: &&Event| {
                let is_late = event.group == group && event.asked > ended;
                is_late && matches!(event.answered, Some((_, Outcome::Found { values, .. })) if values != [0; SLOTS])
            };
            if let Some(event) = history.0.iter().find(finds_it) {
                let what = format!("lease {} has ended at {ended:?}, and its key is there: {event:?}", lease.id);
                return Err(Violation::new(Check::LeaseKey, what));
            }
        }
        Ok(())
    }

    /// Tells the history that keys may go when their leases have run out.
    pub fn tell_ends(&self, history: &mut History) {
        for (lease, group) in self.leases.iter().zip(FIRST_GROUP..) {
            let had_been_revoked = lease.revoked.is_some_and(|revoked| lease.ended >= Some(revoked));
            if lease.ended.is_some() && !had_been_revoked {
                history.ask(group, Operation::Delete { slot: 0 }, lease.earliest_end().unwrap_or_default());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_finds_a_key_whose_lease_has_ended() {
        let millis = Duration::from_millis;
        let mut leases = Leases::new(Plan::Mixed);
        for (id, ended) in [(1, Some(millis(50))), (2, None)] {
            leases.leases.push(Lease { ended, ..Lease::new(id, Duration::from_secs(2), 0) });
        }
        let check = |group: u64, asked: u64, value: Value, expected: bool| {
            let mut history = History::default();
            let put = history.ask(group, Operation::Put { slot: 0, value: 7 }, millis(1));
            history.answer(put, millis(2), Outcome::Written { revision: 2 });
            let get = history.ask(group, Operation::Get, millis(asked));
            history.answer(get, millis(90), Outcome::Found { values: [value, 0], revision: 9 });
            assert_eq!(leases.check_keys(&history).is_ok(), expected, "group {group}, {value} at {asked}");
        };
        check(FIRST_GROUP, 51, 7, false);
        check(FIRST_GROUP, 51, 0, true);
        // It may have been read before the end.
        check(FIRST_GROUP, 50, 7, true);
        // This one's lease lives, and of another key there is none.
        check(FIRST_GROUP + 1, 51, 7, true);
        check(1, 51, 7, true);
    }
}
