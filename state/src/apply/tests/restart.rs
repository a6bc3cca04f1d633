//! One log applied twice: at once in memory, and in other batches on a store whose disk crashes. Both must come to the same.

use std::path::Path;

use bytes::Bytes;
use ferrite_proto::etcdserverpb as pb;
use ferrite_proto::membershippb;
use ferrite_raft::{Index, NodeId, Term};
use ferrite_storage::store::{Cleaned, Identity, Opened, Options, Store};
use ferrite_storage::vfs::lying::{LyingDisk, Survival};
use ferrite_storage::{Table, WindowWriter, in_memory};

use crate::cluster::Member;
use crate::command::{Command, ConfChange, MemberChange, Txn};
use crate::random::Random;
use crate::testing::{Generator, Machine, Model, Step, Validity};
use crate::{LoadError, Settings, Shared, State, Want};

const IDENTITY: Identity = Identity { node_id: 1, cluster_id: 2 };

/// Small, so that everything happens often.
const OPTIONS: Options = Options { segment_bytes: 16 << 10, window_bytes: 1 << 20, dump_bytes: 512 };

/// A log with something of everything.
fn log(seed: u64, length: usize) -> Vec<Command> {
    let mut generator = Generator::new(seed, Validity::Any);
    let mut model = Model::new();
    // Since this version the rest of a lease is kept over a restart.
    let first = membershippb::ClusterVersionSetRequest { ver: "3.6.0".into() };
    let mut log = vec![Command::ClusterVersionSet(first)];
    while log.len() < length {
        if generator.random().below(8) == 0 {
            log.push(of_tables(generator.random()));
            continue;
        }
        let step = generator.step(model.current());
        model.step(&step);
        log.push(match step {
            Step::Put(put) => Command::Put(put),
            Step::DeleteRange(delete) => Command::DeleteRange(delete),
            Step::Txn(txn) => Command::Txn(Txn::try_from(txn).unwrap()),
            Step::Compaction(compaction) => Command::Compaction(compaction),
            Step::LeaseGrant(grant) => Command::LeaseGrant(grant),
            Step::LeaseRevoke(revoke) => Command::LeaseRevoke(revoke),
            Step::Range(range) => Command::Range(range),
            Step::HashKv(_) => Command::Noop,
        });
    }
    log
}

/// A command that changes a table.
fn of_tables(random: &mut Random) -> Command {
    let node = NodeId(1 + random.below(3));
    let member = Member { id: node, peer_urls: vec![format!("http://{node}:2380")], ..Default::default() };
    let add = Command::ConfChange(ConfChange { node, change: MemberChange::Add { member, as_voter: true } });
    match random.below(8) {
        0 | 1 => add,
        2 => Command::ConfChange(ConfChange { node: NodeId(3), change: MemberChange::Remove }),
        3 => Command::ClusterVersionSet(membershippb::ClusterVersionSetRequest {
            ver: format!("3.{}.0", 6 + random.below(2)),
        }),
        4 => Command::DowngradeInfoSet(membershippb::DowngradeInfoSetRequest {
            enabled: random.below(2) == 0,
            ver: "3.6.0".into(),
        }),
        5 => Command::LeaseCheckpoint(pb::LeaseCheckpointRequest {
            checkpoints: (-2..2).map(|id| pb::LeaseCheckpoint { id, remaining_ttl: 7 }).collect(),
        }),
        // NOSPACE is up for about a third of the time.
        action => {
            let action = if action == 6 && random.below(2) == 0 { 1 } else { 2 };
            Command::Alarm(pb::AlarmRequest { action, member_id: 1, alarm: 1 })
        }
    }
}

/// A member's state and store.
struct Stored {
    disk: LyingDisk,
    state: State,
    window: WindowWriter,
    store: Store<LyingDisk>,
    /// What the log was told to be whole.
    synced: Index,
    applied: Index,
    rows: Vec<(Table, Bytes, Bytes)>,
}

impl Stored {
    fn open(disk: LyingDisk, synced: Index) -> Stored {
        let dir = Path::new("/store");
        let opened = match synced {
            Index(0) => Store::create(disk.clone(), dir, IDENTITY, OPTIONS),
            synced => Store::open(disk.clone(), dir, IDENTITY, synced, OPTIONS),
        };
        let (mut store, opened) = opened.unwrap_or_else(|error| panic!("{error}"));
        let Opened { applied, rows, revisions, window, .. } = opened;
        assert!(applied >= synced);
        let (state, dead) = State::load(rows.clone(), revisions, Settings::default()).unwrap();
        store.trim(&dead);
        Stored { disk, state, window, store, synced, applied, rows }
    }

    /// The power goes: what was not synced is as the dice say.
    fn crash(self, random: &mut Random) -> Stored {
        let survival = match random.below(3) {
            0 => Survival::Nothing,
            1 => Survival::Everything,
            _ => Survival::Seeded(random.next()),
        };
        Stored::open(self.disk.crash(survival), self.synced)
    }

    fn apply(&mut self, command: &Command) {
        self.applied = self.applied.next();
        let applied = self.state.apply(self.applied, Term(1), command, Want::Effect).unwrap();
        self.window.append(applied.effect);
    }

    fn publish(&mut self) {
        self.window.publish();
        self.state.publish();
    }

    fn sync(&mut self) {
        while self.store.write(1 << 20).unwrap().effects > 0 {}
        self.synced = self.store.sync().unwrap();
    }

    fn trim(&mut self, keys: usize) -> bool {
        if self.state.next_trim().is_none_or(|index| index > self.store.applied()) {
            return false;
        }
        let trimmed = self.state.trim_step(keys);
        self.store.trim(&trimmed.dead);
        trimmed.more
    }

    fn anything(&mut self, random: &mut Random) {
        match random.below(6) {
            0 => drop(self.store.write(1 + random.below(2000)).unwrap()),
            1 => self.sync(),
            2 => drop(self.trim(1 + random.below(20) as usize)),
            3 => while self.trim(100) {},
            4 => while self.store.clean(1 << 16).unwrap() == Cleaned::Step {},
            _ => drop(self.store.dump_if_due().unwrap()),
        }
    }
}

fn run(seed: u64, length: usize) {
    let mut random = Random::new(seed);
    let log = log(seed, length);
    let mut plain = Machine::new(Want::Answer);
    for command in &log {
        let _ = plain.apply(command);
    }
    plain.trim(100);

    let mut stored = Stored::open(LyingDisk::new(), Index(0));
    // So that there is a store to be opened.
    stored.apply(&log[0]);
    stored.sync();
    while stored.applied.0 < log.len() as u64 {
        let batch = 1 + random.below(12);
        for _ in 0..batch {
            let Some(command) = log.get(stored.applied.0 as usize) else { break };
            stored.apply(command);
        }
        stored.publish();
        for _ in 0..random.below(4) {
            stored.anything(&mut random);
        }
        if random.below(10) == 0 {
            stored = stored.crash(&mut random);
        }
    }
    stored.publish();
    // Finish what is compacted, let the next entry say so, and open the store once more.
    stored.sync();
    while stored.trim(100) {}
    stored.apply(&Command::Noop);
    let _ = plain.apply(&Command::Noop);
    stored.sync();
    stored = stored.crash(&mut random);

    let rows: Vec<_> = plain.rows.iter().map(|((table, key), value)| (*table, key.clone(), value.clone())).collect();
    assert_eq!(stored.rows, rows, "seed {seed}");
    assert_eq!(stored.state.tables(), plain.state.tables(), "seed {seed}");
    plain.check_rows();
    assert_eq!(stored.state.shared().hash(), plain.state.shared().hash(), "seed {seed}");
    check_shared(seed, stored.state.shared(), plain.state.shared());
}

/// Readers of both see the same.
fn check_shared(seed: u64, one: &Shared, two: &Shared) {
    assert_eq!(one.keyspace().revision(), two.keyspace().revision(), "seed {seed}");
    assert_eq!(one.keyspace().compacted(), two.keyspace().compacted(), "seed {seed}");
    // Only who compacted remembers the hashes of compactions.
    let current = one.keyspace().revision() as i64;
    if current > one.keyspace().compacted() {
        assert_eq!(one.keyspace().hash_kv(current), two.keyspace().hash_kv(current), "seed {seed}");
    }
    for revision in one.keyspace().compacted().max(1)..=current {
        let all = pb::RangeRequest { key: "\0".into(), range_end: "\0".into(), revision, ..Default::default() };
        assert_eq!(
            one.keyspace().range(&all).unwrap(),
            two.keyspace().range(&all).unwrap(),
            "seed {seed}, at {revision}"
        );
    }
    for lease in (-2..2).filter_map(crate::lease::LeaseId::new) {
        assert_eq!(one.lessor.lock().keys(lease), two.lessor.lock().keys(lease), "seed {seed}, lease {lease}");
        assert_eq!(one.lessor.lock().row(lease), two.lessor.lock().row(lease), "seed {seed}, lease {lease}");
    }
}

#[test]
fn one_log_comes_to_the_same_whatever_crashes() {
    for seed in 0..60 {
        run(seed, 150);
    }
}

/// A follower that was left behind goes on as the state that its leader sends, for all who hold what readers hold.
#[test]
fn a_state_becomes_another() {
    for seed in 0..20 {
        let log = log(seed, 120);
        let (mut behind, mut ahead) = (Machine::new(Want::Effect), Machine::new(Want::Effect));
        for (number, command) in log.iter().enumerate() {
            let _ = ahead.apply(command);
            if number < 40 {
                let _ = behind.apply(command);
            }
        }
        let (held, before) = (behind.state.shared().clone(), behind.state.shared().keyspace().clone());
        let revision = before.revision();
        let rows = ahead.rows.iter().map(|((table, key), value)| (*table, key.clone(), value.clone()));
        let revisions = ahead.state.shared().keyspace().revisions().clone();
        let (other, _) = State::load(rows, revisions, Settings::default()).unwrap();
        behind.state.become_another(other).unwrap();
        assert_eq!(held.tables().cluster, ahead.state.tables().cluster, "seed {seed}");
        check_shared(seed, &held, ahead.state.shared());
        // Who was reading goes on with what it had.
        assert_eq!(before.revision(), revision);
    }
}

#[test]
fn a_storage_version_that_lags_behind_that_of_the_cluster_catches_up() {
    for (cluster, storage, wanted) in [("3.7.0", "3.6.0", "3.7.0"), ("3.6.0", "3.7.0", "3.6.0"), ("3.5.0", "", "")] {
        let rows = [(Table::Cluster, "clusterVersion", cluster), (Table::Meta, "storageVersion", storage)];
        let rows = rows.into_iter().filter(|(.., value)| !value.is_empty());
        let (mut state, _) = State::load(rows, in_memory().1, Settings::default()).unwrap();
        let held = state.tables().cluster.storage_version().map_or(String::new(), ToString::to_string);
        assert_eq!(held, wanted, "{cluster}");
        let applied = state.apply(Index(1), Term(1), &Command::Noop, Want::Effect).unwrap();
        let written = applied.effect.rows.iter().find(|row| row.key == "storageVersion");
        assert_eq!(written.and_then(|row| row.value.as_deref()), Some(wanted.as_bytes()).filter(|it| !it.is_empty()));
    }
}

#[test]
fn a_cluster_that_asks_for_passwords_is_none_for_us() {
    let load = |enabled: u8| State::load([(Table::Auth, "authEnabled", [enabled])], in_memory().1, Settings::default());
    assert!(matches!(load(1).unwrap_err(), LoadError::AuthEnabled));
    assert!(load(0).is_ok());
}
