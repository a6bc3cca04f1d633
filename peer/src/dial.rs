//! Connections to peers.

use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri, header};
use http_body_util::{BodyExt, Collected, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream, UnixStream, lookup_host};
use tokio::time::{Instant, Sleep, sleep, timeout};

use crate::body::PeerBody;
use crate::urls::{PeerUrl, Scheme};

/// What may take how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Until a connection is made.
    pub dial: Duration,
    /// Without a byte from a peer that owes some (`--raft-read-timeout`).
    pub read: Duration,
    /// Without a byte that a peer takes (`--raft-write-timeout`).
    pub write: Duration,
}

impl Timeouts {
    /// etcd's, for an election timeout.
    pub fn of_election(election: Duration) -> Timeouts {
        const IO: Duration = Duration::from_secs(5);
        Timeouts { dial: Duration::from_secs(1) + election, read: IO, write: IO }
    }
}

/// A connection's bytes.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection that is being made.
pub type Connecting = Pin<Box<dyn Future<Output = io::Result<Box<dyn Io>>> + Send>>;

/// Makes connections: with TLS, from a certain address, or as tests want them.
pub trait Connect: Debug + Send + Sync + 'static {
    fn connect(&self, url: &PeerUrl) -> Connecting;
}

/// A peer that says nothing is asked by the system whether it is there, and is gone when it has not answered a few times:
/// one that has been sent a whole snapshot, and has lost its power since, would be waited for for ever.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_RETRIES: u32 = 3;
/// The same where what was sent last is not acknowledged: then the system does not ask, but sends again, for a quarter of
/// an hour if nobody tells it otherwise.
const UNACKNOWLEDGED: Duration = Duration::from_secs(120);

/// Connections without TLS.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain {
    /// The address that they come from; `None`: the system chooses.
    pub from: Option<IpAddr>,
}

impl Plain {
    async fn dial(self, address: &str) -> io::Result<TcpStream> {
        let socket = self.connected(address).await?;
        socket.set_nodelay(true)?;
        let keepalive =
            TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE).with_retries(KEEPALIVE_RETRIES);
        let options = SockRef::from(&socket);
        options.set_tcp_keepalive(&keepalive)?;
        options.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
        Ok(socket)
    }

    async fn connected(self, address: &str) -> io::Result<TcpStream> {
        let Some(from) = self.from else { return TcpStream::connect(address).await };
        let mut failed = None;
        for to in lookup_host(address).await?.filter(|to| to.is_ipv4() == from.is_ipv4()) {
            let socket = if from.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            let bound = socket.bind(SocketAddr::new(from, 0));
            bound.map_err(|error| io::Error::new(error.kind(), format!("connecting from {from}: {error}")))?;
            match socket.connect(to).await {
                Ok(connected) => return Ok(connected),
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.unwrap_or_else(|| {
            let text = format!("{address} has no address that can be reached from {from}");
            io::Error::new(io::ErrorKind::AddrNotAvailable, text)
        }))
    }
}

impl Connect for Plain {
    fn connect(&self, url: &PeerUrl) -> Connecting {
        let (plain, url) = (*self, url.clone());
        Box::pin(async move {
            match url.scheme {
                Scheme::Http => Ok(Box::new(plain.dial(&url.address).await?) as Box<dyn Io>),
                Scheme::Unix => Ok(Box::new(UnixStream::connect(&url.address).await?) as Box<dyn Io>),
                Scheme::Https | Scheme::Unixs => {
                    Err(io::Error::new(io::ErrorKind::Unsupported, format!("{url} needs TLS, which is not set up")))
                }
            }
        })
    }
}

/// An HTTP connection to one URL of a peer.
#[derive(Debug)]
pub(crate) struct Connection {
    requests: SendRequest<PeerBody>,
    url: PeerUrl,
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(connect: &dyn Connect, url: &PeerUrl, timeouts: Timeouts) -> io::Result<Connection> {
        let io = timeout(timeouts.dial, connect.connect(url)).await.map_err(|_| timed_out("connecting"))??;
        let (requests, connection) =
            http1::handshake(TokioIo::new(Impatient::new(io, timeouts.write))).await.map_err(io::Error::other)?;
        // Ends with the last of the handle and the answer's body. What it dies of, they are told.
        tokio::spawn(async move { drop(connection.await) });
        Ok(Connection { requests, url: url.clone() })
    }

    pub(crate) fn url(&self) -> &PeerUrl {
        &self.url
    }

    /// Whether another request can be sent.
    pub(crate) fn is_usable(&self) -> bool {
        !self.requests.is_closed()
    }

    /// Sends a request for `path`, and waits for the head of the answer. Does not limit how long: the body may be long.
    pub(crate) async fn send(
        &mut self,
        request: http::request::Builder,
        path: &str,
        body: PeerBody,
    ) -> io::Result<Response<Incoming>> {
        let host = match self.url.scheme {
            Scheme::Http | Scheme::Https => &self.url.address,
            // A path is no host.
            Scheme::Unix | Scheme::Unixs => "localhost",
        };
        let target: Uri = format!("{}{path}", self.url.prefix).parse().map_err(io::Error::other)?;
        let request: Request<PeerBody> =
            request.uri(target).header(header::HOST, host).body(body).map_err(io::Error::other)?;
        self.requests.ready().await.map_err(io::Error::other)?;
        self.requests.send_request(request).await.map_err(io::Error::other)
    }
}

/// An answer whose status says all: the rest is a line of text.
const SHORT_BYTES: usize = 64 << 10;

/// Reads an answer to its end, so that the connection can be used again.
pub(crate) async fn read_short(answer: Response<Incoming>) -> io::Result<Bytes> {
    let read = Limited::new(answer.into_body(), SHORT_BYTES).collect().await;
    read.map(Collected::to_bytes).map_err(io::Error::other)
}

pub(crate) fn timed_out(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("{what} took too long"))
}

/// A connection that breaks when a write does not get on for too long. How long to wait for bytes is for the reader
/// to say, who knows what is to come.
#[derive(Debug)]
pub struct Impatient<T> {
    io: T,
    patience: Duration,
    /// Set while a write waits.
    until: Option<Pin<Box<Sleep>>>,
}

impl<T> Impatient<T> {
    /// A write may stand still for `patience`.
    pub fn new(io: T, patience: Duration) -> Impatient<T> {
        Impatient { io, patience, until: None }
    }

    fn watch<R>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if written.is_ready() {
            self.until = None;
            return written;
        }
        let patience = self.patience;
        let until = self.until.get_or_insert_with(|| Box::pin(sleep(patience)));
        if until.deadline() <= Instant::now() {
            return Poll::Ready(Err(timed_out("a write")));
        }
        ready!(until.as_mut().poll(cx));
        Poll::Ready(Err(timed_out("a write")))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Impatient<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Impatient<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, pieces);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.watch(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn connections_come_from_the_address_that_was_given() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        for from in [None, Some("127.9.8.7")] {
            let plain = Plain { from: from.map(|from| from.parse().unwrap()) };
            let socket = plain.dial(&address).await.unwrap();
            let (_, seen) = listener.accept().await.unwrap();
            assert_eq!(seen.ip().to_string(), from.unwrap_or("127.0.0.1"));
            // Where the other side has gone without a word, the system finds out.
            let socket = SockRef::from(&socket);
            assert!(socket.keepalive().unwrap());
            assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE);
        }
        for (from, expected) in [
            ("::1", format!("{address} has no address that can be reached from ::1")),
            // Of no machine.
            ("203.0.113.1", "connecting from 203.0.113.1: ".to_owned()),
        ] {
            let error = Plain { from: Some(from.parse().unwrap()) }.dial(&address).await.unwrap_err();
            assert!(error.to_string().starts_with(&expected), "{error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_does_not_get_on_breaks_the_connection() {
        let (ours, mut theirs) = tokio::io::duplex(100);
        const PATIENCE: Duration = Duration::from_secs(7);
        let mut ours = Impatient::new(ours, PATIENCE);
        let begin = Instant::now();
        // As long as bytes go out now and then, it may take as long as it takes.
        let read_slowly = async {
            for _ in 0..10 {
                sleep(PATIENCE / 2).await;
                theirs.read_exact(&mut [0; 50]).await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(ours.write_all(&[0; 600]), read_slowly);
        written.unwrap();
        assert!(begin.elapsed() >= PATIENCE * 5);
        let begin = Instant::now();
        let error = ours.write_all(&[0; 200]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(begin.elapsed() < PATIENCE * 2);
    }
}
