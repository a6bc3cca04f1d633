//! One connection: which protocol it speaks, and for HTTP/2 its driver.
//!
//!   first bytes ──"PRI "──▶ HTTP/2 ──content type application/grpc──▶ router, one task a call
//!        │                     └──────────── anything else ─────────▶ pages
//!        └──── anything else ──▶ HTTP/1.1 (hyper) ──────────────────▶ pages
//!
//! The driver's turn: h2 reads what has come and writes what is owed; calls are started; what was written is flushed.
//! Time limits are looked at when one timer rings, which is set to the nearest of them.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Ping, PingPong, Reason, RecvStream};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::budget::Budget;
use super::caller::{Caller, Metadata, admit};
use super::outlet::{CONTENT_TYPE, GRPC_ENCODING, Outlet, STALL};
use super::pages::{self, Pages};
use super::request::{Held, Limits, Messages, Partial};
use super::router::{Call, Router, Ticket};
use super::status::{Code, Status};
use super::traffic::Traffic;
use super::transport::{Link, Transport};

/// What a client may keep open at once beyond what it was told; each call is a task and its memory.
const MAX_CALLS: u32 = 1 << 16;

/// A connection must have said what it speaks by then.
const SETUP: Duration = Duration::from_secs(120);

/// All headers of a request.
const HEADER_BYTES: u32 = 1 << 20;

/// Bytes that clients may send ahead on a stream and on a connection. What arrives is taken at once, so this bounds
/// what is in flight, not the size of a message.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;

/// Of one stream, bytes that h2 may hold.
const SEND_BUFFER: usize = 64 << 10;

/// What the flags say of connections.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub max_message_bytes: usize,
    /// `None`: as many as the client likes.
    pub max_concurrent_streams: Option<u32>,
    pub keepalive: Keepalive,
}

/// Pings: how often clients may send them, and when we do.
#[derive(Clone, Copy, Debug)]
pub struct Keepalive {
    /// Zero turns enforcement off.
    pub min_interval: Duration,
    /// We ask a client that has been silent for this long ...
    pub interval: Duration,
    /// ... and close if it has not answered after this.
    pub timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_message_bytes: (1536 << 10) + (512 << 10),
            max_concurrent_streams: None,
            keepalive: Keepalive {
                min_interval: Duration::from_secs(5),
                interval: Duration::from_secs(2 * 60 * 60),
                timeout: Duration::from_secs(20),
            },
        }
    }
}

/// What one net thread serves. `None` for a part that this listener does not have.
pub struct Service {
    pub router: Option<Rc<Router>>,
    pub pages: Option<Pages>,
    pub settings: Settings,
    budget: Arc<Budget>,
    partial: Rc<Partial>,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("router", &self.router).finish_non_exhaustive()
    }
}

/// Why a connection ended other than by its client's wish.
#[derive(Debug)]
pub enum ConnectionError {
    Io(io::Error),
    Http2(h2::Error),
    Http1(hyper::Error),
    /// It did not say what it speaks.
    Setup,
    /// It took nothing of what we had for it.
    Stalled,
    /// It did not answer a ping.
    Dead,
    TooManyPings,
    /// This listener does not serve what it speaks.
    Protocol,
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "{error}"),
            Self::Http2(error) => write!(f, "HTTP/2: {error}"),
            Self::Http1(error) => write!(f, "HTTP/1: {error}"),
            Self::Setup => f.write_str("no request came"),
            Self::Stalled => f.write_str("the client took nothing of what was sent for 10 s"),
            Self::Dead => f.write_str("the client did not answer a keepalive ping"),
            Self::TooManyPings => f.write_str("too_many_pings"),
            Self::Protocol => f.write_str("this port does not serve the protocol"),
        }
    }
}

impl std::error::Error for ConnectionError {}

impl From<io::Error> for ConnectionError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Service {
    /// All services of a server share one budget.
    pub fn new(router: Option<Rc<Router>>, pages: Option<Pages>, settings: Settings, budget: Arc<Budget>) -> Self {
        Self { router, pages, settings, budget, partial: Rc::default() }
    }

    /// The same with so many bytes for requests that are incomplete.
    #[cfg(test)]
    pub(super) fn with_partial(self, bytes: usize) -> Self {
        Self { partial: Rc::new(Partial::new(bytes)), ..self }
    }

    /// Serves a connection to its end. When `stop` becomes true no new calls are taken and it ends with the last one.
    pub async fn serve<S>(
        self: Rc<Self>,
        mut socket: S,
        address: Option<SocketAddr>,
        stop: watch::Receiver<bool>,
    ) -> Result<(), ConnectionError>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let mut first = BytesMut::with_capacity(32);
        let setup = async {
            while first.len() < 4 {
                if socket.read_buf(&mut first).await? == 0 {
                    return Ok::<_, io::Error>(false);
                }
            }
            Ok(true)
        };
        match timeout(SETUP, setup).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => return Ok(()),
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => return Err(ConnectionError::Setup),
        }
        if first.starts_with(b"PRI ") {
            self.serve_http2(socket, first.freeze(), address, stop).await
        } else {
            let Some(pages) = &self.pages else { return Err(ConnectionError::Protocol) };
            let served = pages::serve_http1(pages.clone(), self.budget.clone(), socket, first.freeze(), stop);
            served.await.map_err(ConnectionError::Http1)
        }
    }

    async fn serve_http2<S>(
        self: Rc<Self>,
        socket: S,
        first: Bytes,
        address: Option<SocketAddr>,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), ConnectionError>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        if self.router.is_none() {
            return Err(ConnectionError::Protocol);
        }
        let keepalive = self.settings.keepalive;
        let traffic = Rc::new(Traffic::new(keepalive.min_interval, self.budget.clone()));
        let link = Link::new(socket, traffic.clone());
        let mut builder = h2::server::Builder::new();
        builder
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(HEADER_BYTES)
            .max_send_buffer_size(SEND_BUFFER);
        if let Some(streams) = self.settings.max_concurrent_streams {
            builder.max_concurrent_streams(streams);
        }
        let mut handshake = pin!(builder.handshake::<_, Bytes>(Transport::new(link.clone(), first)));
        let handshake = poll_fn(|cx| {
            let done = handshake.as_mut().poll(cx);
            match link.poll_flush(cx) {
                Poll::Ready(Err(error)) => Poll::Ready(Err(ConnectionError::Io(error))),
                _ => done.map_err(ConnectionError::Http2),
            }
        });
        let mut connection = timeout(SETUP, handshake).await.map_err(|_| ConnectionError::Setup)??;
        let pings = connection.ping_pong().expect("nobody took it before");
        let mut watchdog = Watchdog::new(keepalive, pings, traffic.clone());
        let mut stopping = pin!(async move { stop.wait_for(|stop| *stop).await.is_ok() });
        let mut stopped = false;
        poll_fn(|cx| {
            if !stopped && stopping.as_mut().poll(cx).is_ready() {
                stopped = true;
                connection.graceful_shutdown();
            }
            let ended = loop {
                match connection.poll_accept(cx) {
                    Poll::Ready(Some(Ok((request, respond)))) => self.take(request, respond, address, &traffic),
                    Poll::Ready(Some(Err(error))) => break Some(Err(ConnectionError::Http2(error))),
                    Poll::Ready(None) => break Some(Ok(())),
                    Poll::Pending => break None,
                }
                if traffic.too_many_pings() {
                    break None;
                }
            };
            if traffic.too_many_pings() {
                link.say_too_many_pings();
                let _ = link.poll_flush(cx);
                return Poll::Ready(Err(ConnectionError::TooManyPings));
            }
            if let Poll::Ready(Err(error)) = link.poll_flush(cx) {
                return Poll::Ready(Err(error.into()));
            }
            if let Some(ended) = ended {
                return Poll::Ready(ended);
            }
            watchdog.poll(cx)
        })
        .await
    }

    /// Starts a call, or refuses it.
    fn take(
        &self,
        request: Request<RecvStream>,
        mut respond: SendResponse<Bytes>,
        address: Option<SocketAddr>,
        traffic: &Rc<Traffic>,
    ) {
        if traffic.calls.get() >= MAX_CALLS {
            respond.send_reset(Reason::REFUSED_STREAM);
            return;
        }
        let (head, recv) = request.into_parts();
        let Some(held) = Held::by_headers(&self.partial, &head) else {
            respond.send_reset(Reason::ENHANCE_YOUR_CALM);
            return;
        };
        let ticket = Ticket::new(traffic.clone(), held);
        if !is_grpc(&head.headers) {
            match &self.pages {
                Some(pages) => pages::answer(pages.clone(), Request::from_parts(head, ()), respond, ticket),
                None => refuse(respond, StatusCode::UNSUPPORTED_MEDIA_TYPE, "invalid gRPC request content-type"),
            }
            return;
        }
        if head.method != Method::POST {
            let text = format!("Received a HEADERS frame with :method {:?} which should be POST", head.method.as_str());
            return refuse(respond, StatusCode::METHOD_NOT_ALLOWED, text);
        }
        let gzip = match head.headers.get(GRPC_ENCODING).map(|name| name.as_bytes()) {
            None | Some(b"identity") => Ok(false),
            Some(b"gzip") => Ok(true),
            Some(name) => {
                let name = String::from_utf8_lossy(name);
                let text = format!("grpc: Decompressor is not installed for grpc-encoding {name:?}");
                Err(Status::new(Code::Unimplemented, text))
            }
        };
        let mut outlet = Outlet::new(respond, matches!(gzip, Ok(true)), traffic.clone());
        let router = self.router.as_ref().expect("HTTP/2 is served only with a router");
        let arrived = Instant::now().into_std();
        let admitted = gzip.and_then(|gzip| {
            let deadline = admit(&head.headers, arrived)?;
            let method = router.find(head.uri.path())?;
            Ok((gzip, deadline, method))
        });
        match admitted {
            Err(status) => {
                let _ = outlet.finish(Err(&status));
            }
            Ok((gzip, deadline, method)) => {
                let limits = Limits { message_bytes: self.settings.max_message_bytes, gzip };
                let messages = Messages::new(recv, &self.partial, limits);
                let caller = Caller { metadata: Metadata(head.headers), address, arrived, deadline };
                method.start(Call { messages, outlet, caller, ticket });
            }
        }
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| {
        let Some(rest) = value.as_bytes().strip_prefix(b"application/grpc") else { return false };
        matches!(rest.first(), None | Some(b'+' | b';'))
    })
}

/// Answers what is not quite a call, as grpc-go does: an HTTP status with gRPC's in the same headers.
fn refuse(mut respond: SendResponse<Bytes>, code: StatusCode, text: impl Into<std::borrow::Cow<'static, str>>) {
    let mut response = Response::new(());
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    super::status::write_end(response.headers_mut(), Err(&Status::new(Code::Internal, text)));
    let _ = respond.send_response(response, true);
}

/// The time limits of a connection: a socket that takes nothing, a client that has long been silent.
struct Watchdog {
    keepalive: Keepalive,
    pings: PingPong,
    pinged: Option<Instant>,
    /// By then the client must have sent a frame: its settings, at the least.
    begins_by: Instant,
    traffic: Rc<Traffic>,
    timer: Pin<Box<Sleep>>,
}

impl Watchdog {
    fn new(keepalive: Keepalive, pings: PingPong, traffic: Rc<Traffic>) -> Self {
        let begins_by = Instant::now() + SETUP;
        let timer = Box::pin(sleep_until(begins_by.min(Instant::now() + keepalive.interval)));
        Self { keepalive, pings, pinged: None, begins_by, traffic, timer }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        if self.pinged.is_some() && matches!(self.pings.poll_pong(cx), Poll::Ready(Ok(_))) {
            self.pinged = None;
        }
        loop {
            let due = self.due();
            // Blocking is the only thing that brings the next limit nearer; being late otherwise costs one idle ring.
            if due < self.timer.deadline() {
                self.timer.as_mut().reset(due);
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            let due = self.due();
            if now < due {
                self.timer.as_mut().reset(due);
                continue;
            }
            if self.traffic.blocked_since.get().is_some_and(|since| now >= since + STALL) {
                return Poll::Ready(Err(ConnectionError::Stalled));
            }
            if !self.traffic.has_begun.get() && now >= self.begins_by {
                return Poll::Ready(Err(ConnectionError::Setup));
            }
            if self.pinged.is_some() {
                return Poll::Ready(Err(ConnectionError::Dead));
            }
            if self.pings.send_ping(Ping::opaque()).is_err() {
                return Poll::Ready(Err(ConnectionError::Dead));
            }
            self.pinged = Some(now);
            // The ping goes out, and its answer is waited for, in the next turn.
            cx.waker().wake_by_ref();
        }
    }

    /// When to look next.
    fn due(&self) -> Instant {
        let quiet = match self.pinged {
            Some(at) => at + self.keepalive.timeout,
            None if !self.traffic.has_begun.get() => self.begins_by,
            None => self.traffic.last_read.get() + self.keepalive.interval,
        };
        match self.traffic.blocked_since.get() {
            Some(since) => quiet.min(since + STALL),
            None => quiet,
        }
    }
}
