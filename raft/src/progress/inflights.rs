//! What was sent to a follower and not yet acknowledged.

use std::collections::VecDeque;

use crate::types::Index;

/// The window of one follower (thesis, 10.2.2), oldest message first. Full means: only empty messages go until something is
/// acknowledged.
#[derive(Clone, Debug)]
pub struct Inflights {
    sent: VecDeque<Sent>,
    bytes: u64,
    limits: InflightLimits,
}

/// How much may be under way to one follower. The last message may pass the bytes.
#[derive(Clone, Copy, Debug)]
pub struct InflightLimits {
    /// How many messages; at least 1.
    pub messages: usize,
    /// How many bytes of the entries' data alone.
    pub bytes: u64,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    last: Index,
    bytes: u64,
}

impl Inflights {
    /// An empty window.
    pub(crate) fn new(limits: InflightLimits) -> Inflights {
        Inflights { sent: VecDeque::new(), bytes: 0, limits }
    }

    /// Whether no message with entries may be added.
    pub fn is_full(&self) -> bool {
        self.sent.len() >= self.limits.messages || self.bytes >= self.limits.bytes
    }

    /// How many messages are under way.
    pub fn count(&self) -> usize {
        self.sent.len()
    }

    /// Adds a message with entries up to `last`.
    ///
    /// # Panics
    /// If the window is full.
    pub(crate) fn add(&mut self, last: Index, bytes: u64) {
        assert!(!self.is_full(), "cannot add into a full inflights");
        self.sent.push_back(Sent { last, bytes });
        self.bytes += bytes;
    }

    /// Removes all messages whose entries end at `index` or before.
    pub(crate) fn acknowledge(&mut self, index: Index) {
        while let Some(sent) = self.sent.pop_front_if(|sent| sent.last <= index) {
            self.bytes -= sent.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_full_by_messages_or_by_bytes() {
        fn check(messages: usize, bytes: u64, sent: &[u64], expected: bool) {
            let mut window = Inflights::new(InflightLimits { messages, bytes });
            for (place, size) in sent.iter().enumerate() {
                window.add(Index(place as u64 + 1), *size);
            }
            assert_eq!(window.is_full(), expected, "{messages} messages, {bytes} bytes, sent {sent:?}");
        }
        check(3, 100, &[10, 10], false);
        check(3, 100, &[10, 10, 10], true);
        check(3, 100, &[10, 89], false);
        check(3, 100, &[10, 90], true);
        check(3, 100, &[1000], true);
    }

    #[test]
    fn an_acknowledgement_frees_all_up_to_its_index() {
        let mut window = Inflights::new(InflightLimits { messages: 4, bytes: 40 });
        for last in [3, 6, 9, 12] {
            window.add(Index(last), 10);
        }
        for (acknowledged, left) in [(2, 4), (3, 3), (8, 2), (100, 0)] {
            window.acknowledge(Index(acknowledged));
            assert_eq!(window.count(), left, "after {acknowledged}");
        }
        assert!(!window.is_full());
        assert_eq!(window.bytes, 0);
    }

    #[test]
    #[should_panic(expected = "full")]
    fn nothing_is_added_to_a_full_window() {
        let mut window = Inflights::new(InflightLimits { messages: 1, bytes: 10 });
        window.add(Index(1), 1);
        window.add(Index(2), 1);
    }
}
