//! Snapshots that cannot be taken: the sender is told what is wrong, nothing is left behind, and the next one is taken.

use std::path::Path;

use bytes::Bytes;
use ferrite_member::{Prepared, ReceiveError};
use ferrite_raft::{Body, Index, Message, Snapshot, SnapshotMeta, Term};
use ferrite_sim::engine::without_note;
use ferrite_storage::vfs::Vfs;
use ferrite_storage::vfs::lying::LyingDisk;

use crate::pair::Pair;

/// A leader and a learner that has heard nothing, and a snapshot as the leader would send it.
fn with_snapshot() -> (Pair, SnapshotMeta, Vec<u8>) {
    let mut pair = Pair::new(3);
    pair.write(30);
    let learner = pair.learner.as_ref().unwrap().id();
    let body = Body::Snapshot(Box::new(Snapshot { meta: SnapshotMeta::default(), data: Bytes::new() }));
    let (message, pieces) = pair.transfer(&Message { to: learner, from: pair.leader.id(), term: Term(2), body });
    let Body::Snapshot(snapshot) = message.body else { unreachable!("it is one") };
    (pair, snapshot.meta, pieces.concat())
}

fn receive(pair: &Pair, meta: &SnapshotMeta, database: &[u8]) -> Result<Prepared, ReceiveError> {
    let mut arriving = pair.learner.as_ref().unwrap().receiver.begin(meta)?;
    database.chunks(5000).try_for_each(|piece| arriving.write(piece))?;
    arriving.finish()
}

fn nothing_is_left(disk: &LyingDisk) {
    assert_eq!(disk.read_dir(Path::new("/data/member")).unwrap(), ["snap", "store", "wal"]);
    assert_eq!(disk.read_dir(Path::new("/data/member/snap")).unwrap(), [""; 0]);
}

#[test]
fn what_cannot_be_taken_is_refused_and_leaves_nothing() {
    let (pair, meta, database) = with_snapshot();
    let disk = pair.learner.as_ref().unwrap().disk.clone();
    let check = |meta: &SnapshotMeta, database: &[u8], expected: &str| {
        let error = receive(&pair, meta, database).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        nothing_is_left(&disk);
    };
    check(&meta, b"", "this is no database of etcd");
    check(&meta, &vec![7; 50_000], "this is no database of etcd");
    let others = without_note(&[database.clone().into()]).concat();
    for (database, cut_off) in [(database, "it ends here, and is not complete"), (others, "it is cut off")] {
        for length in [4096, database.len() / 2, database.len() - 1] {
            check(&meta, &database[..length], cut_off);
        }
        let mut damaged = database.clone();
        damaged[2 * 4096..3 * 4096].fill(0xee);
        check(&meta, &damaged, "damaged at page 2");
        let later = SnapshotMeta { index: meta.index.next(), ..meta.clone() };
        let found = format!("the database is whole up to entry {} of term", meta.index);
        check(&later, &database, &found);
        check(&SnapshotMeta { term: Term(77), ..meta.clone() }, &database, &found);
        // After all that the right one is taken.
        receive(&pair, &meta, &database).unwrap();
    }
}

#[test]
fn one_arrives_at_a_time() {
    let (pair, meta, database) = with_snapshot();
    let learner = pair.learner.as_ref().unwrap();
    let first = learner.receiver.begin(&meta).unwrap();
    assert!(matches!(receive(&pair, &meta, &database), Err(ReceiveError::Busy)));
    // Its connection breaks.
    drop(first);
    nothing_is_left(&learner.disk);
    let ready = receive(&pair, &meta, &database).unwrap();
    // It is ready, and not in force yet.
    assert!(matches!(receive(&pair, &meta, &database), Err(ReceiveError::Busy)));
    // Its connection broke while it was made ready: the member never hears of it.
    drop(ready);
    nothing_is_left(&learner.disk);
    receive(&pair, &meta, &database).unwrap();
}

#[test]
fn a_disk_without_room_is_the_senders_to_be_told() {
    let (pair, meta, database) = with_snapshot();
    let disk = pair.learner.as_ref().unwrap().disk.clone();
    let others = without_note(&[database.clone().into()]).concat();
    for (database, fails_with) in [(&database, vec![1000]), (&others, vec![1000, database.len() as u64 + 1000])] {
        for more in fails_with {
            disk.set_capacity(disk.used() + more);
            receive(&pair, &meta, database).unwrap_err();
            nothing_is_left(&disk);
        }
        disk.set_capacity(1 << 30);
        receive(&pair, &meta, database).unwrap();
    }
    assert_eq!(pair.learner_applied(), Index(0), "nothing of what runs was touched");
}
