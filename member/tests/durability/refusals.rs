//! Data directories that a member does not start with: one line that names the file and the remedy.

use std::path::Path;

use ferrite_raft::Index;
use ferrite_storage::vfs::lying::{Dice, LyingDisk};
use ferrite_storage::vfs::{File, Mode, Vfs};

use crate::harness::{Life, Past, open_parts};

const STORE: &str = "/data/member/store";
const LOG: &str = "/data/member/wal";

/// The disk of a member that was closed after some work.
fn closed() -> LyingDisk {
    let mut dice = Dice::new(1);
    let disk = LyingDisk::new();
    let mut life = Life::open(&disk, Past::default(), Index(0)).unwrap();
    life.work(&mut dice, 60).unwrap();
    life.close(&mut dice).unwrap();
    disk
}

/// Opens it, which must fail with one line that has these words in it.
fn check(disk: &LyingDisk, words: &[&str]) {
    let error = open_parts(disk).expect_err("to be refused");
    let text = error.to_string();
    assert!(!text.contains('\n'), "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in: {text}");
    }
    assert_eq!(error.is_locked(), words.contains(&"another process"), "{text}");
}

#[test]
fn a_directory_that_another_member_runs_in() {
    let disk = closed();
    let running = open_parts(&disk).unwrap();
    check(&disk, &[STORE, "another process", "stop it first"]);
    // It may be about to go over to the store of a snapshot.
    let received = Path::new("/data/member/store.00000000000000ff");
    disk.create_dir_all(received).unwrap();
    disk.open(&received.join("MANIFEST"), Mode::Create).unwrap();
    check(&disk, &[LOG, "another process", "stop it first"]);
    assert!(disk.exists(&received.join("MANIFEST")).unwrap());
    drop(running);
    open_parts(&disk).unwrap();
}

#[test]
fn a_log_without_its_store() {
    let disk = closed();
    disk.remove_dir_all(Path::new(STORE)).unwrap();
    check(&disk, &[STORE, LOG, "there is no store", "put the store back"]);
    disk.open(Path::new("/data/member/snap/db"), Mode::Create).unwrap();
    check(&disk, &["/data/member/snap/db", "written by etcd"]);
}

#[test]
fn a_store_without_its_log() {
    let disk = closed();
    disk.remove_dir_all(Path::new(LOG)).unwrap();
    check(&disk, &[STORE, LOG, "no log", "put the log back"]);
}

#[test]
fn a_store_without_its_manifest() {
    let disk = closed();
    disk.remove_file(&Path::new(STORE).join("MANIFEST")).unwrap();
    check(&disk, &[STORE, "there is no store", "put the store back"]);
}

#[test]
fn a_store_of_another_member() {
    let (disk, other) = (closed(), LyingDisk::new());
    drop(crate::harness::open_as(&other, "two").unwrap());
    let path = Path::new(STORE).join("MANIFEST");
    let foreign = other.read(&path).unwrap();
    let manifest = disk.open(&path, Mode::ReadWrite).unwrap();
    manifest.set_len(0).unwrap();
    manifest.write_at(&foreign, 0).unwrap();
    check(&disk, &["/data/member/store/MANIFEST", "belongs to member", "use the data directory of this member"]);
}

#[test]
fn a_store_of_a_newer_version() {
    let disk = closed();
    let path = Path::new(STORE).join("MANIFEST");
    let mut head = disk.read(&path).unwrap()[..64].to_vec();
    head[8] += 1;
    let crc = crc32c::crc32c_append(crc32c::crc32c(&head[..12]), &head[16..]);
    head[12..16].copy_from_slice(&crc.to_le_bytes());
    disk.open(&path, Mode::ReadWrite).unwrap().write_at(&head, 0).unwrap();
    check(&disk, &["/data/member/store/MANIFEST", "newer version", "start that version"]);
}

#[test]
fn a_segment_of_the_log_is_gone() {
    let disk = closed();
    let names = disk.read_dir(Path::new(LOG)).unwrap();
    let last = names.iter().rfind(|name| name.ends_with(".wal")).unwrap();
    disk.remove_file(&Path::new(LOG).join(last)).unwrap();
    check(&disk, &[LOG, "restore"]);
}

#[test]
fn a_file_in_the_place_of_the_directory() {
    for path in ["/data", "/data/member", "/data/member/snap"] {
        let disk = LyingDisk::new();
        disk.create_dir_all(Path::new(path).parent().unwrap()).unwrap();
        disk.open(Path::new(path), Mode::Create).unwrap();
        check(&disk, &["/data"]);
    }
}
