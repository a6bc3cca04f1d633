//! One connection to each endpoint, and calls dealt out to those that stand, in turn.
//!
//!   endpoint ──task──▶ dial ──▶ greeted: in the list ──▶ lost: out of the list, dial again
//!                       └─ failed: wait 1 s, then longer up to 2 min
//!
//! A connection stands once the server has greeted us: what is accepted and closed again, as by a balancer with nothing behind it,
//! or answered in another protocol, as by the port for peers, has failed.
//! A call waits until some connection stands. What a connection hands back unsent goes to the next one; what was sent fails with
//! `Unavailable` when its connection is lost, and whether to repeat it is not decided here.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tonic::codegen::{Service, StdError};
use tonic::{Code, Status};

use crate::config::Config;
use crate::endpoint::{Address, Encryption, Endpoint};
use crate::error::Error;
use crate::greeting::Greeting;

const FIRST_RECONNECT: Duration = Duration::from_secs(1);
const LONGEST_RECONNECT: Duration = Duration::from_secs(120);
const RECONNECT_GROWTH: f64 = 1.6;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// What one stream, and all streams of a connection together, may have underway to us. Watches are read at once, so a large
/// window costs nothing and lets a long list through at the speed of the network.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

type Sender = http2::SendRequest<tonic::body::Body>;

/// A connection that stands.
#[derive(Clone)]
struct Connection {
    sender: Sender,
    scheme: http::uri::Scheme,
    authority: http::uri::Authority,
}

/// Where to connect to, and with what to encrypt.
pub(crate) struct Target {
    endpoint: Endpoint,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Target {
    /// The targets that `endpoints` name.
    pub(crate) fn parse<E: AsRef<str>>(
        config: &Config,
        endpoints: impl IntoIterator<Item = E>,
    ) -> Result<Vec<Target>, Error> {
        let mut connector = None;
        let target = |text: E| {
            let endpoint = Endpoint::parse(text.as_ref())?;
            let encrypted = match endpoint.encryption {
                Encryption::Never => false,
                Encryption::IfConfigured => config.tls.is_some(),
                Encryption::Always => true,
            };
            if !encrypted {
                return Ok(Target { endpoint, tls: None });
            }
            let tls = config.tls.clone().unwrap_or_default();
            let connector = match &connector {
                Some(connector) => TlsConnector::clone(connector),
                None => connector.insert(tls.connector()?).clone(),
            };
            let name = tls.name(endpoint.authority.host())?;
            Ok(Target { endpoint, tls: Some((connector, name)) })
        };
        endpoints.into_iter().map(target).collect()
    }
}

/// An endpoint that there is no connection to, and why the last attempt has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreachable {
    /// Where it was dialled.
    pub endpoint: String,
    /// What came of it.
    pub why: String,
}

/// What has become of the endpoints, told by their tasks. A task that is aborted may be at work on another thread, and come with
/// its word after the endpoints were replaced: that is passed over.
struct Reach<C> {
    /// The first id among the tasks of these endpoints. Ids only grow.
    first_id: usize,
    /// What stands, by the ids of tasks.
    standing: Vec<(usize, C)>,
    out_of_reach: BTreeMap<usize, Unreachable>,
}

impl<C> Reach<C> {
    /// Of endpoints whose tasks begin with this id nothing is known.
    fn unknown(first_id: usize) -> Reach<C> {
        Reach { first_id, standing: Vec::new(), out_of_reach: BTreeMap::new() }
    }

    fn stands(&mut self, id: usize, connection: C) {
        if id >= self.first_id {
            self.out_of_reach.remove(&id);
            self.standing.push((id, connection));
        }
    }

    fn lost(&mut self, id: usize) {
        self.standing.retain(|(each, _)| *each != id);
    }

    fn failed(&mut self, id: usize, unreachable: Unreachable) {
        if id >= self.first_id {
            self.out_of_reach.insert(id, unreachable);
        }
    }
}

/// Connections to a set of endpoints. Clones share them; with the last clone they close.
#[derive(Clone)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    reach: watch::Sender<Reach<Connection>>,
    turn: AtomicUsize,
    dialling: std::sync::Mutex<Dialling>,
    pings: Option<(Duration, Duration)>,
}

/// The tasks that keep connections up; aborted when they are replaced or dropped.
struct Dialling {
    tasks: JoinSet<()>,
    next_id: usize,
}

impl Pool {
    /// Starts to connect to each of `endpoints`, and does not wait for it.
    pub(crate) fn new(targets: Vec<Target>, pings: Option<(Duration, Duration)>) -> Pool {
        let dialling = std::sync::Mutex::new(Dialling { tasks: JoinSet::new(), next_id: 0 });
        let shared =
            Shared { reach: watch::Sender::new(Reach::unknown(0)), turn: AtomicUsize::new(0), dialling, pings };
        let pool = Pool { shared: Arc::new(shared) };
        pool.set_targets(targets);
        pool
    }

    /// Replaces all endpoints. Calls under way on the old connections come to their end.
    pub(crate) fn set_targets(&self, targets: Vec<Target>) {
        let mut dialling = self.shared.dialling.lock().expect("nothing panics while it holds this lock");
        dialling.tasks = JoinSet::new();
        self.shared.reach.send_replace(Reach::unknown(dialling.next_id));
        for target in targets {
            let (id, reach, pings) = (dialling.next_id, self.shared.reach.clone(), self.shared.pings);
            dialling.next_id += 1;
            dialling.tasks.spawn(keep_connected(id, target, reach, pings));
        }
    }

    /// Which endpoints could not be connected to when that was last tried.
    pub(crate) fn unreachable(&self) -> Vec<Unreachable> {
        self.shared.reach.borrow().out_of_reach.values().cloned().collect()
    }

    /// The next connection in turn, once there is one, and the id of its task.
    async fn next(&self) -> (usize, Connection) {
        let mut reach = self.shared.reach.subscribe();
        loop {
            {
                let standing = &reach.borrow_and_update().standing;
                let turn = self.shared.turn.fetch_add(1, Ordering::Relaxed);
                if let Some(connection) = standing.get(turn % standing.len().max(1)) {
                    return connection.clone();
                }
            }
            reach.changed().await.expect("the pool holds the sender for as long as it lives");
        }
    }

    async fn send(self, mut request: http::Request<tonic::body::Body>) -> Result<Response, Status> {
        loop {
            let (id, mut connection) = self.next().await;
            if connection.sender.is_closed() {
                // Its task has not run since it was lost. Take it out, so that no call meets it again.
                self.shared.reach.send_modify(|reach| reach.lost(id));
                continue;
            }
            let path = request.uri().path_and_query().cloned();
            *request.uri_mut() = http::Uri::builder()
                .scheme(connection.scheme.clone())
                .authority(connection.authority.clone())
                .path_and_query(path.unwrap_or_else(|| http::uri::PathAndQuery::from_static("/")))
                .build()
                .map_err(|error| Status::internal(error.to_string()))?;
            match connection.sender.try_send_request(request).await {
                Ok(response) => return Ok(response.map(|body| tonic::body::Body::new(body.map_err(lost as Lost)))),
                Err(mut failure) => match failure.take_message() {
                    Some(unsent) => {
                        self.shared.reach.send_modify(|reach| reach.lost(id));
                        request = unsent;
                    }
                    None => return Err(lost(failure.into_error())),
                },
            }
        }
    }
}

type Response = http::Response<tonic::body::Body>;
type Lost = fn(hyper::Error) -> Status;

impl Service<http::Request<tonic::body::Body>> for Pool {
    type Response = Response;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(())) // waiting for a connection is part of the call
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        Box::pin(self.clone().send(request))
    }
}

/// Dials `target`, puts the connection in the list for as long as it stands, and starts over.
async fn keep_connected(
    id: usize,
    target: Target,
    reach: watch::Sender<Reach<Connection>>,
    pings: Option<(Duration, Duration)>,
) {
    let mut wait = FIRST_RECONNECT;
    let mut jitter = crate::call::Jitter::new();
    loop {
        let dialled = tokio::time::timeout(CONNECT_TIMEOUT, dial(&target, pings)).await;
        match dialled.unwrap_or_else(|_| Err("no answer".into())) {
            Ok((sender, driver)) => {
                wait = FIRST_RECONNECT;
                let authority = target.endpoint.authority.clone();
                let scheme = if target.tls.is_some() { http::uri::Scheme::HTTPS } else { http::uri::Scheme::HTTP };
                reach.send_modify(|reach| reach.stands(id, Connection { sender, scheme, authority }));
                // Calls under way do not depend on this: hyper drives them on tasks of their own, to their end.
                driver.await;
                reach.send_modify(|reach| reach.lost(id));
            }
            Err(error) => {
                let (endpoint, why) = (target.endpoint.address.to_string(), with_sources(&*error));
                // Nobody waits for this word.
                reach.send_if_modified(|reach| {
                    reach.failed(id, Unreachable { endpoint, why });
                    false
                });
                tokio::time::sleep(wait.mul_f64(1.0 + 0.2 * jitter.next())).await;
                wait = wait.mul_f64(RECONNECT_GROWTH).min(LONGEST_RECONNECT);
            }
        }
    }
}

/// Drives a connection until it is lost.
type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

async fn dial(target: &Target, pings: Option<(Duration, Duration)>) -> Result<(Sender, Driver), StdError> {
    match &target.endpoint.address {
        Address::Tcp(address) => {
            let stream = TcpStream::connect(address.as_str()).await?;
            stream.set_nodelay(true)?;
            encrypt(stream, &target.tls, pings).await
        }
        Address::Unix(path) => encrypt(UnixStream::connect(path).await?, &target.tls, pings).await,
    }
}

async fn encrypt<S>(
    stream: S,
    tls: &Option<(TlsConnector, ServerName<'static>)>,
    pings: Option<(Duration, Duration)>,
) -> Result<(Sender, Driver), StdError>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    match tls {
        Some((connector, name)) => handshake(connector.connect(name.clone(), stream).await?, pings).await,
        None => handshake(stream, pings).await,
    }
}

async fn handshake<S>(stream: S, pings: Option<(Duration, Duration)>) -> Result<(Sender, Driver), StdError>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    if let Some((interval, timeout)) = pings {
        builder.keep_alive_interval(interval).keep_alive_timeout(timeout);
    }
    let (stream, greeted) = Greeting::await_on(stream);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    let mut connection = Box::pin(connection);
    tokio::select! {
        greeted = greeted => greeted.map_err(|_| "the answer is not HTTP/2")?,
        ended = &mut connection => return Err(ended.err().map_or_else(|| "closed at once".into(), StdError::from)),
    }
    Ok((sender, Box::pin(async move { drop(connection.await) })))
}

/// What a call ends with when the transport gives out under it.
fn lost(error: hyper::Error) -> Status {
    let reason =
        std::error::Error::source(&error).and_then(|e| e.downcast_ref::<h2::Error>()).and_then(h2::Error::reason);
    let code = match reason {
        Some(h2::Reason::CANCEL) => Code::Cancelled,
        Some(h2::Reason::ENHANCE_YOUR_CALM) => Code::ResourceExhausted,
        Some(h2::Reason::INADEQUATE_SECURITY) => Code::PermissionDenied,
        Some(h2::Reason::INTERNAL_ERROR | h2::Reason::PROTOCOL_ERROR) => Code::Internal,
        _ => Code::Unavailable,
    };
    Status::new(code, format!("connection error: {}", with_sources(&error)))
}

/// An error and what it came of.
fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_of_endpoints_that_were_replaced_is_passed_over() {
        let unreachable = |endpoint: &str| Unreachable { endpoint: endpoint.to_owned(), why: "refused".to_owned() };
        let mut reach = Reach::unknown(0);
        reach.failed(0, unreachable("old a"));
        reach.stands(1, "old b");
        reach = Reach::unknown(2);
        // The tasks of the old ones were about to say this.
        reach.failed(0, unreachable("old a"));
        reach.stands(1, "old b");
        reach.failed(2, unreachable("new a"));
        reach.stands(3, "new b");
        assert_eq!(reach.standing, [(3, "new b")]);
        assert_eq!(reach.out_of_reach.values().collect::<Vec<_>>(), [&unreachable("new a")]);
        reach.lost(1);
        reach.stands(2, "new a");
        reach.lost(3);
        assert_eq!((reach.standing, reach.out_of_reach.len()), (vec![(2, "new a")], 0));
    }
}
