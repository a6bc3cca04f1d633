//! One acceptor deals connections out to the net threads, in turn.

use std::fmt::Display;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ferrite_observe::log;
use ferrite_observe::log::{Logger, Value, lines};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::spawn_local;
use tokio::time::Instant;

/// Connections dealt to a net thread that it has not taken yet. Full: the acceptor waits, and then the kernel's backlog.
const LANE: usize = 64;

/// After a failed accept (no file descriptors, most likely) the next is tried this much later.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// That connections have to wait is said at most so often of a listener.
const WAIT_TOLD_EVERY: Duration = Duration::from_secs(60);

const TCP_KEEPALIVE: Duration = Duration::from_secs(30);

/// The way from acceptors to one net thread.
pub fn lane() -> (mpsc::Sender<Accepted>, mpsc::Receiver<Accepted>) {
    mpsc::channel(LANE)
}

/// A bound listener.
#[derive(Debug)]
pub enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A connection on its way to a net thread.
#[derive(Debug)]
pub struct Accepted {
    stream: Raw,
    address: Option<SocketAddr>,
    /// Given back when the connection ends.
    permit: OwnedSemaphorePermit,
}

#[derive(Debug)]
enum Raw {
    Tcp(std::net::TcpStream),
    Unix(StdUnixStream),
}

/// Accepts on one listener.
#[derive(Debug)]
pub struct Acceptor {
    socket: Socket,
    /// The listener's URL, for the log.
    url: String,
    lanes: Vec<mpsc::Sender<Accepted>>,
    open: Arc<Semaphore>,
    logger: Logger,
}

impl Acceptor {
    /// `open` has a permit for each connection that may be open at once; several acceptors may share it.
    pub fn new(
        socket: Socket,
        url: String,
        lanes: Vec<mpsc::Sender<Accepted>>,
        open: Arc<Semaphore>,
        logger: Logger,
    ) -> Self {
        Self { socket, url, lanes, open, logger }
    }

    /// Accepts until all net threads are gone.
    pub async fn run(self) {
        let mut turn = 0;
        let mut told = None;
        loop {
            let (stream, address) = match self.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    log!(self.logger, lines::ACCEPT_FAILED, &self.url, Value::Shown(&error));
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let permit = self.place(&mut told).await;
            let lane = &self.lanes[turn % self.lanes.len()];
            turn += 1;
            if lane.send(Accepted { stream, address, permit }).await.is_err() {
                return;
            }
        }
    }

    /// A place for one more connection. One may wait here; the others wait in the kernel. A listener to which nobody comes
    /// holds no permit. `told` is when it was last said that somebody has to wait.
    async fn place(&self, told: &mut Option<Instant>) -> OwnedSemaphorePermit {
        if let Ok(permit) = self.open.clone().try_acquire_owned() {
            return permit;
        }
        if told.is_none_or(|told| told.elapsed() >= WAIT_TOLD_EVERY) {
            *told = Some(Instant::now());
            log!(self.logger, lines::CONNECTION_WAITS, &self.url);
        }
        self.open.clone().acquire_owned().await.expect("the semaphore is never closed")
    }

    async fn accept(&self) -> io::Result<(Raw, Option<SocketAddr>)> {
        match &self.socket {
            Socket::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                stream.set_nodelay(true)?;
                let keepalive = socket2::TcpKeepalive::new().with_time(TCP_KEEPALIVE).with_interval(TCP_KEEPALIVE);
                socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
                Ok((Raw::Tcp(stream.into_std()?), Some(address)))
            }
            Socket::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Raw::Unix(stream.into_std()?), None))
            }
        }
    }
}

/// Serves the connections that a thread is dealt, until the acceptors are gone. One task a connection.
pub async fn serve_accepted<F, E>(
    mut lane: mpsc::Receiver<Accepted>,
    logger: Logger,
    serve: impl Fn(Stream, Option<SocketAddr>) -> F,
) where
    F: Future<Output = Result<(), E>> + 'static,
    E: Display,
{
    while let Some(Accepted { stream, address, permit }) = lane.recv().await {
        let logger = logger.clone();
        let serving = stream.on_this_thread().map(|stream| serve(stream, address));
        spawn_local(async move {
            let ended = match serving {
                Ok(serving) => serving.await.err().map(|error| error.to_string()),
                Err(error) => Some(error.to_string()),
            };
            if let Some(error) = ended {
                let address = address.map_or_else(String::new, |address| address.to_string());
                log!(logger, lines::CONNECTION_ENDED, &address, &error);
            }
            drop(permit);
        });
    }
}

impl Raw {
    fn on_this_thread(self) -> io::Result<Stream> {
        match self {
            Raw::Tcp(stream) => TcpStream::from_std(stream).map(Stream::Tcp),
            Raw::Unix(stream) => UnixStream::from_std(stream).map(Stream::Unix),
        }
    }
}

/// A connection of either kind.
#[derive(Debug)]
pub enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use ferrite_observe::log::Level;

    use super::*;

    #[tokio::test]
    async fn listeners_share_what_connections_there_may_be() {
        let open = Arc::new(Semaphore::new(2));
        let (sender, mut accepted) = lane();
        let mut addresses = Vec::new();
        for _ in 0..2 {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            addresses.push(listener.local_addr().unwrap());
            let lanes = vec![sender.clone()];
            let acceptor = Acceptor::new(Socket::Tcp(listener), String::new(), lanes, open.clone(), Logger::silent());
            tokio::spawn(acceptor.run());
        }
        let mut sockets = Vec::new();
        for address in addresses.iter().cycle().take(4) {
            sockets.push(TcpStream::connect(address).await.unwrap());
        }
        let mut served = vec![accepted.recv().await.unwrap(), accepted.recv().await.unwrap()];
        // Whoever comes next has to wait until one of them goes, whichever listener it came by.
        for _ in 0..2 {
            tokio::time::timeout(Duration::from_millis(50), accepted.recv()).await.unwrap_err();
            served.remove(0);
            served.push(accepted.recv().await.unwrap());
        }
    }

    #[tokio::test]
    async fn that_connections_wait_is_said_and_not_for_each() {
        let (logger, text) = Logger::to_memory(Level::Warn);
        let said = || text.lock().unwrap().lines().filter(|line| line.contains("waits until another one ends")).count();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, mut accepted) = lane();
        let open = Arc::new(Semaphore::new(1));
        tokio::spawn(Acceptor::new(Socket::Tcp(listener), String::new(), vec![sender], open, logger).run());
        let mut sockets = vec![TcpStream::connect(address).await.unwrap()];
        let mut served = accepted.recv().await.unwrap();
        assert_eq!(said(), 0, "there was a place");
        for (minutes_later, lines) in [(0, 1), (0, 1), (1, 2), (0, 2)] {
            tokio::time::pause();
            tokio::time::advance(WAIT_TOLD_EVERY * minutes_later).await;
            tokio::time::resume();
            let before = said();
            sockets.push(TcpStream::connect(address).await.unwrap());
            if before == lines {
                // Nothing tells that it waits now. Where it comes too late to wait, nothing is said either.
                tokio::time::timeout(Duration::from_millis(50), accepted.recv()).await.unwrap_err();
            }
            while said() < lines {
                tokio::task::yield_now().await;
            }
            drop(served);
            served = accepted.recv().await.unwrap();
            assert_eq!(said(), lines);
        }
    }
}
