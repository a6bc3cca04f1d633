//! HashKV: etcd's hash over all revisions up to one, from the checksums that lie beside the records.
//!
//! etcd hashes, in revision order, the encoded revision and the `KeyValue` of: what is newer than the compacted revision,
//! and of the rest what a reader at the revision asked for would see. A delete is not seen, and one at the very compacted
//! revision is not hashed, for some versions keep it and some do not. CRCs of parts combine, so no value is read.

use std::ops::ControlFlow;

use ferrite_storage::{Checksum, Revision};

use super::index::{KeyRange, Position};
use super::{Keyspace, STEP_KEYS, View};
use crate::RevisionError;

/// Hashes of compactions that are remembered.
const REMEMBERED: usize = 10;

/// A hash, and what it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyValueHash {
    pub hash: u32,
    /// What was compacted when it was made; -1 is nothing.
    pub compact_revision: i64,
    pub revision: i64,
}

/// The hashes of the last compactions, by revision: each was made before it was trimmed.
#[derive(Debug, Default)]
pub struct HashCache {
    hashes: Vec<KeyValueHash>,
}

impl HashCache {
    pub fn insert(&mut self, hash: KeyValueHash) {
        let at = self.hashes.partition_point(|known| known.revision < hash.revision);
        self.hashes.insert(at, hash);
        if self.hashes.len() > REMEMBERED {
            self.hashes.remove(0);
        }
    }

    fn get(&self, revision: i64) -> Option<KeyValueHash> {
        self.hashes.iter().find(|hash| hash.revision == revision).copied()
    }
}

impl Keyspace {
    /// Hashes all revisions up to one; 0 is the newest. Takes as long as a walk over all keys: not for a thread that others
    /// wait for.
    pub fn hash_kv(&self, revision: i64) -> Result<KeyValueHash, RevisionError> {
        if let Some(hash) = self.hashes.lock().get(revision) {
            return Ok(hash);
        }
        // etcd answers a negative revision with the hash of nothing.
        if revision < 0 {
            let hash = HashWalk::of_nothing();
            return Ok(KeyValueHash { hash: hash.crc, compact_revision: self.compacted(), revision });
        }
        let view = View::of_all(self, revision)?;
        let mut walk = HashWalk::new(view.main(), view.compacted());
        loop {
            if let Some(hash) = walk.step(self, STEP_KEYS) {
                return Ok(hash);
            }
        }
    }

    /// The hashes of the last compactions, oldest first.
    pub fn compaction_hashes(&self) -> Vec<KeyValueHash> {
        self.hashes.lock().hashes.clone()
    }
}

/// A hash in the making, in steps. What it hashes must not be trimmed meanwhile.
#[derive(Debug)]
pub struct HashWalk {
    main: u64,
    compacted: i64,
    /// What is left to be looked at in the index.
    rest: Option<KeyRange>,
    /// What is to be hashed.
    revisions: Vec<Revision>,
    /// Whether any key is to be seen at `main`; if not, etcd hashes whatever a finished compaction leaves.
    any_visible: bool,
    left_by_compaction: Vec<Revision>,
    hashing: Option<Hashing>,
}

#[derive(Debug)]
struct Hashing {
    next: usize,
    sum: Checksum,
}

impl HashWalk {
    pub fn new(main: u64, compacted: i64) -> HashWalk {
        HashWalk {
            main,
            compacted,
            rest: Some(KeyRange::all()),
            revisions: Vec::new(),
            any_visible: false,
            left_by_compaction: Vec::new(),
            hashing: None,
        }
    }

    /// Every hash begins with the bucket's name.
    fn of_nothing() -> Checksum {
        Checksum::of(b"key")
    }

    /// Goes on for so many keys; returns the hash when it is done.
    pub fn step(&mut self, keyspace: &Keyspace, keys: usize) -> Option<KeyValueHash> {
        if let Some(range) = self.rest.take() {
            self.rest = self.look(keyspace, &range, keys).map(|position| position.rest_of(&range));
            if self.rest.is_none() {
                if !self.any_visible {
                    self.revisions.append(&mut self.left_by_compaction);
                }
                self.revisions.sort_unstable();
                self.hashing = Some(Hashing { next: 0, sum: HashWalk::of_nothing() });
            }
            return None;
        }
        let hashing = self.hashing.as_mut().expect("all keys were looked at");
        let end = self.revisions.len().min(hashing.next + keys);
        for revision in &self.revisions[hashing.next..end] {
            let checksum = keyspace.revisions.checksum(*revision);
            let checksum = checksum.unwrap_or_else(|| panic!("{revision:?} is in the index, but not in the store"));
            hashing.sum = hashing.sum.then(checksum);
        }
        hashing.next = end;
        (end == self.revisions.len()).then_some(KeyValueHash {
            hash: hashing.sum.crc,
            compact_revision: self.compacted,
            revision: self.main as i64,
        })
    }

    fn look(&mut self, keyspace: &Keyspace, range: &KeyRange, keys: usize) -> Option<Position> {
        // Revisions begin with 1, so nothing is compacted at 0.
        let compacted = u64::try_from(self.compacted).unwrap_or(0);
        let index = keyspace.index.read();
        index.walk(range, keys, |_, life| {
            let visible = life.newest_up_to(self.main).filter(|stamp| !stamp.is_deleted());
            self.any_visible |= visible.is_some();
            self.revisions.extend(visible.map(|stamp| stamp.revision()).filter(|revision| revision.main <= compacted));
            if !self.any_visible {
                let left = life.newest_up_to(compacted).filter(|stamp| !stamp.is_deleted());
                self.left_by_compaction.extend(left.map(|stamp| stamp.revision()));
            }
            let newer = life.stamps().map(|stamp| stamp.revision());
            self.revisions.extend(newer.filter(|revision| compacted < revision.main && revision.main <= self.main));
            ControlFlow::Continue(())
        })
    }
}
