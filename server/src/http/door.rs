//! What stands before every page of the client port: which hosts may be asked for, which origins may ask.

use bytes::Bytes;
use ferrite_observe::log;
use ferrite_observe::log::{Logger, lines};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, HOST, ORIGIN,
};
use http::{HeaderValue, Request, Response, StatusCode};

use super::answer;

/// `--host-whitelist` and `--cors`.
#[derive(Clone, Debug)]
pub struct FrontDoor {
    pub hosts: Vec<String>,
    pub origins: Vec<String>,
}

impl FrontDoor {
    /// Refuses a host that we were not told of: a page in a browser may have been made to ask for it.
    pub fn refuse_host(&self, request: &Request<()>, logger: &Logger) -> Option<Response<Bytes>> {
        let asked = request.headers().get(HOST).and_then(|host| host.to_str().ok());
        let asked = asked.or_else(|| request.uri().authority().map(|authority| authority.as_str())).unwrap_or_default();
        let host = without_port(asked);
        if self.hosts.is_empty() || self.hosts.iter().any(|known| known == "*" || known == host) {
            return None;
        }
        log!(logger, lines::HOST_REJECTED, host);
        let text = format!(
            "etcd got this request, but does not know the name in its Host header.\n\n\
             Either use TLS, with which every name is accepted, or tell etcd the name:\n\
             etcd --host-whitelist {host:?}\n\n\
             This protects from \"DNS rebinding\" attacks (CVE-2018-5702)."
        );
        Some(answer::error(StatusCode::MISDIRECTED_REQUEST, &text))
    }

    /// The origin that the answer allows, if any.
    pub fn allowed_origin(&self, request: &Request<()>) -> Option<HeaderValue> {
        if self.origins.iter().any(|origin| origin == "*") {
            return Some(HeaderValue::from_static("*"));
        }
        let origin = request.headers().get(ORIGIN)?;
        self.origins.iter().any(|known| known.as_bytes() == origin.as_bytes()).then(|| origin.clone())
    }

    pub fn allow_origin(response: &mut Response<Bytes>, origin: HeaderValue) {
        let headers = response.headers_mut();
        let methods = HeaderValue::from_static("POST, GET, OPTIONS, PUT, DELETE");
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        let fields = HeaderValue::from_static("accept, content-type, authorization");
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, fields);
    }
}

fn without_port(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    host.rsplit_once(':').map_or(host, |(host, _)| host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door(hosts: &[&str], origins: &[&str]) -> FrontDoor {
        let owned = |list: &[&str]| list.iter().map(|item| item.to_string()).collect();
        FrontDoor { hosts: owned(hosts), origins: owned(origins) }
    }

    #[test]
    fn hosts() {
        for (hosts, asked, admitted) in [
            (&["*"][..], "anything:1", true),
            (&[][..], "anything", true),
            (&["a.example"][..], "a.example:2379", true),
            (&["a.example"][..], "b.example", false),
            (&["::1"][..], "[::1]:2379", true),
            (&[""][..], "", true),
            (&[""][..], "a", false),
        ] {
            let request = Request::get("/health").header(HOST, asked).body(()).unwrap();
            let refused = door(hosts, &[]).refuse_host(&request, &Logger::silent());
            assert_eq!(refused.is_none(), admitted, "{hosts:?} {asked}");
            if let Some(refused) = refused {
                assert_eq!(refused.status(), 421);
                assert!(refused.body().windows(16).any(|text| text == b"--host-whitelist"));
            }
        }
    }

    #[test]
    fn origins() {
        for (origins, asked, allowed) in [
            (&["*"][..], None, Some("*")),
            (&["http://a:1"][..], Some("http://a:1"), Some("http://a:1")),
            (&["http://a:1"][..], Some("http://b:1"), None),
            (&["http://a:1"][..], None, None),
        ] {
            let mut request = Request::get("/");
            if let Some(origin) = asked {
                request = request.header(ORIGIN, origin);
            }
            let found = door(&[], origins).allowed_origin(&request.body(()).unwrap());
            assert_eq!(found.as_ref().map(|origin| origin.to_str().unwrap()), allowed);
        }
    }
}
