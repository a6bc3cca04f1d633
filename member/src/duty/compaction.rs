//! Auto-compaction: keep the history of a period, or a number of revisions (etcd's `--auto-compaction-mode`).
//!
//! Periodic, with period P: the revision is sampled every min(P, 1 h) / 10 into a window that reaches back P. What is
//! compacted is the newest sample that is P old, so first after P, then every min(P, 1 h); a failed attempt is repeated at
//! the next sample. By revision: every 5 minutes, the current revision less the number to keep.
//!
//! Every member samples, and only a leader compacts: who comes to lead knows what the period before held. As in etcd,
//! each member looks by its own clock, and counts what it compacted itself.

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
    /// When to sample next.
    due: Duration,
    /// A sample was taken at this heartbeat, and nobody has looked at it.
    is_fresh: bool,
    /// Oldest first. Of those that are a period old only the newest: P / interval + 1 at most.
    samples: VecDeque<Sample>,
    last_success: Success,
    /// The compaction that was asked for last, and when, until it is seen to be done.
    asked: Option<(u64, Duration)>,
}

#[derive(Debug)]
struct Sample {
    at: Duration,
    revision: u64,
}

#[derive(Debug)]
struct Success {
    revision: Option<u64>,
    at: Duration,
}

impl AutoCompaction {
    /// The duty as of `now`; the start counts as a success.
    pub fn new(retention: Retention, now: Duration) -> AutoCompaction {
        let due = match retention {
            Retention::Period(_) => now,
            Retention::Revisions(_) => now + REVISION_INTERVAL,
        };
        let last_success = Success { revision: None, at: now };
        AutoCompaction { retention, due, is_fresh: false, samples: VecDeque::new(), last_success, asked: None }
    }

    /// A heartbeat has gone by, whoever leads: takes a sample, if it is time. `revision` is the current one.
    pub fn sample(&mut self, now: Duration, revision: u64) {
        self.is_fresh = now >= self.due;
        if !self.is_fresh {
            return;
        }
        match self.retention {
            Retention::Period(period) => {
                self.due = now + period.min(HOUR) / 10;
                self.samples.push_back(Sample { at: now, revision });
                while self.samples.get(1).is_some_and(|next| now.saturating_sub(next.at) >= period) {
                    self.samples.pop_front();
                }
            }
            Retention::Revisions(_) => self.due = now + REVISION_INTERVAL,
        }
    }

    /// This member leads: the revision to compact, if any, once for each sample. `revision` is the current one, `compacted`
    /// the one that was compacted last, by whomever.
    pub fn look(&mut self, now: Duration, revision: u64, compacted: u64) -> Option<u64> {
        if let Some((asked, at)) = self.asked.take_if(|(asked, _)| *asked <= compacted) {
            self.last_success = Success { revision: Some(asked), at };
        }
        if !std::mem::take(&mut self.is_fresh) {
            return None;
        }
        let (candidate, pause) = match self.retention {
            Retention::Period(period) => (self.sample_before(now.checked_sub(period)?)?, period.min(HOUR)),
            Retention::Revisions(keep) => (revision.checked_sub(keep).filter(|target| *target > 0)?, Duration::ZERO),
        };
        if now.saturating_sub(self.last_success.at) < pause || self.last_success.revision == Some(candidate) {
            return None;
        }
        self.asked = Some((candidate, now));
        Some(candidate)
    }

    /// The oldest sample, if it is as old as this.
    fn sample_before(&self, time: Duration) -> Option<u64> {
        self.samples.front().filter(|oldest| oldest.at <= time).map(|oldest| oldest.revision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(count: u64) -> Duration {
        Duration::from_secs(60 * count)
    }

    /// Samples every minute; the revision is the minute and one, as the first is 1. Leads from minute `leads` on. Returns
    /// (minute, compacted revision).
    fn run_from(leads: u64, retention: Retention, upto: u64, works: bool) -> Vec<(u64, u64)> {
        let mut duty = AutoCompaction::new(retention, Duration::ZERO);
        let mut done = Vec::new();
        let mut compacted = 0;
        for minute in 0..=upto {
            duty.sample(minutes(minute), minute + 1);
            let looks = minute >= leads;
            if let Some(revision) = looks.then(|| duty.look(minutes(minute), minute + 1, compacted)).flatten() {
                compacted = if works { revision } else { compacted };
                done.push((minute, revision));
                assert_eq!(duty.look(minutes(minute), minute + 1, compacted), None, "once for each sample");
            }
        }
        done
    }

    fn run(retention: Retention, upto: u64, works: bool) -> Vec<(u64, u64)> {
        run_from(0, retention, upto, works)
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

    #[test]
    fn a_leader_that_has_sampled_nothing_compacts_nothing() {
        let mut duty = AutoCompaction::new(Retention::Period(minutes(10)), Duration::ZERO);
        assert_eq!(duty.look(minutes(60), 61, 0), None);
        duty.sample(minutes(60), 61);
        assert_eq!(duty.look(minutes(60), 61, 0), None, "the history of the last period is kept");
    }

    #[test]
    fn who_followed_and_leads_compacts_what_is_older_than_the_period() {
        assert_eq!(run_from(60, Retention::Period(minutes(10)), 71, true), [(60, 51), (70, 61)]);
        // Half a period after the start there is nothing to compact.
        assert_eq!(run_from(5, Retention::Period(minutes(10)), 21, true), [(10, 1), (20, 11)]);
        assert_eq!(run_from(600, Retention::Period(minutes(180)), 661, true), [(600, 421), (660, 481)]);
        // By its own clock, not as soon as it leads.
        assert_eq!(run_from(58, Retention::Revisions(3), 66, true), [(60, 58), (65, 63)]);
    }

    #[test]
    fn a_member_that_slept_keeps_a_period() {
        let mut duty = AutoCompaction::new(Retention::Period(minutes(10)), Duration::ZERO);
        for (minute, expected) in [(0, None), (9, None), (9000, Some(10)), (9001, Some(10)), (9010, Some(9001))] {
            duty.sample(minutes(minute), minute + 1);
            assert_eq!(duty.look(minutes(minute), minute + 1, 0), expected, "minute {minute}");
        }
    }
}
