//! The nodes of the tree, and the walks over them.

use std::ops::ControlFlow;

use ferrite_storage::Revision;

use super::keys::{GROW_KEYS, Keys, between};
use super::lifetime::{Lifetime, Stamp};
use super::{KeyRange, Position, PutFacts};

/// Keys of a leaf, children of an inner node. Tests have small nodes, so that few keys make a tall tree.
pub const MOST: usize = if cfg!(test) { 8 } else { 64 };

/// A leaf is full, too, when its keys have so many bytes: what an insertion moves stays small.
const MOST_BYTES: usize = 32 << 10;

/// Two neighbours become one when they fill no more than this part of a node.
const MERGED: usize = MOST * 3 / 4;

#[derive(Debug)]
pub enum Node {
    Leaf(Box<Leaf>),
    Inner(Box<Inner>),
}

#[derive(Debug, Default)]
pub struct Leaf {
    keys: Keys,
    lives: Vec<Lifetime>,
}

#[derive(Debug, Default)]
pub struct Inner {
    /// One less than children: between each two.
    separators: Keys,
    children: Vec<Child>,
}

#[derive(Debug)]
struct Child {
    node: Node,
    tally: Tally,
}

/// What a subtree says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Keys that are alive now.
    live: u64,
    /// When the last of its keys was born or died. A reader from then on sees just the live ones.
    changed: u64,
}

/// The right half of a node that was full.
#[derive(Debug)]
pub struct Split {
    separator: Box<[u8]>,
    right: Node,
}

/// A change that comes to a key.
pub enum Arrival<'a> {
    /// It is the newest there is.
    Written(Stamp),
    /// The store held it: see [`Lifetime::load`].
    Loaded { stamp: Stamp, facts: PutFacts, compacted: u64, dead: &'a mut Vec<Revision> },
}

impl Arrival<'_> {
    /// To a key that is not there.
    fn begin(&self) -> Lifetime {
        match self {
            Arrival::Written(stamp) => Lifetime::new(*stamp, PutFacts { created: stamp.revision().main, version: 1 }),
            Arrival::Loaded { stamp, facts, .. } => Lifetime::new(*stamp, *facts),
        }
    }

    fn join(&mut self, life: &mut Lifetime) {
        match self {
            Arrival::Written(stamp) => life.push(*stamp),
            Arrival::Loaded { stamp, facts, compacted, dead } => life.load(*stamp, *facts, *compacted, dead),
        }
    }
}

/// What came of adding a revision.
pub struct Pushed {
    pub facts: PutFacts,
    /// Whether the key was alive before, and is now; when it was last born or died.
    lived: bool,
    lives: bool,
    changed: u64,
    pub split: Option<Split>,
}

impl Node {
    pub fn empty() -> Node {
        Node::Leaf(Box::default())
    }

    pub fn find(&self, key: &[u8]) -> Option<&Lifetime> {
        let mut node = self;
        loop {
            match node {
                Node::Leaf(leaf) => return leaf.keys.search(key).ok().map(|at| &leaf.lives[at]),
                Node::Inner(inner) => node = &inner.children[inner.separators.count_up_to(key)].node,
            }
        }
    }

    pub fn push(&mut self, key: &[u8], arrival: &mut Arrival<'_>) -> Pushed {
        match self {
            Node::Leaf(leaf) => leaf.push(key, arrival),
            Node::Inner(inner) => inner.push(key, arrival),
        }
    }

    pub fn tally(&self) -> Tally {
        match self {
            Node::Leaf(leaf) => leaf.lives.iter().fold(Tally::default(), |tally, life| Tally {
                live: tally.live + u64::from(life.is_live()),
                changed: tally.changed.max(life.changed()),
            }),
            Node::Inner(inner) => inner.children.iter().fold(Tally::default(), |tally, child| Tally {
                live: tally.live + child.tally.live,
                changed: tally.changed.max(child.tally.changed),
            }),
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Node::Leaf(leaf) => leaf.lives.is_empty(),
            Node::Inner(inner) => inner.children.is_empty(),
        }
    }

    /// Takes out inner nodes that have only one child to choose from.
    pub fn collapse(&mut self) {
        while let Node::Inner(inner) = self
            && inner.children.len() <= 1
        {
            *self = inner.children.pop().map_or_else(Node::empty, |child| child.node);
        }
    }

    /// Takes in the node to the right, if both fit into one.
    fn merge(&mut self, separator: &[u8], right: &mut Node) -> bool {
        match (self, right) {
            (Node::Leaf(left), Node::Leaf(right)) => {
                let fits = left.lives.len() + right.lives.len() <= MERGED
                    && left.keys.bytes() + right.keys.bytes() <= MOST_BYTES * 3 / 4;
                if fits {
                    left.keys.append(&right.keys);
                    left.lives.reserve_exact(right.lives.len());
                    left.lives.append(&mut right.lives);
                }
                fits
            }
            (Node::Inner(left), Node::Inner(right)) => {
                let fits = left.children.len() + right.children.len() <= MERGED;
                if fits {
                    left.separators.push(separator);
                    left.separators.append(&right.separators);
                    left.children.append(&mut right.children);
                }
                fits
            }
            _ => unreachable!("all leaves are equally deep"),
        }
    }
}

impl Leaf {
    fn is_full(&self, key: &[u8]) -> bool {
        self.lives.len() >= MOST || (self.lives.len() >= 2 && self.keys.bytes() + key.len() > MOST_BYTES)
    }

    fn push(&mut self, key: &[u8], arrival: &mut Arrival<'_>) -> Pushed {
        match self.keys.search(key) {
            Ok(at) => {
                let life = &mut self.lives[at];
                let lived = life.is_live();
                arrival.join(life);
                Pushed { facts: life.facts(), lived, lives: life.is_live(), changed: life.changed(), split: None }
            }
            Err(at) => {
                let life = arrival.begin();
                let (facts, lives, changed) = (life.facts(), life.is_live(), life.changed());
                Pushed { facts, lived: false, lives, changed, split: self.insert(at, key, life) }
            }
        }
    }

    /// Inserts a key. A full leaf gives its right half away.
    fn insert(&mut self, at: usize, key: &[u8], life: Lifetime) -> Option<Split> {
        if !self.is_full(key) {
            self.add(at, key, life);
            return None;
        }
        // Keys often come in ascending order: then the left half stays full.
        let length = self.lives.len();
        let middle = if at == length { length } else { length / 2 };
        let mut right = Leaf { keys: self.keys.split_off(middle), lives: self.lives.split_off(middle) };
        self.lives.shrink_to_fit();
        match at > middle || at == length {
            true => right.add(at - middle, key, life),
            false => self.add(at, key, life),
        }
        let left_last = self.keys.last().expect("a full leaf has two keys");
        let separator = between(left_last, right.keys.get(0)).into();
        Some(Split { separator, right: Node::Leaf(Box::new(right)) })
    }

    fn add(&mut self, at: usize, key: &[u8], life: Lifetime) {
        if self.lives.len() == self.lives.capacity() {
            self.lives.reserve_exact(GROW_KEYS);
        }
        self.keys.insert(at, key);
        self.lives.insert(at, life);
    }

    pub fn of(keys: Keys, lives: Vec<Lifetime>) -> Leaf {
        Leaf { keys, lives }
    }

    fn first_at_or_behind(&self, key: Option<&[u8]>) -> usize {
        key.map_or(0, |key| self.keys.search(key).unwrap_or_else(|at| at))
    }
}

impl Child {
    fn new(node: Node) -> Child {
        let tally = node.tally();
        Child { node, tally }
    }
}

impl Inner {
    pub fn of_two(left: Node, split: Split) -> Inner {
        let mut inner = Inner { separators: Keys::default(), children: vec![Child::new(left)] };
        inner.add(0, split);
        inner
    }

    /// A node of finished subtrees, each with a separator that is behind all before it; the first one's is not used.
    pub fn of_many(subtrees: Vec<(Box<[u8]>, Node)>) -> Inner {
        let mut inner = Inner::default();
        for (at, (separator, node)) in subtrees.into_iter().enumerate() {
            if at > 0 {
                inner.separators.push(&separator);
            }
            inner.children.push(Child::new(node));
        }
        inner
    }

    fn push(&mut self, key: &[u8], arrival: &mut Arrival<'_>) -> Pushed {
        let at = self.separators.count_up_to(key);
        let child = &mut self.children[at];
        let mut pushed = child.node.push(key, arrival);
        child.tally.live = child.tally.live + u64::from(pushed.lives) - u64::from(pushed.lived);
        child.tally.changed = child.tally.changed.max(pushed.changed);
        if let Some(split) = pushed.split.take() {
            self.children[at].tally = self.children[at].node.tally();
            pushed.split = self.add(at, split);
        }
        pushed
    }

    /// Adds the right half of a child behind it.
    fn add(&mut self, at: usize, split: Split) -> Option<Split> {
        self.separators.insert(at, &split.separator);
        self.children.insert(at + 1, Child::new(split.right));
        let length = self.children.len();
        if length <= MOST {
            return None;
        }
        let middle = if at + 2 == length { length - 1 } else { length / 2 };
        let children = self.children.split_off(middle);
        let separators = self.separators.split_off(middle);
        let separator: Box<[u8]> = self.separators.get(middle - 1).into();
        self.separators.remove(middle - 1);
        Some(Split { separator, right: Node::Inner(Box::new(Inner { separators, children })) })
    }

    fn child_of(&self, key: Option<&[u8]>) -> usize {
        key.map_or(0, |key| self.separators.count_up_to(key))
    }

    /// Where the keys of a child begin; not asked of the first.
    fn begin(&self, at: usize) -> Position {
        Position(self.separators.get(at - 1).to_vec())
    }

    fn remove(&mut self, at: usize) {
        self.children.remove(at);
        if self.separators.len() > 0 {
            self.separators.remove(at.saturating_sub(1));
        }
    }
}

/// Counting the live keys of a range at a revision.
pub struct Count<'a> {
    pub range: &'a KeyRange,
    pub main: u64,
    pub budget: usize,
    pub count: u64,
}

impl Count<'_> {
    /// Counts below a node, from `start` on if its first keys are before that; `tally` is that of the node.
    pub fn node(&mut self, node: &Node, start: Option<&[u8]>, tally: Option<Tally>) -> Option<Position> {
        match node {
            Node::Leaf(leaf) => {
                let from = leaf.first_at_or_behind(start);
                let length = leaf.lives.len();
                let to = self.range.before().map_or(length, |end| leaf.first_at_or_behind(Some(end))).max(from);
                let whole = from == 0 && to == length;
                self.count += match tally {
                    Some(tally) if whole && tally.changed <= self.main => tally.live,
                    _ => leaf.lives[from..to].iter().filter(|life| life.at(self.main).is_some()).count() as u64,
                };
                self.budget = self.budget.saturating_sub(to - from);
                None
            }
            Node::Inner(inner) => {
                let first = inner.child_of(start);
                let last = self.range.before().map_or(inner.children.len() - 1, |end| inner.child_of(Some(end)));
                for at in first..=last {
                    let child = &inner.children[at];
                    let whole = (at > first || start.is_none()) && (at < last || self.range.before().is_none());
                    if whole && child.tally.changed <= self.main {
                        self.count += child.tally.live;
                        continue;
                    }
                    if self.budget == 0 && at > first {
                        return Some(inner.begin(at));
                    }
                    let position = self.node(&child.node, start.filter(|_| at == first), Some(child.tally));
                    if position.is_some() {
                        return position;
                    }
                }
                None
            }
        }
    }
}

/// Visiting the keys of a range in order.
pub struct Walk<'a, V> {
    pub range: &'a KeyRange,
    pub budget: usize,
    pub visit: &'a mut V,
}

impl<V: FnMut(&[u8], &Lifetime) -> ControlFlow<()>> Walk<'_, V> {
    /// Breaks with where to go on, or with nothing when all is done.
    pub fn node(&mut self, node: &Node, start: Option<&[u8]>) -> ControlFlow<Option<Position>> {
        match node {
            Node::Leaf(leaf) => {
                for at in leaf.first_at_or_behind(start)..leaf.lives.len() {
                    let key = leaf.keys.get(at);
                    if !self.range.reaches(key) {
                        return ControlFlow::Break(None);
                    }
                    if self.budget == 0 {
                        return ControlFlow::Break(Some(Position(key.to_vec())));
                    }
                    self.budget -= 1;
                    if (self.visit)(key, &leaf.lives[at]).is_break() {
                        return ControlFlow::Break(None);
                    }
                }
                ControlFlow::Continue(())
            }
            Node::Inner(inner) => {
                let first = inner.child_of(start);
                for (at, child) in inner.children.iter().enumerate().skip(first) {
                    self.node(&child.node, start.filter(|_| at == first))?;
                }
                ControlFlow::Continue(())
            }
        }
    }
}

/// Taking out what nobody can see any more.
pub struct Compaction<'a> {
    pub main: u64,
    pub budget: usize,
    pub dead: &'a mut Vec<Revision>,
}

impl Compaction<'_> {
    /// Compacts below a node, from `start` on if its first keys are before that; returns where to go on.
    pub fn node(&mut self, node: &mut Node, start: Option<&[u8]>) -> Option<Position> {
        match node {
            Node::Leaf(leaf) => {
                self.leaf(leaf, start);
                None
            }
            Node::Inner(inner) => self.inner(inner, start),
        }
    }

    fn leaf(&mut self, leaf: &mut Leaf, start: Option<&[u8]>) {
        let from = leaf.first_at_or_behind(start);
        self.budget = self.budget.saturating_sub(leaf.lives.len() - from);
        let (main, dead) = (self.main, &mut *self.dead);
        for at in (from..leaf.lives.len()).rev() {
            if !leaf.lives[at].compact(main, |revision| dead.push(revision)) {
                leaf.keys.remove(at);
                leaf.lives.remove(at);
            }
        }
    }

    fn inner(&mut self, inner: &mut Inner, start: Option<&[u8]>) -> Option<Position> {
        let mut at = inner.child_of(start);
        let mut start = start;
        while at < inner.children.len() {
            if self.budget == 0 && at > 0 && start.is_none() {
                return Some(inner.begin(at));
            }
            let position = self.node(&mut inner.children[at].node, start.take());
            if inner.children[at].node.is_empty() {
                inner.remove(at);
            } else if at > 0 && inner.merge_into_left(at) {
                // The next child has taken this one's place.
            } else {
                at += 1;
            }
            if position.is_some() {
                return position;
            }
        }
        None
    }
}

impl Inner {
    fn merge_into_left(&mut self, at: usize) -> bool {
        let (left, right) = self.children.split_at_mut(at);
        let (left, right) = (left.last_mut().expect("not the first child"), &mut right[0]);
        let merged = left.node.merge(self.separators.get(at - 1), &mut right.node);
        if merged {
            left.tally = left.node.tally();
            self.remove(at);
        }
        merged
    }
}

#[cfg(test)]
impl Node {
    /// Checks all that must hold of a tree.
    pub fn check(&self) {
        self.check_below(None, None);
    }

    /// Returns the depth of the leaves.
    fn check_below(&self, low: Option<&[u8]>, high: Option<&[u8]>) -> usize {
        let within = |keys: &Keys| {
            let keys: Vec<_> = (0..keys.len()).map(|at| keys.get(at)).collect();
            assert!(keys.windows(2).all(|pair| pair[0] < pair[1]));
            assert!(keys.first().is_none_or(|first| low.is_none_or(|low| low <= *first)));
            assert!(keys.last().is_none_or(|last| high.is_none_or(|high| *last < high)));
        };
        match self {
            Node::Leaf(leaf) => {
                within(&leaf.keys);
                assert_eq!(leaf.keys.len(), leaf.lives.len());
                assert!(leaf.lives.len() <= MOST && (leaf.keys.bytes() <= MOST_BYTES || leaf.lives.len() <= 2));
                0
            }
            Node::Inner(inner) => {
                within(&inner.separators);
                assert_eq!(inner.separators.len() + 1, inner.children.len());
                assert!(inner.children.len() <= MOST);
                let depths: Vec<_> = (inner.children.iter().enumerate())
                    .map(|(at, child)| {
                        let tally = child.node.tally();
                        assert_eq!(child.tally.live, tally.live);
                        assert!(child.tally.changed >= tally.changed);
                        assert!(!child.node.is_empty());
                        let low = at.checked_sub(1).map(|before| inner.separators.get(before)).or(low);
                        let high = (at < inner.separators.len()).then(|| inner.separators.get(at)).or(high);
                        child.node.check_below(low, high)
                    })
                    .collect();
                assert!(depths.windows(2).all(|pair| pair[0] == pair[1]), "{depths:?}");
                depths[0] + 1
            }
        }
    }
}
