//! Codes and texts: the only place where an error of ours becomes a gRPC status. All are etcd's.

use ferrite_state::lease::{LeaseError, NotPrimary};
use ferrite_state::{ApplyError, RevisionError};

use crate::handle::{CallError, ReadRefused};
use crate::leases::LeaseCallError;
use crate::membership::ChangeError;
use crate::rpc::{Code, Status};

/// Why a request is refused before anything is asked of the member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestError {
    EmptyKey,
    ValueProvided,
    LeaseProvided,
    InvalidSort,
    TooManyOps,
    DuplicateKey,
    UnsetOp,
    StreamSort,
    StreamFilter,
    NoSpace,
    NoLeader,
    NotForLearner,
    InvalidClientApiVersion,
    UnknownHealthService,
    UnknownAlarmAction,
    WatchCanceled,
    TooManyBackups,
    BackupStalled,
}

impl From<RequestError> for Status {
    fn from(error: RequestError) -> Status {
        let (code, text) = match error {
            RequestError::EmptyKey => (Code::InvalidArgument, "etcdserver: key is not provided"),
            RequestError::ValueProvided => (Code::InvalidArgument, "etcdserver: value is provided"),
            RequestError::LeaseProvided => (Code::InvalidArgument, "etcdserver: lease is provided"),
            RequestError::InvalidSort => (Code::InvalidArgument, "etcdserver: invalid sort option"),
            RequestError::TooManyOps => (Code::InvalidArgument, "etcdserver: too many operations in txn request"),
            RequestError::DuplicateKey => (Code::InvalidArgument, "etcdserver: duplicate key given in txn request"),
            RequestError::UnsetOp => (Code::InvalidArgument, "etcdserver: key not found"),
            RequestError::StreamSort => (Code::Unimplemented, "RangeStream does not support custom sort orders"),
            RequestError::StreamFilter => (Code::Unimplemented, "RangeStream does not support revision filters"),
            RequestError::NoSpace => (Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded"),
            RequestError::NoLeader => (Code::Unavailable, "etcdserver: no leader"),
            RequestError::NotForLearner => (Code::FailedPrecondition, "etcdserver: rpc not supported for learner"),
            RequestError::InvalidClientApiVersion => (Code::InvalidArgument, "etcdserver: invalid client api version"),
            RequestError::UnknownHealthService => (Code::NotFound, "unknown service"),
            // etcd itself crashes on these.
            RequestError::UnknownAlarmAction => (Code::InvalidArgument, "etcdserver: unknown alarm action"),
            RequestError::WatchCanceled => (Code::Canceled, "etcdserver: watch canceled"),
            // etcd has no such limits.
            RequestError::TooManyBackups => {
                (Code::ResourceExhausted, "etcdserver: too many snapshots are being sent, try again when one has ended")
            }
            RequestError::BackupStalled => {
                (Code::DeadlineExceeded, "etcdserver: the client took nothing of the snapshot for a minute")
            }
        };
        Status::new(code, text)
    }
}

impl From<CallError> for Status {
    fn from(error: CallError) -> Status {
        let (code, text) = match error {
            CallError::TooLarge => (Code::InvalidArgument, "etcdserver: request is too large"),
            CallError::TooManyRequests => (Code::Unknown, "etcdserver: too many requests"),
            CallError::TimedOut => (Code::Unavailable, "etcdserver: request timed out"),
            CallError::TimedOutByLeader => {
                (Code::Unavailable, "etcdserver: request timed out, possibly due to previous leader failure")
            }
            CallError::TimedOutByConnection => {
                (Code::Unavailable, "etcdserver: request timed out, possibly due to connection lost")
            }
            CallError::NotTaken => (Code::DeadlineExceeded, "context deadline exceeded"),
            CallError::LeaderChanged => (Code::Unavailable, "etcdserver: leader changed"),
            CallError::ProposalDropped => (Code::Unknown, "raft proposal dropped"),
            CallError::Stopped => (Code::Unavailable, "etcdserver: server stopped"),
            CallError::Refused(error) => return error.into(),
        };
        Status::new(code, text)
    }
}

impl From<LeaseCallError> for Status {
    fn from(error: LeaseCallError) -> Status {
        match error {
            LeaseCallError::NotPrimary => NotPrimary.into(),
            LeaseCallError::NoLeader => RequestError::NoLeader.into(),
            LeaseCallError::Call(error) => error.into(),
        }
    }
}

impl From<ChangeError> for Status {
    fn from(error: ChangeError) -> Status {
        let (code, text) = match error {
            ChangeError::BadUrls => (Code::InvalidArgument, "etcdserver: given member URLs are invalid"),
            // Not the code that etcd's own table has for it.
            ChangeError::NotEnoughStarted => {
                (Code::Unknown, "etcdserver: re-configuration failed due to not enough started members")
            }
            ChangeError::Unhealthy => (Code::Unavailable, "etcdserver: unhealthy cluster"),
            ChangeError::LearnerNotReady => {
                (Code::FailedPrecondition, "etcdserver: can only promote a learner member which is in sync with leader")
            }
            ChangeError::ApplyTooSlow => {
                (Code::Unavailable, "etcdserver: request timed out, waiting for the applied index took too long")
            }
            ChangeError::NotLeader => (Code::FailedPrecondition, "etcdserver: not leader"),
            ChangeError::NoLeader => return RequestError::NoLeader.into(),
            ChangeError::BadTransferee => (Code::FailedPrecondition, "etcdserver: bad leader transferee"),
            ChangeError::Call(error) => return error.into(),
        };
        Status::new(code, text)
    }
}

const COMPACTED: (Code, &str) = (Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted");
const FUTURE: (Code, &str) = (Code::OutOfRange, "etcdserver: mvcc: required revision is a future revision");

impl From<ApplyError> for Status {
    fn from(error: ApplyError) -> Status {
        let (code, text) = match error {
            ApplyError::KeyNotFound => (Code::InvalidArgument, "etcdserver: key not found"),
            ApplyError::Lease(LeaseError::NotFound) => (Code::NotFound, "etcdserver: requested lease not found"),
            ApplyError::Lease(LeaseError::Exists) => (Code::FailedPrecondition, "etcdserver: lease already exists"),
            ApplyError::Lease(LeaseError::TtlTooLarge) => (Code::OutOfRange, "etcdserver: too large lease TTL"),
            ApplyError::Compacted => COMPACTED,
            ApplyError::FutureRevision => FUTURE,
            ApplyError::NoSpace => (Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded"),
            ApplyError::Corrupt => (Code::DataLoss, "etcdserver: corrupt cluster"),
            ApplyError::MemberRemoved | ApplyError::MemberNotFound => (Code::NotFound, "etcdserver: member not found"),
            ApplyError::MemberExists => (Code::FailedPrecondition, "etcdserver: member ID already exist"),
            ApplyError::PeerUrlExists => (Code::FailedPrecondition, "etcdserver: Peer URLs already exists"),
            ApplyError::TooManyLearners => {
                (Code::FailedPrecondition, "etcdserver: too many learner members in cluster")
            }
            ApplyError::MemberNotLearner => (Code::FailedPrecondition, "etcdserver: can only promote a learner member"),
            // etcd has no such answer: its members end.
            ApplyError::LastVoter => (Code::FailedPrecondition, "etcdserver: the last voting member cannot be removed"),
            ApplyError::AuthNotEnabled => (Code::FailedPrecondition, "etcdserver: authentication is not enabled"),
            ApplyError::AuthNotBuilt => (Code::Unimplemented, "users and roles are not built yet"),
        };
        Status::new(code, text)
    }
}

impl From<RevisionError> for Status {
    fn from(error: RevisionError) -> Status {
        let (code, text) = match error {
            RevisionError::Compacted { .. } => COMPACTED,
            RevisionError::Future { .. } => FUTURE,
        };
        Status::new(code, text)
    }
}

impl From<ReadRefused> for Status {
    fn from(refused: ReadRefused) -> Status {
        let (code, text) = match refused {
            ReadRefused::Compacted => COMPACTED,
            ReadRefused::Future => FUTURE,
            // Who reads with a bounded room waits for more; this is what is left to say when there is none.
            ReadRefused::NoRoom => return CallError::TooManyRequests.into(),
            ReadRefused::Halted => return CallError::Stopped.into(),
        };
        Status::new(code, text)
    }
}

impl From<NotPrimary> for Status {
    fn from(_: NotPrimary) -> Status {
        Status::new(Code::Unknown, "not a primary lessor")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Codes and texts of etcd's table, for everything that can be said now.
    #[test]
    fn texts_are_those_of_etcd() {
        let said: [Status; 46] = [
            RequestError::EmptyKey.into(),
            RequestError::UnsetOp.into(),
            RequestError::ValueProvided.into(),
            RequestError::LeaseProvided.into(),
            RequestError::TooManyOps.into(),
            RequestError::DuplicateKey.into(),
            RequestError::InvalidSort.into(),
            RequestError::StreamSort.into(),
            RequestError::StreamFilter.into(),
            RequestError::NoSpace.into(),
            RequestError::NoLeader.into(),
            RequestError::NotForLearner.into(),
            ChangeError::NotLeader.into(),
            ChangeError::BadTransferee.into(),
            ChangeError::BadUrls.into(),
            ChangeError::NotEnoughStarted.into(),
            ChangeError::Unhealthy.into(),
            ChangeError::LearnerNotReady.into(),
            ChangeError::ApplyTooSlow.into(),
            ApplyError::MemberRemoved.into(),
            ApplyError::MemberExists.into(),
            ApplyError::PeerUrlExists.into(),
            ApplyError::TooManyLearners.into(),
            ApplyError::MemberNotLearner.into(),
            ApplyError::LastVoter.into(),
            RequestError::InvalidClientApiVersion.into(),
            RequestError::UnknownHealthService.into(),
            RequestError::WatchCanceled.into(),
            ApplyError::KeyNotFound.into(),
            ApplyError::Lease(LeaseError::NotFound).into(),
            ApplyError::Lease(LeaseError::Exists).into(),
            ApplyError::Lease(LeaseError::TtlTooLarge).into(),
            ApplyError::Compacted.into(),
            ApplyError::FutureRevision.into(),
            ApplyError::NoSpace.into(),
            ApplyError::Corrupt.into(),
            ApplyError::AuthNotEnabled.into(),
            CallError::TooLarge.into(),
            CallError::TooManyRequests.into(),
            CallError::TimedOut.into(),
            CallError::TimedOutByLeader.into(),
            CallError::TimedOutByConnection.into(),
            CallError::NotTaken.into(),
            CallError::LeaderChanged.into(),
            CallError::ProposalDropped.into(),
            CallError::Stopped.into(),
        ];
        let table = "\
3 etcdserver: key is not provided
3 etcdserver: key not found
3 etcdserver: value is provided
3 etcdserver: lease is provided
3 etcdserver: too many operations in txn request
3 etcdserver: duplicate key given in txn request
3 etcdserver: invalid sort option
12 RangeStream does not support custom sort orders
12 RangeStream does not support revision filters
8 etcdserver: mvcc: database space exceeded
14 etcdserver: no leader
9 etcdserver: rpc not supported for learner
9 etcdserver: not leader
9 etcdserver: bad leader transferee
3 etcdserver: given member URLs are invalid
2 etcdserver: re-configuration failed due to not enough started members
14 etcdserver: unhealthy cluster
9 etcdserver: can only promote a learner member which is in sync with leader
14 etcdserver: request timed out, waiting for the applied index took too long
5 etcdserver: member not found
9 etcdserver: member ID already exist
9 etcdserver: Peer URLs already exists
9 etcdserver: too many learner members in cluster
9 etcdserver: can only promote a learner member
9 etcdserver: the last voting member cannot be removed
3 etcdserver: invalid client api version
5 unknown service
1 etcdserver: watch canceled
3 etcdserver: key not found
5 etcdserver: requested lease not found
9 etcdserver: lease already exists
11 etcdserver: too large lease TTL
11 etcdserver: mvcc: required revision has been compacted
11 etcdserver: mvcc: required revision is a future revision
8 etcdserver: mvcc: database space exceeded
15 etcdserver: corrupt cluster
9 etcdserver: authentication is not enabled
3 etcdserver: request is too large
2 etcdserver: too many requests
14 etcdserver: request timed out
14 etcdserver: request timed out, possibly due to previous leader failure
14 etcdserver: request timed out, possibly due to connection lost
4 context deadline exceeded
14 etcdserver: leader changed
2 raft proposal dropped
14 etcdserver: server stopped";
        let said = said.map(|status| format!("{} {}", status.code as u8, status.message));
        assert_eq!(said.as_slice(), table.lines().collect::<Vec<_>>());
    }
}
