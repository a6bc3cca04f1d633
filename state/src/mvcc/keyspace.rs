//! The keyspace as readers hold it, and a view of it at one revision.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Release};

use ferrite_proto::etcdserverpb as pb;
use ferrite_storage::{self as storage, Revision, Revisions};
use parking_lot::{Mutex, RwLock};

use super::hash::HashCache;
use super::horizon::Horizon;
use super::index::{Index, KeyRange};
use super::{Path, Reader, TxnFailure};
use crate::answer::{RangeAnswer, Room, TxnAnswer, Unlimited};
use crate::command::Txn;
use crate::{ReadError, RevisionError};

/// All keys and revisions. Shared by all readers and the one writer.
#[derive(Debug)]
pub struct Keyspace {
    pub(super) index: RwLock<Index>,
    pub(super) revisions: Revisions,
    pub(super) horizon: Horizon,
    pub(super) hashes: Mutex<HashCache>,
    /// The newest revision that readers may see.
    current: AtomicU64,
}

impl Keyspace {
    pub(super) fn new(index: Index, revisions: Revisions, current: u64, compacted: i64) -> Keyspace {
        Keyspace {
            index: RwLock::new(index),
            revisions,
            horizon: Horizon::new(compacted),
            hashes: Mutex::default(),
            current: AtomicU64::new(current),
        }
    }

    /// The newest revision; 1 in an empty store.
    pub fn revision(&self) -> u64 {
        self.current.load(Acquire)
    }

    /// The compacted revision, which can still be read; -1 before the first compaction.
    pub fn compacted(&self) -> i64 {
        self.horizon.compacted()
    }

    /// All revisions, by number and in order: what a watch reads.
    pub fn revisions(&self) -> &Revisions {
        &self.revisions
    }

    /// Lets readers see up to a revision, and no longer behind a compaction.
    pub(crate) fn publish(&self, current: u64, compacted: i64) {
        self.current.store(current, Release);
        if compacted != self.horizon.compacted() {
            self.horizon.compact(compacted);
        }
    }

    /// A view at a revision as requests give it: 0 or less is the newest. It is pinned until it is dropped.
    pub fn view(&self, revision: i64) -> Result<View<&Keyspace>, RevisionError> {
        View::new(self, revision)
    }

    /// The same, for who keeps it.
    pub fn view_owned(self: &Arc<Self>, revision: i64) -> Result<View<Arc<Keyspace>>, RevisionError> {
        View::new(self.clone(), revision)
    }

    /// Answers a range request.
    pub fn range(&self, request: &pb::RangeRequest) -> Result<RangeAnswer, ReadError> {
        self.range_within(request, &mut Unlimited)
    }

    /// The same, if there is room for it.
    pub fn range_within(&self, request: &pb::RangeRequest, room: &mut dyn Room) -> Result<RangeAnswer, ReadError> {
        Ok(self.view(request.revision)?.reader().range_within(request, room)?)
    }

    /// Answers a transaction that only reads, at one revision, if there is room for it.
    ///
    /// # Panics
    /// If it would write: who asks has looked at its shape.
    pub fn txn_read(&self, txn: &Txn, room: &mut dyn Room) -> Result<TxnAnswer, ReadError> {
        assert!(txn.shape().read_only, "a transaction that writes goes through the log");
        let view = self.view(0)?;
        let reader = view.reader();
        let path = Path::choose(txn, &reader)?;
        // A range may ask for an older revision: that is to be pinned, too.
        let mut pins = Vec::new();
        for range in path.ranges(txn) {
            match range.revision {
                0 => {}
                asked if asked > view.current as i64 => {
                    return Err(ReadError::Future { asked, newest: view.current as i64 });
                }
                // Negative means the newest, but a transaction compares it with the compacted revision first.
                asked if asked < view.compacted => {
                    return Err(ReadError::Compacted { asked, oldest: view.compacted });
                }
                asked if asked > 0 => pins.push(View::new(self, asked)?),
                _ => {}
            }
        }
        match path.read(txn, &reader, room) {
            Ok(answer) => Ok(answer),
            Err(TxnFailure::Read(error)) => Err(error.into()),
            Err(TxnFailure::Revision(error)) => Err(error.into()),
        }
    }

    /// Holds up trimming of what is needed from a revision on, which may be the next one. For who reads revisions and not a
    /// view; who succeeds has to `unpin` it.
    pub(crate) fn pin(&self, from: u64) -> Result<(), RevisionError> {
        self.horizon.pin(from).map(|_| ())
    }

    pub(crate) fn unpin(&self, from: u64) {
        self.horizon.unpin(from);
    }

    /// The first changes of a key from one revision up to another: where they are, and whether they delete it. And up to
    /// which revision these are all. They end between two revisions: with the one in which there come to be `enough`.
    pub(crate) fn changes_of(&self, key: &[u8], from: u64, until: u64, enough: usize) -> (Vec<(Revision, bool)>, u64) {
        let index = self.index.read();
        let stamps = index.life(key).map(|life| life.stamps_from(from));
        let mut changes: Vec<(Revision, bool)> = Vec::new();
        for stamp in stamps.into_iter().flatten() {
            let revision = stamp.revision();
            if revision.main > until {
                break;
            }
            let begins = changes.last().is_some_and(|(last, _)| last.main != revision.main);
            if begins && changes.len() >= enough {
                return (changes, revision.main - 1);
            }
            changes.push((revision, stamp.is_deleted()));
        }
        (changes, until)
    }

    /// The newest `KeyValue` of a key that is not behind a revision, as it is stored; `None` if the key is not there then.
    /// For events that tell what was before.
    pub fn key_value_at(&self, key: &[u8], main: u64) -> Result<Option<bytes::Bytes>, storage::ReadError> {
        let found = self.index.read().get(key, main);
        let Some(found) = found else { return Ok(None) };
        Ok(self.revisions.get(found.revision)?.map(Into::into))
    }
}

/// The keyspace at one revision. As long as it lives, what it sees is not trimmed.
#[derive(Debug)]
pub struct View<K: Deref<Target = Keyspace>> {
    keyspace: K,
    main: u64,
    current: u64,
    compacted: i64,
    pinned: u64,
}

impl<K: Deref<Target = Keyspace>> View<K> {
    fn new(keyspace: K, revision: i64) -> Result<View<K>, RevisionError> {
        View::pinned(keyspace, revision, |horizon, main| Ok((horizon.pin(main)?, main)))
    }

    /// A view that keeps also what was before its revision, as far as it is not compacted.
    pub(super) fn of_all(keyspace: K, revision: i64) -> Result<View<K>, RevisionError> {
        View::pinned(keyspace, revision, Horizon::pin_all)
    }

    fn pinned(
        keyspace: K,
        revision: i64,
        pin: impl Fn(&Horizon, u64) -> Result<(i64, u64), RevisionError>,
    ) -> Result<View<K>, RevisionError> {
        loop {
            let current = keyspace.revision();
            if revision > current as i64 {
                return Err(RevisionError::Future { asked: revision, newest: current as i64 });
            }
            let main = u64::try_from(revision).ok().filter(|main| *main > 0).unwrap_or(current);
            match pin(&keyspace.horizon, main) {
                Ok((compacted, pinned)) => return Ok(View { keyspace, main, current, compacted, pinned }),
                // A newer revision was published and compacted since: look at that one.
                Err(_) if revision <= 0 => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The revision it sees.
    pub fn main(&self) -> u64 {
        self.main
    }

    /// The newest revision when it was made: what headers tell.
    pub fn current(&self) -> u64 {
        self.current
    }

    /// What was compacted when it was made.
    pub fn compacted(&self) -> i64 {
        self.compacted
    }

    pub fn keyspace(&self) -> &Keyspace {
        &self.keyspace
    }

    pub(crate) fn reader(&self) -> Reader<'_> {
        Reader::new(&self.keyspace, self.main, self.current, &[])
    }

    /// Answers a range request; its own revision is not looked at.
    pub fn range(&self, request: &pb::RangeRequest) -> Result<RangeAnswer, storage::ReadError> {
        self.reader().range(request)
    }

    /// How many keys of a range there are.
    pub fn count(&self, range: &KeyRange) -> u64 {
        self.reader().count(range)
    }
}

impl<K: Deref<Target = Keyspace>> Drop for View<K> {
    fn drop(&mut self) {
        self.keyspace.horizon.unpin(self.pinned);
    }
}
