//! A watch stream: its watchers by id, and what its client has not been sent yet.

use std::collections::{BTreeMap, VecDeque};

use super::message::Message;
use super::slab::Key;
use crate::clock::Millis;

/// A stream of a hub. It is never used for another stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub(super) Key);

#[derive(Debug, Default)]
pub struct Stream {
    pub watchers: BTreeMap<i64, Key>,
    /// How many of them lag.
    pub lagging: usize,
    /// How many want to be told of progress.
    pub progress_watchers: usize,
    pub period_millis: u64,
    /// When it is told of progress next.
    pub tick: Millis,
    next_watch_id: i64,
    queue: VecDeque<Message>,
    unsent_bytes: usize,
    /// The pass of the hub and the revision in it that were last let in.
    admitted: (u64, u64),
    /// Whether whoever drains the queue knows that there is something in it.
    announced: bool,
}

impl Stream {
    pub fn new(now: Millis, period_millis: u64) -> Stream {
        Stream { period_millis, tick: now + period_millis, ..Stream::default() }
    }

    /// The next id of the stream's own counter that is not in use. The counter never goes back.
    pub fn free_id(&mut self) -> i64 {
        while self.watchers.contains_key(&self.next_watch_id) {
            self.next_watch_id += 1;
        }
        self.next_watch_id += 1;
        self.next_watch_id - 1
    }

    pub fn unsent_bytes(&self) -> usize {
        self.unsent_bytes
    }

    /// Whether a revision may enter: all of it, if the queue is not full when the first of it comes.
    pub fn admits(&mut self, pass: u64, revision: u64, bound_bytes: usize) -> bool {
        if self.admitted != (pass, revision) {
            if self.unsent_bytes >= bound_bytes {
                return false;
            }
            self.admitted = (pass, revision);
        }
        true
    }

    /// Bytes of events that will be in a message of this queue: they count from now on.
    pub fn reserve(&mut self, bytes: usize) {
        self.unsent_bytes += bytes;
    }

    pub fn release(&mut self, bytes: usize) {
        self.unsent_bytes -= bytes;
    }

    /// Adds a message. True if whoever drains the queue has to be told.
    pub fn push(&mut self, message: Message) -> bool {
        self.unsent_bytes += message.bytes();
        self.queue.push_back(message);
        !std::mem::replace(&mut self.announced, true)
    }

    pub fn pop(&mut self) -> Option<Message> {
        let message = self.queue.pop_front();
        match &message {
            Some(message) => self.unsent_bytes -= message.bytes(),
            None => self.announced = false,
        }
        message
    }
}
