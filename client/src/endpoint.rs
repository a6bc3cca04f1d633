//! Where a member is, parsed from the text a user gives.

use std::path::{Path, PathBuf};

/// A text that names no place to dial.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// The endpoint asks for TLS.
    #[error("endpoint {0:?} needs TLS, which this client cannot speak yet")]
    Tls(String),
    /// The name cannot stand in a request.
    #[error("endpoint {0:?} is no host and port, URL or socket path")]
    Invalid(String),
}

/// Where a member is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// What to dial.
    pub(crate) address: Address,
    /// What requests name as their authority.
    pub(crate) authority: http::uri::Authority,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// Host and port, resolved when dialled.
    Tcp(String),
    /// A socket in the file system.
    Unix(PathBuf),
}

impl Endpoint {
    /// The endpoint that `text` names.
    pub fn parse(text: &str) -> Result<Endpoint, EndpointError> {
        let invalid = || EndpointError::Invalid(text.to_string());
        if text.starts_with("https://") || text.starts_with("unixs:") {
            return Err(EndpointError::Tls(text.to_string()));
        }
        if let Some(rest) = text.strip_prefix("unix:") {
            let path = Path::new(rest.strip_prefix("//").unwrap_or(rest));
            let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(invalid)?;
            // A socket's name may hold characters that an authority may not.
            let authority = name.parse().unwrap_or(http::uri::Authority::from_static("localhost"));
            return Ok(Endpoint { address: Address::Unix(path.to_path_buf()), authority });
        }
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let host_port = rest.split('/').next().unwrap_or_default();
        // An empty address, or one of an unknown scheme, is dialled as it is. That fails, and so calls wait until
        // their deadline, as with etcd's client.
        let address = if scheme == "http" { host_port } else { text };
        let authority = match host_port {
            "" => http::uri::Authority::from_static("localhost"),
            _ => host_port.parse().map_err(|_| invalid())?,
        };
        Ok(Endpoint { address: Address::Tcp(address.to_string()), authority })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dialled_and_what_is_named() {
        //    text                          dialled                          authority
        check("127.0.0.1:2379", tcp("127.0.0.1:2379"), "127.0.0.1:2379");
        check("http://h:1/path", tcp("h:1"), "h:1");
        check("other://h:1", tcp("other://h:1"), "h:1");
        check("[::1]:2379", tcp("[::1]:2379"), "[::1]:2379");
        check("unix:a/b.sock", unix("a/b.sock"), "b.sock");
        check("unix://a/b.sock", unix("a/b.sock"), "b.sock");
        check("unix:///run/etcd", unix("/run/etcd"), "etcd");
        check("", tcp(""), "localhost");
    }

    fn tcp(address: &str) -> Address {
        Address::Tcp(address.into())
    }

    fn unix(path: &str) -> Address {
        Address::Unix(path.into())
    }

    fn check(text: &str, address: Address, authority: &str) {
        let endpoint = Endpoint::parse(text).unwrap();
        assert_eq!((endpoint.address, endpoint.authority.as_str()), (address, authority), "{text}");
    }

    #[test]
    fn tls_and_nonsense_are_refused() {
        assert!(matches!(Endpoint::parse("https://h:1"), Err(EndpointError::Tls(_))));
        assert!(matches!(Endpoint::parse("unixs:a"), Err(EndpointError::Tls(_))));
        assert!(matches!(Endpoint::parse("a b:1"), Err(EndpointError::Invalid(_))));
    }
}
