//! What peers ask of us: the paths under `/raft` of the peer port.

use http::header::{ALLOW, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;

use ferrite_observe::log;
use ferrite_observe::log::{Id, lines};
use ferrite_raft::Message;

use crate::body::PeerBody;
use crate::frame::{MAX_FRAME_BYTES, Stream, decode};
use crate::gather::{Gathered, Gathering};
use crate::headers::{self, CLUSTER_ID, Refusal, SERVER_VERSION};
use crate::owner::Delivery;
use crate::transport::{Misdirected, Transport};
use crate::{pipeline, prober, snapshot};

/// Answers what peers ask. A clone is the same door.
#[derive(Clone, Debug)]
pub struct Door {
    transport: Transport,
    gathered: Gathered,
}

/// The paths that are answered here.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Page {
    Post,
    Snapshot,
    Probing,
    Stream { kind: String, from: String },
}

impl Page {
    fn of(path: &str) -> Option<Page> {
        match path {
            pipeline::PATH => Some(Page::Post),
            snapshot::PATH => Some(Page::Snapshot),
            prober::PATH => Some(Page::Probing),
            _ => {
                let rest = path.strip_prefix("/raft/stream/")?;
                let (kind, from) = rest.rsplit_once('/').unwrap_or((rest, ""));
                Some(Page::Stream { kind: kind.to_owned(), from: from.to_owned() })
            }
        }
    }

    fn method(&self) -> Method {
        match self {
            Page::Post | Page::Snapshot => Method::POST,
            Page::Probing | Page::Stream { .. } => Method::GET,
        }
    }
}

impl Door {
    pub fn new(transport: Transport) -> Door {
        Door { transport, gathered: Gathered::default() }
    }

    /// Whether a path is answered here.
    pub fn knows(path: &str) -> bool {
        Page::of(path).is_some()
    }

    /// Answers a request. `now` is the time of day, in RFC 3339.
    pub async fn answer(&self, request: Request<Incoming>, now: &str) -> Response<PeerBody> {
        let Some(page) = Page::of(request.uri().path()) else { return refuse(Refusal::NotFound) };
        let method = page.method();
        if page == Page::Probing {
            return text(StatusCode::OK, "text/plain; charset=utf-8", format!("{{\"OK\":true,\"Now\":\"{now}\"}}\n"));
        }
        let local = &self.transport.context().local;
        let mut response = if *request.method() != method {
            let allowed = if method == Method::POST { "POST" } else { "GET" };
            refuse(Refusal::MethodNotAllowed { allowed })
        } else {
            match headers::check(local, request.headers()) {
                Err(refusal) => {
                    log!(
                        self.transport.context().logger,
                        lines::PEER_REFUSED,
                        Id(local.member.0),
                        request.uri().path(),
                        refusal.text()
                    );
                    refuse(refusal)
                }
                Ok(()) => match page {
                    Page::Post => self.post(request).await,
                    Page::Snapshot => self.snapshot(request).await,
                    Page::Stream { kind, from } => self.stream(&request, &kind, &from).unwrap_or_else(refuse),
                    Page::Probing => unreachable!("answered above"),
                },
            }
        };
        let id = HeaderValue::from_str(&format!("{:x}", local.cluster)).expect("digits");
        response.headers_mut().insert(CLUSTER_ID, id);
        let version = HeaderValue::from_str(&local.version.to_string()).expect("digits and dots");
        response.headers_mut().insert(SERVER_VERSION, version);
        response
    }

    /// One that posts is answered, even before the log has named it.
    fn note_sender(&self, request: &Request<Incoming>) {
        if let Some((id, urls)) = headers::sender(request.headers())
            && !self.transport.context().owner.is_removed(id)
        {
            self.transport.add_remote(id, &urls);
        }
    }

    fn stream(&self, request: &Request<Incoming>, kind: &str, from: &str) -> Result<Response<PeerBody>, Refusal> {
        let kind = Stream::ALL.into_iter().find(|stream| stream.path() == kind).ok_or(Refusal::InvalidPath)?;
        let from = headers::parse_id(from).ok_or(Refusal::InvalidFrom)?;
        let context = self.transport.context();
        if context.owner.is_removed(from) {
            return Err(Refusal::RemovedMember);
        }
        if !headers::is_for(&context.local, request.headers()) {
            return Err(Refusal::OtherMember);
        }
        match self.transport.attach(from, kind) {
            Ok(outgoing) => Ok(Response::new(PeerBody::stream(outgoing))),
            Err(refusal) => {
                self.note_sender(request);
                Err(refusal)
            }
        }
    }

    async fn post(&self, request: Request<Incoming>) -> Response<PeerBody> {
        self.note_sender(&request);
        let gathering = self.gather(request);
        let body = match gathering.whole(MAX_FRAME_BYTES as usize).await {
            Ok(body) => body,
            Err(_) => return plain(StatusCode::BAD_REQUEST, "error reading raft message"),
        };
        let message = decode(body).map_err(|error| error.to_string());
        let message = message.and_then(|message| Message::try_from(message).map_err(|error| error.to_string()));
        let Ok(message) = message else {
            return plain(StatusCode::BAD_REQUEST, "error unmarshalling raft message");
        };
        match self.transport.context().admit(&message) {
            Err(misdirected) => misdirected_answer(misdirected),
            Ok(()) => match self.transport.context().owner.deliver(message) {
                Delivery::Taken => no_content(),
                Delivery::Full => plain(StatusCode::INTERNAL_SERVER_ERROR, "error processing raft message"),
            },
        }
    }

    fn gather(&self, request: Request<Incoming>) -> Gathering {
        self.gathered.begin(request.into_body(), self.transport.context().timeouts.read)
    }

    async fn snapshot(&self, request: Request<Incoming>) -> Response<PeerBody> {
        self.note_sender(&request);
        let patience = self.transport.context().timeouts.read;
        let (message, database) = match snapshot::receive(self.gather(request), patience).await {
            Ok(received) => received,
            Err(error) => return plain(StatusCode::BAD_REQUEST, &format!("error reading raft message: {error}")),
        };
        let context = self.transport.context();
        if let Err(misdirected) = context.admit(&message) {
            return misdirected_answer(misdirected);
        }
        if !snapshot::is_snapshot_for(&message, context.local.member) {
            return plain(StatusCode::BAD_REQUEST, "wrong raft message type");
        }
        match context.owner.receive_snapshot(message, database).await {
            Ok(()) => no_content(),
            Err(why) => plain(StatusCode::INTERNAL_SERVER_ERROR, &format!("failed to save KV snapshot ({why})")),
        }
    }
}

fn no_content() -> Response<PeerBody> {
    let mut response = Response::new(PeerBody::whole(""));
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// A 403 makes the other side stop: it is for those alone whom the cluster has removed. etcd answers it where a message
/// reached another member than it was for, too, and so ends a leader that writes to a member's successor at the same
/// address.
fn misdirected_answer(misdirected: Misdirected) -> Response<PeerBody> {
    let status = match misdirected {
        Misdirected::Removed => StatusCode::FORBIDDEN,
        Misdirected::Mismatch => StatusCode::PRECONDITION_FAILED,
    };
    text(status, "application/json", format!("{{\"message\":\"{misdirected}\"}}"))
}

fn text(status: StatusCode, content_type: &'static str, body: String) -> Response<PeerBody> {
    let mut response = Response::new(PeerBody::whole(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Go's `http.Error`.
fn plain(status: StatusCode, what: &str) -> Response<PeerBody> {
    let mut response = text(status, "text/plain; charset=utf-8", format!("{what}\n"));
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn refuse(refusal: Refusal) -> Response<PeerBody> {
    let mut response = plain(refusal.status(), refusal.text());
    if let Refusal::MethodNotAllowed { allowed } = refusal {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages() {
        let stream = |kind: &str, from: &str| Some(Page::Stream { kind: kind.to_owned(), from: from.to_owned() });
        for (path, expected) in [
            ("/raft", Some(Page::Post)),
            ("/raft/", None),
            ("/raft/snapshot", Some(Page::Snapshot)),
            ("/raft/probing", Some(Page::Probing)),
            ("/raft/stream/message/8e9e", stream("message", "8e9e")),
            ("/raft/stream/msgapp/", stream("msgapp", "")),
            ("/raft/stream/x", stream("x", "")),
            ("/members", None),
        ] {
            assert_eq!(Page::of(path), expected, "{path}");
        }
    }
}
