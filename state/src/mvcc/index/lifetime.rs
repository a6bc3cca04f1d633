//! The life of one key: which revisions it has, in generations from a put to a delete.
//!
//! Almost every key has one revision that matters, so the newest lies inline, with what its record says besides the value.
//! Older ones are in a box: their creation and version follow from the first of them, since each put counts one up and
//! each put behind a delete begins at one.

use ferrite_storage::Revision;

use super::PutFacts;

/// A revision of a key as a reader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub revision: Revision,
    /// The `main` of the put that began the generation.
    pub created: u64,
    /// Which put of the generation this is.
    pub version: u64,
}

/// All revisions of a key that are not compacted away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lifetime {
    newest: Stamp,
    /// Of the newest revision; both 0 when it is a delete.
    created: u64,
    version: u64,
    older: Option<Box<Older>>,
}

/// A change of a key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    main: u64,
    sub: u32,
    deleted: bool,
}

/// What was before the newest revision.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Older {
    /// Of the first of them.
    created: u64,
    version: u64,
    /// At least one, ascending.
    stamps: Vec<Stamp>,
}

impl Stamp {
    pub fn new(revision: Revision, deleted: bool) -> Stamp {
        let sub = u32::try_from(revision.sub).expect("a transaction has less than 2^32 changes: they are in memory");
        Stamp { main: revision.main, sub, deleted }
    }

    pub fn revision(self) -> Revision {
        Revision { main: self.main, sub: self.sub.into() }
    }

    pub fn is_deleted(self) -> bool {
        self.deleted
    }
}

impl std::fmt::Debug for Stamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}{}", self.main, self.sub, if self.deleted { "t" } else { "" })
    }
}

impl Lifetime {
    /// A life as it is first met: with a put, or with a delete when all before it is compacted.
    pub fn new(stamp: Stamp, facts: PutFacts) -> Lifetime {
        let PutFacts { created, version } = if stamp.deleted { PutFacts::default() } else { facts };
        Lifetime { newest: stamp, created, version, older: None }
    }

    pub fn is_live(&self) -> bool {
        !self.newest.deleted
    }

    /// Creation and version of the newest revision; both 0 when it is a delete.
    pub fn facts(&self) -> PutFacts {
        PutFacts { created: self.created, version: self.version }
    }

    /// The last birth or death.
    pub fn changed(&self) -> u64 {
        if self.newest.deleted { self.newest.main } else { self.created }
    }

    /// Adds a change.
    ///
    /// # Panics
    /// If it does not come after all others: revisions would then have two meanings.
    pub fn push(&mut self, stamp: Stamp) {
        assert!(stamp.revision() > self.newest.revision(), "{stamp:?} does not come after {:?}", self.newest);
        let before = self.newest;
        let older = self.older.get_or_insert_with(|| {
            Box::new(Older { created: self.created, version: self.version, stamps: Vec::new() })
        });
        older.stamps.push(before);
        self.newest = stamp;
        (self.created, self.version) = match (before.deleted, stamp.deleted) {
            (_, true) => (0, 0),
            (true, false) => (stamp.main, 1),
            (false, false) => (self.created, self.version + 1),
        };
    }

    /// Adds a change from the store. What came before one that is compacted cannot be seen, and which of it is still there
    /// is chance: so a life begins with what the record of the compacted one says.
    pub fn load(&mut self, stamp: Stamp, facts: PutFacts, compacted: u64, dead: &mut Vec<Revision>) {
        if stamp.main > compacted {
            return self.push(stamp);
        }
        assert!(stamp.revision() > self.newest.revision(), "{stamp:?} does not come after {:?}", self.newest);
        dead.extend(self.stamps().map(Stamp::revision));
        *self = Lifetime::new(stamp, facts);
    }

    /// What a reader at a revision sees.
    pub fn at(&self, main: u64) -> Option<Found> {
        if self.newest.main <= main {
            let found = Found { revision: self.newest.revision(), created: self.created, version: self.version };
            return self.is_live().then_some(found);
        }
        self.older.as_ref()?.at(main)
    }

    /// The newest revision up to `main`, deletes included.
    pub fn newest_up_to(&self, main: u64) -> Option<Stamp> {
        if self.newest.main <= main {
            return Some(self.newest);
        }
        let stamps = &self.older.as_ref()?.stamps;
        let count = stamps.partition_point(|stamp| stamp.main <= main);
        Some(stamps[count.checked_sub(1)?])
    }

    /// All changes, ascending.
    pub fn stamps(&self) -> impl Iterator<Item = Stamp> {
        let older = self.older.as_ref().map_or(&[][..], |older| &older.stamps);
        older.iter().copied().chain([self.newest])
    }

    /// All changes from a revision on, ascending.
    pub fn stamps_from(&self, main: u64) -> impl Iterator<Item = Stamp> {
        let older = self.older.as_ref().map_or(&[][..], |older| &older.stamps);
        let first = older.partition_point(|stamp| stamp.main < main);
        older[first..].iter().copied().chain((self.newest.main >= main).then_some(self.newest))
    }

    /// Forgets what nobody can see at `main` or later, and says so to `dead`. A delete at exactly `main` stays, as in
    /// etcd. Returns whether anything is left.
    pub fn compact(&mut self, main: u64, mut dead: impl FnMut(Revision)) -> bool {
        if self.newest.main <= main {
            for stamp in self.older.take().iter().flat_map(|older| &older.stamps) {
                dead(stamp.revision());
            }
            let keep = !self.newest.deleted || self.newest.main == main;
            if !keep {
                dead(self.newest.revision());
            }
            return keep;
        }
        let Some(older) = &mut self.older else { return true };
        let seen = older.stamps.partition_point(|stamp| stamp.main <= main);
        // The last one seen stays, unless it is a delete from before.
        let drop_count = match seen.checked_sub(1).map(|last| older.stamps[last]) {
            None => 0,
            Some(last) if last.deleted && last.main < main => seen,
            Some(_) => seen - 1,
        };
        older.forget(drop_count, dead);
        if older.stamps.is_empty() {
            self.older = None;
        }
        true
    }
}

impl Older {
    fn at(&self, main: u64) -> Option<Found> {
        let last = self.stamps.partition_point(|stamp| stamp.main <= main).checked_sub(1)?;
        let stamp = self.stamps[last];
        if stamp.deleted {
            return None;
        }
        let (created, version) = self.facts(last);
        Some(Found { revision: stamp.revision(), created, version })
    }

    /// Creation and version of a put.
    fn facts(&self, at: usize) -> (u64, u64) {
        // Found from behind: a generation that matters is a recent one.
        let died = self.stamps[..at].iter().rposition(|stamp| stamp.deleted);
        match died {
            Some(died) => (self.stamps[died + 1].main, (at - died) as u64),
            None => (self.created, self.version + at as u64),
        }
    }

    fn forget(&mut self, count: usize, mut dead: impl FnMut(Revision)) {
        if count == 0 {
            return;
        }
        if count < self.stamps.len() && !self.stamps[count].deleted {
            (self.created, self.version) = self.facts(count);
        }
        for stamp in self.stamps.drain(..count) {
            dead(stamp.revision());
        }
        self.stamps.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(main: u64, deleted: bool) -> Stamp {
        Stamp::new(Revision { main, sub: 0 }, deleted)
    }

    /// put 2, 4; delete 6; put 8, 10; delete 12.
    fn life() -> Lifetime {
        let mut life = Lifetime::new(stamp(2, false), PutFacts { created: 2, version: 1 });
        for (main, deleted) in [(4, false), (6, true), (8, false), (10, false), (12, true)] {
            life.push(stamp(main, deleted));
        }
        life
    }

    fn seen(life: &Lifetime) -> Vec<Option<(u64, u64, u64)>> {
        (1..=13).map(|at| life.at(at).map(|found| (found.revision.main, found.created, found.version))).collect()
    }

    #[test]
    fn a_reader_sees_the_generation_of_its_revision() {
        let (a, b, c, d) = (Some((2, 2, 1)), Some((4, 2, 2)), Some((8, 8, 1)), Some((10, 8, 2)));
        assert_eq!(seen(&life()), [None, a, a, b, b, None, None, c, c, d, d, None, None]);
    }

    #[test]
    fn a_position_of_a_transaction_counts() {
        // Put and deleted and put again at 3.
        let mut life = Lifetime::new(stamp(3, false), PutFacts { created: 3, version: 1 });
        life.push(Stamp::new(Revision { main: 3, sub: 1 }, true));
        assert_eq!(life.at(3), None);
        life.push(Stamp::new(Revision { main: 3, sub: 2 }, false));
        assert_eq!(life.at(3), Some(Found { revision: Revision { main: 3, sub: 2 }, created: 3, version: 1 }));
    }

    #[test]
    fn compaction_keeps_what_can_be_seen() {
        //  at  dead                    left
        let cases: &[(u64, &[u64], &[u64])] = &[
            (1, &[], &[2, 4, 6, 8, 10, 12]),
            (2, &[], &[2, 4, 6, 8, 10, 12]),
            (3, &[], &[2, 4, 6, 8, 10, 12]),
            (4, &[2], &[4, 6, 8, 10, 12]),
            (5, &[2], &[4, 6, 8, 10, 12]),
            (6, &[2, 4], &[6, 8, 10, 12]), // a delete at the very revision stays
            (7, &[2, 4, 6], &[8, 10, 12]),
            (9, &[2, 4, 6], &[8, 10, 12]),
            (10, &[2, 4, 6, 8], &[10, 12]),
            (12, &[2, 4, 6, 8, 10], &[12]),
            (13, &[2, 4, 6, 8, 10, 12], &[]),
        ];
        for (at, expected_dead, left) in cases {
            let mut compacted = life();
            let mut dead = Vec::new();
            let keeps = compacted.compact(*at, |revision| dead.push(revision.main));
            assert_eq!((&dead[..], keeps), (*expected_dead, !left.is_empty()), "at {at}");
            if keeps {
                assert_eq!(compacted.stamps().map(|stamp| stamp.main).collect::<Vec<_>>(), *left, "at {at}");
                let from = *at as usize - 1;
                assert_eq!(seen(&compacted)[from..], seen(&life())[from..], "at {at}");
            }
        }
    }

    #[test]
    fn versions_go_on_behind_a_compaction() {
        let mut life = life();
        life.compact(9, |_| ());
        life.compact(10, |_| ());
        assert_eq!(life.at(11).map(|found| (found.created, found.version)), Some((8, 2)));
        let mut young = Lifetime::new(stamp(2, false), PutFacts { created: 2, version: 1 });
        (3..9).for_each(|main| young.push(stamp(main, false)));
        for at in 3..=8 {
            young.compact(at, |_| ());
            assert_eq!(young.at(at).map(|found| (found.created, found.version)), Some((2, at - 1)));
        }
    }

    #[test]
    fn it_is_small() {
        assert_eq!(size_of::<Lifetime>(), 40);
    }
}
