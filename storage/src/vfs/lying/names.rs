//! Names: what a path leads to, what of it is durable, and the changes between the two.
//!
//! A change is atomic: it survives a crash as a whole or not at all. Neither which ones survive nor which one comes last
//! follows the order in which they were made, not even for the same name: only a sync of their directory puts changes in
//! order.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use super::Survival;
use super::dice::Dice;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileId(pub(super) u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirId(pub(super) u64);

impl DirId {
    pub(super) const ROOT: DirId = DirId(0);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    File(FileId),
    Dir(DirId),
}

/// A name in a directory.
type Slot = (DirId, String);

#[derive(Clone, Debug)]
enum Change {
    Link { to: Slot, node: Node },
    Unlink { from: Slot },
    Rename { from: Slot, to: Slot, node: Node },
}

type Tree = BTreeMap<DirId, BTreeMap<String, Node>>;

#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    visible: Tree,
    durable: Tree,
    pending: Vec<Change>,
}

/// The names that a path goes through.
pub(super) fn components(path: &Path) -> Vec<String> {
    let normal = |component| match component {
        Component::Normal(name) => Some(name),
        _ => None,
    };
    path.components().filter_map(normal).map(|name| name.to_string_lossy().into_owned()).collect()
}

impl Names {
    pub(super) fn get(&self, dir: DirId, name: &str) -> Option<Node> {
        self.visible.get(&dir)?.get(name).copied()
    }

    pub(super) fn find(&self, path: &Path) -> Option<Node> {
        components(path).iter().try_fold(Node::Dir(DirId::ROOT), |node, name| match node {
            Node::Dir(dir) => self.get(dir, name),
            Node::File(_) => None,
        })
    }

    pub(super) fn dir(&self, path: &Path) -> Option<DirId> {
        match self.find(path)? {
            Node::Dir(dir) => Some(dir),
            Node::File(_) => None,
        }
    }

    /// The directory that a path's last name is or would be in.
    pub(super) fn slot(&self, path: &Path) -> Option<Slot> {
        Some((self.dir(path.parent()?)?, components(path).pop()?))
    }

    pub(super) fn list(&self, dir: DirId) -> Vec<String> {
        self.visible.get(&dir).map(|names| names.keys().cloned().collect()).unwrap_or_default()
    }

    /// All files that can be reached.
    pub(super) fn files(&self) -> Vec<FileId> {
        let mut files = Vec::new();
        let mut open = vec![DirId::ROOT];
        while let Some(dir) = open.pop() {
            for node in self.visible.get(&dir).into_iter().flat_map(BTreeMap::values) {
                match node {
                    Node::File(file) => files.push(*file),
                    Node::Dir(inner) => open.push(*inner),
                }
            }
        }
        files
    }

    pub(super) fn link(&mut self, to: Slot, node: Node) {
        self.change(Change::Link { to, node });
    }

    pub(super) fn unlink(&mut self, from: Slot) {
        self.change(Change::Unlink { from });
    }

    pub(super) fn rename(&mut self, from: Slot, to: Slot) {
        if let Some(node) = self.get(from.0, &from.1) {
            self.change(Change::Rename { from, to, node });
        }
    }

    fn change(&mut self, change: Change) {
        apply(&mut self.visible, &change);
        self.pending.push(change);
    }

    /// Makes the changes in a directory durable, and those that they need.
    pub(super) fn sync(&mut self, dir: DirId) {
        let mut needed: Vec<Slot> = Vec::new();
        let mut keep = vec![false; self.pending.len()];
        for (position, change) in self.pending.iter().enumerate().rev() {
            let slots = slots(change);
            if slots.iter().any(|slot| slot.0 == dir || needed.contains(slot)) {
                keep[position] = true;
                needed.extend(slots.into_iter().cloned());
            }
        }
        let mut keep = keep.into_iter();
        let durable = &mut self.durable;
        self.pending.retain(|change| {
            let now = keep.next().unwrap_or_default();
            if now {
                apply(durable, change);
            }
            !now
        });
    }

    /// The names after a crash.
    pub(super) fn survivor(&self, survival: Survival) -> Names {
        let mut tree = self.durable.clone();
        match survival {
            Survival::Nothing => {}
            Survival::Everything => self.pending.iter().for_each(|change| apply(&mut tree, change)),
            Survival::Seeded(seed) => self.apply_some(&mut tree, &mut Dice::new(seed)),
        }
        Names { visible: tree.clone(), durable: tree, pending: Vec::new() }
    }

    /// Either what came first, in order, or any changes in any order.
    fn apply_some(&self, tree: &mut Tree, dice: &mut Dice) {
        let mut changes: Vec<&Change> = self.pending.iter().collect();
        if dice.once_in(2) {
            changes.truncate(dice.below(changes.len() as u64 + 1) as usize);
        } else {
            changes.retain(|_| dice.once_in(2));
            for last in (1..changes.len()).rev() {
                changes.swap(last, dice.below(last as u64 + 1) as usize);
            }
        }
        changes.into_iter().for_each(|change| apply(tree, change));
    }
}

fn slots(change: &Change) -> Vec<&Slot> {
    match change {
        Change::Link { to, .. } => vec![to],
        Change::Unlink { from } => vec![from],
        Change::Rename { from, to, .. } => vec![from, to],
    }
}

fn apply(tree: &mut Tree, change: &Change) {
    let mut remove = |(dir, name): &Slot| {
        tree.entry(*dir).or_default().remove(name);
    };
    match change {
        Change::Link { .. } => {}
        Change::Unlink { from } | Change::Rename { from, .. } => remove(from),
    }
    match change {
        Change::Link { to, node } | Change::Rename { to, node, .. } => {
            tree.entry(to.0).or_default().insert(to.1.clone(), *node);
        }
        Change::Unlink { .. } => {}
    }
}
