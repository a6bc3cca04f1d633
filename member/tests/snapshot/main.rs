//! Snapshots between members: what a learner goes over to is what its leader holds, wherever either of them crashes.

mod pair;
mod refusals;
mod watch;

use std::path::Path;

use ferrite_raft::Index;
use ferrite_storage::vfs::Vfs;
use ferrite_storage::vfs::lying::{Dice, History, Survival};
use ferrite_storage::wal;

use pair::Pair;

#[test]
fn a_member_with_an_empty_disk_is_sent_a_snapshot_and_goes_on_from_there() {
    for seed in 0..6 {
        let mut pair = Pair::new(seed);
        pair.write(60);
        pair.is_unplugged = false;
        pair.settle();
        pair.write(20);
        pair.check();
        assert_eq!(pair.installed, 1, "seed {seed}: the log has been given up");
    }
}

#[test]
fn a_member_that_was_away_takes_a_snapshot_in_the_place_of_what_it_has() {
    for seed in 0..6 {
        let mut pair = Pair::new(seed);
        pair.is_unplugged = false;
        pair.settle();
        for round in 1..4 {
            pair.write(20);
            pair.wait_for_a_minute();
            pair.check();
            let held = pair.learner.as_ref().unwrap().engine.shared.clone();
            let (reading, before) = (held.keyspace().clone(), held.keyspace().revision());
            pair.is_unplugged = true;
            pair.write(60);
            pair.is_unplugged = false;
            pair.settle();
            pair.check();
            assert_eq!(pair.installed, round);
            // Who holds what readers hold sees it; who is reading goes on with what it began with.
            assert_eq!(held.keyspace().revision(), pair.leader.engine.shared.keyspace().revision());
            assert_eq!(reading.revision(), before);
            assert!(reading.hash_kv(before as i64).is_ok());
        }
        // After a restart it is the same.
        pair.write(7);
        let disk = pair.learner.as_ref().unwrap().disk.clone();
        pair.learner = None;
        pair.restart_learner(&disk.crash(Survival::Everything), 9).unwrap();
        pair.settle();
        pair.check();
        let names = pair.learner.as_ref().unwrap().disk.read_dir(Path::new("/data/member")).unwrap();
        assert_eq!(names, ["snap", "store", "wal"]);
    }
}

/// What a learner's disk has been through that was sent a snapshot, from what operation on, and what it had applied before and
/// after.
fn sent_a_snapshot(seed: u64) -> (Pair, History, usize, Index, Index) {
    let mut pair = Pair::new(seed);
    pair.is_unplugged = false;
    pair.write(12);
    pair.is_unplugged = true;
    pair.write(40);
    let disk = pair.learner.as_ref().unwrap().disk.clone();
    let (begun, before) = (disk.operations(), pair.learner_applied());
    pair.is_unplugged = false;
    pair.settle();
    assert_eq!(pair.installed, 1);
    pair.write(3);
    let after = pair.learner_applied();
    (pair, disk.history(), begun, before, after)
}

#[test]
fn what_a_killed_learner_has_left_is_durable_once_it_is_relied_on() {
    for seed in 0..6 {
        let (mut pair, mut history, begun, _, done) = sent_a_snapshot(seed);
        let (mut dice, mut life) = (Dice::new(seed), 10);
        while history.step().is_some() {
            // The next process ends, too, at some point of its start; then the power goes.
            for _ in 0..if history.position() < begun { 0 } else { 4 } {
                let stop = dice.below(60) as usize;
                let survival = if dice.once_in(3) { Survival::Nothing } else { Survival::Seeded(dice.roll()) };
                let context = format!("seed {seed}, after operation {}, then {stop}, {survival:?}", history.position());
                let left = history.kill();
                left.stop_at(stop);
                life += 2;
                pair.restart_learner(&left, life).ok();
                let left = left.crash(survival);
                pair.restart_learner(&left, life + 1).unwrap_or_else(|error| panic!("{context}: {error}"));
                let found = pair.learner_applied();
                assert!(found <= done, "{context}: {found}");
                if dice.once_in(20) {
                    life += 2;
                    pair.restart_leader(life);
                    pair.settle();
                    pair.check();
                }
            }
        }
    }
}

#[test]
fn a_crash_at_any_point_leaves_a_member_that_starts_and_catches_up() {
    let mut records_without_hard_state = 0;
    for seed in 0..6 {
        let (mut pair, mut history, begun, applied_before, done) = sent_a_snapshot(seed);
        let mut dice = Dice::new(seed);
        let (mut before, mut after, mut life) = (0, 0, 10);
        while history.step().is_some() {
            if history.position() < begun {
                continue;
            }
            for survival in [Survival::Nothing, Survival::Everything, Survival::Seeded(dice.roll())] {
                let context = format!("seed {seed}, after operation {}, {survival:?}", history.position());
                let left = history.crash(survival);
                let received = wal::survey(&left, Path::new("/data/member/wal")).unwrap().received;
                life += 1;
                pair.restart_learner(&left, life).unwrap_or_else(|error| panic!("{context}: {error}"));
                let found = pair.learner_applied();
                assert!(found <= done, "{context}: {found}");
                // Nothing is left of what did not come to its end.
                let names = ["snap", "store", "wal"];
                assert_eq!(left.read_dir(Path::new("/data/member")).unwrap(), names, "{context}");
                let snapshots = left.read_dir(Path::new("/data/member/snap")).unwrap();
                assert!(snapshots.iter().all(|name| name.ends_with(".snap")), "{context}: {snapshots:?}");
                // What the log has a record of is there, even if nothing else in the log says that it is committed.
                assert!(received.as_ref().is_none_or(|meta| meta.index <= found), "{context}: {found}");
                records_without_hard_state += usize::from(received.is_some());
                match found <= applied_before {
                    true => before += 1,
                    false => after += 1,
                }
                if dice.once_in(9) {
                    life += 1;
                    pair.restart_leader(life);
                    pair.settle();
                    pair.check();
                    if dice.once_in(3) {
                        // Once more: what it has recovered to is as good as what it was.
                        let left = pair.learner.as_ref().unwrap().disk.crash(Survival::Nothing);
                        life += 2;
                        pair.restart_leader(life - 1);
                        pair.restart_learner(&left, life).unwrap_or_else(|error| panic!("{context}, again: {error}"));
                        pair.settle();
                        pair.check();
                    }
                }
            }
        }
        assert!(before > 20 && after > 20, "{before} before, {after} after");
    }
    assert!(records_without_hard_state > 0);
}
