//! Crashes: behind every operation of a log's life, with every part of the unsynced surviving or not; and again behind
//! every operation of the recovery, and of what comes after it.

use super::model::{Ledger, State, seeds};
use super::*;
use crate::vfs::lying::Dice;

const SEGMENT_BYTES: u64 = 1500;

/// Opens the log after a crash, as a member does, and finds which state it says. None: there is no log.
fn recover(disk: &LyingDisk, ledger: &Ledger, operations: usize) -> Result<Option<(Log, State)>, String> {
    let durable = ledger.durable(operations);
    if !exists(disk, dir()).unwrap() {
        return if durable.is_none() { Ok(None) } else { Err("the log is gone".into()) };
    }
    let (durable, possible) = (durable.unwrap_or(0), ledger.possible(operations));
    let certain = &ledger.states[durable];
    let snapshots = valid_snapshots(disk, dir()).map_err(|error| error.to_string())?;
    let snapshot = snapshots.last().ok_or("no snapshot is valid")?;
    let start = Start::from(snapshot);
    // The store holds nothing that was not synced first.
    let applied = certain.hard_state.commit;
    let (wal, replay) = Wal::open(disk.clone(), dir(), start, applied, small(SEGMENT_BYTES))
        .map_err(|error| format!("refused: {error}"))?;
    if replay.metadata != metadata() {
        return Err("another log's metadata".into());
    }
    let candidates = ledger.states[durable..=possible.max(durable)].iter().rev();
    let snapshot = (snapshot.index != Index(0)).then_some(snapshot);
    let found =
        candidates.into_iter().find(|state| state.is_read_as(&replay, start) && state.snapshot.as_ref() == snapshot);
    match found {
        Some(state) => Ok(Some((wal, state.clone()))),
        None => Err(format!("states {durable}..={possible} were possible, none is {replay:?} from {start:?}")),
    }
}

/// Crashes behind each operation from `from` on, `rounds` times, and hands what is left to `then`.
fn crash_everywhere(
    disk: &LyingDisk,
    from: usize,
    rounds: u64,
    dice: &mut Dice,
    mut then: impl FnMut(&LyingDisk, usize, &mut Dice),
) {
    let mut history = disk.history();
    loop {
        if history.position() >= from {
            then(&history.crash(Survival::Nothing), history.position(), dice);
            then(&history.crash(Survival::Everything), history.position(), dice);
            for _ in 0..rounds {
                then(&history.crash(Survival::Seeded(dice.roll())), history.position(), dice);
            }
        }
        if history.step().is_none() {
            break;
        }
    }
}

fn check(seed: u64, steps: usize) {
    let mut dice = Dice::new(seed);
    let disk = disk();
    disk.forget_history();
    let mut wal = create(&disk, small(SEGMENT_BYTES));
    let mut ledger = Ledger::begin(State::default(), disk.operations());
    ledger.live(&disk, &mut wal, &mut dice, steps);
    drop(wal);

    crash_everywhere(&disk, 0, 3, &mut dice, |after, operations, dice| {
        let recovered = recover(after, &ledger, operations);
        let recovered = recovered.unwrap_or_else(|error| panic!("seed {seed}, operation {operations}: {error}"));
        let Some((mut wal, state)) = recovered else {
            create(after, small(SEGMENT_BYTES)); // begins again
            return;
        };
        // A crash during recovery, and behind it, loses nothing more.
        let opened = after.operations();
        let place = |second| format!("seed {seed}, operation {operations}, then {second}");
        crash_everywhere(after, 0, 1, dice, |again, second, _| {
            let found = recover(again, &ledger, operations);
            let (_, found) = found.unwrap_or_else(|error| panic!("{}: {error}", place(second))).expect("a log");
            assert!(second < opened || found == state, "{}: {found:?} is not {state:?}", place(second));
        });
        if !dice.once_in(4) {
            return;
        }
        // What was recovered can be lived with.
        let mut next = Ledger::begin(state, opened);
        next.live(after, &mut wal, dice, 4);
        drop(wal);
        crash_everywhere(after, opened, 2, dice, |again, second, _| {
            recover(again, &next, second).unwrap_or_else(|error| panic!("{}: {error}", place(second)));
        });
    });
}

#[test]
fn a_crash_loses_nothing_that_was_synced_and_invents_nothing() {
    for seed in seeds(2) {
        check(seed, 30);
    }
}

#[test]
fn what_a_killed_process_has_left_is_durable_once_opened() {
    // The process ends behind each operation, and the power goes only after the next one has opened the log: what that
    // one was told must be there, though it wrote none of it, and what it writes itself.
    let last = {
        let disk = disk();
        let mut wal = create(&disk, small(400));
        (1..=12).for_each(|index| save(&mut wal, index));
        disk.operations()
    };
    for stop in 0..last {
        let disk = disk();
        disk.stop_at(stop);
        let created = Wal::create(disk.clone(), dir(), metadata(), small(400));
        if let Ok(mut wal) = created {
            (1..=12).try_for_each(|index| wal.save(None, &[entry(1, index, "data")]).and_then(|_| wal.sync())).ok();
        }
        disk.resume();
        let Ok((mut wal, mut replay)) = open(&disk, 0) else {
            assert!(!exists(&disk, dir()).unwrap(), "stopped at {stop}");
            continue;
        };
        let reopen = |disk: &LyingDisk| {
            let (_, replay) = open(disk, 0).unwrap_or_else(|error| panic!("stopped at {stop}: {error}"));
            replay.entries
        };
        assert_eq!(reopen(&disk.crash(Survival::Nothing)), replay.entries, "stopped at {stop}");
        replay.entries.push(entry(1, replay.entries.len() as u64 + 1, "next"));
        wal.save(None, &replay.entries[replay.entries.len() - 1..]).unwrap();
        wal.sync().unwrap();
        drop(wal);
        assert_eq!(reopen(&disk.crash(Survival::Nothing)), replay.entries, "stopped at {stop}");
    }
}

#[test]
fn an_unsynced_end_of_many_sectors_is_torn_or_whole() {
    for seed in seeds(200) {
        let disk = disk();
        let mut wal = create(&disk, small(1 << 16));
        save(&mut wal, 1);
        let large = "x".repeat(3000);
        wal.save(Some(&state(1, 1)), &[entry(1, 2, &large), entry(1, 3, &large), entry(1, 4, "")]).unwrap();
        drop(wal);
        let after = disk.crash(Survival::Seeded(seed));
        let (_, replay) = open(&after, 0).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let whole = [entry(1, 1, "data"), entry(1, 2, &large), entry(1, 3, &large), entry(1, 4, "")];
        assert_eq!(replay.entries, whole[..replay.entries.len()], "seed {seed}");
        assert!(!replay.entries.is_empty(), "seed {seed}");
    }
}
