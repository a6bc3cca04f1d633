//! Room for an answer: whoever asks says how much it may hold, and is asked again while it grows.
//!
//! Bytes are counted as they are found, so nothing is looked at twice, and what turns out too large is given up before
//! the rest of it is read.

use ferrite_storage as storage;

/// No answer is longer: what a gRPC message may be at most.
pub const MAX_ANSWER_BYTES: u64 = i32::MAX as u64;

/// Where the bytes of an answer are counted.
pub trait Room {
    /// Whether the answer may hold so many bytes more.
    fn take(&mut self, bytes: u64) -> bool;
}

/// Room that does not end.
#[derive(Debug)]
pub struct Unlimited;

impl Room for Unlimited {
    fn take(&mut self, _: u64) -> bool {
        true
    }
}

/// Room for so many bytes.
#[derive(Debug)]
pub struct AtMost(pub u64);

impl Room for AtMost {
    fn take(&mut self, bytes: u64) -> bool {
        let left = self.0.checked_sub(bytes);
        self.0 = left.unwrap_or(0);
        left.is_some()
    }
}

/// Why a read of what exists has no answer.
#[derive(Debug)]
pub enum ReadFailure {
    /// There was no room for what would be about so long.
    NoRoom {
        bytes: u64,
    },
    Storage(storage::ReadError),
}

impl From<storage::ReadError> for ReadFailure {
    fn from(error: storage::ReadError) -> Self {
        ReadFailure::Storage(error)
    }
}

impl ReadFailure {
    /// What can go wrong where room is unlimited.
    pub(crate) fn of_storage(self) -> storage::ReadError {
        match self {
            ReadFailure::Storage(error) => error,
            ReadFailure::NoRoom { .. } => unreachable!("there is room for any answer"),
        }
    }
}
