//! The power goes behind every operation of the disk, and again while the member recovers.

use std::sync::atomic::{AtomicUsize, Ordering};

use ferrite_raft::Index;
use ferrite_storage::vfs::lying::{Dice, LyingDisk, Survival};

use crate::harness::{Life, Past, promised};

fn open(disk: &LyingDisk, past: &Past, promise: Index) -> Life {
    Life::open(disk, past.clone(), promise).unwrap_or_else(|error| panic!("{error}"))
}

/// Opens what a crash has left, and looks at all of it.
fn recover(disk: &LyingDisk, past: &Past, promise: Index, dice: &mut Dice) -> Life {
    let mut life = open(disk, past, promise);
    life.settle(dice).unwrap_or_else(|error| panic!("{error}"));
    life.check(dice);
    life
}

/// Recovery has been done on this disk: the power goes behind each of its operations.
fn crash_again(recovered: &Life, promise: Index, dice: &mut Dice) {
    let mut history = recovered.disk.history();
    while history.step().is_some() {
        let disk = history.crash(Survival::Seeded(dice.roll()));
        recover(&disk, &recovered.past, promise, dice);
    }
}

/// The member that recovered does some work, and loses none of it.
fn go_on(mut life: Life, promise: Index, dice: &mut Dice) {
    life.work(dice, 10).unwrap();
    life.settle(dice).unwrap();
    life.check(dice);
    let promise = promised(&life.acknowledged, usize::MAX).max(promise);
    recover(&life.disk.crash(Survival::Nothing), &life.past, promise, dice);
}

/// Runs a member through a workload, then crashes it behind each operation. Returns how often.
fn crash_everywhere(seed: u64, requests: usize) -> usize {
    let mut dice = Dice::new(seed);
    let disk = LyingDisk::new();
    let mut life = open(&disk, &Past::default(), Index(0));
    life.work(&mut dice, requests).unwrap();
    life.settle(&mut dice).unwrap();
    life.check(&mut dice);
    assert!(life.seen.checkpoints > 1 && life.seen.trimmed > 5 && life.seen.refused > 0, "{:?}", life.seen);
    let (past, acknowledged) = (life.past.clone(), life.acknowledged.clone());
    drop(life);

    let mut crashes = 0;
    let mut history = disk.history();
    let at = AtomicUsize::new(0);
    let _context = Context(seed, &at);
    while history.step().is_some() {
        at.store(history.position(), Ordering::Relaxed);
        let promise = promised(&acknowledged, history.position());
        for survival in [Survival::Nothing, Survival::Seeded(dice.roll()), Survival::Seeded(dice.roll())] {
            let life = recover(&history.crash(survival), &past, promise, &mut dice);
            crashes += 1;
            if dice.once_in(24) {
                crash_again(&life, promise, &mut dice);
            }
            if dice.once_in(12) {
                go_on(life, promise, &mut dice);
            }
        }
    }
    crashes
}

/// Says where it happened when a check fails.
struct Context<'a>(u64, &'a AtomicUsize);

impl Drop for Context<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}, after operation {}", self.0, self.1.load(Ordering::Relaxed));
        }
    }
}

#[test]
fn a_crash_anywhere_loses_nothing_that_was_acknowledged() {
    let crashes: usize = (0..2).map(|seed| crash_everywhere(seed, 60)).sum();
    assert!(crashes > 1000, "{crashes} crashes");
}

#[test]
fn a_member_that_is_woken_while_it_votes_leads_all_the_same() {
    for seed in 0..100 {
        let mut dice = Dice::new(seed);
        let mut life = open(&LyingDisk::new(), &Past::default(), Index(0));
        life.work(&mut dice, 3).unwrap();
        life.settle(&mut dice).unwrap();
        assert_eq!(life.acknowledged.len(), 3, "seed {seed}");
    }
}
