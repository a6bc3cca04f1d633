//! The time that `state` is told: it reads no clock of its own, and applying the log sees none at all.

use std::ops::Add;

/// A moment on the member's monotonic clock, in whole milliseconds (rounded down) since some start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub u64);

impl Millis {
    /// This moment and so many seconds; a negative number counts as none, and the sum stops at the end of time.
    pub fn plus_seconds(self, seconds: i64) -> Millis {
        Millis(self.0.saturating_add(u64::try_from(seconds).unwrap_or(0).saturating_mul(1000)))
    }

    /// How many milliseconds this moment is after `earlier`, negative if it is before it.
    pub fn since(self, earlier: Millis) -> i64 {
        let signed = |millis: u64| i64::try_from(millis).unwrap_or(i64::MAX);
        signed(self.0) - signed(earlier.0)
    }
}

impl Add<u64> for Millis {
    type Output = Millis;

    fn add(self, millis: u64) -> Millis {
        Millis(self.0.saturating_add(millis))
    }
}
