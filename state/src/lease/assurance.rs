//! Whether a leader may renew without asking the others. It may have been cut off, or have stood still, and somebody else
//! may lead: so it asks (a round of ReadIndex), and for a moment after that it need not.
//!
//! What holds: nobody else led when the round was begun. So what is renewed in that moment was promised, at the latest, so
//! long after a next leader began, and a next leader that gives a lease its TTL adds that much ([`UNSEEN_MILLIS`]). Nothing
//! rests on election timeouts, which do not hold where a member is started again or leadership is handed over.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::Millis;

/// For how long a leader renews without asking again: leases may be renewed for so long behind the back of the next one.
/// Each change of leader adds it to the end of some leases, and more than fifty rounds a second would cost something.
pub const UNSEEN_MILLIS: u64 = 20;

/// When the others were asked last by who found that it leads. Shared by whoever renews.
#[derive(Debug, Default)]
pub struct Assurance {
    /// In milliseconds on the member's clock; 0 before the first time.
    asked: AtomicU64,
}

impl Assurance {
    /// A round that was begun at `begun` has shown that nobody else leads.
    pub fn confirmed(&self, begun: Millis) {
        self.asked.fetch_max(begun.0, Ordering::SeqCst);
    }

    /// Whether what is asked for at `now` need not wait for another round.
    pub fn is_fresh(&self, now: Millis) -> bool {
        let asked = self.asked.load(Ordering::SeqCst);
        asked > 0 && now.0.saturating_sub(asked) < UNSEEN_MILLIS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_for_a_moment_from_when_it_was_asked_for() {
        let assurance = Assurance::default();
        assert!(!assurance.is_fresh(Millis(1)));
        assurance.confirmed(Millis(1000));
        assert!(
            assurance.is_fresh(Millis(1000)) && assurance.is_fresh(Millis(1019)) && !assurance.is_fresh(Millis(1020))
        );
        // An older round that comes late makes nothing worse.
        assurance.confirmed(Millis(900));
        assert!(assurance.is_fresh(Millis(1010)));
    }
}
