//! Something that must not be, and the story of how it came to be.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

/// Which promise is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// A history that one machine could not have had.
    Linearizable,
    /// Revisions against the order of time, or one for two writes.
    Revisions,
    /// What was acknowledged, or published last, is not there.
    Written,
    /// Members that differ.
    Equal,
    /// Two leaders of one term.
    Leader,
    /// Two entries at one place of the log.
    Committed,
    /// A watcher that was not told each event once and in order.
    Watch,
    /// A lease that ended before its time.
    LeaseEarly,
    /// A lease that did not end.
    LeaseLate,
    /// A key that is there when its lease has ended.
    LeaseKey,
    /// A cluster without faults that does not come to rest.
    Rest,
    /// A member that stopped without a reason.
    Stopped,
    /// A disk that failed and did not stop its member.
    Swallowed,
    /// An assertion in the code under test.
    Panic,
}

/// A promise that is broken.
#[derive(Clone, Debug)]
pub struct Violation {
    pub check: Check,
    pub what: String,
}

impl Violation {
    pub fn new(check: Check, what: impl Into<String>) -> Violation {
        Violation { check, what: what.into() }
    }
}

/// What a run has found.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "{check:?}: seed {seed}, {members} members, at {at:?}: {what}\n\
     what happened last:\n{story}\n\
     again: cargo run -p ferrite-sim --release -- {seed}..{}", seed + 1
)]
pub struct Finding {
    pub seed: u64,
    pub members: usize,
    pub at: Duration,
    pub check: Check,
    pub what: String,
    /// The last things that happened.
    pub story: String,
}

/// The last things that happened, and a number that all of them decide.
#[derive(Debug, Default)]
pub struct Story {
    lines: VecDeque<String>,
    digest: u32,
}

/// What is kept for whoever has to understand a finding.
const LINES: usize = 120;

impl Story {
    pub fn tell(&mut self, now: Duration, what: &dyn fmt::Display) {
        if self.lines.len() >= LINES {
            self.lines.pop_front();
        }
        let line = format!("{:>10.4} s  {what}", now.as_secs_f64());
        self.digest = crc32c::crc32c_append(self.digest, line.as_bytes());
        self.lines.push_back(line);
    }

    /// Takes in something that is too much to be told.
    pub fn hear(&mut self, number: u64) {
        self.digest = crc32c::crc32c_append(self.digest, &number.to_le_bytes());
    }

    /// Two runs that did the same have the same.
    pub fn digest(&self) -> u32 {
        self.digest
    }

    pub fn text(&self) -> String {
        self.lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}
