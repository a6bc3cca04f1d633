//! Whether a leader may still be sure that it leads. A process that stood still may have been deposed meanwhile without
//! knowing: what only a leader may do and does not go through the log waits then for a round of ReadIndex.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ferrite_state::clock::Millis;

/// The member's turns, as others see them. Times are on the member's clock.
#[derive(Debug, Default)]
pub struct Doubt {
    /// When the last turn began, in milliseconds.
    last_turn: AtomicU64,
    /// A pause from which on there is doubt, in milliseconds; 0 before the member has been told its pace.
    patience: AtomicU64,
    /// Pauses so far.
    pauses: AtomicU64,
    /// How many of them leadership was confirmed behind.
    confirmed: AtomicU64,
}

/// Pauses that leadership has not been confirmed behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doubts(u64);

impl Doubt {
    /// The member takes a turn at least once in a heartbeat: three without one are a pause.
    pub fn set_pace(&self, heartbeat: Duration) {
        self.patience.store(3 * heartbeat.as_millis() as u64, Ordering::Relaxed);
    }

    /// The member takes a turn.
    pub fn turn(&self, now: Millis) {
        let last = self.last_turn.swap(now.0, Ordering::SeqCst);
        if now.0.saturating_sub(last) > self.patience.load(Ordering::Relaxed) {
            self.pauses.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// What there is to be confirmed, if anything.
    pub fn doubts(&self, now: Millis) -> Option<Doubts> {
        let pauses = self.pauses.load(Ordering::SeqCst);
        // The member has not even taken its first turn behind the pause.
        let stands_still =
            now.0.saturating_sub(self.last_turn.load(Ordering::SeqCst)) > self.patience.load(Ordering::Relaxed);
        (stands_still || self.confirmed.load(Ordering::SeqCst) < pauses).then_some(Doubts(pauses))
    }

    /// A round that was begun when there were these doubts has found that this member leads.
    pub fn confirmed(&self, doubts: Option<Doubts>) {
        if let Some(Doubts(pauses)) = doubts {
            self.confirmed.fetch_max(pauses, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_leaves_doubts_until_they_are_confirmed_behind_it() {
        let doubt = Doubt::default();
        doubt.set_pace(Duration::from_millis(100));
        for now in [100, 200, 300] {
            doubt.turn(Millis(now));
        }
        assert_eq!(doubt.doubts(Millis(600)), None);
        let before_the_turn = doubt.doubts(Millis(601));
        assert!(before_the_turn.is_some(), "it stands still");
        doubt.turn(Millis(700));
        doubt.confirmed(before_the_turn);
        let doubts = doubt.doubts(Millis(701));
        assert!(doubts.is_some(), "what was begun before the turn does not count for the pause that it ended");
        doubt.confirmed(doubts);
        assert_eq!(doubt.doubts(Millis(702)), None);
        doubt.turn(Millis(800));
        assert_eq!(doubt.doubts(Millis(801)), None);
    }
}
