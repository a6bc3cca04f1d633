//! What a call can end with.
//!
//! `Display` prints what etcd's own client prints: the bare text of an error that etcd defines, the code and text of any
//! other status, and Go's words for a deadline that has passed.

use tonic::{Code, Status};

use crate::endpoint::EndpointError;
use crate::known::Known;
use crate::pool::Unreachable;

/// Why a call failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server answered with an error that etcd defines.
    #[error("{}", .0.text())]
    Known(Known),
    /// The server, or the way to it, answered with any other status.
    #[error("rpc error: code = {} desc = {}", code_name(.0.code()), .0.message())]
    Status(Box<Status>),
    /// The server ended or refused a watch, for this reason.
    #[error("{0}")]
    WatchCanceled(String),
    /// The session's lease was lost while a lock was waited for.
    #[error("mutex: session is expired")]
    SessionExpired,
    /// Another leads by now.
    #[error("election: not leader")]
    NotLeader,
    /// The caller's deadline has passed.
    #[error("context deadline exceeded")]
    DeadlineExceeded {
        /// The endpoints that could not be connected to when that was last tried.
        unreachable: Vec<Unreachable>,
    },
    /// The configuration names no endpoint.
    #[error("etcdclient: no available endpoints")]
    NoEndpoints,
    /// An endpoint that cannot be dialled.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The configuration contradicts itself.
    #[error("{0}")]
    Config(String),
    /// The background task that served this watch or lease is gone: its client's runtime has ended.
    #[error("context canceled")]
    Closed,
    /// A campaign for a lease's renewal has ended with the client.
    #[error("etcdclient: leases keep alive halted")]
    KeepAliveHalted,
}

impl Error {
    /// The code that a program acts on.
    pub fn code(&self) -> Code {
        match self {
            Error::Known(known) => known.code(),
            Error::Status(status) => status.code(),
            Error::DeadlineExceeded { .. } => Code::DeadlineExceeded,
            Error::WatchCanceled(_) | Error::Closed | Error::KeepAliveHalted => Code::Cancelled,
            Error::SessionExpired | Error::NotLeader => Code::FailedPrecondition,
            Error::NoEndpoints => Code::Unavailable,
            Error::Endpoint(_) | Error::Config(_) => Code::InvalidArgument,
        }
    }

    /// The error with its code, as gRPC libraries print it; `Display` leaves the code out where etcd's text says enough.
    pub fn with_code(&self) -> String {
        match self {
            Error::Known(known) => {
                format!("rpc error: code = {} desc = {known}", code_name(known.code()), known = known.text())
            }
            other => other.to_string(),
        }
    }

    /// The endpoints that could not be connected to, if that may be why.
    pub fn unreachable(&self) -> &[Unreachable] {
        match self {
            Error::DeadlineExceeded { unreachable } => unreachable,
            _ => &[],
        }
    }

    /// Whether this is the error that etcd defines as `known`.
    pub fn is(&self, known: Known) -> bool {
        matches!(self, Error::Known(own) if *own == known)
    }

    /// Whether opening a stream again cannot help: everything but a connection that was lost, or a server that stumbled.
    pub(crate) fn is_halt(&self) -> bool {
        !matches!(self.code(), Code::Unavailable | Code::Internal)
    }
}

impl From<Status> for Error {
    /// By text, not by code: the code on the wire differs between versions of the server.
    fn from(status: Status) -> Error {
        match Known::from_text(status.message()) {
            Some(known) => Error::Known(known),
            None => Error::Status(Box::new(too_large(&status).unwrap_or(status))),
        }
    }
}

/// A response over the limit, as gRPC libraries agree to report it; tonic has words of its own.
fn too_large(status: &Status) -> Option<Status> {
    let sizes = status.message().strip_prefix("Error, decoded message length too large: found ")?;
    let (found, limit) = sizes.strip_suffix(" bytes")?.split_once(" bytes, the limit is: ")?;
    Some(Status::resource_exhausted(format!("grpc: received message larger than max ({found} vs. {limit})")))
}

/// Go's name of a status code.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_become_errors_by_their_text() {
        //    wire code             text                                 code to act on            printed
        check(Code::Unknown, "etcdserver: too many requests", Code::ResourceExhausted, "etcdserver: too many requests");
        check(
            Code::NotFound,
            "etcdserver: requested lease not found",
            Code::NotFound,
            "etcdserver: requested lease not found",
        );
        check(Code::Unknown, "etcdserver: odd", Code::Unknown, "rpc error: code = Unknown desc = etcdserver: odd");
        let (large, larger) = (
            "Error, decoded message length too large: found 9 bytes, the limit is: 8 bytes",
            "grpc: received message larger than max (9 vs. 8)",
        );
        let printed = format!("rpc error: code = ResourceExhausted desc = {larger}");
        check(Code::OutOfRange, large, Code::ResourceExhausted, &printed);
        check(Code::Cancelled, "bye", Code::Cancelled, "rpc error: code = Canceled desc = bye");
    }

    fn check(wire: Code, text: &str, code: Code, printed: &str) {
        let error = Error::from(Status::new(wire, text));
        assert_eq!(error.code(), code, "{text}");
        assert_eq!(error.to_string(), printed);
    }

    #[test]
    fn only_lost_connections_and_stumbling_servers_are_worth_a_new_stream() {
        for (status, halt) in [
            (Status::unavailable("connection lost"), false),
            (Status::internal("oops"), false),
            (Status::permission_denied("etcdserver: permission denied"), true),
            (Status::unknown("?"), true),
        ] {
            assert_eq!(Error::from(status.clone()).is_halt(), halt, "{status}");
        }
    }
}
