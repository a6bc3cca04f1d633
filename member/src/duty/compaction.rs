//! Auto-compaction: keep the history of a period, or a number of revisions (etcd's `--auto-compaction-mode`).
//!
//! Periodic, with period P: the revision is sampled every min(P, 1 h) / 10 into a window that reaches back P. The oldest
//! sample is compacted first after P, then every min(P, 1 h); a failed attempt is repeated at the next sample.
//! By revision: every 5 minutes, the current revision less the number to keep.
//!
//! Only a leader compacts, and only a leader looks.

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
    /// The compaction that was asked for last, and when, until it is seen to be done.
    asked: Option<(u64, Duration)>,
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
        AutoCompaction { retention, due, samples: VecDeque::new(), last_success, asked: None }
    }

    /// When `look` wants to be called again.
    pub fn due(&self) -> Duration {
        self.due
    }

    /// Looks, if it is time: the revision to compact, if any. `revision` is the current one, `compacted` the one that was
    /// compacted last, by whomever.
    pub fn look(&mut self, now: Duration, revision: u64, compacted: u64) -> Option<u64> {
        if let Some((asked, at)) = self.asked.take_if(|(asked, _)| *asked <= compacted) {
            self.last_success.revision = Some(asked);
            self.last_success.at = at;
        }
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
        if !waited || self.last_success.revision == Some(candidate) {
            return None;
        }
        self.asked = Some((candidate, now));
        Some(candidate)
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(count: u64) -> Duration {
        Duration::from_secs(60 * count)
    }

    /// Looks every minute; the revision is the minute. Returns (minute, compacted revision).
    fn run(retention: Retention, upto: u64, works: bool) -> Vec<(u64, u64)> {
        let mut duty = AutoCompaction::new(retention, Duration::ZERO);
        let mut done = Vec::new();
        let mut compacted = 0;
        for minute in 0..=upto {
            // The first revision is 1.
            if let Some(revision) = duty.look(minutes(minute), minute + 1, compacted) {
                compacted = if works { revision } else { compacted };
                done.push((minute, revision));
            }
        }
        done
    }

    #[test]
    fn a_period_of_ten_minutes_compacts_every_ten_minutes() {
        let done = run(Retention::Period(minutes(10)), 40, true);
        assert_eq!(done, [(10, 1), (20, 11), (30, 21), (40, 31)]);
    }

    #[test]
    fn a_period_of_three_hours_compacts_after_three_hours_then_hourly() {
        let done = run(Retention::Period(minutes(180)), 310, true);
        assert_eq!(done, [(180, 1), (240, 61), (300, 121)]);
    }

    #[test]
    fn revisions_are_looked_at_every_five_minutes() {
        let done = run(Retention::Revisions(3), 16, true);
        assert_eq!(done, [(5, 3), (10, 8), (15, 13)]);
        assert_eq!(run(Retention::Revisions(100), 16, true), []);
    }

    #[test]
    fn a_failure_is_repeated_at_the_next_sample() {
        assert_eq!(run(Retention::Period(minutes(10)), 12, false), [(10, 1), (11, 2), (12, 3)]);
    }
}
