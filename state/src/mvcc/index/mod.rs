//! The index: which revisions each key has, in the order of the keys.
//!
//!   key ──▶ inner nodes (where to go on; what is alive below) ──▶ leaf ──▶ lifetime ──▶ revision
//!
//! A B+tree of our own, because its inner nodes know how many keys are alive below them and when that last changed: a range
//! is counted at any revision by looking only where keys were born or died since. Keys lie inline in their leaf, and a
//! lifetime with one revision too, so a key costs its length and about fifty bytes.
//!
//! What holds: keys ascend; a separator is behind all keys to its left and not behind any to its right; a tally is what
//! its subtree says. Walks stop after a number of keys and say where to go on, so that no lock is held for long.

mod build;
mod keys;
mod lifetime;
mod node;
mod range;
#[cfg(test)]
mod tests;

pub use build::Builder;
pub use lifetime::{Found, Stamp};
pub use range::KeyRange;

use std::ops::ControlFlow;

use ferrite_storage::Revision;
use lifetime::Lifetime;
use node::{Arrival, Inner, Node, Walk};

/// The revisions of all keys.
#[derive(Debug)]
pub struct Index {
    root: Node,
}

/// Where a walk goes on that has stopped: at this key, or behind it when the key is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position(Vec<u8>);

/// What the record of a put tells of its key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PutFacts {
    pub created: u64,
    pub version: u64,
}

impl Default for Index {
    fn default() -> Index {
        Index { root: Node::empty() }
    }
}

impl Index {
    /// What a reader at a revision sees of a key.
    pub fn get(&self, key: &[u8], main: u64) -> Option<Found> {
        self.root.find(key)?.at(main)
    }

    /// All that is known of a key.
    pub(crate) fn life(&self, key: &[u8]) -> Option<&Lifetime> {
        self.root.find(key)
    }

    /// Puts a key, and says what its record has to tell.
    pub fn put(&mut self, key: &[u8], revision: Revision) -> PutFacts {
        self.push(key, Arrival::Written(Stamp::new(revision, false)))
    }

    /// Deletes a key.
    ///
    /// # Panics
    /// If it is not alive: a delete of nothing has no revision.
    pub fn delete(&mut self, key: &[u8], revision: Revision) {
        let alive = self.root.find(key).is_some_and(Lifetime::is_live);
        assert!(alive, "delete of a key that does not exist, at {revision:?}");
        self.push(key, Arrival::Written(Stamp::new(revision, true)));
    }

    /// Adds a change that a store held, in the order of revisions: see [`Builder`].
    fn load(&mut self, key: &[u8], stamp: Stamp, facts: PutFacts, compacted: u64, dead: &mut Vec<Revision>) {
        self.push(key, Arrival::Loaded { stamp, facts, compacted, dead });
    }

    fn push(&mut self, key: &[u8], mut arrival: Arrival<'_>) -> PutFacts {
        let pushed = self.root.push(key, &mut arrival);
        if let Some(split) = pushed.split {
            let left = std::mem::replace(&mut self.root, Node::empty());
            self.root = Node::Inner(Box::new(Inner::of_two(left, split)));
        }
        pushed.facts
    }

    /// How many keys of a range are alive at a revision; with where to go on, if looking at `budget` keys did not do.
    pub fn count(&self, range: &KeyRange, main: u64, budget: usize) -> (u64, Option<Position>) {
        if let Some(key) = range.as_single() {
            return (self.get(key, main).is_some().into(), None);
        }
        let mut walk = node::Count { range, main, budget, count: 0 };
        let position = walk.node(&self.root, Some(range.start()), None);
        (walk.count, position)
    }

    /// Visits the keys of a range in order, dead ones too, until `visit` breaks, or `budget` keys have been visited.
    /// Returns where to go on unless it came to the range's end or was broken off.
    pub(crate) fn walk(
        &self,
        range: &KeyRange,
        budget: usize,
        mut visit: impl FnMut(&[u8], &Lifetime) -> ControlFlow<()>,
    ) -> Option<Position> {
        if let Some(key) = range.as_single() {
            if let Some(life) = self.root.find(key) {
                let _ = visit(key, life);
            }
            return None;
        }
        let mut walk = Walk { range, budget, visit: &mut visit };
        match walk.node(&self.root, Some(range.start())) {
            ControlFlow::Break(position) => position,
            ControlFlow::Continue(()) => None,
        }
    }

    /// Compacts from a position on: hands out the revisions that nobody can see any more at `main` or later, and forgets
    /// them. Looks at about `budget` keys; returns where to go on.
    pub fn compact(&mut self, from: &Position, main: u64, budget: usize, dead: &mut Vec<Revision>) -> Option<Position> {
        let mut compaction = node::Compaction { main, budget, dead };
        let position = compaction.node(&mut self.root, Some(&from.0));
        self.root.collapse();
        position
    }

    /// What a reader at `main` would see, of a part of the keys: see [`Index::walk`].
    pub fn visible(
        &self,
        range: &KeyRange,
        main: u64,
        budget: usize,
        mut visit: impl FnMut(&[u8], Found) -> ControlFlow<()>,
    ) -> Option<Position> {
        self.walk(range, budget, |key, life| match life.at(main) {
            Some(found) => visit(key, found),
            None => ControlFlow::Continue(()),
        })
    }
}

impl Position {
    /// Before all keys.
    pub fn start() -> Position {
        Position::default()
    }

    /// What is left of a range from here on.
    pub fn rest_of(self, range: &KeyRange) -> KeyRange {
        range.from(self.0)
    }
}
