//! What lets leases end late, as it happens: time in which nobody led who could commit, leaders that had just been started,
//! full disks.

use std::time::Duration;

/// What has delayed the end of leases so far.
#[derive(Debug, Default)]
pub(crate) struct Delays {
    /// When something was committed last.
    last_commit: Duration,
    /// For how long nothing was committed in all, though clients always want something.
    stood_still: Duration,
    reign: Reign,
    /// When somebody came to lead who had been started or sent a snapshot a moment before.
    starters: Vec<Duration>,
    /// When a disk was full.
    disk_was_full: Option<Duration>,
}

/// When somebody came to lead, and for how long it had stood still before.
#[derive(Clone, Copy, Debug, Default)]
struct Reign {
    begun: Duration,
    stood_still: Duration,
}

/// From one entry to the next it takes less, unless something has gone wrong or leadership is being handed over.
const SWIFT: Duration = Duration::from_millis(100);
/// A leader that goes before has had no time to say what is left of leases, in whole seconds.
const SHORTEST_REIGN: Duration = Duration::from_secs(1);
/// Before, a member may not have been told again what is left of leases: a second, and what the network and disks take.
const JUST_STARTED: Duration = Duration::from_secs(2);
/// The member looks again whether there is room.
const ROOM_IS_SEEN: Duration = Duration::from_secs(5);

impl Delays {
    /// For how long nothing was committed in all, or by leaders that went at once.
    pub fn stood_still(&self, now: Duration) -> Duration {
        let lasts = now.saturating_sub(self.last_commit);
        self.stood_still + if lasts > SWIFT { lasts } else { Duration::ZERO }
    }

    pub fn committed(&mut self, now: Duration) {
        self.stood_still = self.stood_still(now);
        self.last_commit = now;
    }

    /// There is a new leader, which has known the log for so long.
    pub fn elected(&mut self, now: Duration, knows_for: Duration) {
        let stood_still = self.stood_still(now);
        let Reign { begun, stood_still: before } = self.reign;
        let led = (now - begun).saturating_sub(stood_still - before);
        if led < SHORTEST_REIGN {
            self.stood_still += led;
        }
        self.reign = Reign { begun: now, stood_still: self.stood_still(now) };
        // While nobody led nobody told it anything.
        let heard_for = knows_for.saturating_sub(now.saturating_sub(self.last_commit));
        if heard_for < JUST_STARTED {
            self.starters.push(now);
        }
    }

    pub fn disk_is_full(&mut self, now: Duration) {
        self.disk_was_full = Some(now);
    }

    /// How much later a lease of this TTL may end at `now` that was renewed at `since`, when it had stood still for
    /// `stood_still`. `None`: whenever it ends.
    pub fn allowed(&self, ttl: Duration, since: Duration, stood_still: Duration, now: Duration) -> Option<Duration> {
        let second = Duration::from_secs(1);
        // What is left is not written then.
        if self.disk_was_full.is_some_and(|at| at + ROOM_IS_SEEN > since) {
            return None;
        }
        // Who has just been started does not know for how long a rest has been in the log. A tenth and a second have room
        // for one such leader behind a leader that went before it could write the rest, if a twentieth is a second or more.
        let starters = self.starters.iter().filter(|at| **at > since).count() as u32;
        let unknown = second.max(ttl / 20) * starters.saturating_sub(u32::from(ttl >= 20 * second));
        Some(ttl / 10 + second + (self.stood_still(now) - stood_still) + unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn millis(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn standing_still_is_told_from_going_on() {
        let mut delays = Delays::default();
        // Entries from one time to another, one in a tenth of a second.
        let mut check = |elected: Option<u64>, first: u64, last: u64, stood_still| {
            elected.into_iter().for_each(|at| delays.elected(millis(at), millis(60_000)));
            (first..=last).step_by(100).for_each(|at| delays.committed(millis(at)));
            assert_eq!(delays.stood_still(millis(last)), millis(stood_still), "{first} to {last}");
        };
        check(Some(890), 900, 1500, 900);
        check(None, 1600, 2300, 900);
        check(Some(4290), 4300, 4800, 2900);
        // The leader before has led for half a second only.
        check(Some(6790), 6800, 6800, 2900 + 2000 + 500);
        assert_eq!(delays.allowed(millis(20_000), millis(1700), millis(900), millis(6800)), Some(millis(3000 + 4500)));
    }

    #[test]
    fn who_was_started_just_before_the_last_leader_went_has_not_heard_enough() {
        for (started, knows) in [(9000, false), (7000, true)] {
            let mut delays = Delays::default();
            delays.committed(millis(10_000));
            delays.elected(millis(15_000), millis(15_000 - started));
            assert_eq!(delays.starters.is_empty(), knows);
        }
    }

    #[test]
    fn leaders_that_have_just_been_started_count_behind_the_first() {
        let mut delays = Delays::default();
        for second in [10, 20, 30] {
            delays.elected(millis(second * 1000), millis(500));
            delays.committed(millis(second * 1000));
        }
        let allowed = |ttl, since| delays.allowed(millis(ttl), millis(since), delays.stood_still, millis(30_000));
        assert_eq!(allowed(60_000, 15_000), Some(millis(7000 + 3000)));
        assert_eq!(allowed(60_000, 25_000), Some(millis(7000)));
        assert_eq!(allowed(5_000, 25_000), Some(millis(1500 + 1000)));
    }
}
