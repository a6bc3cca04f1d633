//! A member's clock: it begins with its life, and runs a little faster or slower than the world's.

use std::time::Duration;

use ferrite_state::clock::Millis;
use ferrite_storage::vfs::lying::Dice;

/// Clocks run at most so many millionths too fast or too slow: far more than quartz does, so that it shows.
pub const MAX_DRIFT: u64 = 10_000;
const MILLION: u64 = 1_000_000;

#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// The world's time at which it stood at 0.
    born: Duration,
    /// What it counts while the world counts a million.
    rate: u64,
}

impl Clock {
    /// A clock that begins now, and is right unless it may drift.
    pub fn new(now: Duration, drifts: bool, dice: &mut Dice) -> Clock {
        let drift = if drifts { dice.below(2 * MAX_DRIFT + 1) } else { MAX_DRIFT };
        Clock { born: now, rate: MILLION - MAX_DRIFT + drift }
    }

    /// What it shows.
    pub fn at(&self, now: Duration) -> Duration {
        scale(now - self.born, self.rate, MILLION)
    }

    /// What it shows, for leases and watches.
    pub fn millis(&self, now: Duration) -> Millis {
        Millis(self.at(now).as_millis() as u64)
    }

    /// When it shows that.
    pub fn when(&self, shown: Duration) -> Duration {
        // Rounded up: then it shows that much, not a little less.
        self.born + scale(shown, MILLION, self.rate) + Duration::from_nanos(1)
    }
}

/// The world's time that is certainly over when a clock has counted so much.
pub fn at_least(counted: Duration) -> Duration {
    scale(counted, MILLION, MILLION + MAX_DRIFT)
}

/// The world's time after which every clock has counted so much.
pub fn at_most(counted: Duration) -> Duration {
    scale(counted, MILLION, MILLION - MAX_DRIFT)
}

fn scale(time: Duration, by: u64, of: u64) -> Duration {
    Duration::from_nanos((time.as_nanos() * u128::from(by) / u128::from(of)) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_shows_a_time_when_it_says_so_and_not_before() {
        let mut dice = Dice::new(1);
        for _ in 0..100 {
            let born = Duration::from_nanos(dice.below(1 << 40));
            let clock = Clock::new(born, true, &mut dice);
            let shown = Duration::from_nanos(dice.below(1 << 40));
            let when = clock.when(shown);
            assert!(
                clock.at(when) >= shown && clock.at(when) <= shown + Duration::from_nanos(3),
                "{clock:?} {shown:?}"
            );
            assert!(when - born >= at_least(shown) && when - born <= at_most(shown) + Duration::from_nanos(2));
        }
    }
}
