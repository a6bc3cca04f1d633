//! The headers of every request between members, and what is refused for them.

use ferrite_raft::NodeId;
use http::{HeaderMap, HeaderValue, StatusCode, request};

use crate::local::{Local, Version};

pub(crate) const SERVER_FROM: &str = "x-server-from";
pub(crate) const SERVER_VERSION: &str = "x-server-version";
pub(crate) const MIN_CLUSTER_VERSION: &str = "x-min-cluster-version";
pub(crate) const CLUSTER_ID: &str = "x-etcd-cluster-id";
pub(crate) const RAFT_TO: &str = "x-raft-to";
pub(crate) const PEER_URLS: &str = "x-peerurls";

/// Why a request of a peer is not served: status and text as etcd gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    NotFound,
    MethodNotAllowed { allowed: &'static str },
    IncompatibleVersion,
    ClusterMismatch,
    InvalidPath,
    InvalidFrom,
    RemovedMember,
    UnknownSender,
    OtherMember,
}

impl Refusal {
    pub fn status(self) -> StatusCode {
        match self {
            Refusal::NotFound | Refusal::InvalidPath | Refusal::InvalidFrom | Refusal::UnknownSender => {
                StatusCode::NOT_FOUND
            }
            Refusal::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Refusal::IncompatibleVersion | Refusal::ClusterMismatch | Refusal::OtherMember => {
                StatusCode::PRECONDITION_FAILED
            }
            Refusal::RemovedMember => StatusCode::GONE,
        }
    }

    pub fn text(self) -> &'static str {
        match self {
            Refusal::NotFound => "404 page not found",
            Refusal::MethodNotAllowed { .. } => "Method Not Allowed",
            Refusal::IncompatibleVersion => "incompatible version",
            Refusal::ClusterMismatch => "cluster ID mismatch",
            Refusal::InvalidPath => "invalid path",
            Refusal::InvalidFrom => "invalid from",
            Refusal::RemovedMember => "removed member",
            Refusal::UnknownSender => "error sender not found",
            Refusal::OtherMember => "to field mismatch",
        }
    }
}

/// Says who we are.
pub(crate) fn introduce(local: &Local, request: request::Builder) -> request::Builder {
    let request = request
        .header(SERVER_FROM, format!("{:x}", local.member))
        .header(SERVER_VERSION, local.version.to_string())
        .header(MIN_CLUSTER_VERSION, local.min_version.to_string())
        .header(CLUSTER_ID, format!("{:x}", local.cluster));
    // A URL that is no header value is told by no peer either: they learn it from the log.
    match HeaderValue::from_str(&local.peer_urls.join(",")) {
        Ok(urls) => request.header(PEER_URLS, urls),
        Err(_) => request,
    }
}

/// Whether a peer's version goes with ours, and whether it means our cluster.
pub(crate) fn check(local: &Local, headers: &HeaderMap) -> Result<(), Refusal> {
    let version = |name| match text(headers, name) {
        None => Ok(Version::UNSAID),
        Some(text) => text.parse().map_err(|()| Refusal::IncompatibleVersion),
    };
    let (theirs, their_min) = (version(SERVER_VERSION)?, version(MIN_CLUSTER_VERSION)?);
    if theirs.line() < local.min_version.line() || their_min.line() > local.version.line() {
        return Err(Refusal::IncompatibleVersion);
    }
    if text(headers, CLUSTER_ID) != Some(&format!("{:x}", local.cluster)) {
        return Err(Refusal::ClusterMismatch);
    }
    Ok(())
}

/// Who sends, and where it says that it can be reached.
pub(crate) fn sender(headers: &HeaderMap) -> Option<(NodeId, Vec<String>)> {
    let id = parse_id(text(headers, SERVER_FROM)?)?;
    let urls: Vec<String> = text(headers, PEER_URLS)?.split(',').map(str::to_owned).collect();
    (!urls[0].is_empty()).then_some((id, urls))
}

pub(crate) fn is_for(local: &Local, headers: &HeaderMap) -> bool {
    text(headers, RAFT_TO) == Some(&format!("{:x}", local.member))
}

/// An id as headers and paths have it. 0 is nobody.
pub(crate) fn parse_id(text: &str) -> Option<NodeId> {
    let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let id = u64::from_str_radix(text, 16).ok().filter(|id| is_hex && *id != 0)?;
    Some(NodeId(id))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use http::Request;

    use super::*;

    pub(crate) fn local() -> Local {
        Local {
            member: NodeId(0xa1),
            cluster: 0xc0ffee,
            version: Version { major: 3, minor: 7, patch: 1 },
            min_version: Version { major: 3, minor: 0, patch: 0 },
            peer_urls: vec!["http://a:1".to_owned(), "http://b:2".to_owned()],
        }
    }

    #[test]
    fn a_peer_of_the_same_cluster_is_welcome() {
        let request = introduce(&local(), Request::get("/raft")).body(()).unwrap();
        let headers = request.headers();
        assert_eq!(headers[SERVER_FROM], "a1");
        assert_eq!(headers[CLUSTER_ID], "c0ffee");
        check(&local(), headers).unwrap();
        let urls = vec!["http://a:1".to_owned(), "http://b:2".to_owned()];
        assert_eq!(sender(headers), Some((NodeId(0xa1), urls)));
    }

    #[test]
    fn others_are_refused() {
        for (name, value, expected) in [
            (SERVER_VERSION, Some("2.3.8"), Err(Refusal::IncompatibleVersion)),
            (SERVER_VERSION, None, Err(Refusal::IncompatibleVersion)),
            (SERVER_VERSION, Some("3"), Err(Refusal::IncompatibleVersion)),
            (SERVER_VERSION, Some("3.0.0"), Ok(())),
            (SERVER_VERSION, Some("4.1.0"), Ok(())),
            (MIN_CLUSTER_VERSION, Some("3.8.0"), Err(Refusal::IncompatibleVersion)),
            (MIN_CLUSTER_VERSION, Some("3.7.9"), Ok(())),
            (MIN_CLUSTER_VERSION, None, Ok(())),
            (CLUSTER_ID, Some("c0ffed"), Err(Refusal::ClusterMismatch)),
            (CLUSTER_ID, None, Err(Refusal::ClusterMismatch)),
        ] {
            let mut request = introduce(&local(), Request::get("/raft")).body(()).unwrap();
            match value {
                Some(value) => _ = request.headers_mut().insert(name, HeaderValue::from_static(value)),
                None => _ = request.headers_mut().remove(name),
            }
            assert_eq!(check(&local(), request.headers()), expected, "{name}: {value:?}");
        }
    }

    #[test]
    fn ids() {
        for (text, expected) in [
            ("8e9e05c52164694d", Some(NodeId(0x8e9e05c52164694d))),
            ("0", None),
            ("", None),
            ("+1", None),
            ("x", None),
            ("10000000000000000", None),
        ] {
            assert_eq!(parse_id(text), expected, "{text:?}");
        }
    }
}
