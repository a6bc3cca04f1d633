//! Which keys are meant.

use bytes::Bytes;

/// A range of keys: one key, those up to an end, or all from a key on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    start: Bytes,
    end: End,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    /// Only the start itself.
    Single,
    /// Up to this key, which is not part of it.
    Before(Bytes),
    Open,
}

impl KeyRange {
    /// What `key` and `range_end` of a request select.
    pub fn new(key: Bytes, range_end: &Bytes) -> KeyRange {
        let end = match &range_end[..] {
            [] => End::Single,
            [0] => End::Open,
            _ => End::Before(range_end.clone()),
        };
        KeyRange { start: key, end }
    }

    pub fn single(key: Bytes) -> KeyRange {
        KeyRange { start: key, end: End::Single }
    }

    /// Every key there is.
    pub fn all() -> KeyRange {
        KeyRange { start: Bytes::new(), end: End::Open }
    }

    pub fn start(&self) -> &Bytes {
        &self.start
    }

    /// The key, when only one is meant.
    pub fn as_single(&self) -> Option<&Bytes> {
        matches!(self.end, End::Single).then_some(&self.start)
    }

    /// Whether a key that is not before the start is in the range.
    pub fn reaches(&self, key: &[u8]) -> bool {
        match &self.end {
            End::Single => key == self.start,
            End::Before(end) => key < end,
            End::Open => true,
        }
    }

    pub fn contains(&self, key: &[u8]) -> bool {
        key >= &self.start[..] && self.reaches(key)
    }

    /// The end, if it has one; a single key has none.
    pub(super) fn before(&self) -> Option<&[u8]> {
        match &self.end {
            End::Before(end) => Some(end),
            End::Single | End::Open => None,
        }
    }

    /// What is left of it from a key on.
    pub(super) fn from(&self, start: Vec<u8>) -> KeyRange {
        KeyRange { start: start.into(), end: self.end.clone() }
    }

    /// What is left of it behind a key.
    pub fn behind(&self, key: &[u8]) -> KeyRange {
        let mut start = Vec::with_capacity(key.len() + 1);
        start.extend_from_slice(key);
        start.push(0);
        let end = match &self.end {
            // Behind its only key nothing is left.
            End::Single => End::Before(Bytes::new()),
            end => end.clone(),
        };
        KeyRange { start: start.into(), end }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_contains_what_etcd_selects() {
        let range = |key: &'static [u8], end: &'static [u8]| KeyRange::new(key.into(), &end.into());
        let keys = [&b""[..], b"\0", b"a", b"a\0", b"b", b"\xff"];
        let cases: &[(KeyRange, &[&[u8]])] = &[
            (range(b"a", b""), &[b"a"]),
            (range(b"a", b"b"), &[b"a", b"a\0"]),
            (range(b"a", b"\0"), &[b"a", b"a\0", b"b", b"\xff"]),
            (range(b"\0", b"\0"), &keys[1..]),
            (range(b"b", b"a"), &[]),
            (range(b"a", b"a"), &[]),
            (KeyRange::all(), &keys),
            (range(b"a", b"\0").behind(b"a"), &[b"a\0", b"b", b"\xff"]),
            (range(b"a", b"b").behind(b"a\0"), &[]),
            (range(b"a", b"").behind(b"a"), &[]),
        ];
        for (range, expected) in cases {
            let selected: Vec<_> = keys.into_iter().filter(|key| range.contains(key)).collect();
            assert_eq!(selected, *expected, "{range:?}");
        }
    }
}
