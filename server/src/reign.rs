//! Who led since when, as far as it explains why a proposal has no answer in time.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::handle::CallError;

/// What this member has seen of leaders.
#[derive(Debug, Default)]
pub struct Reign(Mutex<Seen>);

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// When this member last came to lead.
    elected: Option<Instant>,
    /// Whether a leader is known, and if not, since when there is none. `None`: there never was one.
    has_leader: bool,
    lost: Option<Instant>,
}

impl Reign {
    /// Another leader is known now, or none.
    pub fn changed(&self, leader: u64, own: u64, now: Instant) {
        let mut seen = self.0.lock();
        if leader == own {
            seen.elected = Some(now);
        }
        if leader == 0 && seen.has_leader {
            seen.lost = Some(now);
        }
        seen.has_leader = leader != 0;
    }

    /// Why a proposal that came at `begun` has no answer. `is_connected` says whether this member has been connected since
    /// then to whom it needs: the leader, or a quorum if it leads.
    pub fn why_late(
        &self,
        begun: Instant,
        election_timeout: Duration,
        is_connected: impl FnOnce() -> bool,
    ) -> CallError {
        let Seen { elected, has_leader, lost } = *self.0.lock();
        if !has_leader && lost.is_none_or(|lost| lost < begun) {
            return CallError::NotTaken;
        }
        // The leader before this one may have had it. It had gone at the latest two election timeouts before.
        if elected.is_some_and(|elected| begun < elected && elected < begun + 2 * election_timeout) {
            return CallError::TimedOutByLeader;
        }
        if has_leader && !is_connected() {
            return CallError::TimedOutByConnection;
        }
        CallError::TimedOut
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ELECTION: Duration = Duration::from_secs(1);
    const OWN: u64 = 1;

    /// Leaders, each at its second; then a proposal that came at a second.
    fn why(leaders: &[(u64, u64)], begun: u64, is_connected: bool) -> CallError {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let reign = Reign::default();
        for (second, leader) in leaders {
            reign.changed(*leader, OWN, at(*second));
        }
        reign.why_late(at(begun), ELECTION, || is_connected)
    }

    #[test]
    fn a_late_proposal_is_explained_as_in_etcd() {
        use CallError::*;
        assert_eq!(why(&[], 5, true), NotTaken);
        assert_eq!(why(&[(1, 2), (4, 0)], 5, true), NotTaken, "nobody led from then on");
        assert_eq!(why(&[(1, 2), (6, 0)], 5, true), TimedOut, "it was taken, and then the leader went");
        assert_eq!(why(&[(1, 2)], 5, true), TimedOut);
        assert_eq!(why(&[(1, 2)], 5, false), TimedOutByConnection);
        assert_eq!(why(&[(1, OWN)], 5, false), TimedOutByConnection, "no quorum");
        assert_eq!(why(&[(1, 2), (4, 0), (6, OWN)], 5, true), TimedOutByLeader);
        assert_eq!(why(&[(1, 2), (4, 0), (8, OWN)], 5, true), TimedOut, "it cannot have been the leader before");
        assert_eq!(why(&[(1, 2), (4, 0), (6, 3)], 5, true), TimedOut, "only who was elected knows when");
    }
}
