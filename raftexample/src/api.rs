//! HTTP for clients. The key is the path as it was written, with its slash and its query.
//!
//! | request | |
//! |---|---|
//! | `PUT /key`, body value | proposes the value. 204: it is proposed, not yet committed |
//! | `GET /key` | the value that this member has applied: it may be old |
//! | `POST /id`, body peer URL | proposes a member |
//! | `DELETE /id` | proposes to remove a member |

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use bytes::Bytes;
use ferrite_peer::{PeerUrl, Scheme};
use ferrite_raft::{ChangeKind, ConfChange, ConfChangeV1, MemberChange, NodeId, ProposeError};
use http::header::ALLOW;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::RwLock;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::node::Input;
use crate::peers::accept;
use crate::state::{State, encode_pair};

/// A longer value is refused: an entry goes through memory and log as a whole.
const MAX_VALUE_BYTES: usize = 1 << 20;

type Answer = Response<Full<Bytes>>;

#[derive(Clone, Debug)]
pub struct Api {
    pub inputs: SyncSender<Input>,
    pub state: Arc<RwLock<State>>,
}

/// Serves the port for clients.
pub async fn serve(socket: TcpListener, api: Api) {
    let service = move |stream: TcpStream| {
        let api = api.clone();
        async move {
            let answer = service_fn(|request| async { Ok::<_, Infallible>(api.answer(request).await) });
            // A connection that breaks is the business of whoever made it.
            drop(http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await);
        }
    };
    accept(socket, service).await;
}

impl Api {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let key = request.uri().path_and_query().map_or("/", |key| key.as_str()).to_owned();
        match *request.method() {
            Method::PUT => self.put(&key, request.into_body()).await,
            Method::GET => self.get(&key),
            Method::POST => self.add(&key, request.into_body()).await,
            Method::DELETE => self.remove(&key).await,
            _ => {
                let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed");
                for method in ["PUT", "GET", "POST", "DELETE"] {
                    answer.headers_mut().append(ALLOW, HeaderValue::from_static(method));
                }
                answer
            }
        }
    }

    async fn put(&self, key: &str, value: Incoming) -> Answer {
        match Limited::new(value, MAX_VALUE_BYTES).collect().await {
            Ok(value) => {
                let data = encode_pair(key.as_bytes(), &value.to_bytes());
                self.propose(|answer| Input::Put { data, answer }).await
            }
            Err(_) => text(StatusCode::BAD_REQUEST, "Failed on PUT"),
        }
    }

    fn get(&self, key: &str) -> Answer {
        match self.state.read().value(key.as_bytes()) {
            Some(value) => Response::new(Full::new(value.clone())),
            None => text(StatusCode::NOT_FOUND, "Failed to GET"),
        }
    }

    async fn add(&self, key: &str, url: Incoming) -> Answer {
        let url = Limited::new(url, MAX_VALUE_BYTES).collect().await.map(|url| url.to_bytes()).unwrap_or_default();
        match id(key) {
            Some(id) if is_usable(&url) && !self.state.read().is_removed(id) => {
                self.change(ChangeKind::AddNode, id, url).await
            }
            _ => text(StatusCode::BAD_REQUEST, "Failed on POST"),
        }
    }

    async fn remove(&self, key: &str) -> Answer {
        match id(key) {
            Some(id) => self.change(ChangeKind::RemoveNode, id, Bytes::new()).await,
            None => text(StatusCode::BAD_REQUEST, "Failed on DELETE"),
        }
    }

    async fn change(&self, kind: ChangeKind, node: NodeId, context: Bytes) -> Answer {
        let change = ConfChangeV1 { id: 0, change: MemberChange { kind, node }, context };
        self.propose(|answer| Input::Change { change: ConfChange::V1(change), answer }).await
    }

    async fn propose(&self, input: impl FnOnce(oneshot::Sender<Result<(), ProposeError>>) -> Input) -> Answer {
        let (sender, answer) = oneshot::channel();
        if self.inputs.try_send(input(sender)).is_err() {
            return text(StatusCode::SERVICE_UNAVAILABLE, "too many requests: try again");
        }
        match answer.await {
            Ok(Ok(())) => {
                let mut proposed = Response::new(Full::default());
                *proposed.status_mut() = StatusCode::NO_CONTENT;
                proposed
            }
            Ok(Err(error)) => text(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
            Err(_) => text(StatusCode::SERVICE_UNAVAILABLE, "the member has ended"),
        }
    }
}

/// The number behind the slash, as Go reads one: with `0x` it is hexadecimal.
fn id(key: &str) -> Option<NodeId> {
    let digits = key.strip_prefix('/')?;
    let (digits, radix) = match digits.strip_prefix("0x") {
        Some(hexadecimal) => (hexadecimal, 16),
        None => (digits, 10),
    };
    let is_digit = |byte: u8| char::from(byte).is_digit(radix);
    let id = u64::from_str_radix(digits, radix).ok().filter(|_| digits.bytes().all(is_digit))?;
    // The two largest stand for a node's own threads in messages.
    (1..u64::MAX - 1).contains(&id).then_some(NodeId(id))
}

/// Whether a member could be reached there.
fn is_usable(url: &[u8]) -> bool {
    let url = std::str::from_utf8(url).ok().and_then(|url| url.parse::<PeerUrl>().ok());
    url.is_some_and(|url| url.scheme == Scheme::Http)
}

fn text(status: StatusCode, text: &str) -> Answer {
    let mut answer = Response::new(Full::from(format!("{text}\n")));
    *answer.status_mut() = status;
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_go_reads_them() {
        let check = |key, expected: Option<u64>| assert_eq!(id(key), expected.map(NodeId), "{key}");
        check("/4", Some(4));
        check("/0x1f", Some(31));
        check("/0", None);
        check("/+4", None);
        check("/", None);
        check("/four", None);
        check("/18446744073709551615", None);
        check("/4?x", None);
    }

    #[test]
    fn a_member_is_reached_over_http() {
        for (url, expected) in [("http://a:1", true), ("https://a:1", false), ("a:1", false), ("", false)] {
            assert_eq!(is_usable(url.as_bytes()), expected, "{url}");
        }
    }
}
