//! Who watches a key. Watchers of the same keys form a group, and a key is looked up among the groups: single keys in a map,
//! ranges in [`Ranges`]. A key that nobody watches costs one look into each.

use std::collections::HashMap;

use bytes::Bytes;

use super::ranges::Ranges;
use super::request::{KeyRange, RangeEnd};
use super::slab::{Key, Slab};

#[derive(Debug, Default)]
pub struct Matcher {
    groups: Slab<Group>,
    group_of: HashMap<KeyRange, Key>,
    singles: HashMap<Bytes, Key>,
    ranges: Ranges<Key>,
}

/// The watchers of the same keys, in no order.
#[derive(Debug, Default)]
struct Group {
    watchers: Vec<Key>,
}

/// Where a watcher stands in its group.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    group: Key,
    index: usize,
}

impl Matcher {
    pub fn insert(&mut self, range: &KeyRange, watcher: Key) -> Place {
        let group = *self.group_of.entry(range.clone()).or_insert_with(|| {
            let group = self.groups.insert(Group::default());
            match &range.end {
                RangeEnd::Single => {
                    self.singles.insert(range.start.clone(), group);
                }
                RangeEnd::Before(end) => self.ranges.insert(range.start.clone(), Some(end.clone()), group),
                RangeEnd::Unbounded => self.ranges.insert(range.start.clone(), None, group),
            }
            group
        });
        let watchers = &mut self.groups.get_mut(group).expect("a listed group exists").watchers;
        watchers.push(watcher);
        Place { group, index: watchers.len() - 1 }
    }

    /// Takes a watcher out. The one that is returned has moved to its place.
    pub fn remove(&mut self, range: &KeyRange, place: Place) -> Option<Key> {
        let watchers = &mut self.groups.get_mut(place.group).expect("a watcher's group exists").watchers;
        watchers.swap_remove(place.index);
        let moved = watchers.get(place.index).copied();
        if watchers.is_empty() {
            self.groups.remove(place.group);
            self.group_of.remove(range);
            match &range.end {
                RangeEnd::Single => {
                    self.singles.remove(&range.start);
                }
                RangeEnd::Before(end) => self.ranges.remove(&range.start, &Some(end.clone())),
                RangeEnd::Unbounded => self.ranges.remove(&range.start, &None),
            }
        }
        moved
    }

    /// Appends all watchers of a key.
    pub fn find(&self, key: &[u8], watchers: &mut Vec<Key>) {
        let mut add = |group| watchers.extend(&self.groups.get(group).expect("a listed group exists").watchers);
        self.singles.get(key).copied().into_iter().for_each(&mut add);
        self.ranges.find(key, &mut add);
    }
}
