//! A sync or a write fails: the member stops there and then, and loses nothing that it has answered.

use ferrite_raft::Index;
use ferrite_storage::vfs::lying::{Dice, LyingDisk, Survival};

use crate::harness::{Acknowledged, Life, Past, Stopped, promised};

/// Works until something fails. Returns what is known of the log, and what was answered.
fn work_until_it_stops(disk: &LyingDisk, seed: u64) -> (Result<(), Stopped>, Past, Vec<Acknowledged>) {
    let mut dice = Dice::new(seed);
    let mut life = match Life::open(disk, Past::default(), Index(0)) {
        Ok(life) => life,
        Err(stopped) => return (Err(stopped), Past::default(), Vec::new()),
    };
    let worked = life.work(&mut dice, 40).and_then(|()| life.settle(&mut dice));
    (worked, life.past.clone(), life.acknowledged.clone())
}

/// Lets each operation of a kind fail in turn. Returns how many there were.
fn check(fail: impl Fn(&LyingDisk, u64)) -> u64 {
    for number in 0.. {
        let seed = number % 3;
        let disk = LyingDisk::new();
        fail(&disk, number);
        let (worked, past, acknowledged) = work_until_it_stops(&disk, seed);
        let Err(stopped) = worked else { return number };
        assert!(stopped.to_string().contains("/data/member/"), "{stopped}");
        let promise = promised(&acknowledged, usize::MAX);
        let mut dice = Dice::new(number);
        // The process has ended; or the power has gone as well.
        for survival in [Survival::Everything, Survival::Nothing, Survival::Seeded(dice.roll())] {
            let mut life = Life::open(&disk.crash(survival), past.clone(), promise).unwrap_or_else(|error| {
                panic!("operation {number} failed ({stopped}), then {survival:?}: {error}");
            });
            life.settle(&mut dice).unwrap();
            life.check(&mut dice);
        }
    }
    unreachable!("the work ends");
}

#[test]
fn a_failed_sync_stops_the_member() {
    let syncs = check(|disk, number| disk.fail_sync_after(number, number));
    assert!(syncs > 30, "{syncs} syncs");
}

#[test]
fn a_failed_write_stops_the_member() {
    let writes = check(|disk, number| disk.fail_write_after(number));
    assert!(writes > 30, "{writes} writes");
}
