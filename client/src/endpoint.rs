//! Where a member is, parsed from the text a user gives.

use std::path::{Path, PathBuf};

/// A text that names no place to dial.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
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
    pub(crate) encryption: Encryption,
}

/// Whether to speak TLS there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encryption {
    Never,
    /// If there is a configuration for it.
    IfConfigured,
    /// With the system's authorities, if there is no configuration.
    Always,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// Host and port, resolved when dialled.
    Tcp(String),
    /// A socket in the file system.
    Unix(PathBuf),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Address::Tcp(address) => f.write_str(address),
            Address::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

impl Endpoint {
    /// The endpoint that `text` names.
    pub fn parse(text: &str) -> Result<Endpoint, EndpointError> {
        let invalid = || EndpointError::Invalid(text.to_string());
        let unix = [("unix:", Encryption::IfConfigured), ("unixs:", Encryption::Always)];
        let unix = unix.iter().find_map(|(scheme, encryption)| Some((text.strip_prefix(scheme)?, *encryption)));
        if let Some((rest, encryption)) = unix {
            let path = Path::new(rest.strip_prefix("//").unwrap_or(rest));
            let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(invalid)?;
            // A socket's name may hold characters that an authority may not.
            let authority = name.parse().unwrap_or(http::uri::Authority::from_static("localhost"));
            return Ok(Endpoint { address: Address::Unix(path.to_path_buf()), authority, encryption });
        }
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        let host_port = rest.split('/').next().unwrap_or_default();
        // An empty address, or one of an unknown scheme, is dialled as it is. That fails, and so calls wait until
        // their deadline, as with etcd's client.
        let (address, encryption) = match scheme {
            "" => (host_port, Encryption::IfConfigured),
            "http" => (host_port, Encryption::Never),
            "https" => (host_port, Encryption::Always),
            _ => (text, Encryption::IfConfigured),
        };
        let authority = match host_port {
            "" => http::uri::Authority::from_static("localhost"),
            _ => host_port.parse().map_err(|_| invalid())?,
        };
        Ok(Endpoint { address: Address::Tcp(address.to_string()), authority, encryption })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dialled_and_what_is_named() {
        use Encryption::{Always, IfConfigured, Never};
        //    text               dialled                authority           TLS
        check("127.0.0.1:2379", tcp("127.0.0.1:2379"), "127.0.0.1:2379", IfConfigured);
        check("http://h:1/path", tcp("h:1"), "h:1", Never);
        check("https://h:1", tcp("h:1"), "h:1", Always);
        check("other://h:1", tcp("other://h:1"), "h:1", IfConfigured);
        check("[::1]:2379", tcp("[::1]:2379"), "[::1]:2379", IfConfigured);
        check("unix:a/b.sock", unix("a/b.sock"), "b.sock", IfConfigured);
        check("unix://a/b.sock", unix("a/b.sock"), "b.sock", IfConfigured);
        check("unix:///run/etcd", unix("/run/etcd"), "etcd", IfConfigured);
        check("unixs:///run/etcd", unix("/run/etcd"), "etcd", Always);
        check("", tcp(""), "localhost", IfConfigured);
    }

    fn tcp(address: &str) -> Address {
        Address::Tcp(address.into())
    }

    fn unix(path: &str) -> Address {
        Address::Unix(path.into())
    }

    fn check(text: &str, address: Address, authority: &str, encryption: Encryption) {
        let endpoint = Endpoint::parse(text).unwrap();
        let found = (endpoint.address, endpoint.authority.as_str(), endpoint.encryption);
        assert_eq!(found, (address, authority, encryption), "{text}");
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(matches!(Endpoint::parse("a b:1"), Err(EndpointError::Invalid(_))));
    }
}
