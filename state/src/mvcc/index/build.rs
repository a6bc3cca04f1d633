//! The index of a store that is opened: sorted once, built from the leaves upwards.
//!
//! Records come in the order of their revisions, and there may be many more of them than keys. So they are taken in by
//! batches: the first makes the tree, the others are added to it in key order, which touches each leaf once.

use ferrite_storage::Revision;

use super::keys::{Keys, between};
use super::lifetime::{Lifetime, Stamp};
use super::node::{Inner, Leaf, MOST, Node};
use super::{Index, Position, PutFacts};

/// How full nodes are built: there is room for a few keys before the first split.
const FILL: usize = MOST * 7 / 8;

/// Leaves are built with no more bytes of keys than this.
const FILL_BYTES: usize = 24 << 10;

/// Records that wait to be sorted: some 100 MB with their keys. Tests have several batches, too.
const BATCH: usize = if cfg!(test) { 64 } else { 1 << 20 };

/// Takes in records in the order of their revisions.
#[derive(Debug)]
pub struct Builder {
    /// 0 is none.
    compacted: u64,
    dead: Vec<Revision>,
    index: Option<Index>,
    batch: Batch,
}

#[derive(Debug, Default)]
struct Batch {
    keys: Vec<u8>,
    changes: Vec<Change>,
}

#[derive(Debug)]
struct Change {
    key: (usize, u32),
    stamp: Stamp,
    facts: PutFacts,
}

impl Builder {
    /// For an index as it is after a compaction; 0 is none.
    pub fn new(compacted: u64) -> Builder {
        Builder { compacted, dead: Vec::new(), index: None, batch: Batch::default() }
    }

    /// Adds a record: for a put, with what its `KeyValue` says of creation and version.
    pub fn add(&mut self, key: &[u8], revision: Revision, deleted: bool, facts: PutFacts) {
        let Batch { keys, changes } = &mut self.batch;
        let begin = keys.len();
        keys.extend_from_slice(key);
        let length = u32::try_from(key.len()).expect("an entry is below 4 GiB");
        changes.push(Change { key: (begin, length), stamp: Stamp::new(revision, deleted), facts });
        if changes.len() >= BATCH {
            self.take_batch();
        }
    }

    /// The index, and the records that nobody can see.
    pub fn build(mut self) -> (Index, Vec<Revision>) {
        self.take_batch();
        let Builder { compacted, mut dead, index, .. } = self;
        let mut index = index.unwrap_or_default();
        // Deletes from before the compaction, which were kept for what might come.
        let done = index.compact(&Position::start(), compacted, usize::MAX, &mut dead);
        assert_eq!(done, None, "a walk without a bound comes to the end");
        (index, dead)
    }

    fn take_batch(&mut self) {
        let Batch { keys, mut changes } = std::mem::take(&mut self.batch);
        let key_of = |change: &Change| &keys[change.key.0..change.key.0 + change.key.1 as usize];
        changes.sort_unstable_by(|a, b| key_of(a).cmp(key_of(b)).then(a.stamp.revision().cmp(&b.stamp.revision())));
        let (compacted, dead) = (self.compacted, &mut self.dead);
        if let Some(index) = &mut self.index {
            for change in &changes {
                index.load(key_of(change), change.stamp, change.facts, compacted, dead);
            }
            return;
        }
        let mut leaves = Leaves::default();
        for changes in changes.chunk_by(|a, b| key_of(a) == key_of(b)) {
            let first = &changes[0];
            let mut life = Lifetime::new(first.stamp, first.facts);
            for change in &changes[1..] {
                life.load(change.stamp, change.facts, compacted, dead);
            }
            leaves.add(key_of(first), life);
        }
        self.index = Some(leaves.finish());
    }
}

#[derive(Default)]
struct Leaves<'a> {
    /// What the next leaf will hold.
    keys: Vec<&'a [u8]>,
    lives: Vec<Lifetime>,
    key_bytes: usize,
    /// Each with a separator before it.
    done: Vec<(Box<[u8]>, Node)>,
    next_separator: Box<[u8]>,
}

impl<'a> Leaves<'a> {
    fn add(&mut self, key: &'a [u8], life: Lifetime) {
        if let Some(last) = self.keys.last()
            && (self.keys.len() >= FILL || self.key_bytes + key.len() > FILL_BYTES)
        {
            let separator = between(last, key).into();
            self.close(separator);
        }
        self.keys.push(key);
        self.key_bytes += key.len();
        self.lives.push(life);
    }

    /// Makes a leaf. It takes no more memory than it needs: there may be very many.
    fn close(&mut self, separator: Box<[u8]>) {
        let lives = self.lives.drain(..).collect();
        let leaf = Leaf::of(Keys::of(&self.keys), lives);
        self.keys.clear();
        self.key_bytes = 0;
        let before = std::mem::replace(&mut self.next_separator, separator);
        self.done.push((before, Node::Leaf(Box::new(leaf))));
    }

    fn finish(mut self) -> Index {
        self.close(Box::default());
        let mut level = self.done;
        while level.len() > 1 {
            let mut above = Vec::with_capacity(level.len() / FILL + 1);
            let mut rest = level.into_iter().peekable();
            while rest.peek().is_some() {
                let mut children: Vec<_> = rest.by_ref().take(FILL).collect();
                let separator = std::mem::take(&mut children[0].0);
                above.push((separator, Node::Inner(Box::new(Inner::of_many(children)))));
            }
            level = above;
        }
        Index { root: level.pop().expect("there is a leaf, if an empty one").1 }
    }
}
