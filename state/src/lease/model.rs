//! Random histories of two members with one log: leaders change, proposals are lost, keep-alives race with checkpoints. What
//! was promised to a client must hold whoever leads, and both members must decide the same.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{Checkpoint, Key, LeaseId, Lessor, MAX_UNANSWERED_REVOKES, Renewal, UNSEEN_MILLIS, row_key};
use crate::clock::Millis;
use crate::random::Random;

#[derive(Clone, Debug)]
enum Command {
    Grant { id: LeaseId, ttl_seconds: i64 },
    Revoke(LeaseId),
    Attach(String, LeaseId),
    Detach(String),
    Checkpoint(Vec<Checkpoint>),
    Clear(LeaseId),
}

/// What the log has decided, said in the plainest way.
#[derive(Default)]
struct Model {
    leases: BTreeMap<LeaseId, i64>,
    attached: BTreeMap<String, LeaseId>,
    /// Until when a client may believe its lease to live.
    promised: BTreeMap<LeaseId, Millis>,
}

struct Cluster {
    members: [Lessor; 2],
    applied: [usize; 2],
    log: Vec<Command>,
    /// Proposed to the leader, not yet committed.
    proposed: VecDeque<Command>,
    leader: usize,
    now: Millis,
    model: Model,
}

impl Cluster {
    fn new() -> Cluster {
        let mut members = [Lessor::new(1), Lessor::new(1)];
        members[0].promote(Millis(0), 0, 0);
        Cluster {
            members,
            applied: [0, 0],
            log: Vec::new(),
            proposed: VecDeque::new(),
            leader: 0,
            now: Millis(0),
            model: Model::default(),
        }
    }

    fn lead(&mut self) -> &mut Lessor {
        &mut self.members[self.leader]
    }

    /// Commits the oldest proposal, and applies it on the leader.
    fn commit(&mut self) {
        if let Some(command) = self.proposed.pop_front() {
            // A checkpoint of a lease that was revoked and granted again under its old id meanwhile would be taken for one of
            // the new lease, by every member: what the log says of an id cannot tell them apart. We leave that case out.
            if let Command::Grant { id, .. } = command
                && self
                    .proposed
                    .iter()
                    .any(|later| matches!(later, Command::Checkpoint(c) if c.iter().any(|c| c.id == id)))
            {
                return;
            }
            self.log.push(command);
            self.apply_next(self.leader);
        }
    }

    fn apply_next(&mut self, member: usize) {
        let command = self.log[self.applied[member]].clone();
        self.applied[member] += 1;
        let first = self.applied[member] > self.applied[1 - member];
        let lessor = &mut self.members[member];
        match command {
            Command::Grant { id, ttl_seconds } => {
                let granted = lessor.grant(id, ttl_seconds).is_ok();
                if first {
                    assert_eq!(granted, !self.model.leases.contains_key(&id));
                    if granted {
                        self.model.leases.insert(id, ttl_seconds);
                        self.model.promised.insert(id, self.now.plus_seconds(ttl_seconds));
                    }
                }
            }
            Command::Revoke(id) => {
                let keys = lessor.revoke(id).ok().map(|keys| text(&keys));
                if first {
                    let found = self.model.leases.remove(&id).is_some();
                    let attached: Vec<String> =
                        self.model.attached.extract_if(.., |_, lease| *lease == id).map(|(key, _)| key).collect();
                    assert_eq!(keys, found.then_some(attached));
                    self.model.promised.remove(&id);
                }
            }
            Command::Attach(key, id) => {
                let attached = lessor.attach(key.as_bytes(), id).is_ok();
                if first {
                    assert_eq!(attached, self.model.leases.contains_key(&id));
                    if attached {
                        self.model.attached.insert(key, id);
                    }
                }
            }
            Command::Detach(key) => {
                lessor.detach(key.as_bytes());
                if first {
                    self.model.attached.remove(&key);
                }
            }
            Command::Checkpoint(checkpoints) => {
                for checkpoint in &checkpoints {
                    lessor.checkpoint(checkpoint.id, checkpoint.remaining_seconds);
                }
                lessor.checkpoints_answered(&checkpoints);
            }
            Command::Clear(id) => {
                lessor.checkpoint(id, 0);
                // The keep-alive that waited for this is tried again.
                if self.members[member].is_primary() {
                    self.renew(id);
                }
            }
        }
    }

    fn renew(&mut self, id: LeaseId) {
        let now = self.now;
        match self.lead().renew(id, now).expect("the leader renews") {
            Renewal::Renewed { ttl_seconds } => {
                assert_eq!(self.model.leases[&id], ttl_seconds);
                self.model.promised.insert(id, now.plus_seconds(ttl_seconds));
            }
            Renewal::ClearCheckpoint => self.proposed.push_back(Command::Clear(id)),
            Renewal::Expired => assert!(now > self.model.promised[&id], "lease {id} was refused too early"),
            Renewal::NotFound => assert!(!self.model.leases.contains_key(&id)),
        }
    }

    fn revoke_due(&mut self) {
        let now = self.now;
        for id in self.lead().due(now, MAX_UNANSWERED_REVOKES) {
            assert!(now > self.model.promised[&id], "lease {id} ends at {now:?}, promised {:?}", self.model.promised);
            self.proposed.push_back(Command::Revoke(id));
        }
    }

    /// The leader gives up one proposal, and tells whoever waits for it.
    fn lose(&mut self) {
        let now = self.now;
        match self.proposed.pop_back() {
            Some(Command::Checkpoint(checkpoints)) => self.lead().checkpoints_failed(&checkpoints, now),
            Some(Command::Revoke(id)) => self.lead().revoke_failed(id),
            _ => {}
        }
    }

    /// The leader renews all leases at the last moment at which it can be, when the next one has begun to lead. Of those
    /// with a rest in the log nothing comes.
    fn renew_behind_the_back_of_the_next(&mut self, outage_millis: u64) {
        let at = self.now + (outage_millis + UNSEEN_MILLIS - 1);
        for id in self.model.leases.keys().copied().collect::<Vec<_>>() {
            if let Ok(Renewal::Renewed { ttl_seconds }) = self.lead().renew(id, at) {
                self.model.promised.insert(id, at.plus_seconds(ttl_seconds));
            }
        }
    }

    /// The other member leads, after a restart from its rows or as it is.
    fn change_leader(&mut self, restart: bool, outage_millis: u64) {
        self.renew_behind_the_back_of_the_next(outage_millis);
        self.lead().demote();
        self.proposed.clear();
        self.leader = 1 - self.leader;
        while self.applied[self.leader] < self.log.len() {
            self.apply_next(self.leader);
        }
        if restart {
            let lessor = &self.members[self.leader];
            let rows = self.model.leases.keys().map(|id| (row_key(*id), lessor.row(*id).expect("it has this lease")));
            let mut loaded = Lessor::load(1, rows).expect("these are our own rows");
            for (key, id) in &self.model.attached {
                loaded.attach(key.as_bytes(), *id).expect("attached keys have a lease");
            }
            self.members[self.leader] = loaded;
        }
        let begun = self.now;
        self.now = self.now + outage_millis;
        // Who was started knows of no time before.
        let (now, outage_millis) = (self.now, if restart { outage_millis / 2 } else { outage_millis });
        if restart {
            self.lead().look(begun + outage_millis);
        }
        self.lead().promote(now, outage_millis, UNSEEN_MILLIS);
        self.check_tables();
    }

    fn check_tables(&self) {
        let lessor = &self.members[self.leader];
        assert_eq!(lessor.len(), self.model.leases.len());
        for id in self.model.leases.keys() {
            let of_model: BTreeSet<&String> =
                self.model.attached.iter().filter(|(_, lease)| *lease == id).map(|(key, _)| key).collect();
            assert_eq!(
                text(&lessor.keys(*id).expect("the model has it")),
                Vec::from_iter(of_model.into_iter().cloned())
            );
            assert!(lessor.row(*id).is_some());
        }
    }
}

fn text(keys: &[Key]) -> Vec<String> {
    keys.iter().map(|key| String::from_utf8(key.to_vec()).expect("test keys are text")).collect()
}

#[test]
fn leases_never_end_early_and_always_end() {
    for seed in 0..400 {
        let failed = std::panic::catch_unwind(|| run(seed));
        assert!(failed.is_ok(), "failed with seed {seed}");
    }
}

fn run(seed: u64) {
    let mut random = Random::new(seed);
    let mut cluster = Cluster::new();
    // In some histories clients renew often, so that leases live; in others hardly, so that they end.
    let renewals = random.below(10);
    for _ in 0..600 {
        let id = LeaseId::new(random.below(6) as i64 + 1).expect("not 0");
        let key = format!("k{}", random.below(12));
        match random.below(20 + renewals) {
            0..3 => cluster.now = cluster.now + random.below(2500),
            3 => {
                let ttl_seconds = 1 + random.below(30) as i64;
                cluster.proposed.push_back(Command::Grant { id, ttl_seconds });
            }
            4 if random.below(5) == 0 => cluster.proposed.push_back(Command::Revoke(id)),
            5..7 => cluster.proposed.push_back(Command::Attach(key, id)),
            7 => cluster.proposed.push_back(Command::Detach(key)),
            8..12 => cluster.commit(),
            12..14 => cluster.revoke_due(),
            14..16 => {
                let now = cluster.now;
                let due = cluster.lead().checkpoints_due(now, 1 + random.below(4) as usize);
                if !due.is_empty() {
                    cluster.proposed.push_back(Command::Checkpoint(due));
                }
            }
            16 => {
                let follower = 1 - cluster.leader;
                if cluster.applied[follower] < cluster.applied[cluster.leader] {
                    cluster.apply_next(follower);
                }
            }
            17 if random.below(2) == 0 => cluster.lose(),
            17 => {
                let now = cluster.now;
                cluster.members[random.below(2) as usize].look(now);
            }
            18 if random.below(5) == 0 => cluster.change_leader(random.below(2) == 0, random.below(4000)),
            _ => cluster.renew(id),
        }
    }
    // Nobody renews any more: all leases end, after a change of leader a TTL later than promised at the latest.
    for _ in 0..2 {
        while !cluster.proposed.is_empty() {
            cluster.commit();
        }
        cluster.now = cluster.now.plus_seconds(2 * 30 + 1);
        cluster.revoke_due();
    }
    while !cluster.proposed.is_empty() {
        cluster.commit();
    }
    assert_eq!(cluster.model.leases, BTreeMap::new(), "leases outlive their promise");
    cluster.check_tables();
    assert!(cluster.model.attached.is_empty());
}
