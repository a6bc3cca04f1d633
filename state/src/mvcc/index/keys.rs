//! A short sorted list of keys, one behind the other in one allocation.

use std::cmp::Ordering;

/// Room is made for so many keys at a time: a list that doubled would waste a third of the memory.
pub const GROW_KEYS: usize = 8;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    bytes: Vec<u8>,
    /// Where each key ends.
    ends: Vec<u32>,
}

impl Keys {
    /// Keys in their order, with no room to spare.
    pub fn of(keys: &[&[u8]]) -> Keys {
        let mut list = Keys { bytes: keys.concat(), ends: Vec::with_capacity(keys.len()) };
        let mut end = 0;
        for key in keys {
            end += u32::try_from(key.len()).expect("an entry is below 4 GiB");
            list.ends.push(end);
        }
        list.bytes.shrink_to_fit();
        list
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// How many bytes all keys have.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    fn begin(&self, at: usize) -> usize {
        at.checked_sub(1).map_or(0, |before| self.ends[before] as usize)
    }

    pub fn get(&self, at: usize) -> &[u8] {
        &self.bytes[self.begin(at)..self.ends[at] as usize]
    }

    pub fn last(&self) -> Option<&[u8]> {
        self.len().checked_sub(1).map(|last| self.get(last))
    }

    /// Where a key is, or where it would be.
    pub fn search(&self, key: &[u8]) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = (low + high) / 2;
            match self.get(middle).cmp(key) {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => return Ok(middle),
            }
        }
        Err(low)
    }

    /// How many keys are not behind the given one.
    pub fn count_up_to(&self, key: &[u8]) -> usize {
        self.search(key).map_or_else(|at| at, |at| at + 1)
    }

    pub fn insert(&mut self, at: usize, key: &[u8]) {
        if self.bytes.len() + key.len() > self.bytes.capacity() {
            self.bytes.reserve_exact(key.len() * GROW_KEYS.min(self.len() + 1));
        }
        if self.ends.len() == self.ends.capacity() {
            self.ends.reserve_exact(GROW_KEYS);
        }
        let begin = self.begin(at);
        let (old_length, length) = (self.bytes.len(), u32::try_from(key.len()).expect("an entry is below 4 GiB"));
        self.bytes.extend_from_slice(key);
        if begin < old_length {
            self.bytes.copy_within(begin..old_length, begin + key.len());
            self.bytes[begin..begin + key.len()].copy_from_slice(key);
        }
        self.ends.insert(at, begin as u32);
        self.ends[at..].iter_mut().for_each(|end| *end += length);
    }

    pub fn remove(&mut self, at: usize) {
        let range = self.begin(at)..self.ends[at] as usize;
        let length = range.len() as u32;
        self.bytes.drain(range);
        self.ends.remove(at);
        self.ends[at..].iter_mut().for_each(|end| *end -= length);
    }

    /// Cuts the list: what is returned begins with the key at `at`.
    pub fn split_off(&mut self, at: usize) -> Keys {
        let cut = self.begin(at);
        let behind = Keys {
            bytes: self.bytes[cut..].to_vec(),
            ends: self.ends[at..].iter().map(|end| end - cut as u32).collect(),
        };
        self.bytes.truncate(cut);
        self.ends.truncate(at);
        self.bytes.shrink_to_fit();
        self.ends.shrink_to_fit();
        behind
    }

    /// Adds keys that come behind all of these.
    pub fn append(&mut self, behind: &Keys) {
        let offset = self.bytes.len() as u32;
        self.bytes.reserve_exact(behind.bytes.len());
        self.bytes.extend_from_slice(&behind.bytes);
        self.ends.reserve_exact(behind.len());
        self.ends.extend(behind.ends.iter().map(|end| end + offset));
    }

    pub fn push(&mut self, key: &[u8]) {
        self.insert(self.len(), key);
    }
}

/// The shortest key that is behind `left` and not behind `right`.
pub fn between<'a>(left: &[u8], right: &'a [u8]) -> &'a [u8] {
    debug_assert!(left < right);
    let common = left.iter().zip(right).take_while(|(a, b)| a == b).count();
    &right[..common + 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(keys: &[&str]) -> Keys {
        Keys::of(&keys.iter().map(|key| key.as_bytes()).collect::<Vec<_>>())
    }

    #[test]
    fn keys_are_found_moved_and_cut() {
        let mut list = keys(&["", "b", "dd"]);
        assert_eq!(
            [list.search(b""), list.search(b"a"), list.search(b"dd"), list.search(b"e")],
            [Ok(0), Err(1), Ok(2), Err(3)]
        );
        list.insert(2, b"ccc");
        list.insert(1, b"");
        list.remove(1);
        assert_eq!(list, keys(&["", "b", "ccc", "dd"]));
        let behind = list.split_off(2);
        assert_eq!((&list, &behind), (&keys(&["", "b"]), &keys(&["ccc", "dd"])));
        list.append(&behind);
        assert_eq!((list.last(), list.bytes()), (Some(&b"dd"[..]), 6));
        assert_eq!((list.count_up_to(b"a"), list.count_up_to(b"b"), list.count_up_to(b"z")), (1, 2, 4));
    }

    #[test]
    fn between_two_keys_lies_the_shortest_that_parts_them() {
        for (left, right, expected) in [("a", "b", "b"), ("abc", "abd", "abd"), ("abc", "bcd", "b"), ("", "xy", "x")] {
            assert_eq!(between(left.as_bytes(), right.as_bytes()), expected.as_bytes());
        }
        assert_eq!(between(b"ab", b"abcd"), b"abc");
    }
}
