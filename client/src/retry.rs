//! When a call that failed is tried again: etcd's rules, as one function over what is known after a failed attempt.
//!
//! A read is repeated whenever the member could not be reached. A write is repeated only if no connection was there to send it on, or if
//! the server itself gave up on it; so a write may in rare cases be applied twice, as with etcd's own client.

use std::time::Duration;

use tonic::{Code, Status};

use crate::known::Known;

/// Whether a call may be sent again although it may have been processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Reads, and calls whose repetition changes nothing.
    Freely,
    /// Writes.
    IfNotProcessed,
}

/// What to do after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Hand the error to the caller.
    GiveUp,
    /// Send it again.
    Again,
    /// Authenticate, then send it again.
    AgainWithNewToken,
}

/// What bears on the decision, apart from the failure.
#[derive(Clone, Copy, Debug)]
pub struct Situation {
    /// Whether the call may be repeated.
    pub repeat: Repeat,
    /// How many endpoints there are to choose from.
    pub endpoints: usize,
    /// Whether the client can authenticate: it has a user and a password.
    pub credentials: bool,
}

/// What to do about `failure`. The caller has seen to it that its own deadline has not passed.
pub fn decide(failure: &Status, situation: Situation) -> Decision {
    let known = Known::from_text(failure.message());
    // The caller is still waiting, so it was the server that cancelled or timed out: try again, reads and writes alike.
    if matches!(failure.code(), Code::Cancelled | Code::DeadlineExceeded) {
        return Decision::Again;
    }
    let stale_token = match known {
        Some(Known::InvalidAuthToken | Known::AuthOldRevision) => true,
        Some(Known::UserEmpty) => situation.credentials,
        _ => false,
    };
    if stale_token && situation.credentials {
        return Decision::AgainWithNewToken;
    }
    if known == Some(Known::NotSupportedForLearner) && situation.endpoints > 1 {
        return Decision::Again;
    }
    let again = match situation.repeat {
        Repeat::Freely => {
            failure.code() == Code::Unavailable && known.is_none_or(|known| known.code() == Code::Unavailable)
        }
        Repeat::IfNotProcessed => failure.code() == Code::Unavailable && is_unsent(failure.message()),
    };
    if again { Decision::Again } else { Decision::GiveUp }
}

/// The two texts under which gRPC libraries report that a call never left.
fn is_unsent(text: &str) -> bool {
    matches!(text, "there is no address available" | "there is no connection available")
}

/// How long to wait before attempt `attempt` (the first is 0): one pause per round over a quorum of endpoints, so that a call that
/// meets a dead member goes on to the next one at once. `jitter` is uniform in -1..=1.
pub fn pause(attempt: u32, endpoints: usize, backoff: Duration, jitter_fraction: f64, jitter: f64) -> Duration {
    let quorum = (endpoints / 2 + 1) as u32;
    if attempt == 0 || !attempt.is_multiple_of(quorum) {
        return Duration::ZERO;
    }
    backoff.mul_f64(1.0 + jitter_fraction * jitter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Decision::{Again, AgainWithNewToken, GiveUp};

    const READ: Situation = Situation { repeat: Repeat::Freely, endpoints: 1, credentials: false };
    const WRITE: Situation = Situation { repeat: Repeat::IfNotProcessed, ..READ };

    #[test]
    fn reads_are_repeated_when_the_member_cannot_be_reached_and_writes_only_if_unsent() {
        //    status                                                                         read     write
        check(Status::unavailable("connection refused"), Again, GiveUp);
        check(Status::unavailable("there is no connection available"), Again, Again);
        check(Status::unavailable("etcdserver: no leader"), Again, GiveUp);
        check(Status::unknown("etcdserver: too many requests"), GiveUp, GiveUp);
        check(Status::unavailable("etcdserver: key is not provided"), GiveUp, GiveUp);
        check(Status::deadline_exceeded("context deadline exceeded"), Again, Again);
        check(Status::cancelled("etcdserver: request canceled"), Again, Again);
        check(Status::permission_denied("etcdserver: permission denied"), GiveUp, GiveUp);
    }

    fn check(failure: Status, read: Decision, write: Decision) {
        assert_eq!(decide(&failure, READ), read, "read: {failure}");
        assert_eq!(decide(&failure, WRITE), write, "write: {failure}");
    }

    #[test]
    fn a_token_that_ran_out_is_renewed_by_those_who_can() {
        for (text, with, without) in [
            ("etcdserver: invalid auth token", AgainWithNewToken, GiveUp),
            ("etcdserver: revision of auth store is old", AgainWithNewToken, GiveUp),
            ("etcdserver: user name is empty", AgainWithNewToken, GiveUp),
            ("etcdserver: authentication is not enabled", GiveUp, GiveUp),
        ] {
            let failure = Status::invalid_argument(text);
            assert_eq!(decide(&failure, Situation { credentials: true, ..WRITE }), with, "{text}");
            assert_eq!(decide(&failure, WRITE), without, "{text}");
        }
    }

    #[test]
    fn a_learner_sends_the_call_on_to_others_if_there_are_any() {
        let failure = Status::failed_precondition("etcdserver: rpc not supported for learner");
        assert_eq!(decide(&failure, READ), GiveUp);
        assert_eq!(decide(&failure, Situation { endpoints: 3, ..WRITE }), Again);
    }

    #[test]
    fn one_pause_per_quorum_of_endpoints() {
        let pauses = |endpoints| {
            (0..7).map(|n| pause(n, endpoints, Duration::from_millis(25), 0.1, 0.0).as_millis()).collect::<Vec<_>>()
        };
        assert_eq!(pauses(1), [0, 25, 25, 25, 25, 25, 25]);
        assert_eq!(pauses(3), [0, 0, 25, 0, 25, 0, 25]);
        assert_eq!(pauses(5), [0, 0, 0, 25, 0, 0, 25]);
        let jittered = pause(1, 1, Duration::from_millis(100), 0.1, -1.0);
        assert_eq!(jittered, Duration::from_millis(90));
    }
}
