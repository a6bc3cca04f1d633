//! Messages that wait for a peer's connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use ferrite_raft::{Body, Entry, Message};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

/// What may wait for one peer, over all its queues. When it is used up, what comes is dropped, and Raft told.
const PEER_BYTES: usize = 64 << 20;

/// What a message takes besides its entries' data.
const MESSAGE_BYTES: usize = size_of::<Message>();

/// The bytes that wait for one peer. A clone counts the same ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    /// One message is always admitted, however large.
    fn admit(&self, bytes: usize) -> Option<Place> {
        let admit = |now: usize| (now == 0 || now + bytes <= PEER_BYTES).then_some(now + bytes);
        let admitted = self.0.try_update(Ordering::Relaxed, Ordering::Relaxed, admit);
        admitted.is_ok().then(|| Place { waiting: self.clone(), bytes })
    }
}

/// What one message takes, until it is dropped.
#[derive(Debug)]
struct Place {
    waiting: Waiting,
    bytes: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.waiting.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// What became of a message that was offered.
#[derive(Debug)]
pub(crate) enum Offered {
    Taken,
    /// It is dropped.
    Full,
    /// Nobody reads this queue any more: here it is again.
    Closed(Message),
}

#[derive(Clone, Debug)]
pub(crate) struct Sender {
    messages: mpsc::Sender<(Message, Place)>,
    waiting: Waiting,
}

#[derive(Debug)]
pub(crate) struct Receiver(mpsc::Receiver<(Message, Place)>);

/// A queue of at most `capacity` messages, whose bytes count as `waiting`.
pub(crate) fn queue(capacity: usize, waiting: &Waiting) -> (Sender, Receiver) {
    let (sender, receiver) = mpsc::channel(capacity);
    (Sender { messages: sender, waiting: waiting.clone() }, Receiver(receiver))
}

impl Sender {
    /// Never waits.
    pub(crate) fn offer(&self, message: Message) -> Offered {
        if self.messages.is_closed() {
            return Offered::Closed(message);
        }
        let Some(place) = self.waiting.admit(message_bytes(&message)) else { return Offered::Full };
        match self.messages.try_send((message, place)) {
            Ok(()) => Offered::Taken,
            Err(TrySendError::Full(_)) => Offered::Full,
            Err(TrySendError::Closed((message, _))) => Offered::Closed(message),
        }
    }
}

impl Receiver {
    pub(crate) async fn next(&mut self) -> Option<Message> {
        self.0.recv().await.map(|(message, _)| message)
    }

    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Message>> {
        self.0.poll_recv(context).map(|next| next.map(|(message, _)| message))
    }

    /// Whether something was not taken out.
    pub(crate) fn holds_any(&self) -> bool {
        !self.0.is_empty()
    }
}

/// What a message takes in memory, its entries' data included.
pub fn message_bytes(message: &Message) -> usize {
    let entries = |entries: &[Entry]| entries.iter().map(Entry::memory_len).sum();
    MESSAGE_BYTES
        + match &message.body {
            Body::Append { entries: list, .. } | Body::Propose(list) => entries(list),
            Body::Snapshot(snapshot) => snapshot.data.len(),
            _ => 0,
        }
}

#[cfg(test)]
mod tests {
    use ferrite_raft::{NodeId, Term};

    use super::*;

    fn proposal(length: usize) -> Message {
        let entry = Entry { payload: bytes::Bytes::from(vec![0; length]).into(), ..Entry::default() };
        Message { to: NodeId(1), from: NodeId(2), term: Term(0), body: Body::Propose(vec![entry].into()) }
    }

    #[tokio::test]
    async fn queues_are_bounded_in_messages_and_together_in_bytes() {
        let waiting = Waiting::default();
        let (small, mut from_small) = queue(2, &waiting);
        let (other, mut from_other) = queue(100, &waiting);
        assert!(matches!(small.offer(proposal(1)), Offered::Taken));
        assert!(matches!(small.offer(proposal(1)), Offered::Taken));
        assert!(matches!(small.offer(proposal(1)), Offered::Full));

        let third = PEER_BYTES / 3;
        assert!(matches!(other.offer(proposal(third)), Offered::Taken));
        assert!(matches!(other.offer(proposal(third)), Offered::Taken));
        assert!(matches!(other.offer(proposal(third)), Offered::Full));
        from_other.next().await.unwrap();
        assert!(matches!(other.offer(proposal(third)), Offered::Taken));

        // What was refused or taken counts no more.
        from_small.next().await.unwrap();
        from_small.next().await.unwrap();
        assert!(from_other.holds_any());
        drop(from_other);
        assert_eq!(waiting.0.load(Ordering::Relaxed), 0);
        assert!(matches!(other.offer(proposal(1)), Offered::Closed(_)));
        assert!(matches!(small.offer(proposal(PEER_BYTES * 2)), Offered::Taken), "what fits into no queue goes alone");
        assert!(matches!(small.offer(proposal(1)), Offered::Full));
    }
}
