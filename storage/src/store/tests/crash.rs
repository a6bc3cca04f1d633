//! Power cuts behind every operation, and again during recovery.

use super::*;
use crate::vfs::lying::Survival;

/// What was promised when so many operations were done.
fn promised(promises: &[Promise], operations: usize) -> Promise {
    let known = promises.partition_point(|promise| promise.operations <= operations);
    known.checked_sub(1).map(|last| promises[last].clone()).unwrap_or_default()
}

/// The store on a disk after a crash keeps what was promised; `None` if it did not exist yet.
fn check(model: &Model, disk: &LyingDisk, promise: &Promise) -> Option<(Store<LyingDisk>, Opened)> {
    let (store, opened) = match open(disk, promise.durable) {
        Err(StoreError::Missing { .. }) if promise.operations == 0 => return None,
        result => result.unwrap_or_else(|error| panic!("{error}")),
    };
    assert!(opened.applied >= promise.durable, "{} of {} are left", opened.applied, promise.durable);
    model.check(&opened, &promise.may_be_dead);
    Some((store, opened))
}

/// The store that recovered goes on as if nothing had happened.
fn go_on(model: &Model, disk: &LyingDisk, recovered: (Store<LyingDisk>, Opened), dice: &mut Dice) {
    let mut run = Run::new(model, disk, recovered);
    // Who loads it tells it at once what is dead.
    run.trim();
    run.anything(dice);
    run.sync();
    let promise = run.promises.pop().unwrap();
    drop(run);
    let (_, opened) = check(model, &disk.crash(Survival::Nothing), &promise).unwrap();
    assert_eq!(opened.applied, promise.durable);
}

fn survivals(dice: &mut Dice) -> [Survival; 5] {
    let [a, b, c] = [(); 3].map(|()| Survival::Seeded(dice.roll()));
    [Survival::Nothing, Survival::Everything, a, b, c]
}

#[test]
fn a_crash_anywhere_leaves_a_prefix_of_whole_effects() {
    let mut crashes = 0;
    for seed in 0..3 {
        let model = Model::new(seed, 60);
        let disk = disk();
        let mut dice = Dice::new(seed);
        let mut run = Run::new(&model, &disk, create(&disk, SMALL).unwrap());
        run.promise(Index(0));
        run.anything(&mut dice);
        run.sync();
        let promises = run.promises.clone();
        drop(run);

        let mut history = disk.history();
        while history.step().is_some() {
            let promise = promised(&promises, history.position());
            for survival in survivals(&mut dice) {
                let context = format!("seed {seed}, after operation {}, {survival:?}", history.position());
                let _context = Context(&context);
                let after = history.crash(survival);
                crashes += 1;
                let Some(recovered) = check(&model, &after, &promise) else {
                    // The first start never ended: the second makes the store.
                    drop(create(&after, SMALL).unwrap());
                    continue;
                };
                if dice.once_in(4) {
                    // What was cut off is gone for good: the next start finds nothing wrong.
                    let (_, again) = check(&model, &after.crash(Survival::Nothing), &promise).unwrap();
                    assert_eq!(again.warnings, [""; 0]);
                }
                if dice.once_in(8) {
                    crash_again(&model, &after, &promise, &mut dice);
                }
                if dice.once_in(8) {
                    go_on(&model, &after, recovered, &mut dice);
                }
            }
        }
    }
    assert!(crashes > 2_000, "{crashes} crashes");
}

/// Recovery has just been done on this disk: crash behind each of its operations, and recover from that.
fn crash_again(model: &Model, disk: &LyingDisk, promise: &Promise, dice: &mut Dice) {
    let mut history = disk.history();
    while history.step().is_some() {
        for survival in survivals(dice) {
            check(model, &history.crash(survival), promise).expect("there was a store before");
        }
    }
}

#[test]
fn a_crash_while_a_store_is_made_leaves_none_or_one() {
    let disk = disk();
    drop(create(&disk, SMALL).unwrap());
    let model = Model::new(0, 20);
    let mut dice = Dice::new(5);
    let mut history = disk.history();
    while history.step().is_some() {
        for survival in (0..40).map(Survival::Seeded) {
            let after = history.crash(survival);
            after.create_dir_all(Path::new("/member")).unwrap();
            after.sync_dir(Path::new("/")).unwrap();
            let made = match open(&after, Index(0)) {
                Err(StoreError::Missing { .. }) => create(&after, SMALL),
                result => result,
            };
            go_on(&model, &after, made.unwrap(), &mut dice);
        }
    }
}

#[test]
fn what_the_log_vouches_for_is_never_cut_off() {
    let model = Model::new(4, 40);
    let disk = disk();
    let mut run = Run::new(&model, &disk, create(&disk, SMALL).unwrap());
    run.append(40);
    run.write_all();
    drop(run);
    // Nothing was synced at the end: the disk has lost it, though the log says otherwise.
    let after = disk.crash(Survival::Nothing);
    let error = open(&after, Index(40)).unwrap_err().to_string();
    assert!(
        error.contains(".seg: damaged at offset ") && error.contains("entries up to 40 were made durable"),
        "{error}"
    );
    let (_, opened) = open(&after, Index(0)).unwrap();
    assert!(opened.applied < Index(40));
}

/// Says where it happened when a check fails.
struct Context<'a>(&'a str);

impl Drop for Context<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.0);
        }
    }
}

/// Works until something fails; what is promised by then is kept in `promise`.
fn work(
    model: &Model,
    (mut store, mut opened): (Store<LyingDisk>, Opened),
    promise: &mut Promise,
    dice: &mut Dice,
) -> Result<(), StoreError> {
    let mut next = store.applied().0 as usize;
    // Who loads it tells it at once what is dead.
    let mut dead = model.dead(store.applied());
    store.trim(&dead.iter().copied().collect::<Vec<_>>());
    while store.applied().0 < model.effects.len() as u64 {
        match dice.below(12) {
            0..=3 => {
                let end = model.effects.len().min(next + 1 + dice.below(6) as usize);
                model.effects[next..end].iter().for_each(|effect| opened.window.append(effect.clone()));
                opened.window.publish();
                next = end;
            }
            4..=7 => _ = store.write(1 + dice.below(600))?,
            8 => promise.durable = store.sync()?,
            9 => {
                dead = model.dead(store.applied());
                promise.may_be_dead.extend(&dead);
                store.trim(&dead.iter().copied().collect::<Vec<_>>());
            }
            10 => _ = store.dump_if_due()?,
            _ => _ = store.clean(dice.below(800))?,
        }
    }
    Ok(())
}

/// A process has ended, and what it wrote is seen by the next, durable or not. That one relies on it; then the power goes.
fn check_next_life(model: &Model, disk: &LyingDisk, promise: &mut Promise, dice: &mut Dice) {
    let Some(mut recovered) = check(model, disk, promise) else { return };
    // It may say at once that all of it is durable, or go on first.
    if dice.once_in(2) {
        promise.durable = recovered.0.sync().unwrap();
        drop(recovered);
    } else {
        disk.stop_at(disk.operations() + dice.below(40) as usize);
        promise.may_be_dead.extend(model.dead(recovered.1.applied));
        work(model, recovered, promise, dice).ok();
        disk.resume();
    }
    for survival in survivals(dice) {
        check(model, &disk.crash(survival), promise).expect("there was a store before");
    }
}

#[test]
fn what_a_killed_process_has_left_is_durable_once_it_is_relied_on() {
    for seed in 0..3 {
        let model = Model::new(seed, 60);
        let operations = {
            let disk = disk();
            let made = create(&disk, SMALL).unwrap();
            work(&model, made, &mut Promise::default(), &mut Dice::new(seed)).unwrap();
            disk.operations()
        };
        for stop in 0..operations {
            let context = format!("seed {seed}, killed behind operation {stop}");
            let _context = Context(&context);
            let (disk, mut promise) = (disk(), Promise::default());
            disk.stop_at(disk.operations() + stop);
            if let Ok(made) = create(&disk, SMALL) {
                promise.operations = 1;
                work(&model, made, &mut promise, &mut Dice::new(seed)).ok();
            }
            disk.resume();
            check_next_life(&model, &disk, &mut promise, &mut Dice::new(stop as u64));
        }
    }
}

#[test]
fn what_a_failed_sync_has_left_is_not_believed() {
    let mut failed = 0;
    for seed in 0..150 {
        let context = format!("seed {seed}");
        let _context = Context(&context);
        let model = Model::new(seed, 60);
        let (disk, mut promise, mut dice) = (disk(), Promise::default(), Dice::new(seed));
        let made = create(&disk, SMALL).unwrap();
        promise.operations = 1;
        disk.fail_sync_after(dice.below(12), dice.roll());
        failed += work(&model, made, &mut promise, &mut dice).is_err() as u32;
        disk.mend();
        check_next_life(&model, &disk, &mut promise, &mut dice);
    }
    assert!(failed > 75, "{failed}");
}
