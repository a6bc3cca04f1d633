//! One thing damaged in a stopped store: it is refused with its place, or no harm was done.

use super::*;
use crate::ReadError;
use crate::vfs::lying::Survival;

/// Seeds whose stores have every kind of file.
fn seeds() -> impl Iterator<Item = u64> {
    let has_all = |seed: &u64| {
        let files = files(&stopped(*seed).1);
        ["MANIFEST", ".seg", ".rows", ".dead"].iter().all(|kind| files.iter().any(|(name, _)| name.ends_with(kind)))
    };
    (0..100).filter(has_all).take(3)
}

/// A store with entries behind the last sync.
fn stopped(seed: u64) -> (Model, LyingDisk, Promise) {
    let model = Model::new(seed, 120);
    let disk = disk();
    let mut run = Run::new(&model, &disk, create(&disk, SMALL).unwrap());
    run.anything(&mut Dice::new(seed));
    run.store.dump().unwrap();
    let promise = Promise { operations: 1, durable: run.durable(), may_be_dead: run.dead.clone() };
    drop(run);
    // Opening it once removes what is no part of it.
    drop(open(&disk, promise.durable).unwrap());
    (model, disk.copy(), promise)
}

/// Opens the damaged store; true if it was refused.
fn check(model: &Model, disk: &LyingDisk, promise: &Promise, file: &str) -> bool {
    match open(disk, promise.durable) {
        Ok((store, opened)) => {
            assert!(opened.applied >= promise.durable);
            model.check(&opened, &promise.may_be_dead);
            drop(store);
            false
        }
        Err(error @ (StoreError::Damaged { .. } | StoreError::Missing { .. })) => {
            assert!(error.to_string().contains(file), "{error}");
            true
        }
        Err(error) => panic!("{error}"),
    }
}

fn files(disk: &LyingDisk) -> Vec<(String, u64)> {
    let names = disk.read_dir(Path::new(DIR)).unwrap().into_iter().filter(|name| name != "LOCK");
    names.map(|name| (name.clone(), disk.read(&Path::new(DIR).join(&name)).unwrap().len() as u64)).collect()
}

/// Does harm to a copy of each file at each place in turn.
fn each(step: u64, mut harm: impl FnMut(&LyingDisk, &Path, u64, u64, u64)) {
    let (mut done, mut refused) = (0, 0);
    for seed in seeds() {
        let (model, disk, promise) = stopped(seed);
        for (name, length) in files(&disk) {
            for place in (0..length).step_by(step as usize) {
                let disk = disk.copy();
                harm(&disk, &Path::new(DIR).join(&name), place, length, seed);
                done += 1;
                refused += check(&model, &disk, &promise, &name) as u32;
            }
        }
    }
    assert!(done > 1000 && refused > done / 4, "{refused} of {done} refused");
}

#[test]
fn a_flipped_bit() {
    let mut dice = Dice::new(1);
    each(3, |disk, path, place, _, _| disk.flip(path, place, dice.below(8) as u8));
}

#[test]
fn a_tail_cut_off() {
    each(17, |disk, path, place, _, _| disk.open(path, Mode::ReadWrite).unwrap().set_len(place).unwrap());
}

#[test]
fn a_stretch_of_zeros() {
    each(13, |disk, path, place, length, seed| {
        let zeros = vec![0; (length - place).min(1 + 200 * seed) as usize];
        disk.open(path, Mode::ReadWrite).unwrap().write_at(&zeros, place).unwrap();
    });
}

#[test]
fn a_file_that_is_gone() {
    for seed in seeds() {
        let (model, disk, promise) = stopped(seed);
        for (name, _) in files(&disk) {
            let disk = disk.copy();
            disk.remove_file(&Path::new(DIR).join(&name)).unwrap();
            let file = if name == "MANIFEST" { "no store here" } else { &name };
            assert!(check(&model, &disk, &promise, file), "{name}");
        }
    }
}

#[test]
fn one_segment_in_the_place_of_another() {
    let (model, disk, promise) = stopped(0);
    let segments: Vec<_> = files(&disk).into_iter().filter(|(name, _)| name.ends_with(".seg")).collect();
    assert!(segments.len() > 2);
    for (one, _) in &segments {
        for (other, _) in segments.iter().filter(|(other, _)| other != one) {
            let disk = disk.copy();
            disk.rename(&Path::new(DIR).join(one), &Path::new(DIR).join(other)).unwrap();
            assert!(check(&model, &disk, &promise, ".seg"), "{one} as {other}");
        }
    }
}

#[test]
fn a_rewritten_segment_cut_between_its_frames() {
    let disk = disk();
    let (mut store, mut opened) = create(&disk, Options { segment_bytes: 2 << 20, ..SMALL }).unwrap();
    for index in 1..=800 {
        let records = vec![Record::new(Revision { main: index + 1, sub: 0 }, false, vec![index as u8; 2000].into())];
        opened.window.append(Effect { index: Index(index), term: Term(1), records, rows: Vec::new() });
    }
    while store.write(100_000).unwrap().effects > 0 {}
    let dead: Vec<_> = (2..=801).step_by(2).map(|main| Revision { main, sub: 0 }).collect();
    store.trim(&dead);
    store.defragment().unwrap();
    while store.clean(u64::MAX).unwrap() == Cleaned::Step {}
    store.sync().unwrap();
    let sealed = &store.segments.sealed[0].segment;
    let (path, data) = (Path::new(DIR).join(&sealed.name), sealed.data.clone());
    drop((store, opened));
    let mut end = HEADER_BYTES as u64;
    let mut borders = Vec::new();
    while let Ok(frame) = frame::Frame::read(&data, end) {
        assert!(frame.is_rewritten());
        borders.push(end);
        end = frame.end();
    }
    assert!(borders.len() > 2, "{borders:?}");
    for border in borders {
        let disk = disk.copy();
        disk.open(&path, Mode::ReadWrite).unwrap().set_len(border).unwrap();
        let error = open(&disk, Index(800)).unwrap_err();
        assert!(matches!(&error, StoreError::Damaged { file, .. } if *file == path), "{error}");
    }
    open(&disk, Index(800)).unwrap();
}

#[test]
fn a_read_behind_the_opening_is_checked_too() {
    let model = Model::new(2, 20);
    let disk = disk();
    let big = Options { segment_bytes: 1 << 20, ..SMALL };
    let mut run = Run::new(&model, &disk, create(&disk, big).unwrap());
    run.append(20);
    run.write_all();
    drop(run);
    let (store, opened) = open(&disk, Index(20)).unwrap();
    let path = Path::new(DIR).join(segment_name(1));
    let length = store.segments.tail.position;
    let mut refused = BTreeSet::new();
    for place in 0..length {
        disk.flip(&path, place, 3);
        for (revision, record) in model.records(Index(20)) {
            match opened.revisions.get(revision) {
                Ok(found) => assert_eq!(&found.unwrap()[..], record.key_value),
                Err(ReadError::Damaged { file, offset, revision: at }) => {
                    assert_eq!((file, at), (segment_name(1), revision));
                    assert!((offset..offset + record.key_value.len() as u64).contains(&place));
                    refused.insert(revision);
                }
                Err(error) => panic!("{error}"),
            }
            let found = opened.revisions.scan(revision, u64::MAX).next().unwrap();
            assert!(found.is_err() || found.is_ok_and(|found| found.key_value[..] == record.key_value));
        }
        disk.flip(&path, place, 3);
    }
    let with_value = model.records(Index(20)).into_iter().filter(|(_, record)| !record.key_value.is_empty());
    assert!(refused.into_iter().eq(with_value.map(|(revision, _)| revision)));
}

#[test]
fn a_newer_format_is_not_damage() {
    let (_, disk, promise) = stopped(seeds().next().expect("a store of all kinds of files"));
    for (name, _) in files(&disk) {
        let disk = disk.crash(Survival::Everything);
        let path = Path::new(DIR).join(&name);
        let mut head = disk.read(&path).unwrap()[..HEADER_BYTES].to_vec();
        head[8] += 1;
        let crc = format_crc(&head);
        head[12..16].copy_from_slice(&crc);
        disk.open(&path, Mode::ReadWrite).unwrap().write_at(&head, 0).unwrap();
        let error = open(&disk, promise.durable).unwrap_err();
        let expected = format!(
            "/member/store/{name}: written by a newer version (format {}): start that version, or a newer one",
            head[8]
        );
        assert_eq!(error.to_string(), expected);
    }
}

fn format_crc(head: &[u8]) -> [u8; 4] {
    crc32c::crc32c_append(crc32c::crc32c(&head[..12]), &head[16..]).to_le_bytes()
}
