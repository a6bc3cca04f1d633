//! A run: a cluster, those who use it, and what goes wrong, until faults end and the cluster has to come to rest.
//!
//!   turn: faults, clients, holders of leases, watchers and the administrator whose time has come ▸ one step of one member,
//!         or, if nobody has anything to do, on to the next time at which somebody has
//!
//! Then its members must be equal, every watcher must have been told everything, all leases must have ended, and the history
//! must be one that a single machine could have had.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use ferrite_raft::NodeId;
use ferrite_state::mvcc::KeyValueHash;

use crate::administrator::{self, Administrator, Changes};
use crate::clients::Clients;
use crate::cluster::Cluster;
use crate::defect::Defect;
use crate::faults::{Faults, Script, Trouble};
use crate::finding::{Check, Finding, Violation};
use crate::history::{History, Operation};
use crate::leases::{Leases, Plan};
use crate::linearizable;
use crate::node::{Circumstances, Errand, Happening, Life};
use crate::requests;
use crate::watches::Watches;
use crate::written;

/// What is run: everything follows from it.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    pub seed: u64,
    pub members: usize,
    /// Simulated time with faults and clients. Coming to rest takes some seconds more.
    pub length: Duration,
    pub faults: Faults,
    /// What happens besides.
    pub script: Script,
    pub leases: Plan,
    /// What is done wrong on purpose.
    pub defect: Option<Defect>,
}

impl Run {
    /// A run with these faults at random times.
    pub fn new(seed: u64, members: usize, seconds: u64, faults: Faults) -> Run {
        let length = Duration::from_secs(seconds);
        Run { seed, members, length, faults, script: &[], leases: Plan::Mixed, defect: None }
    }

    /// What a seed stands for in a range of them: a minute, mostly with three members, and mostly with all faults.
    pub fn of_seed(seed: u64) -> Run {
        let members = match seed % 8 {
            0 => 1,
            1 | 2 => 5,
            _ => 3,
        };
        let faults = Faults {
            clocks: !seed.is_multiple_of(3),
            members: !seed.is_multiple_of(5),
            disks: !seed.is_multiple_of(7),
            ..Faults::ALL
        };
        Run::new(seed, members, 60, faults)
    }
}

/// A lease that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndedLease {
    pub ttl: Duration,
    /// When its holder asked for the grant or the renewal that it was promised last.
    pub promised: Duration,
    pub ended: Duration,
}

/// What happened in a run that found nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Simulated time.
    pub time: Duration,
    pub requests: usize,
    pub answered: usize,
    /// When there was a new leader.
    pub elections: Vec<Duration>,
    /// Members that started, the first ones included.
    pub lives: u64,
    pub changes: Changes,
    pub leases_ended: usize,
    /// Those that ended after they had been promised.
    pub leases: Vec<EndedLease>,
    pub snapshots: usize,
    pub watch_events: usize,
    pub watches_resumed: usize,
    /// Equal if the same things happened.
    pub digest: u32,
}

/// After the faults a leader must be found, and everything applied everywhere, within this time.
const REST: Duration = Duration::from_secs(20);

struct World {
    cluster: Cluster,
    clients: Clients,
    leases: Leases,
    watches: Watches,
    administrator: Administrator,
    trouble: Trouble,
    history: History,
}

/// Runs a cluster and checks what came of it.
pub fn run(run: Run) -> Result<Report, Box<Finding>> {
    let circumstances =
        Circumstances { clocks_drift: run.faults.clocks, crashes: run.faults.crashes, defect: run.defect };
    let finding = |at, Violation { check, what }, story| {
        Box::new(Finding { seed: run.seed, members: run.members, at, check, what, story })
    };
    let cluster = Cluster::new(run.seed, run.members, circumstances);
    let mut cluster = cluster.map_err(|violation| finding(Duration::ZERO, violation, String::new()))?;
    let mut world = World {
        clients: Clients::new(run.members, &mut cluster.dice),
        cluster,
        leases: Leases::new(run.leases),
        watches: Watches::new(),
        administrator: Administrator::new(run.faults.members),
        trouble: Trouble::new(run.faults, run.script),
        history: History::default(),
    };
    // An assertion that fails is a finding like any other.
    let lived = catch_unwind(AssertUnwindSafe(|| {
        world.live(run.length)?;
        world.come_to_rest()?;
        world.check()
    }));
    let lived = lived.unwrap_or_else(|panic| Err(Violation::new(Check::Panic, text_of(panic.as_ref()))));
    match lived {
        Ok(()) => Ok(world.report()),
        Err(violation) => Err(finding(world.cluster.now, violation, world.cluster.story.text())),
    }
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without words").to_owned()
}

impl World {
    fn live(&mut self, length: Duration) -> Result<(), Violation> {
        while self.cluster.now < length {
            self.trouble.act(&mut self.cluster);
            self.turn(true)?;
        }
        Ok(())
    }

    /// Everybody whose time has come acts, and then a member makes a step; or time goes on.
    fn turn(&mut self, is_restless: bool) -> Result<(), Violation> {
        let World { cluster, clients, leases, watches, administrator, history, .. } = self;
        if clients.next() <= cluster.now {
            clients.act(cluster, history, &leases.groups());
        }
        if leases.next() <= cluster.now {
            leases.act(cluster, history, &mut || clients.new_value());
        }
        if watches.next() <= cluster.now {
            watches.act(cluster, is_restless)?;
        }
        administrator.act(cluster);
        let mut happened = Vec::new();
        let Some(node) = cluster.turn(&mut happened)? else {
            let others = [clients.next(), leases.next(), watches.next(), administrator.next(), self.trouble.next()];
            let next = others.into_iter().min().unwrap_or(Duration::MAX).min(cluster.next_event());
            cluster.now = next.max(cluster.now + Duration::from_micros(1));
            return Ok(());
        };
        happened.into_iter().try_for_each(|happening| self.happen(node, happening))
    }

    fn happen(&mut self, node: usize, happening: Happening) -> Result<(), Violation> {
        let World { cluster, clients, leases, administrator, history, .. } = self;
        match happening {
            Happening::Answered(ticket, outcome) => match ticket.errand {
                Errand::Request(request) => clients.applied(request, &outcome, cluster, history),
                Errand::Lease(lease, what) => leases.applied(lease, what, node, &outcome, cluster, history),
                Errand::Change => administrator.applied(&outcome, cluster),
                Errand::Compact => administrator.compacted(&outcome),
                Errand::Disarm => {}
            },
            Happening::Read(ticket, confirmed) => match ticket.errand {
                Errand::Request(request) => clients.confirmed(request, node, confirmed.is_ok(), cluster, history),
                Errand::Lease(lease, _) => leases.confirmed(lease, node, confirmed.is_ok(), cluster),
                Errand::Change | Errand::Compact | Errand::Disarm => {}
            },
            Happening::Refused(ticket, _) => match ticket.errand {
                Errand::Request(request) => clients.refused(request, cluster, history),
                Errand::Lease(lease, what) => leases.refused(lease, what, cluster, history),
                Errand::Change => administrator.refused(),
                Errand::Compact | Errand::Disarm => {}
            },
            Happening::Published | Happening::Installed => {
                leases.look(node, cluster)?;
                administrator.look(node, cluster)?;
            }
            Happening::Sent(_)
            | Happening::Saving(_)
            | Happening::Logged(_)
            | Happening::Checkpointed(_)
            | Happening::Applying(_)
            | Happening::Trimmed(_)
            | Happening::Closed => {}
        }
        Ok(())
    }

    /// No more faults and no more wishes: the cluster has to find a leader and to apply everything everywhere, leases have
    /// to end, and watchers to be told.
    fn come_to_rest(&mut self) -> Result<(), Violation> {
        self.trouble.end();
        self.cluster.calm_down();
        self.cluster.tell(&"the faults end");
        self.clients.fall_silent();
        self.leases.fall_silent();
        self.administrator.fall_silent();
        let give_up = self.cluster.now + REST;
        while !self.is_at_rest() {
            self.turn(false)?;
            if self.cluster.now > give_up {
                let nodes: Vec<String> = (0..self.cluster.nodes.len()).map(|number| self.describe(number)).collect();
                return Err(Violation::new(Check::Rest, format!("no rest within {REST:?}:\n{}", nodes.join("\n"))));
            }
        }
        let give_up = self.cluster.now + self.leases.longest();
        while self.leases.living().next().is_some() {
            self.turn(false)?;
            if self.cluster.now > give_up {
                let what = format!("these live on: {:?}", self.leases.living().collect::<Vec<_>>());
                return Err(Violation::new(Check::LeaseLate, what));
            }
        }
        let give_up = self.cluster.now + REST;
        while !(self.is_at_rest() && self.watches.are_at_rest(&self.cluster)) {
            self.turn(false)?;
            if self.cluster.now > give_up {
                let missing = self.watches.missing(&self.cluster).unwrap_or("the cluster does not rest".into());
                return Err(Violation::new(Check::Watch, missing));
            }
        }
        Ok(())
    }

    fn describe(&self, number: usize) -> String {
        let Some(life) = self.cluster.life(number) else { return format!("m{}: down", number + 1) };
        let tables = life.engine.shared.tables();
        format!(
            "m{}: {:x}, leader {:x?}, term {}, committed {}, applied {}, members {:x?}, version {:?}, alarms {:?}",
            number + 1,
            self.cluster.nodes[number].id(),
            life.leader(),
            life.engine.member().term(),
            life.engine.progress.committed(),
            life.engine.progress.applied(),
            tables.cluster.members().map(|member| member.id.0).collect::<Vec<_>>(),
            tables.cluster.version(),
            tables.alarms.all().collect::<Vec<_>>(),
        )
    }

    /// The members, as whoever leads knows them. Others may run on without knowing that they have been removed.
    fn members(&self) -> Option<Vec<usize>> {
        let leader = self.cluster.life(self.cluster.leader()?)?;
        let tables = leader.engine.shared.tables();
        let ids: Vec<NodeId> = tables.cluster.members().map(|member| member.id).collect();
        ids.into_iter().map(|id| self.cluster.number_of(id)).collect()
    }

    fn is_at_rest(&self) -> bool {
        if !self.clients.are_at_rest() {
            return false;
        }
        let Some(members) = self.members() else { return false };
        let lives: Vec<_> = members.iter().filter_map(|number| self.cluster.life(*number)).collect();
        let Some(first) = lives.first() else { return false };
        let (leader, applied) = (first.leader(), first.engine.progress.applied());
        lives.len() == members.len()
            && leader.is_some()
            && lives.iter().all(|life| {
                let tables = life.engine.shared.tables();
                life.leader() == leader
                    && life.engine.progress.applied() == applied
                    && life.engine.progress.committed() == applied
                    && tables.cluster.version().is_some()
                    && tables.alarms.all().next().is_none()
            })
    }

    fn check(&self) -> Result<(), Violation> {
        let mut history = self.history.clone();
        self.read_all(&mut history);
        self.leases.check_keys(&history)?;
        self.leases.tell_ends(&mut history);
        let order = linearizable::check_revisions(&history);
        order.map_err(|violation| Violation::new(Check::Revisions, violation.0))?;
        let order = linearizable::check(&history);
        order.map_err(|violation| Violation::new(Check::Linearizable, violation.0))?;
        self.check_members()?;
        self.check_written()
    }

    /// What is there in the end is read once more: what nobody has asked for since has to be explained, too.
    fn read_all(&self, history: &mut History) {
        let keyspace = self.at_rest().engine.shared.keyspace();
        for group in history.groups() {
            let request = history.ask(group, Operation::Get, self.cluster.now);
            let found = requests::read(&keyspace, group, 0).expect("the newest revision can be read");
            history.answer(request, self.cluster.now, found);
        }
    }

    /// The leader of a cluster that has come to rest.
    fn at_rest(&self) -> &Life {
        let leader = self.cluster.leader().and_then(|leader| self.cluster.life(leader));
        leader.expect("a cluster at rest has a leader")
    }

    /// Members hold the same, at every revision.
    fn check_members(&self) -> Result<(), Violation> {
        let members = self.members().unwrap_or_default();
        let shared: Vec<_> = members.iter().filter_map(|number| self.cluster.life(*number)).collect();
        let shared: Vec<_> = shared.iter().map(|life| &life.engine.shared).collect();
        let differ = |what: String| Err(Violation::new(Check::Equal, what));
        let newest = shared[0].keyspace().revision() as i64;
        let step = (newest / 50).max(1);
        for revision in (1..=newest).rev().step_by(step as usize) {
            let hashes: Vec<_> = shared.iter().filter_map(|shared| shared.keyspace().hash_kv(revision).ok()).collect();
            // Who remembers the hash of a compaction tells that one: it begins at another revision.
            let are_of_one = |one: &KeyValueHash, other: &KeyValueHash| one.compact_revision == other.compact_revision;
            let differs =
                |one: &KeyValueHash| hashes.iter().any(|other| are_of_one(one, other) && one.hash != other.hash);
            if hashes.iter().any(differs) {
                return differ(format!("members differ at revision {revision}: {hashes:?}"));
            }
        }
        let tables: Vec<_> = shared.iter().map(|shared| shared.tables()).collect();
        match tables.windows(2).find(|pair| !administrator::are_equal(&pair[0].cluster, &pair[1].cluster)) {
            Some(pair) => differ(format!("members know different members: {:?}, {:?}", pair[0], pair[1])),
            None => Ok(()),
        }
    }

    /// What was acknowledged is there, and nothing is gone that was not replaced or deleted.
    fn check_written(&self) -> Result<(), Violation> {
        written::check_read(&self.history, &self.at_rest().engine.shared.keyspace())?;
        let changes = self.cluster.ledger.changes();
        written::check_published(&self.history, changes)?;
        for number in self.members().unwrap_or_default() {
            if let Some(life) = self.cluster.life(number) {
                let name = &self.cluster.nodes[number].name;
                written::check_kept(name, changes, &life.engine.shared.keyspace())?;
            }
        }
        Ok(())
    }

    fn report(&self) -> Report {
        let (watch_events, watches_resumed) = self.watches.counts();
        let leases = self.leases.leases.iter();
        Report {
            time: self.cluster.now,
            requests: self.history.0.len(),
            answered: self.history.answered(),
            elections: self.cluster.ledger.elections().to_vec(),
            lives: self.cluster.nodes.iter().map(|node| node.lives).sum(),
            changes: self.administrator.done,
            leases_ended: self.leases.ended(),
            leases: leases
                .filter_map(|lease| Some(EndedLease { ttl: lease.ttl, promised: lease.promised?, ended: lease.ended? }))
                .collect(),
            snapshots: self.cluster.snapshots,
            watch_events,
            watches_resumed,
            digest: self.cluster.story.digest(),
        }
    }
}
