//! The disk fills up: NOSPACE is raised before a write fails, deletes and compactions still work, and when there is room
//! again the alarm goes by itself.

use std::time::Duration;

use ferrite_proto::etcdserverpb as pb;
use ferrite_raft::Index;
use ferrite_storage::vfs::lying::{Dice, LyingDisk, Survival};

use crate::harness::{Life, Past, promised};
use crate::model::Outcome;
use crate::workload;

/// What a request comes to.
fn ask(life: &mut Life, dice: &mut Dice, request: pb::InternalRaftRequest) -> Outcome {
    let answered = life.acknowledged.len();
    life.propose(request);
    life.settle(dice).unwrap_or_else(|stopped| panic!("{stopped}"));
    let one = *life.acknowledged.get(answered).expect("an answer");
    life.past.outcome(one.index)
}

fn put(life: &mut Life, dice: &mut Dice) -> Outcome {
    let put = pb::PutRequest { lease: 0, ..workload::put(dice, &life.past.model()) };
    ask(life, dice, pb::InternalRaftRequest { put: Some(put), ..Default::default() })
}

fn delete(life: &mut Life, dice: &mut Dice) -> Outcome {
    let delete = workload::delete(dice);
    ask(life, dice, pb::InternalRaftRequest { delete_range: Some(delete), ..Default::default() })
}

fn compact(life: &mut Life, dice: &mut Dice) -> Outcome {
    let compaction = pb::CompactionRequest { revision: life.past.model().current(), physical: false };
    ask(life, dice, pb::InternalRaftRequest { compaction: Some(compaction), ..Default::default() })
}

/// A member whose disk has room for so many bytes more.
fn fill(seed: u64, room: u64) {
    let mut dice = Dice::new(seed);
    let disk = LyingDisk::new();
    let mut life = Life::open(&disk, Past::default(), Index(0)).unwrap();
    life.work(&mut dice, 30).unwrap();
    life.settle(&mut dice).unwrap();
    let capacity = disk.used() + room;
    disk.set_capacity(capacity);

    let mut puts = 0;
    while !life.past.model().has_nospace() {
        // The one after which the alarm is raised may meet it.
        let outcome = put(&mut life, &mut dice);
        assert!(outcome != Outcome::Refused || life.past.model().has_nospace());
        puts += 1;
        assert!(puts < 2000, "the disk is never full");
    }
    assert!(life.room().is_short());
    assert_eq!(put(&mut life, &mut dice), Outcome::Refused);
    for _ in 0..4 {
        assert_ne!(delete(&mut life, &mut dice), Outcome::Refused);
        assert_eq!(put(&mut life, &mut dice), Outcome::Refused);
    }
    assert_ne!(compact(&mut life, &mut dice), Outcome::Refused);
    life.check(&mut dice);

    // Nothing is lost if it ends now, and it starts on the full disk.
    let promise = promised(&life.acknowledged, usize::MAX);
    for survival in [Survival::Nothing, Survival::Everything, Survival::Seeded(dice.roll())] {
        let after = disk.crash(survival);
        after.set_capacity(capacity);
        let mut again = Life::open(&after, life.past.clone(), promise).unwrap_or_else(|error| panic!("{error}"));
        again.settle(&mut dice).unwrap_or_else(|stopped| panic!("{survival:?}: {stopped}"));
        again.check(&mut dice);
    }

    disk.remove_capacity();
    for _ in 0..30 {
        life.pass(Duration::from_secs(1)).unwrap();
        life.settle(&mut dice).unwrap();
    }
    assert!(!life.past.model().has_nospace() && !life.room().is_short(), "there is room again");
    assert_ne!(put(&mut life, &mut dice), Outcome::Refused);
    life.check(&mut dice);
}

#[test]
fn a_full_disk_raises_the_alarm_and_loses_nothing() {
    for room in (0..20_000).step_by(500) {
        let _context = Context(room);
        fill(room / 500, room);
    }
}

/// Says where it happened when a check fails.
struct Context(u64);

impl Drop for Context {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("room for {} bytes", self.0);
        }
    }
}
