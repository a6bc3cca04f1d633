//! How a call ends: a code and a text, and their form in trailers.

use std::borrow::Cow;
use std::fmt::Write;

use http::{HeaderMap, HeaderName, HeaderValue};

/// The codes of gRPC, numbered as on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    Ok = 0,
    Canceled,
    Unknown,
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    ResourceExhausted,
    FailedPrecondition,
    Aborted,
    OutOfRange,
    Unimplemented,
    Internal,
    Unavailable,
    DataLoss,
    Unauthenticated,
}

impl Code {
    /// Every code with the name that metrics and Go's texts use, in the order of their numbers.
    pub const ALL: [(Code, &'static str); 17] = [
        (Code::Ok, "OK"),
        (Code::Canceled, "Canceled"),
        (Code::Unknown, "Unknown"),
        (Code::InvalidArgument, "InvalidArgument"),
        (Code::DeadlineExceeded, "DeadlineExceeded"),
        (Code::NotFound, "NotFound"),
        (Code::AlreadyExists, "AlreadyExists"),
        (Code::PermissionDenied, "PermissionDenied"),
        (Code::ResourceExhausted, "ResourceExhausted"),
        (Code::FailedPrecondition, "FailedPrecondition"),
        (Code::Aborted, "Aborted"),
        (Code::OutOfRange, "OutOfRange"),
        (Code::Unimplemented, "Unimplemented"),
        (Code::Internal, "Internal"),
        (Code::Unavailable, "Unavailable"),
        (Code::DataLoss, "DataLoss"),
        (Code::Unauthenticated, "Unauthenticated"),
    ];

    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub code: Code,
    pub message: Cow<'static, str>,
}

impl Status {
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into() }
    }
}

pub(super) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
pub(super) const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Adds the end of a call to the headers or trailers that carry it.
pub(super) fn write_end(headers: &mut HeaderMap, end: Result<(), &Status>) {
    let Err(status) = end else {
        headers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
        return;
    };
    headers.insert(GRPC_STATUS, HeaderValue::from(status.code as u16));
    if !status.message.is_empty() {
        let text = percent_encoded(&status.message);
        headers.insert(GRPC_MESSAGE, HeaderValue::try_from(text).expect("printable ASCII is a header value"));
    }
}

/// A `grpc-message` is printable ASCII; all other bytes, and `%`, are written as `%XX`.
fn percent_encoded(message: &str) -> String {
    let mut text = String::with_capacity(message.len());
    for byte in message.bytes() {
        match byte {
            b'%' | 0..0x20 | 0x7f.. => {
                let _ = write!(text, "%{byte:02X}");
            }
            _ => text.push(byte as char),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_numbered_as_on_the_wire() {
        for (number, (code, name)) in Code::ALL.into_iter().enumerate() {
            assert_eq!(code as usize, number);
            assert_eq!(code.name(), name);
            assert_eq!(format!("{code:?}").to_lowercase(), name.to_lowercase());
        }
    }

    #[test]
    fn messages_are_percent_encoded() {
        for (message, text) in [
            ("etcdserver: key not found", "etcdserver: key not found"),
            ("100%", "100%25"),
            ("a\nb\u{7f}", "a%0Ab%7F"),
            ("é", "%C3%A9"),
            ("~ \"", "~ \""),
        ] {
            assert_eq!(percent_encoded(message), text);
        }
    }

    #[test]
    fn ends() {
        let mut headers = HeaderMap::new();
        write_end(&mut headers, Ok(()));
        assert_eq!(headers[GRPC_STATUS], "0");
        assert!(!headers.contains_key(GRPC_MESSAGE));
        let mut headers = HeaderMap::new();
        write_end(&mut headers, Err(&Status::new(Code::Unauthenticated, "no")));
        assert_eq!((&headers[GRPC_STATUS], &headers[GRPC_MESSAGE]), (&"16".parse().unwrap(), &"no".parse().unwrap()));
    }
}
