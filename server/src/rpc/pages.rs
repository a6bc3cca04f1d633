//! What is not gRPC: short requests, and answers that are made whole before any of them is sent.
//!
//!   HTTP/1 (hyper) ──┐                        ┌──▶ a piece at a time, as HTTP/2 lets it
//!                    ├──▶ Pages ──▶ charged ──┤
//!   HTTP/2 ──────────┘                        └──▶ hyper's buffer ──flushed──▶ given back
//!
//! What holds: an answer counts against the budget from when it is made until its client has taken it, and a client that
//! has not taken the whole of it in a minute does not get the rest. So those who ask for many pages and read none hold a
//! bounded number of bytes, for a bounded time.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use h2::Reason;
use h2::server::SendResponse;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::{Sleep, sleep, timeout};

use super::budget::{Budget, Share};
use super::router::Ticket;
use super::traffic::Waiting;

/// The head of a request over HTTP/1 must have come by then, counted from the end of the one before it.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// A page must have been taken by then.
const TAKEN: Duration = Duration::from_secs(60);

/// Answers a request that is not gRPC.
pub type Pages = Rc<dyn Fn(Request<()>) -> LocalBoxFuture<'static, Response<Bytes>>>;

/// Answers over HTTP/2.
pub(super) fn answer(pages: Pages, request: Request<()>, respond: SendResponse<Bytes>, ticket: Ticket) {
    tokio::task::spawn_local(async move {
        let page = pages(request).await;
        // Who has not taken it by then finds the stream reset.
        let _ = timeout(TAKEN, send(page, respond, &ticket)).await;
    });
}

async fn send(page: Response<Bytes>, mut respond: SendResponse<Bytes>, ticket: &Ticket) {
    let traffic = ticket.traffic();
    let (head, mut body) = page.into_parts();
    let Ok(mut stream) = respond.send_response(Response::from_parts(head, ()), body.is_empty()) else { return };
    let Some(_share) = traffic.budget.charge(body.len() as u64) else {
        stream.send_reset(Reason::ENHANCE_YOUR_CALM);
        return;
    };
    let mut waiting = Waiting::default();
    while !body.is_empty() {
        let room = poll_fn(|cx| {
            if !traffic.ready_or_wait(&mut waiting, cx.waker()) {
                return stream.poll_reset(cx).map(|_| None);
            }
            stream.reserve_capacity(body.len());
            match stream.capacity() {
                0 => stream.poll_capacity(cx).map(|room| room.and_then(Result::ok)),
                room => Poll::Ready(Some(room)),
            }
        });
        let Some(room) = room.await else { return };
        let piece = body.split_to(room.min(body.len()));
        if stream.send_data(piece, body.is_empty()).is_err() {
            return;
        }
    }
}

/// Serves a connection over HTTP/1 to its end. When `stop` becomes true it ends with the request that it is at.
pub(super) async fn serve_http1<S>(
    pages: Pages,
    budget: Arc<Budget>,
    socket: S,
    first: Bytes,
    mut stop: watch::Receiver<bool>,
) -> Result<(), hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let owed = Rc::new(RefCell::new(Owed::default()));
    let socket = TokioIo::new(Socket { socket, first, owed: owed.clone() });
    let service = hyper::service::service_fn(|request: Request<Incoming>| {
        let page = pages(request.map(drop));
        let (budget, owed) = (budget.clone(), owed.clone());
        async move {
            let page = page.await;
            let page = match budget.charge(page.body().len() as u64) {
                Some(share) => {
                    owed.borrow_mut().share = Some(share);
                    page
                }
                None => no_room(),
            };
            Ok::<_, Infallible>(page.map(Full::new))
        }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            // As Go writes them, for those who compare texts.
            .title_case_headers(true)
            .serve_connection(socket, service)
    );
    tokio::select! {
        done = connection.as_mut() => return done,
        _ = stop.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}

/// What is said instead of a page while too many are on their way.
fn no_room() -> Response<Bytes> {
    let text = "too many answers wait for clients that do not take them, try again\n";
    let mut response = Response::new(Bytes::from_static(text.as_bytes()));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response
}

/// The page that hyper has not written out yet: there is one at a time.
#[derive(Default)]
struct Owed {
    share: Option<Share>,
    /// Since the client first would not take all of it.
    timer: Option<Pin<Box<Sleep>>>,
}

/// A socket of which some bytes were read already, and whose client must take what it has asked for.
struct Socket<S> {
    socket: S,
    first: Bytes,
    owed: Rc<RefCell<Owed>>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.socket).poll_read(cx, buf);
        }
        let count = self.first.len().min(buf.remaining());
        buf.put_slice(&self.first.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        if written.is_pending() {
            let mut owed = self.owed.borrow_mut();
            let timer = owed.timer.get_or_insert_with(|| Box::pin(sleep(TAKEN)));
            if timer.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the client does not take its answer",
                )));
            }
        }
        written
    }

    /// hyper flushes when it has nothing left to write.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.owed.take();
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
