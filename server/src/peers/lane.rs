//! How much of what peers say may wait for the member: beyond that it is dropped, and Raft asks again.

use std::sync::atomic::{AtomicUsize, Ordering};

use ferrite_peer::message_bytes;
use ferrite_raft::Message;

const MAX_MESSAGES: usize = 4096;
const MAX_BYTES: usize = 64 << 20;

/// Counts messages of peers between their arrival and the member's turn.
#[derive(Debug, Default)]
pub struct Lane {
    messages: AtomicUsize,
    bytes: AtomicUsize,
}

impl Lane {
    /// Whether there is room for a message. One that fits into no lane goes alone.
    pub fn admit(&self, message: &Message) -> bool {
        let bytes = message_bytes(message);
        let messages_before = self.messages.fetch_add(1, Ordering::Relaxed);
        let bytes_before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let fits = messages_before < MAX_MESSAGES && (bytes_before == 0 || bytes_before + bytes <= MAX_BYTES);
        if !fits {
            self.taken(message);
        }
        fits
    }

    /// A message that was admitted has been taken in.
    pub fn taken(&self, message: &Message) {
        self.messages.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(message_bytes(message), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use ferrite_raft::{Body, Entry, NodeId, Term};

    use super::*;

    fn proposal(length: usize) -> Message {
        let entry = Entry { payload: bytes::Bytes::from(vec![0; length]).into(), ..Entry::default() };
        Message { to: NodeId(1), from: NodeId(2), term: Term(0), body: Body::Propose(vec![entry].into()) }
    }

    #[test]
    fn the_lane_is_bounded_in_messages_and_in_bytes() {
        let lane = Lane::default();
        let (small, large) = (proposal(1), proposal(MAX_BYTES));
        assert!(lane.admit(&large), "what fits into no lane goes alone");
        assert!(!lane.admit(&small));
        lane.taken(&large);
        (0..MAX_MESSAGES).for_each(|_| assert!(lane.admit(&small)));
        assert!(!lane.admit(&small));
        lane.taken(&small);
        assert!(!lane.admit(&large));
        assert!(lane.admit(&small));
        (0..MAX_MESSAGES).for_each(|_| lane.taken(&small));
        assert_eq!((lane.messages.into_inner(), lane.bytes.into_inner()), (0, 0));
    }
}
