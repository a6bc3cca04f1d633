use std::collections::BTreeSet;
use std::path::Path;

use super::*;

fn disk_with(name: &str, content: &[u8]) -> (LyingDisk, LyingFile) {
    let disk = LyingDisk::new();
    let file = disk.open(Path::new(name), Mode::Create).unwrap();
    file.write_at(content, 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    (disk, file)
}

fn read(disk: &LyingDisk, name: &str) -> Option<Vec<u8>> {
    disk.read(Path::new(name)).ok()
}

/// What is left of a file over many seeds.
fn outcomes(disk: &LyingDisk, name: &str) -> BTreeSet<Option<Vec<u8>>> {
    (0..500).map(|seed| read(&disk.crash(Survival::Seeded(seed)), name)).collect()
}

#[test]
fn what_is_synced_survives_and_nothing_else_need() {
    let (disk, file) = disk_with("/f", b"old");
    file.write_at(b"new", 0).unwrap();
    assert_eq!(read(&disk.crash(Survival::Nothing), "/f").unwrap(), b"old");
    assert_eq!(read(&disk.crash(Survival::Everything), "/f").unwrap(), b"new");
    let torn = [&b"old"[..], b"nld", b"ned", b"new"].map(|bytes| Some(bytes.to_vec()));
    assert_eq!(outcomes(&disk, "/f"), torn.into_iter().collect());
    file.sync_data().unwrap();
    assert_eq!(outcomes(&disk, "/f"), [Some(b"new".to_vec())].into_iter().collect());
}

#[test]
fn sectors_survive_in_any_subset() {
    let (disk, file) = disk_with("/f", &[0; 3 * SECTOR as usize]);
    file.write_at(&[1; 3 * SECTOR as usize], 0).unwrap();
    let corner = |bytes: &Vec<u8>| [0, 1, 2].map(|sector| bytes[sector * SECTOR as usize]);
    let seen: BTreeSet<_> = outcomes(&disk, "/f").iter().flatten().map(corner).collect();
    assert_eq!(seen.len(), 8, "{seen:?}");
}

#[test]
fn a_length_survives_apart_from_the_content() {
    let (disk, file) = disk_with("/f", b"");
    file.write_at(b"data", 0).unwrap();
    file.set_len(2).unwrap();
    let seen = outcomes(&disk, "/f");
    for expected in [&b""[..], b"da", b"data", b"\0\0\0\0", b"\0\0"] {
        assert!(seen.contains(&Some(expected.to_vec())), "{expected:?} missing in {seen:?}");
    }
}

#[test]
fn names_are_durable_with_their_directory_only() {
    let disk = LyingDisk::new();
    disk.create_dir_all(Path::new("/d/inner")).unwrap();
    assert!(disk.crash(Survival::Nothing).exists(Path::new("/d/inner")).unwrap());
    disk.remove_dir_all(Path::new("/d/inner")).unwrap();
    disk.sync_dir(Path::new("/d")).unwrap();
    let file = disk.open(Path::new("/d/a"), Mode::CreateNew).unwrap();
    file.write_at(b"x", 0).unwrap();
    file.sync_data().unwrap();
    let names = |disk: &LyingDisk| disk.read_dir(Path::new("/d")).unwrap().join(" ");
    let all = |disk: &LyingDisk| -> Vec<String> {
        let seen: BTreeSet<_> = (0..200).map(|seed| names(&disk.crash(Survival::Seeded(seed)))).collect();
        seen.into_iter().collect()
    };
    assert_eq!(all(&disk), ["", "a"]);
    disk.sync_dir(Path::new("/d")).unwrap();
    disk.rename(Path::new("/d/a"), Path::new("/d/b")).unwrap();
    assert_eq!(all(&disk), ["a", "b"]);
    disk.open(Path::new("/d/c"), Mode::CreateNew).unwrap();
    assert_eq!(all(&disk), ["a", "a c", "b", "b c"]);
    disk.remove_file(Path::new("/d/b")).unwrap();
    assert_eq!(all(&disk), ["", "a", "a c", "b", "b c", "c"]);
    disk.sync_dir(Path::new("/d")).unwrap();
    assert_eq!(all(&disk), ["c"]);
}

#[test]
fn renames_without_a_sync_between_them_have_no_order() {
    let disk = LyingDisk::new();
    let path = |name: &str| Path::new("/d").join(name);
    disk.create_dir_all(Path::new("/d")).unwrap();
    for name in ["f", "new"] {
        let file = disk.open(&path(name), Mode::CreateNew).unwrap();
        file.write_at(name.as_bytes(), 0).unwrap();
        file.sync_data().unwrap();
    }
    disk.sync_dir(Path::new("/d")).unwrap();
    let all = |disk: &LyingDisk| {
        let names = |disk: LyingDisk| {
            let names = disk.read_dir(Path::new("/d")).unwrap();
            let content = |name: &String| String::from_utf8(disk.read(&path(name)).unwrap()).unwrap();
            names.iter().map(|name| format!("{name}={}", content(name))).collect::<Vec<_>>().join(" ")
        };
        (0..200).map(|seed| names(disk.crash(Survival::Seeded(seed)))).collect::<BTreeSet<_>>()
    };
    disk.rename(&path("f"), &path("old")).unwrap();
    let synced = disk.copy();
    disk.rename(&path("new"), &path("f")).unwrap();
    // The last one: the second was done first, and then the first took its work away.
    let expected = ["f=f new=new", "new=new old=f", "f=new", "f=new old=f", "old=f"];
    assert_eq!(all(&disk), expected.map(str::to_owned).into());
    synced.rename(&path("new"), &path("f")).unwrap();
    assert_eq!(all(&synced), ["new=new old=f", "f=new old=f"].map(str::to_owned).into());
}

#[test]
fn a_directory_that_was_renamed_brings_its_files() {
    let disk = LyingDisk::new();
    disk.create_dir_all(Path::new("/m/wal.tmp")).unwrap();
    disk.open(Path::new("/m/wal.tmp/0"), Mode::CreateNew).unwrap().sync_data().unwrap();
    for dir in ["/", "/m", "/m/wal.tmp"] {
        disk.sync_dir(Path::new(dir)).unwrap();
    }
    disk.rename(Path::new("/m/wal.tmp"), Path::new("/m/wal")).unwrap();
    assert!(disk.crash(Survival::Nothing).exists(Path::new("/m/wal.tmp/0")).unwrap());
    disk.sync_dir(Path::new("/m")).unwrap();
    let after = disk.crash(Survival::Nothing);
    assert_eq!(after.read_dir(Path::new("/m")).unwrap(), ["wal"]);
    assert!(after.exists(Path::new("/m/wal/0")).unwrap());
    after.remove_dir_all(Path::new("/m")).unwrap();
    assert!(after.read_dir(Path::new("/")).unwrap().is_empty());
}

#[test]
fn a_failed_sync_drops_what_its_owner_still_sees() {
    let (disk, file) = disk_with("/f", b"old");
    file.write_at(b"new", 0).unwrap();
    disk.fail_sync_after(0, 1);
    file.sync_data().unwrap_err();
    assert_eq!(read(&disk, "/f").unwrap(), b"new");
    file.sync_data().unwrap();
    let after: BTreeSet<_> = (0..50)
        .map(|seed| {
            let (disk, file) = disk_with("/f", b"old");
            file.write_at(b"new", 0).unwrap();
            disk.fail_sync_after(0, seed);
            file.sync_data().unwrap_err();
            file.sync_data().unwrap();
            read(&disk.crash(Survival::Everything), "/f").unwrap()
        })
        .collect();
    assert!(after.contains(&b"old"[..]), "{after:?}");
}

#[test]
fn a_full_disk_refuses_and_keeps_what_was_allocated() {
    let (disk, file) = disk_with("/f", b"");
    disk.set_capacity(10);
    file.allocate(0, 8).unwrap();
    let other = disk.open(Path::new("/g"), Mode::Create).unwrap();
    assert!(other.allocate(0, 3).unwrap_err().is_full());
    assert!(other.write_at(b"abc", 0).unwrap_err().is_full());
    assert_eq!(read(&disk, "/g").unwrap(), b"ab", "what fits is written");
    file.write_at(b"12345678", 0).unwrap();
    assert!(file.write_at(b"9", 8).unwrap_err().is_full());
    disk.remove_file(Path::new("/g")).unwrap();
    file.write_at(b"9", 8).unwrap();
}

#[test]
fn history_stops_at_every_operation() {
    let (disk, file) = disk_with("/f", b"1");
    file.write_at(b"2", 0).unwrap();
    file.sync_data().unwrap();
    let mut history = disk.history();
    let mut seen = Vec::new();
    loop {
        seen.push(read(&history.crash(Survival::Nothing), "/f").map(|bytes| bytes.first().copied()));
        if history.step().is_none() {
            break;
        }
    }
    // Nothing, created, written, synced, named; written, synced.
    assert_eq!(seen, [None, None, None, None, Some(Some(b'1')), Some(Some(b'1')), Some(Some(b'2'))]);
    assert_eq!(history.position(), disk.operations());
}

#[test]
fn locks_exclude_other_handles_until_dropped() {
    let (disk, file) = disk_with("/f", b"");
    let other = disk.open(Path::new("/f"), Mode::ReadWrite).unwrap();
    assert!(file.try_lock(Lock::OpenFile).unwrap());
    assert!(file.try_lock(Lock::OpenFile).unwrap());
    assert!(!other.try_lock(Lock::OpenFile).unwrap());
    assert!(other.try_lock(Lock::Flock).unwrap());
    drop(file);
    assert!(other.try_lock(Lock::OpenFile).unwrap());
}

#[test]
fn when_stopped_nothing_happens() {
    let (disk, file) = disk_with("/f", b"old");
    file.write_at(b"new", 0).unwrap();
    disk.stop_at(disk.operations());
    file.write_at(b"x", 0).unwrap_err();
    file.sync_data().unwrap_err();
    assert_eq!(read(&disk.crash(Survival::Everything), "/f").unwrap(), b"new");
    disk.resume();
    assert_eq!(read(&disk, "/f").unwrap(), b"new");
    assert_eq!(read(&disk.crash(Survival::Nothing), "/f").unwrap(), b"old", "still not synced");
    file.sync_data().unwrap();
    assert_eq!(read(&disk.crash(Survival::Nothing), "/f").unwrap(), b"new");
}
