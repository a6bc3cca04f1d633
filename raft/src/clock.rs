//! When an election or a heartbeat is due. Time is ticks: the crate reads no clock, and draws only from the seed it was given.

use crate::config::Config;
use crate::rng::Rng;

/// Counts ticks since the node heard from a leader, granted a vote or changed its role.
#[derive(Debug)]
pub struct Clock {
    elapsed_ticks: u32,
    base_ticks: u32,
    /// Drawn anew at every change of role, so that nodes which tried at once do not do so for ever.
    timeout_ticks: u32,
    rng: Rng,
    since_heartbeat_ticks: u32,
    heartbeat_ticks: u32,
}

impl Clock {
    pub fn new(config: &Config) -> Clock {
        let base_ticks = config.election_ticks;
        let mut clock = Clock {
            elapsed_ticks: 0,
            base_ticks,
            timeout_ticks: base_ticks,
            rng: Rng::new(config.seed),
            since_heartbeat_ticks: 0,
            heartbeat_ticks: config.heartbeat_ticks,
        };
        clock.redraw();
        clock
    }

    pub fn tick(&mut self) {
        // A learner, or a group that sleeps, may count for years.
        self.elapsed_ticks = self.elapsed_ticks.saturating_add(1);
        self.since_heartbeat_ticks = self.since_heartbeat_ticks.saturating_add(1);
    }

    /// Whether a leader is to send heartbeats. If so, it counts again until the next ones.
    pub fn take_heartbeat(&mut self) -> bool {
        let due = self.since_heartbeat_ticks >= self.heartbeat_ticks;
        if due {
            self.since_heartbeat_ticks = 0;
        }
        due
    }

    /// Starts counting again, with the same timeout.
    pub fn restart(&mut self) {
        self.elapsed_ticks = 0;
    }

    /// Starts counting again, with a new timeout.
    pub fn redraw(&mut self) {
        (self.elapsed_ticks, self.since_heartbeat_ticks) = (0, 0);
        self.timeout_ticks = self.base_ticks + self.rng.below(self.base_ticks);
    }

    /// Starts counting again at an election. Whoever hurried to it draws the next timeout.
    pub fn restart_for_election(&mut self, hurried: bool) {
        if hurried { self.redraw() } else { self.restart() }
    }

    /// Goes on counting, with the least timeout there is and so many ticks more, within what might be drawn.
    pub fn hurry(&mut self, turn_ticks: u32) {
        self.timeout_ticks = self.base_ticks + turn_ticks.min(self.base_ticks - 1);
    }

    /// Whether an election is due.
    pub fn is_due(&self) -> bool {
        self.elapsed_ticks >= self.timeout_ticks
    }

    /// Whether a whole election timeout has passed, without the random part.
    pub fn base_passed(&self) -> bool {
        self.elapsed_ticks >= self.base_ticks
    }

    /// How long the leader that was last heard still counts as alive.
    pub fn lease_remaining_ticks(&self) -> u32 {
        self.base_ticks.saturating_sub(self.elapsed_ticks)
    }

    /// Sets the timeout until it is next drawn.
    pub fn set_timeout(&mut self, ticks: u32) {
        self.timeout_ticks = ticks;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::NodeId;

    #[test]
    fn timeouts_lie_between_one_and_two_times_the_base() {
        let mut clock = Clock::new(&Config { seed: 7, ..Config::new(NodeId(1)) });
        let mut seen = [false; 20];
        for _ in 0..1000 {
            clock.redraw();
            seen[clock.timeout_ticks as usize] = true;
        }
        assert!(seen[..10].iter().all(|seen| !seen), "a timeout below the base");
        assert!(seen[10..].iter().all(|seen| *seen), "every timeout in the range is drawn");
    }

    #[test]
    fn who_hurries_waits_no_longer_and_no_shorter_than_a_draw_may_be() {
        let mut clock = Clock::new(&Config { seed: 7, ..Config::new(NodeId(1)) });
        for (turn_ticks, timeout) in [(0, 10), (3, 13), (9, 19), (10, 19), (u32::MAX, 19)] {
            clock.hurry(turn_ticks);
            assert_eq!(clock.timeout_ticks, timeout);
        }
    }

    #[test]
    fn one_seed_gives_one_sequence() {
        let draw = |seed| {
            let mut clock = Clock::new(&Config { seed, ..Config::new(NodeId(1)) });
            (0..20)
                .map(|_| {
                    clock.redraw();
                    clock.timeout_ticks
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }
}
