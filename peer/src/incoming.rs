//! A stream from a peer: asked for, read until it breaks, asked for again.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use ferrite_observe::log;
use ferrite_observe::log::{Id, lines};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{Instant, sleep_until, timeout};

use crate::body::PeerBody;
use crate::dial::{Connection, timed_out};
use crate::frame::{Frame, Reader, Stream};
use crate::headers::{RAFT_TO, introduce};
use crate::owner::Delivery;
use crate::peer::Link;

/// A peer is asked at most once in this time.
const RETRY: Duration = Duration::from_millis(100);

/// Asks for a stream for as long as the peer is one.
pub(crate) async fn run(link: Arc<Link>, stream: Stream) {
    loop {
        let next_attempt = Instant::now() + RETRY;
        match open(&link, stream).await {
            Ok(answer) => {
                link.activate();
                let ids = (Id(link.context.local.member.0), Id(link.remote.0));
                log!(link.context.logger, lines::STREAM_ESTABLISHED, ids.0, ids.1, stream.name());
                let error = read(&link, stream, answer).await;
                link.metrics.receive_failed();
                log!(link.context.logger, lines::STREAM_LOST, ids.0, ids.1, stream.name(), &error.to_string());
                link.deactivate("failed to read", &error);
            }
            Err(error) => link.deactivate("failed to dial", &error),
        }
        sleep_until(next_attempt).await;
    }
}

async fn open(link: &Link, stream: Stream) -> io::Result<Response<Incoming>> {
    let context = &link.context;
    let url = link.url();
    let asked = async {
        let mut connection = Connection::open(&*context.connect, &url, context.timeouts).await?;
        let request = introduce(&context.local, Request::get("/")).header(RAFT_TO, format!("{:x}", link.remote));
        let path = format!("/raft/stream/{}/{:x}", stream.path(), context.local.member);
        let answer = connection.send(request, &path, PeerBody::whole("")).await?;
        Ok::<_, io::Error>(answer)
    };
    let answer = match timeout(context.timeouts.dial + context.timeouts.read, asked).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => {
            link.url_failed(&url);
            return Err(error);
        }
        Err(_) => {
            link.url_failed(&url);
            return Err(timed_out("asking for a stream"));
        }
    };
    match answer.status() {
        StatusCode::OK => Ok(answer),
        StatusCode::GONE => {
            link.owner.removed(link.remote);
            Err(io::Error::other("the member was removed from the cluster"))
        }
        status => {
            link.url_failed(&url);
            Err(io::Error::other(format!("{url} answers {status}")))
        }
    }
}

/// Reads until the stream breaks, and says why it did.
async fn read(link: &Link, stream: Stream, answer: Response<Incoming>) -> io::Error {
    let local = link.context.local.member;
    let mut reader = Reader::new(stream, local, link.remote);
    let mut body = answer.into_body();
    loop {
        let piece = match timeout(link.context.timeouts.read, body.frame()).await {
            Err(_) => return timed_out("waiting for a sign of life"),
            Ok(None) => return io::ErrorKind::UnexpectedEof.into(),
            Ok(Some(Err(error))) => return io::Error::other(error),
            Ok(Some(Ok(piece))) => piece,
        };
        let Ok(piece) = piece.into_data() else { continue };
        link.metrics.received(piece.len());
        reader.push(piece);
        loop {
            match reader.next() {
                Ok(Some(Frame::Message(message))) => {
                    if link.context.admit(&message).is_ok() && link.owner.deliver(message) == Delivery::Full {
                        log!(link.context.logger, lines::RECEIVED_MESSAGE_DROPPED, Id(local.0), Id(link.remote.0));
                        link.metrics.receive_failed();
                    }
                }
                Ok(Some(Frame::Heartbeat)) => {}
                Ok(None) => break,
                Err(error) => return io::Error::new(io::ErrorKind::InvalidData, error),
            }
        }
    }
}
