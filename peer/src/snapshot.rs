//! Snapshots: one post each, the message and then the database, as it is read.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use ferrite_proto::raftpb;
use ferrite_raft::{Message, NodeId};
use http::Request;
use http::header::CONTENT_TYPE;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::body::PeerBody;
use crate::dial::{Connection, read_short, timed_out};
use crate::frame::{FrameError, decode};
use crate::gather::Gathering;
use crate::headers::introduce;
use crate::peer::Link;
use crate::pipeline::accepted;

pub(crate) const PATH: &str = "/raft/snapshot";

/// What the message before a database may take.
pub(crate) const MAX_MESSAGE_BYTES: u64 = 64 << 20;

/// The database's bytes, in order. The sender drops its end behind the last; an error breaks the transfer.
pub type DatabasePieces = mpsc::Receiver<io::Result<Bytes>>;

/// A snapshot on its way out.
#[derive(Debug)]
pub(crate) struct SnapshotBody {
    /// Length and message, until they are sent.
    head: Option<Bytes>,
    pieces: DatabasePieces,
}

impl SnapshotBody {
    fn new(message: &Message, pieces: DatabasePieces) -> SnapshotBody {
        let message: raftpb::Message = message.into();
        let mut head = BytesMut::with_capacity(8 + message.encoded_len());
        head.put_u64(message.encoded_len() as u64);
        message.encode(&mut head).expect("space was reserved");
        SnapshotBody { head: Some(head.freeze()), pieces }
    }
}

impl Body for SnapshotBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.head.take() {
            Some(head) => Poll::Ready(Some(Ok(Frame::data(head)))),
            None => self.pieces.poll_recv(cx).map(|piece| piece.map(|piece| piece.map(Frame::data))),
        }
    }
}

/// Tells the owner how a snapshot has ended, also if nobody waits for its end any more.
struct Report {
    link: Arc<Link>,
    arrived: bool,
}

impl Drop for Report {
    fn drop(&mut self) {
        self.link.owner.snapshot_sent(self.link.remote, self.arrived);
    }
}

/// Sends a snapshot, and tells the owner how it ended.
pub(crate) fn send(link: Arc<Link>, message: Message, pieces: DatabasePieces) -> impl Future<Output = ()> {
    // From now on: a task that is ended before it has begun reports as well.
    let report = Report { link, arrived: false };
    send_and_report(report, message, pieces)
}

async fn send_and_report(mut report: Report, message: Message, pieces: DatabasePieces) {
    let link = report.link.clone();
    let url = link.url();
    match post(&link, &message, pieces).await {
        Ok(()) => {
            link.activate();
            report.arrived = true;
        }
        Err(error) => {
            link.url_failed(&url);
            link.deactivate("failed to send a snapshot", &error);
            link.metrics.send_failed();
            link.owner.unreachable(link.remote);
        }
    }
}

async fn post(link: &Link, message: &Message, pieces: DatabasePieces) -> io::Result<()> {
    let context = &link.context;
    let url = link.url();
    let mut connection = Connection::open(&*context.connect, &url, context.timeouts).await?;
    let request = introduce(&context.local, Request::post("/")).header(CONTENT_TYPE, "application/octet-stream");
    let body = PeerBody::snapshot(SnapshotBody::new(message, pieces));
    // Not limited in time: the other side makes all of it durable before it answers. A write that does not get on
    // breaks the connection, and so does a peer that is gone. One that hangs is waited for until it is removed.
    let answer = connection.send(request, PATH, body).await?;
    let status = answer.status();
    let rest = timeout(context.timeouts.read, read_short(answer)).await;
    let says = rest.map_err(|_| timed_out("reading the answer to a snapshot"))??;
    accepted(link, &url, status, &says)
}

/// A database that arrives.
#[derive(Debug)]
pub struct Database {
    /// Came together with the message.
    first: Bytes,
    body: Incoming,
    /// Without a byte from the sender.
    patience: Duration,
}

impl Database {
    /// The next piece; `None` behind the last. An error, also where bytes are missing at the end.
    pub async fn next(&mut self) -> Option<io::Result<Bytes>> {
        if !self.first.is_empty() {
            return Some(Ok(std::mem::take(&mut self.first)));
        }
        loop {
            match timeout(self.patience, self.body.frame()).await {
                Err(_) => return Some(Err(timed_out("waiting for a snapshot's bytes"))),
                Ok(None) => return None,
                Ok(Some(Err(error))) => return Some(Err(io::Error::other(error))),
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(piece) if !piece.is_empty() => return Some(Ok(piece)),
                    _ => {}
                },
            }
        }
    }
}

/// Reads the message before a database.
pub(crate) async fn receive(mut gathering: Gathering, patience: Duration) -> Result<(Message, Database), ReceiveError> {
    let mut length = None;
    loop {
        let read = &mut gathering.bytes;
        if length.is_none() && read.len() >= 8 {
            let claimed = u64::from_be_bytes(*read.first_chunk().expect("eight bytes"));
            if claimed > MAX_MESSAGE_BYTES {
                return Err(ReceiveError::TooLarge(claimed));
            }
            length = Some(8 + claimed as usize);
        }
        if let Some(length) = length.filter(|length| read.len() >= *length) {
            let message = read.split_to(length).freeze().slice(8..);
            let message = Message::try_from(decode(message)?).map_err(FrameError::from)?;
            let first = std::mem::take(read).freeze();
            return Ok((message, Database { first, body: gathering.into_body(), patience }));
        }
        if !gathering.more().await? {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
}

/// A snapshot whose message could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReceiveError {
    #[error("a message of {0} bytes")]
    TooLarge(u64),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A message for `to`, that tells of a snapshot.
pub(crate) fn is_snapshot_for(message: &Message, to: NodeId) -> bool {
    message.to == to && matches!(message.body, ferrite_raft::Body::Snapshot(_))
}
