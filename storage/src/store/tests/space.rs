//! Space: what is dead is given back, and a full disk loses nothing.

use super::*;
use crate::vfs::lying::Survival;

fn clean_all(store: &mut Store<LyingDisk>) {
    while store.clean(500).unwrap() == Cleaned::Step {}
}

fn file_bytes(disk: &LyingDisk) -> u64 {
    let dir = Path::new(DIR);
    disk.read_dir(dir).unwrap().iter().map(|name| disk.read(&dir.join(name)).unwrap().len() as u64).sum()
}

#[test]
fn files_stay_near_what_is_alive() {
    let model = Model::new(11, 3000);
    let disk = disk();
    let mut run = Run::new(&model, &disk, create(&disk, SMALL).unwrap());
    for _ in 0..30 {
        run.append(100);
        run.write_all();
        run.trim();
        clean_all(&mut run.store);
        let Sizes { bytes_written, bytes_alive } = run.store.sizes();
        // The tail is not cleaned, nor is what is hardly worth it.
        assert!(bytes_written < bytes_alive * 14 / 10 + 3 * SMALL.segment_bytes, "{bytes_written} for {bytes_alive}");
        assert!(file_bytes(&disk) < bytes_written + 4 * SMALL.segment_bytes);
    }
    run.check();
    run.sync();
    let (dead, segments) = (run.dead.clone(), run.store.segments.sealed.len());
    assert!(segments < 30, "{segments} segments are left");
    drop(run);
    let (_, opened) = open(&disk, Index(3000)).unwrap();
    model.check(&opened, &dead);
}

#[test]
fn a_reader_keeps_the_files_it_holds() {
    let model = Model::new(12, 400);
    let disk = disk();
    let mut run = Run::new(&model, &disk, create(&disk, SMALL).unwrap());
    run.append(400);
    run.write_all();
    let mut scan = run.opened.revisions.scan(Revision::default(), u64::MAX);
    let held: Vec<_> = scan.by_ref().take(50).map(Result::unwrap).collect();
    run.trim();
    run.store.defragment().unwrap();
    clean_all(&mut run.store);
    let records = model.records(Index(400));
    let rest: Vec<_> = scan.map(Result::unwrap).collect();
    assert_eq!(held.len() + rest.len(), records.len());
    for found in held.iter().chain(&rest) {
        assert_eq!(found.key_value[..], records[&found.revision].key_value);
    }
    let left = run.opened.revisions.scan(Revision::default(), u64::MAX).count();
    assert!(left < records.len() / 2, "{left} of {}", records.len());
}

#[test]
fn defragmenting_gives_back_all_that_is_dead() {
    let model = Model::new(13, 500);
    let disk = disk();
    let mut run = Run::new(&model, &disk, create(&disk, SMALL).unwrap());
    run.append(500);
    run.write_all();
    run.trim();
    run.store.defragment().unwrap();
    clean_all(&mut run.store);
    let alive = model.records(Index(500)).len() - run.dead.len();
    let left = run.opened.revisions.scan(Revision::default(), u64::MAX).count();
    assert!(left <= alive + alive / 4, "{left} for {alive}");
    run.check();
}

#[test]
fn what_has_gone_cannot_come_alive_again() {
    let model = Model::new(15, 400);
    let disk = disk();
    let mut run = Run::new(&model, &disk, create(&disk, SMALL).unwrap());
    run.append(399);
    run.write_all();
    run.trim();
    clean_all(&mut run.store);
    assert_eq!(run.store.manifest.cleaned_at, Index(399));
    run.append(1);
    run.write_all();
    let (tail, before) = (run.store.segments.tail.id, run.store.segments.tail.position);
    drop(run);
    let after = disk.crash(Survival::Nothing);
    let (store, opened) = open(&after, Index(0)).unwrap();
    assert_eq!(opened.applied, Index(399), "the entries that made others dead are there");
    drop(store);
    // Nor is it excused when they cannot be read.
    let path = Path::new(DIR).join(segment_name(tail));
    let used = disk.read(&path).unwrap()[..before as usize].iter().rposition(|byte| *byte != 0).unwrap();
    for place in HEADER_BYTES..=used {
        let disk = disk.copy();
        disk.flip(&path, place as u64, 1);
        match open(&disk, Index(0)) {
            Ok((_, opened)) => assert!(opened.applied >= Index(399), "{} at {place}", opened.applied),
            Err(error) => assert!(error.to_string().contains(&segment_name(tail)), "{error}"),
        }
    }
}

#[test]
fn what_dies_during_a_copy_is_dead_in_it() {
    let model = Model::new(14, 300);
    let disk = disk();
    let mut run = Run::new(&model, &disk, create(&disk, SMALL).unwrap());
    run.append(200);
    run.write_all();
    run.trim();
    run.store.defragment().unwrap();
    let mut dice = Dice::new(1);
    while run.store.clean(1 + dice.below(100)).unwrap() == Cleaned::Step {
        run.append(1);
        run.write_all();
        run.trim();
        run.check();
    }
    // Opening counts anew, and the index tells what is dead: both must come to the same.
    run.append(300);
    run.write_all();
    run.trim();
    run.sync();
    let (dead, sizes) = (run.dead.clone(), run.store.sizes());
    drop(run);
    let (mut store, _opened) = open(&disk, Index(300)).unwrap();
    store.trim(&dead.into_iter().collect::<Vec<_>>());
    assert_eq!(store.sizes(), sizes);
}

#[test]
fn what_dies_in_the_window_is_dead_once_it_is_written() {
    let model = Model::new(16, 200);
    let disk = disk();
    let mut run = Run::new(&model, &disk, create(&disk, SMALL).unwrap());
    run.append(200);
    run.store.write(2000).unwrap();
    let dead: Vec<_> = model.dead(Index(200)).into_iter().collect();
    run.store.trim(&dead);
    run.write_all();
    let sizes = run.store.sizes();
    run.store.trim(&dead);
    assert_eq!(run.store.sizes(), sizes, "all were marked");
    let alive = model.records(Index(200)).into_values().filter(|record| !dead.contains(&record.revision));
    let alive: usize = alive.map(|record| frame::record_bytes(record.key_value.len())).sum();
    assert_eq!(sizes.bytes_alive, alive as u64 + run.store.rows.alive_bytes);
}

#[test]
fn a_full_disk_is_reported_before_it_hurts_and_loses_nothing() {
    let model = Model::new(15, 400);
    let (mut stops, mut warned) = (0, 0);
    for capacity in (20_000..100_000).step_by(1_700) {
        let disk = disk();
        let mut run = Run::new(&model, &disk, create(&disk, Options { segment_bytes: 8192, ..SMALL }).unwrap());
        disk.set_capacity(capacity);
        run.append(400);
        let mut was_short = false;
        let stopped = loop {
            match run.store.write(200) {
                Ok(written) => was_short |= written.space == Space::Short,
                Err(StoreError::Full { .. }) => break true,
                Err(error) => panic!("{error}"),
            }
            if run.store.applied() == Index(400) {
                break false;
            }
            run.store.dump_if_due().unwrap();
        };
        stops += stopped as u32;
        warned += (stopped && was_short) as u32;
        // It can be asked again, and what is written can be made durable and be read.
        let written = run.store.applied();
        assert!(!stopped || matches!(run.store.write(200), Err(StoreError::Full { .. })));
        run.sync();
        run.trim();
        assert_ne!(run.store.clean(u64::MAX).unwrap(), Cleaned::Nothing);
        run.check();
        let reopened = open(&disk.copy(), written).unwrap().1;
        assert_eq!(reopened.applied, written);
        model.check(&reopened, &run.dead);
        // With space it goes on.
        disk.remove_capacity();
        run.write_all();
        clean_all(&mut run.store);
        run.check();
    }
    // Without a warning it may only be a frame that no reserved segment would hold.
    assert!(stops > 20 && warned > stops * 2 / 3, "{warned} of {stops} were warned of");
}

#[test]
fn a_tail_whose_space_was_lost_waits_for_space() {
    let disk = disk();
    drop(create(&disk, SMALL).unwrap());
    let copy = disk.copy();
    let path = Path::new(DIR).join(segment_name(1));
    copy.open(&path, Mode::ReadWrite).unwrap().set_len(100).unwrap();
    copy.set_capacity(0);
    let (mut store, mut opened) = open(&copy, Index(0)).unwrap();
    opened.window.append(Effect { index: Index(1), ..Effect::default() });
    assert!(matches!(store.write(1), Err(StoreError::Full { .. })));
    copy.remove_capacity();
    assert_eq!(store.write(1).unwrap().effects, 1);
}

#[test]
fn what_is_appended_is_counted_at_once_and_only_once() {
    let disk = disk();
    let (mut store, mut opened) = create(&disk, SMALL).unwrap();
    let shared = store.shared_sizes();
    let append = |opened: &mut Opened, index: u64| {
        let records = vec![Record::new(Revision { main: index + 1, sub: 0 }, false, vec![7; 900].into())];
        let row = RowChange { table: Table::Meta, key: index.to_string().into(), value: Some("x".into()) };
        opened.window.append(Effect { index: Index(index), term: Term(1), records, rows: vec![row] });
    };
    // Alive bytes are exact: nothing dies here.
    let each = (frame::record_bytes(900) + frame::row_bytes(1, 1)) as u64;
    for index in 1..=8 {
        append(&mut opened, index);
        assert_eq!(shared.get().bytes_alive, index * each);
        assert!(shared.get().bytes_written >= shared.get().bytes_alive);
        if index % 3 == 0 {
            store.write(1).unwrap();
            assert_eq!(shared.get().bytes_alive, index * each, "some of it is in the files, some is not");
        }
    }
    while store.write(u64::MAX).unwrap().effects > 0 {}
    assert_eq!(shared.get(), store.sizes());

    // A store that takes its place goes on with the same sizes, and counts what comes by its own window.
    let other = Path::new("/member/other");
    let (mut received, mut opened) = Store::create(disk, other, IDENTITY, SMALL).unwrap();
    append(&mut opened, 1);
    received.take_the_place_of(&mut store).unwrap();
    assert_eq!(shared.get().bytes_alive, each);
    append(&mut opened, 2);
    assert_eq!(shared.get().bytes_alive, 2 * each);
    while received.write(u64::MAX).unwrap().effects > 0 {}
    assert_eq!(shared.get(), received.sizes());
}
