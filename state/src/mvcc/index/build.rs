//! The index of a store that is opened: sorted once, built from the leaves upwards.

use ferrite_storage::Revision;

use super::Index;
use super::keys::{Keys, between};
use super::lifetime::{Lifetime, Stamp};
use super::node::{Inner, Leaf, MOST, Node};

/// How full nodes are built: there is room for a few keys before the first split.
const FILL: usize = MOST * 7 / 8;

/// Leaves are built with no more bytes of keys than this.
const FILL_BYTES: usize = 24 << 10;

/// Takes in records in the order of their revisions.
#[derive(Debug, Default)]
pub struct Builder {
    keys: Vec<u8>,
    changes: Vec<Change>,
}

#[derive(Debug)]
struct Change {
    key: (usize, u32),
    stamp: Stamp,
    created: u64,
    version: u64,
}

impl Builder {
    /// Adds a record: for a put, with what its `KeyValue` says of creation and version.
    pub fn add(&mut self, key: &[u8], revision: Revision, deleted: bool, created: u64, version: u64) {
        let begin = self.keys.len();
        self.keys.extend_from_slice(key);
        let length = u32::try_from(key.len()).expect("an entry is below 4 GiB");
        self.changes.push(Change { key: (begin, length), stamp: Stamp::new(revision, deleted), created, version });
    }

    /// The index as it is after a compaction at `compacted`; 0 is none. Records that nobody can see are handed to `dead`.
    pub fn build(self, compacted: u64, dead: &mut Vec<Revision>) -> Index {
        let Builder { keys, mut changes } = self;
        let key_of = |change: &Change| &keys[change.key.0..change.key.0 + change.key.1 as usize];
        changes.sort_unstable_by(|a, b| key_of(a).cmp(key_of(b)).then(a.stamp.revision().cmp(&b.stamp.revision())));

        let mut leaves = Leaves::default();
        for changes in changes.chunk_by(|a, b| key_of(a) == key_of(b)) {
            if let Some(life) = survivors(changes, compacted, dead) {
                leaves.add(key_of(&changes[0]), life);
            }
        }
        leaves.finish()
    }
}

/// The life of a key from what of it can still be seen. Which of the others are still there is chance: so what is kept
/// begins with what its own record says.
fn survivors(changes: &[Change], compacted: u64, dead: &mut Vec<Revision>) -> Option<Lifetime> {
    let seen = changes.partition_point(|change| change.stamp.revision().main <= compacted);
    let keep_from = match seen.checked_sub(1).map(|last| changes[last].stamp) {
        None => 0,
        Some(last) if last.is_deleted() && last.revision().main < compacted => seen,
        Some(_) => seen - 1,
    };
    let (gone, kept) = changes.split_at(keep_from);
    dead.extend(gone.iter().map(|change| change.stamp.revision()));
    let (first, rest) = kept.split_first()?;
    let mut life = Lifetime::new(first.stamp, first.created, first.version);
    rest.iter().for_each(|change| life.push(change.stamp));
    Some(life)
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
