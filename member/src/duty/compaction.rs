//! Auto-compaction: keep the history of a period, or a number of revisions (etcd's `--auto-compaction-mode`).
//!
//! Periodic, with period P: the revision is sampled every min(P, 1 h) / 10 into a window that reaches back P. The oldest
//! sample is compacted first after P, then every min(P, 1 h); a failed attempt is repeated at the next sample.
//! By revision: every 5 minutes, the current revision less the number to keep.
//!
//! Only a leader compacts; samples are taken all the same, so that a new leader need not wait for a whole period.

use std::collections::VecDeque;
use std::time::Duration;

/// How often compaction by revision looks.
const REVISION_INTERVAL: Duration = Duration::from_secs(5 * 60);
const HOUR: Duration = Duration::from_secs(3600);

/// What `--auto-compaction-mode` and `--auto-compaction-retention` ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// Keep what changed within this period.
    Period(Duration),
    /// Keep this many revisions.
    Revisions(u64),
}

/// The duty, with its samples. Times are on the member's monotonic clock.
#[derive(Debug)]
pub struct AutoCompaction {
    retention: Retention,
    /// When to look next.
    due: Duration,
    /// The revisions at the last looks, oldest first; only its front and back matter when keeping a number.
    samples: VecDeque<u64>,
    last_success: Success,
}

#[derive(Debug)]
struct Success {
    revision: Option<u64>,
    at: Duration,
    /// How long to wait after it: the whole period once, then at most an hour.
    pause: Duration,
}

impl AutoCompaction {
    /// The duty as of `now`; the start counts as a success.
    pub fn new(retention: Retention, now: Duration) -> AutoCompaction {
        let (due, pause) = match retention {
            Retention::Period(period) => (now, period),
            Retention::Revisions(_) => (now + REVISION_INTERVAL, Duration::ZERO),
        };
        let last_success = Success { revision: None, at: now, pause };
        AutoCompaction { retention, due, samples: VecDeque::new(), last_success }
    }

    /// When `look` wants to be called again.
    pub fn due(&self) -> Duration {
        self.due
    }

    /// Looks, if it is time: the revision to compact, if any. `revision` is the current one.
    pub fn look(&mut self, now: Duration, revision: u64, leading: bool) -> Option<u64> {
        if now < self.due {
            return None;
        }
        let candidate = match self.retention {
            Retention::Period(period) => self.oldest_of_period(period, now, revision)?,
            Retention::Revisions(keep) => {
                self.due = now + REVISION_INTERVAL;
                revision.checked_sub(keep).filter(|target| *target > 0)?
            }
        };
        let waited = now.saturating_sub(self.last_success.at) >= self.last_success.pause;
        (leading && waited && self.last_success.revision != Some(candidate)).then_some(candidate)
    }

    fn oldest_of_period(&mut self, period: Duration, now: Duration, revision: u64) -> Option<u64> {
        let interval = period.min(HOUR) / 10;
        self.due = now + interval;
        let window = (period.as_nanos() / interval.as_nanos().max(1)) as usize + 1;
        self.samples.push_back(revision);
        while self.samples.len() > window {
            self.samples.pop_front();
        }
        // From the first attempt on, a period longer than an hour is looked at every hour.
        if now.saturating_sub(self.last_success.at) >= self.last_success.pause {
            self.last_success.pause = period.min(HOUR);
        }
        self.samples.front().copied()
    }

    /// The compaction to `revision` has been applied, or had been before.
    pub fn succeeded(&mut self, revision: u64, now: Duration) {
        self.last_success.revision = Some(revision);
        self.last_success.at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(count: u64) -> Duration {
        Duration::from_secs(60 * count)
    }

    /// Looks every minute; the revision is the minute. Returns (minute, compacted revision).
    fn run(retention: Retention, upto: u64, leading: impl Fn(u64) -> bool) -> Vec<(u64, u64)> {
        let mut duty = AutoCompaction::new(retention, Duration::ZERO);
        let mut done = Vec::new();
        for minute in 0..=upto {
            if let Some(revision) = duty.look(minutes(minute), minute, leading(minute)) {
                duty.succeeded(revision, minutes(minute));
                done.push((minute, revision));
            }
        }
        done
    }

    #[test]
    fn a_period_of_ten_minutes_compacts_every_ten_minutes() {
        let done = run(Retention::Period(minutes(10)), 40, |_| true);
        assert_eq!(done, [(10, 0), (20, 10), (30, 20), (40, 30)]);
    }

    #[test]
    fn a_period_of_three_hours_compacts_after_three_hours_then_hourly() {
        let done = run(Retention::Period(minutes(180)), 310, |_| true);
        assert_eq!(done, [(180, 0), (240, 60), (300, 120)]);
    }

    #[test]
    fn a_follower_samples_but_does_not_compact() {
        let done = run(Retention::Period(minutes(10)), 30, |minute| minute >= 15);
        assert_eq!(done, [(15, 5), (25, 15)]);
    }

    #[test]
    fn revisions_are_looked_at_every_five_minutes() {
        let done = run(Retention::Revisions(3), 16, |_| true);
        assert_eq!(done, [(5, 2), (10, 7), (15, 12)]);
        assert_eq!(run(Retention::Revisions(100), 16, |_| true), []);
    }

    #[test]
    fn a_failure_is_repeated_at_the_next_sample() {
        let mut duty = AutoCompaction::new(Retention::Period(minutes(10)), Duration::ZERO);
        let tried: Vec<u64> = (0..13).filter(|m| duty.look(minutes(*m), *m, true).is_some()).collect();
        assert_eq!(tried, [10, 11, 12]);
    }
}
