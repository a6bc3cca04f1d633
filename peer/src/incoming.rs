//! A stream from a peer: asked for, read until it breaks, asked for again.
//!
//! When a process ends, the kernel closes its connections, and refuses new ones. So a peer is gone when a stream from it has
//! broken and each of its URLs refuses to be dialed again. One that stands still, is cut off, or goes with its whole machine
//! refuses nothing: nobody hears from it, and that is all that is known.

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
use crate::urls::PeerUrl;

/// A peer is asked at most once in this time.
const RETRY: Duration = Duration::from_millis(100);

/// Asks for a stream for as long as the peer is one.
pub(crate) async fn run(link: Arc<Link>, stream: Stream) {
    let mut departure = Departure::default();
    loop {
        let next_attempt = Instant::now() + RETRY;
        let url = link.url();
        match open(&link, stream, &url).await {
            Ok(answer) => {
                link.activate();
                let ids = (Id(link.context.local.member.0), Id(link.remote.0));
                log!(link.context.logger, lines::STREAM_ESTABLISHED, ids.0, ids.1, stream.name());
                let error = read(&link, stream, answer).await;
                link.metrics.receive_failed();
                log!(link.context.logger, lines::STREAM_LOST, ids.0, ids.1, stream.name(), &error.to_string());
                link.deactivate("failed to read", &error);
                departure.stream_broke();
            }
            Err(error) => {
                link.deactivate("failed to dial", &error);
                if departure.is_known_by(url, error.kind(), |refused| link.has_no_url_but(refused)) {
                    link.owner.gone(link.remote);
                }
            }
        }
        sleep_until(next_attempt).await;
    }
}

/// The signs that a peer has gone.
#[derive(Debug, Default)]
struct Departure {
    /// Where nobody listens any more, once a stream has broken; at most all URLs of the peer.
    refused: Option<Vec<PeerUrl>>,
}

impl Departure {
    fn stream_broke(&mut self) {
        self.refused = Some(Vec::new());
    }

    /// Takes in that `url` could not be dialed. True, once for each stream that broke: the peer is gone.
    fn is_known_by(&mut self, url: PeerUrl, why: io::ErrorKind, are_all: impl Fn(&[PeerUrl]) -> bool) -> bool {
        let Some(refused) = &mut self.refused else { return false };
        if why != io::ErrorKind::ConnectionRefused {
            // Something is there and may be asked again, or nothing is known.
            refused.clear();
            return false;
        }
        if !refused.contains(&url) {
            refused.push(url);
        }
        let is_gone = are_all(refused);
        if is_gone {
            self.refused = None;
        }
        is_gone
    }
}

async fn open(link: &Link, stream: Stream, url: &PeerUrl) -> io::Result<Response<Incoming>> {
    let context = &link.context;
    let asked = async {
        let mut connection = Connection::open(&*context.connect, url, context.timeouts).await?;
        let request = introduce(&context.local, Request::get("/")).header(RAFT_TO, format!("{:x}", link.remote));
        let path = format!("/raft/stream/{}/{:x}", stream.path(), context.local.member);
        let answer = connection.send(request, &path, PeerBody::whole("")).await?;
        Ok::<_, io::Error>(answer)
    };
    let answer = match timeout(context.timeouts.dial + context.timeouts.read, asked).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => {
            link.url_failed(url);
            return Err(error);
        }
        Err(_) => {
            link.url_failed(url);
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
            link.url_failed(url);
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
        // A post may have failed since, and none need follow while there are streams.
        link.activate();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_gone_when_all_its_urls_refuse_after_a_stream_broke() {
        #[track_caller]
        fn check(urls: &[&str], broke: bool, dialed: &[(&str, io::ErrorKind)], expected: &[bool]) {
            let parse = |url: &str| url.parse::<PeerUrl>().unwrap();
            let urls: Vec<PeerUrl> = urls.iter().map(|url| parse(url)).collect();
            let mut departure = Departure::default();
            if broke {
                departure.stream_broke();
            }
            let known: Vec<bool> = dialed
                .iter()
                .map(|(url, why)| {
                    departure.is_known_by(parse(url), *why, |refused| urls.iter().all(|url| refused.contains(url)))
                })
                .collect();
            assert_eq!(known, expected);
        }
        use io::ErrorKind::{ConnectionRefused, ConnectionReset, TimedOut};
        let (a, b) = ("http://a:1", "unix:///b");
        check(&[a], true, &[(a, ConnectionRefused)], &[true]);
        // Once.
        check(&[a], true, &[(a, ConnectionRefused), (a, ConnectionRefused)], &[true, false]);
        // It was never there, or is slow, or its network is.
        check(&[a], false, &[(a, ConnectionRefused)], &[false]);
        check(&[a], true, &[(a, TimedOut), (a, TimedOut)], &[false, false]);
        // It was about to end when it was dialed.
        check(&[a], true, &[(a, ConnectionReset), (a, ConnectionRefused)], &[false, true]);
        check(&[a, b], true, &[(a, ConnectionRefused), (b, ConnectionRefused)], &[false, true]);
        check(&[a, b], true, &[(a, ConnectionRefused), (b, TimedOut), (a, ConnectionRefused)], &[false; 3]);
        check(&[a, b], true, &[(a, ConnectionRefused), (a, ConnectionRefused)], &[false, false]);
    }
}
