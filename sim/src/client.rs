//! What clients ask and are told, in the order of time.

use std::time::Duration;

/// A value that is written at most once. 0 stands for no key.
pub type Value = u64;

/// One request about one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Put(Value),
    Delete,
    Get,
    /// Writes `new` if the value is `expected`; says what it was if not.
    Swap {
        expected: Value,
        new: Value,
    },
}

/// What a client was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A write was made, at this revision.
    Written { revision: i64 },
    /// The value that was found, at this revision of the whole store.
    Found { value: Value, revision: i64 },
    /// Certainly nothing was written.
    Refused,
}

/// One request of one client.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    pub key: u64,
    pub operation: Operation,
    pub asked: Duration,
    /// Nothing: the client gave up, or its member went away. It may still come to pass.
    pub answered: Option<(Duration, Outcome)>,
}

/// All requests.
#[derive(Clone, Debug, Default)]
pub struct History(pub Vec<Event>);

impl History {
    /// How many requests have an answer.
    pub fn answered(&self) -> usize {
        self.0.iter().filter(|event| event.answered.is_some()).count()
    }
}
