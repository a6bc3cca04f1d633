//! Ranges of keys, and which of them a key is in.
//!
//! Most lie in a list sorted by start, read as a balanced tree: the root is the middle, and each node knows the largest end
//! below it, so whole subtrees are passed over. New ranges wait in a short list that is searched one by one, and are sorted in
//! when it gets long; removed ones leave a hole until half the list is holes. So a change costs about the square root of their
//! number, and a search its logarithm and what it finds.

use bytes::Bytes;

/// New ranges that are always worth waiting for.
const RECENT: usize = 32;

/// Ranges, each with what it stands for. No range is in it twice.
#[derive(Debug)]
pub struct Ranges<T> {
    sorted: Vec<Node<T>>,
    recent: Vec<Node<T>>,
    holes: usize,
}

#[derive(Debug)]
struct Node<T> {
    start: Bytes,
    /// `None`: without end.
    end: Option<Bytes>,
    /// Which node of the subtree ends last.
    last_end: usize,
    /// `None`: removed.
    value: Option<T>,
}

impl<T> Default for Ranges<T> {
    fn default() -> Self {
        Ranges { sorted: Vec::new(), recent: Vec::new(), holes: 0 }
    }
}

impl<T: Copy> Ranges<T> {
    pub fn insert(&mut self, start: Bytes, end: Option<Bytes>, value: T) {
        self.recent.push(Node { start, end, last_end: 0, value: Some(value) });
        if self.recent.len() > RECENT && self.recent.len() * self.recent.len() > self.sorted.len() {
            self.sort();
        }
    }

    pub fn remove(&mut self, start: &Bytes, end: &Option<Bytes>) {
        let same = |node: &Node<T>| node.start == start && node.end == *end && node.value.is_some();
        if let Some(place) = self.recent.iter().position(same) {
            self.recent.swap_remove(place);
            return;
        }
        let first = self.sorted.partition_point(|node| node.start < start);
        let node = self.sorted[first..].iter_mut().take_while(|node| node.start == start).find(|node| same(node));
        node.expect("only what was inserted is removed").value = None;
        self.holes += 1;
        if self.holes * 2 > self.sorted.len() {
            self.sort();
        }
    }

    /// Calls `found` for each range that has the key.
    pub fn find(&self, key: &[u8], found: &mut impl FnMut(T)) {
        for node in &self.recent {
            if node.start <= key && !ends(node, key) {
                node.value.into_iter().for_each(&mut *found);
            }
        }
        self.find_sorted(0, self.sorted.len(), key, found);
    }

    fn find_sorted(&self, from: usize, to: usize, key: &[u8], found: &mut impl FnMut(T)) {
        if from == to {
            return;
        }
        let middle = from + (to - from) / 2;
        let node = &self.sorted[middle];
        if ends(&self.sorted[node.last_end], key) {
            return;
        }
        self.find_sorted(from, middle, key, found);
        if node.start <= key {
            if !ends(node, key) {
                node.value.into_iter().for_each(&mut *found);
            }
            self.find_sorted(middle + 1, to, key, found);
        }
    }

    fn sort(&mut self) {
        self.sorted.append(&mut self.recent);
        self.sorted.retain(|node| node.value.is_some());
        self.sorted.sort_by(|a, b| a.start.cmp(&b.start));
        self.holes = 0;
        self.find_last_ends(0, self.sorted.len());
    }

    fn find_last_ends(&mut self, from: usize, to: usize) -> Option<usize> {
        if from == to {
            return None;
        }
        let middle = from + (to - from) / 2;
        let mut last = middle;
        for below in [self.find_last_ends(from, middle), self.find_last_ends(middle + 1, to)].into_iter().flatten() {
            let later = match (&self.sorted[below].end, &self.sorted[last].end) {
                (None, _) => true,
                (Some(_), None) => false,
                (Some(below), Some(last)) => below > last,
            };
            if later {
                last = below;
            }
        }
        self.sorted[middle].last_end = last;
        Some(last)
    }
}

/// Whether a range ends before a key or at it.
fn ends<T>(node: &Node<T>, key: &[u8]) -> bool {
    node.end.as_ref().is_some_and(|end| end <= key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// Random ranges come and go; what is found is what a list finds.
    #[test]
    fn finds_what_a_list_finds() {
        for seed in 0..30 {
            let mut random = Random::new(seed);
            let mut ranges = Ranges::default();
            let mut model: Vec<(Bytes, Option<Bytes>, u64)> = Vec::new();
            let key = |random: &mut Random| Bytes::from(format!("{:02}", random.below(60)));
            for step in 0..1500 {
                if random.below(5) < 3 || model.is_empty() {
                    let (start, end) = (key(&mut random), key(&mut random));
                    let (start, end) = (start.clone().min(end.clone()), start.max(end));
                    let end = (random.below(10) > 0).then_some(end);
                    if end.as_ref() != Some(&start) && !model.iter().any(|(s, e, _)| (s, e) == (&start, &end)) {
                        ranges.insert(start.clone(), end.clone(), step);
                        model.push((start, end, step));
                    }
                } else {
                    let (start, end, _) = model.swap_remove(random.below(model.len() as u64) as usize);
                    ranges.remove(&start, &end);
                }
                let key = key(&mut random);
                let mut found = Vec::new();
                ranges.find(&key, &mut |value| found.push(value));
                found.sort_unstable();
                let in_range = |(start, end, value): &(Bytes, Option<Bytes>, u64)| {
                    (*start <= key && end.as_ref().is_none_or(|end| key < *end)).then_some(*value)
                };
                let mut expected: Vec<u64> = model.iter().filter_map(in_range).collect();
                expected.sort_unstable();
                assert_eq!(found, expected, "seed {seed} step {step}");
            }
            assert!(ranges.sorted.len() > RECENT, "most of them were found in the tree");
        }
    }
}
