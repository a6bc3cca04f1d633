//! What clients ask and are told, in the order of time.
//!
//! Keys stand in groups of two. A request is about one group, so that a history can be looked at group by group.

use std::collections::BTreeSet;
use std::time::Duration;

/// A value that is written by one request only. 0 stands for no key.
pub type Value = u64;

/// Keys of a group.
pub const SLOTS: usize = 2;

/// The values of the keys of a group.
pub type Values = [Value; SLOTS];

/// One request about one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Put {
        slot: usize,
        value: Value,
    },
    Delete {
        slot: usize,
    },
    /// Both keys at one revision.
    Get,
    /// Writes `new` to both keys if the value of one is `expected`; says what they are if not.
    Swap {
        slot: usize,
        expected: Value,
        new: Value,
    },
}

/// What a client was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A write was made, at this revision.
    Written { revision: i64 },
    /// A write was made; its revision is not told.
    Made,
    /// The values that were found, at this revision of the whole store.
    Found { values: Values, revision: i64 },
    /// There was nothing to delete, at this revision.
    Nothing { revision: i64 },
    /// The key is gone; the revision is not told.
    Gone,
    /// Certainly nothing was written.
    Refused,
}

/// One request of one client.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    pub group: u64,
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

    /// Somebody asks. Returns the number of the request.
    pub fn ask(&mut self, group: u64, operation: Operation, asked: Duration) -> usize {
        self.0.push(Event { group, operation, asked, answered: None });
        self.0.len() - 1
    }

    /// All groups that requests are about.
    pub fn groups(&self) -> BTreeSet<u64> {
        self.0.iter().map(|event| event.group).collect()
    }

    /// An answer has come.
    pub fn answer(&mut self, request: usize, now: Duration, outcome: Outcome) {
        self.0[request].answered = Some((now, outcome));
    }
}
