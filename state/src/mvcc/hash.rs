//! HashKV: etcd's hash over all revisions up to one, from the checksums that lie beside the records.
//!
//! etcd hashes, in revision order, the encoded revision and the `KeyValue` of: what is newer than the compacted revision,
//! and of the rest what a reader at the revision asked for would see. A delete is not seen, and one at the very compacted
//! revision is not hashed, for some versions keep it and some do not. CRCs of parts combine, so no value is read.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
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

    /// The checksum of every record that is there, trimmed or not, up to the newest revision, which comes with it.
    pub(crate) fn hash_records(&self) -> (Checksum, u64) {
        let view = View::of_all(self, 0);
        let view = view.expect("the newest revision is not compacted");
        let mut revisions = Vec::new();
        let mut rest = Some(KeyRange::all());
        while let Some(range) = rest {
            let position = self.index.read().walk(&range, STEP_KEYS, |_, life| {
                let written = life.stamps().map(|stamp| stamp.revision());
                revisions.extend(written.filter(|revision| revision.main <= view.main()));
                ControlFlow::Continue(())
            });
            rest = position.map(|position| position.rest_of(&range));
        }
        revisions.sort_unstable();
        // What is trimmed meanwhile is gone, and does not count.
        let checksums = revisions.into_iter().filter_map(|revision| self.revisions.checksum(revision));
        (checksums.fold(Checksum::default(), Checksum::then), view.main())
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
    /// What is to be hashed, in runs that are sorted each: sorting all at once would be one long step.
    runs: Vec<Vec<Revision>>,
    /// Whether any key is to be seen at `main`; if not, etcd hashes whatever a finished compaction leaves.
    any_visible: bool,
    left_by_compaction: Vec<Vec<Revision>>,
    hashing: Option<Hashing>,
}

/// The runs are merged, and hashed.
#[derive(Debug)]
struct Hashing {
    /// The first revision of each run that is not hashed yet, with its run and its place there.
    next: BinaryHeap<Reverse<(Revision, usize, usize)>>,
    sum: Checksum,
}

impl HashWalk {
    pub fn new(main: u64, compacted: i64) -> HashWalk {
        HashWalk {
            main,
            compacted,
            rest: Some(KeyRange::all()),
            runs: Vec::new(),
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
                self.begin_hashing();
            }
            return None;
        }
        let hashing = self.hashing.as_mut().expect("all keys were looked at");
        for _ in 0..keys {
            let Some(Reverse((revision, run, at))) = hashing.next.pop() else {
                let (hash, revision) = (hashing.sum.crc, self.main as i64);
                return Some(KeyValueHash { hash, compact_revision: self.compacted, revision });
            };
            hashing.next.extend(self.runs[run].get(at + 1).map(|next| Reverse((*next, run, at + 1))));
            let checksum = keyspace.revisions.checksum(revision);
            let checksum = checksum.unwrap_or_else(|| panic!("{revision:?} is in the index, but not in the store"));
            hashing.sum = hashing.sum.then(checksum);
        }
        None
    }

    fn begin_hashing(&mut self) {
        if !self.any_visible {
            self.runs.append(&mut self.left_by_compaction);
        }
        let first = self.runs.iter().enumerate().filter_map(|(run, revisions)| Some((*revisions.first()?, run, 0)));
        self.hashing = Some(Hashing { next: first.map(Reverse).collect(), sum: HashWalk::of_nothing() });
    }

    fn look(&mut self, keyspace: &Keyspace, range: &KeyRange, keys: usize) -> Option<Position> {
        // Revisions begin with 1, so nothing is compacted at 0.
        let compacted = u64::try_from(self.compacted).unwrap_or(0);
        let (mut run, mut left_by_compaction) = (Vec::new(), Vec::new());
        let position = keyspace.index.read().walk(range, keys, |_, life| {
            let visible = life.newest_up_to(self.main).filter(|stamp| !stamp.is_deleted());
            self.any_visible |= visible.is_some();
            run.extend(visible.map(|stamp| stamp.revision()).filter(|revision| revision.main <= compacted));
            if !self.any_visible {
                let left = life.newest_up_to(compacted).filter(|stamp| !stamp.is_deleted());
                left_by_compaction.extend(left.map(|stamp| stamp.revision()));
            }
            let newer = life.stamps().map(|stamp| stamp.revision());
            run.extend(newer.filter(|revision| compacted < revision.main && revision.main <= self.main));
            ControlFlow::Continue(())
        });
        for (mut revisions, runs) in [(run, &mut self.runs), (left_by_compaction, &mut self.left_by_compaction)] {
            revisions.sort_unstable();
            runs.push(revisions);
        }
        position
    }
}

#[cfg(test)]
mod tests {
    use ferrite_proto::etcdserverpb as pb;

    use super::*;
    use crate::testing::Machine;
    use crate::{Command, Want};

    const CYCLE: i64 = 71;

    fn pick_key(i: i64) -> &'static str {
        match i {
            _ if i % (2 * CYCLE) == 30 => "zenek",
            _ if i % CYCLE == 30 => "xavery",
            _ => ["alice", "bob", "celine", "dominik", "eve", "frederica", "gorge"][(i % 7) as usize],
        }
    }

    fn put(machine: &mut Machine, i: i64) {
        let put = pb::PutRequest { key: pick_key(i).into(), value: i.to_string().into(), ..Default::default() };
        machine.apply(&Command::Put(put)).unwrap();
    }

    fn delete(machine: &mut Machine, key: &'static str) {
        machine.apply(&Command::DeleteRange(pb::DeleteRangeRequest { key: key.into(), ..Default::default() })).unwrap();
    }

    fn compact(machine: &mut Machine, revision: i64) {
        machine.apply(&Command::Compaction(pb::CompactionRequest { revision, physical: false })).unwrap();
    }

    fn hash(machine: &Machine, revision: i64) -> (u32, i64, i64) {
        let hash = machine.state.shared().keyspace().hash_kv(revision).unwrap();
        (hash.hash, hash.compact_revision, hash.revision)
    }

    /// The values of etcd's own TestHashByRevValue and TestHashByRevValueLastRevision, whatever is trimmed when.
    #[test]
    fn hashes_are_those_of_etcd() {
        let in_the_middle = [
            4082599214, 2279933401, 3284231217, 126286495, 900108730, 2475485232, 1226296507, 2503661030, 4155130747,
            106915399, 406914006, 1882211381, 806177088, 664311366, 1496914449, 2434525091, 3988652253, 1122462288,
            724436716,
        ];
        let at_the_end = [
            1913897190, 224860069, 1565167519, 1566261620, 2037173024, 691659396, 2713730748, 3919322507, 769967540,
            2909194793, 1576921157, 4067701532, 2226384237, 2923408134, 2680329256, 1546717673, 2713657846, 1046575299,
            2017735779,
        ];
        for (expected, last) in [(in_the_middle, false), (at_the_end, true)] {
            for trims in [true, false] {
                let mut machine = Machine::new(Want::Effect);
                let (mut revision, mut before) = (0, -1);
                for (round, expected) in expected.into_iter().enumerate() {
                    let count = if round + 1 == at_the_end.len() { 1210 } else { CYCLE };
                    (revision..=revision + count).for_each(|i| put(&mut machine, i));
                    let current = machine.state.shared().keyspace().revision() as i64;
                    let asked = if last { current } else { revision + count / 2 };
                    assert_eq!(hash(&machine, asked), (expected, before, asked), "round {round}, trimmed: {trims}");
                    compact(&mut machine, asked);
                    if trims {
                        machine.trim(5);
                    }
                    before = asked;
                    revision += CYCLE;
                }
            }
        }
    }

    /// etcd's TestCompactionHash: after a compaction its revision still has the hash it had.
    #[test]
    fn a_compaction_keeps_its_hash() {
        let mut machine = Machine::new(Want::Effect);
        let mut start = 0;
        while start < 1210 {
            let stop = start + CYCLE;
            for i in start..=stop {
                if i % 67 == 0 { delete(&mut machine, pick_key(i + 83)) } else { put(&mut machine, i) }
            }
            let before = hash(&machine, stop);
            compact(&mut machine, stop);
            machine.trim(3);
            assert_eq!(hash(&machine, stop), before);
            start += CYCLE;
        }
        let hashes = machine.state.shared().keyspace().compaction_hashes();
        assert_eq!(hashes.len(), REMEMBERED);
        let oldest = hashes[0].revision;
        assert!(machine.state.shared().keyspace().hash_kv(oldest - CYCLE).is_err(), "an older one is forgotten");
        assert_eq!(hash(&machine, -1).0, crc32c::crc32c(b"key"));
    }
}
