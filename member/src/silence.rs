//! For how long nobody has been heard of who leads: what a new leader gives leases back, because nobody could renew them.
//!
//! It is never much more than what has passed since the last leader could do its work, and may be less. A pause of this
//! process counts as a moment: the leader may have led on meanwhile.

use std::time::Duration;

/// Time without a leader, as this member has seen it.
#[derive(Debug)]
pub(crate) struct Silence {
    heartbeat: Duration,
    total: Duration,
    /// When this was counted up to.
    last: Duration,
}

/// A member takes a turn in each heartbeat; what takes longer is a pause.
const PAUSE_HEARTBEATS: u32 = 3;

impl Silence {
    pub(crate) fn new(heartbeat: Duration, now: Duration) -> Silence {
        Silence { heartbeat, total: Duration::ZERO, last: now }
    }

    /// Time goes by.
    pub(crate) fn pass(&mut self, now: Duration) {
        self.total += now.saturating_sub(self.last).min(self.heartbeat * PAUSE_HEARTBEATS);
        self.last = now;
    }

    /// Somebody leads.
    pub(crate) fn end(&mut self) {
        self.total = Duration::ZERO;
    }

    /// How long it has lasted. A leader that was heard has led for up to a heartbeat after that.
    pub(crate) fn lasted(&self) -> Duration {
        self.total.saturating_sub(self.heartbeat)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn millis(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn silence_lasts_from_a_heartbeat_after_the_last_sign_and_pauses_do_not_count() {
        let mut silence = Silence::new(millis(100), millis(50));
        for now in [60, 160, 260] {
            silence.pass(millis(now));
        }
        assert_eq!(silence.lasted(), millis(110));
        silence.end();
        assert_eq!(silence.lasted(), Duration::ZERO);
        silence.pass(millis(9_999));
        assert_eq!(silence.lasted(), millis(200), "a pause counts as three heartbeats, of which one is the leader's");
    }
}
