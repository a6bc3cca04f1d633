//! The log as a whole, over the lying disk.

mod crash;
mod damage;
mod model;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use ferrite_raft::{ConfState, Entry, HardState, Index, NodeId, SnapshotMeta, Term};

use super::*;
use crate::vfs::lying::{LyingDisk, LyingFile, Survival};
use crate::vfs::{File, Lock, Mode, Vfs};

type Log = Wal<LyingDisk>;

/// An id as members have them.
const MEMBER: NodeId = NodeId(0x8e9e_05c5_2164_694d);

fn dir() -> &'static Path {
    Path::new("/member/wal")
}

fn metadata() -> Bytes {
    Metadata { node_id: MEMBER, cluster_id: 0xcdf8_181e_3277_1c3e }.encode()
}

fn small(segment_bytes: u64) -> Options {
    Options { segment_bytes }
}

/// A disk with a directory for the log.
fn disk() -> LyingDisk {
    let disk = LyingDisk::new();
    disk.create_dir_all(Path::new("/member")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    disk
}

fn create(disk: &LyingDisk, options: Options) -> Log {
    Wal::create(disk.clone(), dir(), metadata(), options).unwrap()
}

fn open(disk: &LyingDisk, start: u64) -> Result<(Log, Replay), WalError> {
    let start = Start { index: Index(start), term: Term(u64::from(start > 0)) };
    Wal::open(disk.clone(), dir(), start, Index(0), small(1000))
}

fn segments(disk: &LyingDisk) -> Vec<PathBuf> {
    let names = disk.read_dir(dir()).unwrap();
    names.iter().filter(|name| name.ends_with(".wal")).map(|name| dir().join(name)).collect()
}

fn entry(term: u64, index: u64, data: &str) -> Entry {
    Entry { term: Term(term), index: Index(index), payload: Bytes::copy_from_slice(data.as_bytes()).into() }
}

fn state(term: u64, commit: u64) -> HardState {
    HardState { term: Term(term), vote: Some(MEMBER), commit: Index(commit) }
}

fn snapshot(term: u64, index: u64) -> SnapshotMeta {
    let conf = ConfState { voters: vec![MEMBER], ..ConfState::default() };
    SnapshotMeta { index: Index(index), term: Term(term), conf }
}

/// Saves one entry of term 1 that commits the one before it, synced.
fn save(wal: &mut Log, index: u64) {
    assert!(wal.save(Some(&state(1, index - 1)), &[entry(1, index, "data")]).unwrap());
    wal.sync().unwrap();
}

#[test]
fn a_new_log_has_the_bytes_of_etcd() {
    let disk = disk();
    Wal::create(disk.clone(), dir(), Bytes::from_static(b"somedata"), Options::default()).unwrap();
    let bytes = disk.read(&segments(&disk)[0]).unwrap();
    assert_eq!(bytes.len(), 64_000_000);
    #[rustfmt::skip]
    assert_eq!(bytes[..80], [
        0x04, 0, 0, 0, 0, 0, 0, 0x84, 0x08, 0x04, 0x10, 0x00, 0, 0, 0, 0,
        0x12, 0, 0, 0, 0, 0, 0, 0x86, 0x08, 0x01, 0x10, 0x85, 0xd4, 0xfd, 0xa0, 0x07, 0x1a, 0x08,
        b's', b'o', b'm', b'e', b'd', b'a', b't', b'a', 0, 0, 0, 0, 0, 0,
        0x0e, 0, 0, 0, 0, 0, 0, 0x82, 0x08, 0x05, 0x10, 0x80, 0xdb, 0x81, 0xc1, 0x01, 0x1a, 0x04,
        0x08, 0x00, 0x10, 0x00, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ]);
    assert_eq!(disk.read_dir(dir()).unwrap(), ["0.tmp", "0000000000000000-0000000000000000.wal"]);
}

#[test]
fn what_was_saved_is_read_again() {
    let disk = disk();
    let mut wal = create(&disk, small(1000));
    for index in 1..=50 {
        save(&mut wal, index);
    }
    drop(wal);
    let names = segments(&disk);
    assert!(names.len() > 3, "{names:?}");
    let (wal, replay) = open(&disk, 0).unwrap();
    assert_eq!(replay.metadata, metadata());
    assert_eq!(replay.hard_state, state(1, 49));
    assert_eq!(replay.entries, (1..=50).map(|index| entry(1, index, "data")).collect::<Vec<_>>());
    assert_eq!(replay.snapshots, [SnapshotMeta::default()]);
    assert!(replay.warnings.is_empty());
    assert_eq!(wal.last_index(), Index(50));
    // All but the last are as long as what is in them; each begins with the checksum, the metadata and the hard state.
    let mut lengths = names.iter().map(|name| disk.read(name).map(|bytes| (bytes.len(), tail::used(&bytes))).unwrap());
    assert!(lengths.by_ref().take(names.len() - 1).all(|(length, used)| length == used.next_multiple_of(8)));
    assert!(lengths.all(|(length, _)| length == 1000));
    assert!(kinds(&disk).starts_with("413"));
    // A segment's name says the first index in it.
    let third = segment::SegmentName::parse(names[2].file_name().unwrap().to_str().unwrap()).unwrap();
    assert_eq!(third.sequence, 2);
    let (first, _) = replay.entries.split_at(third.index.0 as usize - 1);
    assert_eq!(first.last().unwrap().index.next(), third.index);
    drop(wal);
    assert_eq!(super::replay(&disk, dir(), Start::default()).unwrap(), replay);
}

#[test]
fn later_entries_replace_earlier_ones() {
    let disk = disk();
    let mut wal = create(&disk, small(1 << 16));
    wal.save(Some(&state(1, 1)), &[entry(1, 1, "a"), entry(1, 2, "b"), entry(1, 3, "c")]).unwrap();
    wal.save(Some(&state(2, 1)), &[entry(2, 2, "d")]).unwrap();
    wal.sync().unwrap();
    drop(wal);
    assert_eq!(open(&disk, 0).unwrap().1.entries, [entry(1, 1, "a"), entry(2, 2, "d")]);
}

#[test]
fn what_a_snapshot_has_replaced_is_not_read() {
    // Entries 2 and 3 of an old leader; then a newer one's entry 2, which is committed.
    let disk = disk();
    let mut wal = create(&disk, small(1 << 16));
    wal.save(Some(&state(3, 1)), &[entry(1, 1, "a"), entry(1, 2, "b"), entry(3, 3, "c")]).unwrap();
    wal.save(Some(&state(4, 2)), &[entry(2, 2, "d")]).unwrap();
    wal.save_snapshot(&snapshot(2, 2)).unwrap();
    drop(wal);
    let at = |index, term| Start { index: Index(index), term: Term(term) };
    assert_eq!(super::replay(&disk, dir(), at(2, 2)).unwrap().entries, []);

    // The same, but entry 2 came in a snapshot of the leader.
    let disk = self::disk();
    let mut wal = create(&disk, small(1 << 16));
    wal.save(Some(&state(3, 1)), &[entry(1, 1, "a"), entry(1, 2, "b"), entry(3, 3, "c")]).unwrap();
    wal.save(Some(&state(4, 2)), &[]).unwrap();
    wal.save_snapshot(&snapshot(2, 2)).unwrap();
    assert_eq!(super::replay(&disk, dir(), at(2, 2)).unwrap().entries, []);
    wal.save(None, &[entry(4, 3, "e")]).unwrap();
    // A snapshot of our own leaves what follows it.
    wal.save(Some(&state(4, 3)), &[entry(4, 4, "f")]).unwrap();
    wal.save_snapshot(&snapshot(4, 3)).unwrap();
    drop(wal);
    assert_eq!(super::replay(&disk, dir(), at(2, 2)).unwrap().entries, [entry(4, 3, "e"), entry(4, 4, "f")]);
    assert_eq!(super::replay(&disk, dir(), at(3, 4)).unwrap().entries, [entry(4, 4, "f")]);
}

#[test]
fn a_commit_index_alone_needs_no_sync() {
    let disk = disk();
    let mut wal = create(&disk, small(1 << 16));
    assert!(!wal.save(None, &[]).unwrap());
    assert!(!wal.save(Some(&HardState::default()), &[]).unwrap());
    assert!(wal.save(Some(&state(1, 0)), &[]).unwrap(), "term and vote");
    assert!(!wal.save(Some(&state(1, 5)), &[]).unwrap());
    assert!(wal.save(Some(&state(2, 5)), &[]).unwrap(), "term");
    assert!(wal.save(Some(&HardState { vote: None, ..state(2, 5) }), &[]).unwrap(), "vote");
    assert!(wal.save(None, &[entry(2, 6, "")]).unwrap(), "entry");
}

#[test]
fn several_saves_are_one_write_and_one_sync() {
    let disk = disk();
    let mut wal = create(&disk, small(1 << 16));
    let before = disk.operations();
    for index in 1..=10 {
        wal.append(Some(&state(1, index - 1)), &[entry(1, index, "x")]).unwrap();
    }
    wal.sync().unwrap();
    assert_eq!(disk.operations() - before, 2);
    wal.sync().unwrap();
    wal.write().unwrap();
    assert_eq!(disk.operations() - before, 2, "nothing to do");
}

/// The kinds of records in the last segment, as their numbers.
fn kinds(disk: &LyingDisk) -> String {
    let bytes = disk.read(segments(disk).last().unwrap()).unwrap();
    let mut offset = 0;
    let mut kinds = String::new();
    while let Ok(frame) = record::frame_at(&bytes, offset) {
        kinds.push_str(&(frame.record.kind as u64).to_string());
        offset = frame.end;
    }
    kinds
}

#[test]
fn markers_say_what_was_synced_and_only_that() {
    let disk = disk();
    let mut wal = create(&disk, small(1 << 16));
    let check = |expected: &str, why: &str| assert_eq!(kinds(&disk), expected, "{why}");
    check("415", "head");
    wal.mark().unwrap();
    check("4154", "the head was synced");
    wal.mark().unwrap();
    check("4154", "and nothing since");
    wal.save(Some(&state(1, 0)), &[entry(1, 1, "")]).unwrap();
    check("415423", "said already");
    wal.mark().unwrap();
    wal.save(Some(&state(1, 1)), &[]).unwrap();
    check("4154233", "not synced");
    wal.sync().unwrap();
    check("4154233", "synced, the next one will say it");
    wal.save(None, &[entry(1, 2, "")]).unwrap();
    check("415423342", "with the next batch");
    wal.sync().unwrap();
    let operations = disk.operations();
    wal.mark().unwrap();
    assert_eq!(disk.operations() - operations, 1, "without a sync");
    check("4154233424", "when idle");
    wal.save_snapshot(&snapshot(1, 1)).unwrap();
    wal.mark().unwrap();
    check("415423342454", "a snapshot is synced at once");
}

#[test]
fn reading_begins_behind_a_snapshot() {
    let disk = disk();
    let mut wal = create(&disk, small(1000));
    for index in 1..=30 {
        save(&mut wal, index);
    }
    wal.save_snapshot(&snapshot(1, 20)).unwrap();
    assert_eq!(survey(&disk, dir()).unwrap().received, None);
    wal.save_snapshot(&snapshot(1, 30)).unwrap();
    let early = survey(&disk, dir()).unwrap();
    assert_eq!((early.received, early.snapshots.last()), (Some(snapshot(1, 30)), Some(&snapshot(1, 20))));
    save(&mut wal, 31);
    drop(wal);
    assert_eq!(survey(&disk, dir()).unwrap().received, None);
    // The one at 30 is committed only by entry 31's hard state.
    let valid = valid_snapshots(&disk, dir()).unwrap();
    assert_eq!(valid.iter().map(|meta| meta.index.0).collect::<Vec<_>>(), [0, 20, 30]);
    assert_eq!(valid[1], snapshot(1, 20));
    let (wal, replay) = open(&disk, 20).unwrap();
    assert_eq!(replay.entries, (21..=31).map(|index| entry(1, index, "data")).collect::<Vec<_>>());
    drop(wal);
    assert!(matches!(open(&disk, 25), Err(WalError::SnapshotNotFound { index: Index(25), .. })));
    let wrong_term = Start { index: Index(20), term: Term(2) };
    let error = Wal::open(disk.clone(), dir(), wrong_term, Index(0), small(1000)).unwrap_err();
    assert!(error.to_string().contains("the snapshot at 20 has term 1, not 2"), "{error}");
}

#[test]
fn segments_before_a_snapshot_go() {
    let disk = disk();
    let mut wal = create(&disk, small(1000));
    for index in 1..=60 {
        save(&mut wal, index);
    }
    let count = segments(&disk).len();
    wal.save_snapshot(&snapshot(1, 40)).unwrap();
    assert_eq!(wal.purge(0).unwrap(), 0, "all are needed");
    let bytes = wal.bytes();
    wal.release(Index(40));
    assert!(wal.bytes() < bytes / 2);
    assert_eq!(wal.purge(count - 1).unwrap(), 1);
    let gone = wal.purge(0).unwrap();
    assert!(gone > 1 && segments(&disk).len() == count - 1 - gone);
    drop(wal);
    assert_eq!(valid_snapshots(&disk, dir()).unwrap(), [snapshot(1, 40)]);
    let (mut wal, replay) = open(&disk, 40).unwrap();
    assert_eq!(replay.entries.len(), 20);
    assert_eq!(wal.purge(0).unwrap(), 0);
    wal.release(Index(u64::MAX));
    assert_eq!(wal.purge(1).unwrap() + 1, count - 1 - gone, "the last one stays");
}

#[test]
fn one_process_has_the_log() {
    let disk = disk();
    let wal = create(&disk, small(1000));
    assert!(matches!(open(&disk, 0), Err(WalError::Locked { .. })));
    assert!(matches!(Wal::create(disk.clone(), dir(), metadata(), small(1000)), Err(WalError::AlreadyExists { .. })));
    drop(wal);
    assert!(exists(&disk, dir()).unwrap());
    open(&disk, 0).unwrap();
    let nowhere = Wal::open(disk.clone(), Path::new("/none"), Start::default(), Index(0), small(1000));
    assert!(matches!(nowhere, Err(WalError::NotFound { .. })));
}

#[test]
fn a_log_that_ends_before_the_store_is_damaged() {
    let disk = disk();
    let mut wal = create(&disk, small(1000));
    save(&mut wal, 1);
    drop(wal);
    let error = Wal::open(disk, dir(), Start::default(), Index(2), small(1000)).unwrap_err();
    assert!(error.to_string().contains("ends here at index 1, and the store holds what index 2 has done"), "{error}");
}

#[test]
fn a_log_that_contradicts_itself_is_refused() {
    let check = |commit: u64, second: Entry, expected: &str| {
        let disk = disk();
        let mut wal = create(&disk, small(1000));
        wal.save(Some(&state(2, commit)), &[entry(2, 1, "first")]).unwrap();
        wal.save(None, &[second]).unwrap();
        wal.sync().unwrap();
        drop(wal);
        let error = open(&disk, 0).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check(0, entry(2, 3, ""), "entry 3 follows entry 1");
    check(0, entry(1, 2, ""), "entry 2 has term 1, the one before it 2");
    check(1, entry(3, 1, ""), "entry 1 is committed, and is replaced by another one");
    check(0, entry(1 << 50, 2, ""), "an entry has an impossible term or index");
    check(0, entry(2, u64::MAX, ""), "an entry has an impossible term or index");
}

#[test]
fn a_missing_segment_is_named() {
    let disk = disk();
    let mut wal = create(&disk, small(1000));
    for index in 1..=40 {
        save(&mut wal, index);
    }
    drop(wal);
    disk.remove_file(&segments(&disk)[1]).unwrap();
    let error = open(&disk, 0).unwrap_err();
    assert!(matches!(&error, WalError::Corrupt { file, .. } if *file == segments(&disk)[1]), "{error}");
}

#[test]
fn a_failed_sync_ends_the_use_of_a_log() {
    for seed in 0..20 {
        let disk = disk();
        let mut wal = create(&disk, small(1 << 16));
        save(&mut wal, 1);
        disk.fail_sync_after(0, seed);
        wal.save(None, &[entry(1, 2, "")]).unwrap();
        assert!(matches!(wal.sync(), Err(WalError::Io(_))));
        let failed = |result: Result<bool, WalError>| matches!(result, Err(WalError::Failed { .. }));
        assert!(failed(wal.sync().map(|()| true)));
        assert!(failed(wal.mark().map(|()| true)));
        assert!(failed(wal.save(None, &[entry(1, 3, "")])));
        assert!(failed(wal.save_snapshot(&snapshot(1, 1)).map(|()| true)));
        drop(wal);

        // The next process sees what is in memory still. Once it has opened the log, it is on disk.
        let (wal, replay) = open(&disk, 0).unwrap();
        drop(wal);
        assert_eq!(replay.entries.len(), 2);
        let after = disk.crash(Survival::Nothing);
        assert_eq!(open(&after, 0).unwrap().1.entries, replay.entries, "seed {seed}");
    }
}

#[test]
fn a_failed_write_ends_the_use_of_a_log() {
    let disk = disk();
    let mut wal = create(&disk, small(1 << 16));
    disk.fail_write_after(0);
    wal.save(None, &[entry(1, 1, "")]).unwrap_err();
    assert!(matches!(wal.sync(), Err(WalError::Failed { .. })));
}

#[test]
fn space_runs_short_before_it_runs_out() {
    let disk = disk();
    let mut wal = create(&disk, small(1000));
    assert_eq!(wal.space(), Space::Ready);
    disk.set_capacity(disk.used());
    let mut index = 0;
    while wal.space() == Space::Ready {
        index += 1;
        save(&mut wal, index);
    }
    assert_eq!(segments(&disk).len(), 2, "the segment that was ready is used, the one behind it is missing");
    // The reserve: what is left in this segment.
    for _ in 0..5 {
        index += 1;
        save(&mut wal, index);
    }
    assert_eq!(wal.take_space().unwrap(), Space::Short);
    disk.set_capacity(disk.used() + 1000);
    assert_eq!(wal.take_space().unwrap(), Space::Ready);
    // Full again, and nobody listens: the segment cannot be followed by another one, and grows until nothing fits.
    disk.set_capacity(disk.used() + 500);
    let error = loop {
        index += 1;
        if let Err(error) = wal.save(None, &[entry(1, index, "data")]).and_then(|_| wal.sync()) {
            break error;
        }
    };
    assert!(error.is_full(), "{error}");
    drop(wal);
    // What was synced is there; a full disk is no reason not to open.
    let (mut wal, replay) = open(&disk, 0).unwrap();
    assert!(replay.entries.len() as u64 >= index - 1);
    assert_eq!(wal.space(), Space::Short);
    disk.remove_capacity();
    assert_eq!(wal.take_space().unwrap(), Space::Ready);
    save(&mut wal, replay.entries.len() as u64 + 1);
}

#[test]
fn left_over_files_do_no_harm() {
    let disk = disk();
    drop(create(&disk, small(1000)));
    for name in ["0.tmp", "1.tmp", "x.wal", "0000000000000000-0000000000000000.wal.broken"] {
        let file: LyingFile = disk.open(&dir().join(name), Mode::Create).unwrap();
        file.write_at(&[0xff; 2000], 0).unwrap();
        assert!(file.try_lock(Lock::OpenFile).unwrap());
    }
    let (mut wal, _) = open(&disk, 0).unwrap();
    for index in 1..=40 {
        save(&mut wal, index);
        let replay = super::replay(&disk, dir(), Start::default()).unwrap();
        assert_eq!((replay.entries.len() as u64, replay.warnings.len()), (index, 0));
    }
}

#[test]
fn a_torn_end_is_cut_off_and_kept_aside() {
    let disk = disk();
    let mut wal = create(&disk, small(1 << 16));
    save(&mut wal, 1);
    save(&mut wal, 2);
    drop(wal);
    let path = segments(&disk).remove(0);
    let end = tail::used(&disk.read(&path).unwrap()) as u64;
    let file = disk.open(&path, Mode::ReadWrite).unwrap();
    file.set_len(end - 40).unwrap(); // in the middle of entry 2
    let torn = disk.read(&path).unwrap();
    let (mut wal, replay) = open(&disk, 0).unwrap();
    assert_eq!(replay.entries, [entry(1, 1, "data")]);
    assert_eq!(replay.warnings.len(), 1);
    assert!(replay.warnings[0].contains("the last index in the log is now 1"), "{}", replay.warnings[0]);
    assert_eq!(disk.read(&path.with_extension("wal.broken")).unwrap(), torn);
    save(&mut wal, 2);
    drop(wal);
    let (_, replay) = open(&disk, 0).unwrap();
    assert!(replay.warnings.is_empty());
    assert_eq!(replay.entries.len(), 2);
}

#[test]
fn an_entry_outlives_the_hard_state_of_its_write() {
    let disk = disk();
    let mut wal = create(&disk, small(1 << 16));
    save(&mut wal, 1);
    wal.save(None, &[entry(7, 2, "")]).unwrap();
    wal.sync().unwrap();
    drop(wal);
    let (_, replay) = open(&disk, 0).unwrap();
    assert_eq!(replay.hard_state, HardState { term: Term(7), vote: None, commit: Index(0) });
}

#[test]
fn no_bytes_make_reading_panic() {
    let disk = disk();
    let mut wal = create(&disk, small(1000));
    for index in 1..=5 {
        save(&mut wal, index);
    }
    drop(wal);
    let path = segments(&disk).remove(0);
    let good = disk.read(&path).unwrap();
    let mut dice = crate::vfs::lying::Dice::new(1);
    for _ in 0..3000 {
        let mut bytes = good.clone();
        let start = dice.below(bytes.len() as u64) as usize;
        let end = (start + 1 + dice.below(40) as usize).min(bytes.len());
        for byte in &mut bytes[start..end] {
            *byte = if dice.once_in(3) { 0xff } else { dice.roll() as u8 };
        }
        let file = disk.open(&path, Mode::ReadWrite).unwrap();
        file.write_at(&bytes, 0).unwrap();
        let _ = super::replay(&disk, dir(), Start::default());
        let _ = valid_snapshots(&disk, dir());
    }
}
