//! Databases that are made of a store, and stores that are made of a database.

use super::*;
use crate::bbolt::Database;
use crate::store::export::{CONSISTENT_INDEX, RECORDS, TERM};
use crate::vfs::lying::Survival;
use crate::vfs::{File, Mode, Vfs};

const DATABASE: &str = "/db";
const NEW: &str = "/member/store.new";

/// The whole database, and whether its length was what was said.
fn write(mut export: Export) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(piece) = export.next_piece().unwrap() {
        bytes.extend(piece);
    }
    assert_eq!(bytes.len() as u64, export.bytes());
    assert!(export.next_piece().unwrap().is_none());
    bytes
}

/// Laid out in small steps.
fn complete(snapshot: StoreSnapshot) -> Export {
    let mut plan = Plan::new(snapshot);
    while !plan.step(3) {}
    plan.finish()
}

fn put(disk: &LyingDisk, bytes: &[u8]) {
    let file = disk.open(Path::new(DATABASE), Mode::Create).unwrap();
    file.set_len(0).unwrap();
    file.write_at(bytes, 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
}

/// What a database has to hold after an entry, with these revisions dead.
fn check_database(bytes: &[u8], model: &Model, applied: Index, dead: &BTreeSet<Revision>) {
    let disk = LyingDisk::new();
    put(&disk, bytes);
    let database = Database::open(&disk, Path::new(DATABASE)).unwrap();
    let records = model.records(applied);
    let expected = records.iter().filter(|(revision, _)| !dead.contains(revision));
    let expected = expected.map(|(revision, record)| {
        let key = revision.encode(record.tombstone);
        (Bytes::copy_from_slice(key.as_ref()), record.key_value.clone())
    });
    assert!(database.pairs(RECORDS).unwrap().map(Result::unwrap).eq(expected));
    let mut rows = model.rows(applied);
    let term = model.effects[applied.0 as usize - 1].term;
    for (key, number) in [(CONSISTENT_INDEX, applied.0), (TERM, term.0)] {
        rows.push((Table::Meta, Bytes::from_static(key), Bytes::copy_from_slice(&number.to_be_bytes())));
    }
    rows.sort();
    for table in Table::ALL {
        let expected = rows.iter().filter(|(of, ..)| *of == table).map(|(_, key, value)| (key.clone(), value.clone()));
        assert!(database.pairs(table.name()).unwrap().map(Result::unwrap).eq(expected), "{}", table.name());
    }
}

fn import(disk: &LyingDisk) -> Result<Imported, ImportError> {
    Store::import(disk, Path::new(DATABASE), Path::new(NEW), IDENTITY, SMALL)
}

/// The same while it arrives.
fn import_arriving(disk: &LyingDisk) -> Result<Imported, ImportError> {
    let bytes = disk.read(Path::new(DATABASE)).unwrap();
    let database = Database::open(disk, Path::new(DATABASE)).unwrap();
    let said = |name: &[u8]| {
        let mut rows = database.pairs("meta").unwrap().map(Result::unwrap);
        rows.find(|(key, _)| key == name).map_or(0, |(_, value)| u64::from_be_bytes(value[..].try_into().unwrap()))
    };
    let expected = Imported { applied: Index(said(CONSISTENT_INDEX)), term: Term(said(TERM)) };
    let import = Import::begin(disk, &bytes[..4096], Path::new(NEW), expected, IDENTITY, SMALL)?;
    let mut import = import.expect("it stands in order");
    for piece in bytes.chunks(3000) {
        import.take(piece)?;
    }
    import.finish()
}

type Way = fn(&LyingDisk) -> Result<Imported, ImportError>;

/// Both ways to make a store of a database.
const WAYS: [Way; 2] = [import, import_arriving];

fn open_new(disk: &LyingDisk, whole_up_to: Index) -> Opening {
    Store::open(disk.clone(), Path::new(NEW), IDENTITY, whole_up_to, SMALL)
}

/// A database of so many entries, and what is dead in it.
fn database(model: &Model, entries: u64) -> (Vec<u8>, BTreeSet<Revision>) {
    let disk = disk();
    let mut run = Run::new(model, &disk, create(&disk, SMALL).unwrap());
    run.append(entries);
    run.write_all();
    run.trim();
    (write(complete(run.store.cut())), run.dead.clone())
}

#[test]
fn a_database_holds_what_was_alive_when_it_was_cut() {
    for seed in 0..12 {
        let model = Model::new(seed, 300);
        let disk = disk();
        let mut run = Run::new(&model, &disk, create(&disk, SMALL).unwrap());
        let mut dice = Dice::new(seed);
        let mut cuts = Vec::new();
        while run.store.applied().0 < 300 {
            match dice.below(12) {
                0..=4 => run.append(1 + dice.below(9)),
                5..=7 => _ = run.store.write(1 + dice.below(900)).unwrap(),
                8 => run.trim(),
                9 => run.store.defragment().unwrap(),
                10 => _ = run.store.clean(dice.below(2000)).unwrap(),
                _ if run.store.applied() == Index(0) || cuts.len() > 20 => {}
                _ => cuts.push((Some(run.store.cut()), run.store.applied(), run.dead.clone())),
            }
            // One that was begun earlier goes on as if nothing had happened since.
            if dice.once_in(9) && !cuts.is_empty() {
                let (cut, applied, dead) = cuts.swap_remove(dice.below(cuts.len() as u64) as usize);
                let bytes = write(complete(cut.unwrap()));
                check_database(&bytes, &model, applied, &dead);
            }
        }
        drop(run);
        for (cut, applied, dead) in cuts {
            check_database(&write(complete(cut.unwrap())), &model, applied, &dead);
        }
    }
}

#[test]
fn an_empty_store_has_a_database() {
    let disk = disk();
    let (store, _) = create(&disk, SMALL).unwrap();
    put(&disk, &write(complete(store.cut())));
    let error = import(&disk).unwrap_err();
    assert!(matches!(error, ImportError::NoIndex { .. }), "{error}");
}

#[test]
fn a_store_made_of_a_database_goes_on_like_the_one_it_came_from() {
    for (seed, import) in (0..12).flat_map(|seed| WAYS.map(|way| (seed, way))) {
        let model = Model::new(seed, 400);
        let entries = [1, 7, 100, 250, 300, 350][seed as usize % 6];
        let (bytes, dead) = database(&model, entries);
        let disk = disk();
        put(&disk, &bytes);
        let term = model.effects[entries as usize - 1].term;
        assert_eq!(import(&disk).unwrap(), Imported { applied: Index(entries), term });
        let (store, opened) = open_new(&disk, Index(entries)).unwrap();
        assert_eq!((opened.applied, &opened.warnings[..]), (Index(entries), &[][..]));
        model.check(&opened, &dead);
        // Byte for byte, there and back.
        assert!(write(complete(store.cut())) == bytes);

        let mut run = Run::new(&model, &disk, (store, opened));
        run.dead = dead;
        run.promise(Index(entries));
        run.anything(&mut Dice::new(seed));
        run.sync();
        let dead = run.dead.clone();
        drop(run);
        let (_, opened) = open_new(&disk, Index(400)).unwrap();
        model.check(&opened, &dead);
    }
}

#[test]
fn a_crash_leaves_a_whole_store_or_none() {
    WAYS.into_iter().for_each(check_crashes);
}

fn check_crashes(import: Way) {
    let model = Model::new(5, 120);
    let (bytes, dead) = database(&model, 120);
    let disk = disk();
    put(&disk, &bytes);
    let begun = disk.operations();
    import(&disk).unwrap();
    let (done, mut history, mut dice) = (disk.operations(), disk.history(), Dice::new(5));
    let mut whole = 0;
    while history.step().is_some() {
        if history.position() < begun {
            continue;
        }
        for survival in [Survival::Nothing, Survival::Everything, Survival::Seeded(dice.roll())] {
            let after = history.crash(survival);
            match open_new(&after, Index(120)) {
                Ok((_, opened)) => {
                    model.check(&opened, &dead);
                    whole += 1;
                }
                Err(StoreError::Missing { .. }) => {
                    assert!(history.position() < done, "it had been made");
                    // What is there is no obstacle.
                    import(&after).unwrap();
                    model.check(&open_new(&after, Index(120)).unwrap().1, &dead);
                }
                Err(error) => panic!("after operation {}, {survival:?}: {error}", history.position()),
            }
        }
    }
    assert!(whole >= 3, "{whole}");
}

#[test]
fn what_no_etcd_can_have_written_is_refused() {
    let revision = |main, sub, tombstone| Revision { main, sub }.encode(tombstone).as_ref().to_vec();
    let check = |index: u64, keys: &[Vec<u8>], expected: &str| {
        let mut planner = crate::bbolt::Planner::default();
        let index = (CONSISTENT_INDEX, index.to_be_bytes());
        keys.iter().for_each(|key| planner.put(key, 1));
        planner.end_bucket(RECORDS);
        planner.put(index.0, 8);
        planner.end_bucket("meta");
        let mut writer = crate::bbolt::Writer::new(planner.finish());
        keys.iter().for_each(|key| writer.put(key, b"v"));
        writer.end_bucket();
        writer.put(index.0, &index.1);
        writer.end_bucket();
        writer.finish();
        let disk = disk();
        put(&disk, &writer.take());
        for import in WAYS {
            let error = import(&disk).map_err(|error| error.to_string());
            assert!(error.as_ref().err().is_none_or(|error| error.contains(expected)), "{error:?}");
            assert_eq!(error.is_ok(), expected.is_empty(), "{error:?}");
        }
    };
    check(1, &[revision(2, 0, false), revision(2, 1, true)], "");
    check(0, &[], "it does not say up to which entry");
    check(u64::MAX, &[], "it does not say up to which entry");
    check(1, &[revision(2, 0, false), revision(2, 0, true)], "the revision is there twice");
    check(1, &[revision(1 << 63, 0, false)], "the key is no revision");
    check(1, &[revision(2, 1 << 32, false)], "the key is no revision");
    check(1, &[b"short".to_vec()], "bucket key, key b\"short\": the key is no revision");
    check(1, &[[revision(2, 0, false), b"x".to_vec()].concat()], "the key is no revision");
}

#[test]
fn what_could_not_be_written_out_is_no_store() {
    WAYS.into_iter().for_each(check_writeback);
}

fn check_writeback(import: Way) {
    let model = Model::new(6, 120);
    let (bytes, dead) = database(&model, 120);
    let disk = disk();
    put(&disk, &bytes);
    let mut failed = 0;
    loop {
        disk.fail_writeback_after(failed);
        match import(&disk) {
            Ok(_) => break,
            Err(error) => assert!(matches!(error, ImportError::Store(StoreError::Io(_))), "{error:?}"),
        }
        assert!(matches!(open_new(&disk, Index(120)), Err(StoreError::Missing { .. })));
        failed += 1;
    }
    assert!(failed >= 2, "once for the frame, and once for the segment: {failed}");
    model.check(&open_new(&disk, Index(120)).unwrap().1, &dead);
}

#[test]
fn a_disk_without_room_is_no_damage() {
    WAYS.into_iter().for_each(check_full_disk);
}

fn check_full_disk(import: Way) {
    let model = Model::new(6, 120);
    let (bytes, dead) = database(&model, 120);
    let disk = disk();
    put(&disk, &bytes);
    disk.set_capacity(bytes.len() as u64 + 1000);
    let error = import(&disk).unwrap_err();
    assert!(matches!(error, ImportError::Store(StoreError::Full { .. })), "{error}");
    assert!(matches!(open_new(&disk, Index(120)), Err(StoreError::Missing { .. })));
    disk.set_capacity(1 << 30);
    import(&disk).unwrap();
    model.check(&open_new(&disk, Index(120)).unwrap().1, &dead);
}

/// One that did not come to its end, or is not what was announced.
#[test]
fn a_database_that_stops_arriving_is_no_store() {
    let (bytes, _) = database(&Model::new(6, 120), 120);
    for length in [4096, bytes.len() / 2, bytes.len() - 1] {
        let disk = disk();
        let expected = Imported { applied: Index(120), term: Term(1) };
        let import = Import::begin(&disk, &bytes[..4096], Path::new(NEW), expected, IDENTITY, SMALL).unwrap();
        let mut import = import.unwrap();
        import.take(&bytes[..length]).unwrap();
        let error = import.finish().unwrap_err();
        assert!(error.to_string().contains("it ends here, and is not complete"), "{error}");
        assert!(matches!(open_new(&disk, Index(120)), Err(StoreError::Missing { .. })));
    }
    // Without its note it has to be in a file first.
    let disk = disk();
    let expected = Imported { applied: Index(120), term: Term(1) };
    let first = [&bytes[..80], &[0; 4016]].concat();
    assert!(Import::begin(&disk, &first, Path::new(NEW), expected, IDENTITY, SMALL).unwrap().is_none());
}
