//! Messages one by one, as posts: for a peer that has not asked for streams (yet).

use std::fmt::Display;
use std::io;
use std::sync::Arc;

use ferrite_proto::raftpb;
use ferrite_raft::Message;
use http::header::CONTENT_TYPE;
use http::{Request, StatusCode};
use prost::Message as _;
use tokio::sync::Mutex;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::body::PeerBody;
use crate::dial::{Connection, read_short, timed_out};
use crate::headers::introduce;
use crate::peer::Link;
use crate::queue::Receiver;
use crate::transport::Misdirected;

/// Messages that wait. Full: dropped, and Raft told.
pub(crate) const MESSAGES: usize = 64;
/// Posts at a time.
const WORKERS: usize = 4;

pub(crate) const PATH: &str = "/raft";

pub(crate) fn start(link: &Arc<Link>, posts: Receiver) -> Vec<AbortHandle> {
    let posts = Arc::new(Mutex::new(posts));
    let workers = (0..WORKERS).map(|_| {
        let (link, posts) = (link.clone(), posts.clone());
        link.context.runtime.clone().spawn(work(link, posts)).abort_handle()
    });
    workers.collect()
}

async fn work(link: Arc<Link>, posts: Arc<Mutex<Receiver>>) {
    let mut connection = None;
    loop {
        let Some(message) = posts.lock().await.next().await else { return };
        let url = link.url();
        let sent =
            timeout(link.context.timeouts.dial + link.context.timeouts.read, post(&link, &mut connection, &message))
                .await;
        match sent.unwrap_or_else(|_| Err(timed_out("a post"))) {
            Ok(()) => link.activate(),
            Err(error) => {
                connection = None;
                link.url_failed(&url);
                link.deactivate("failed to write", &error);
                link.metrics.send_failed();
                link.owner.unreachable(link.remote);
            }
        }
    }
}

async fn post(link: &Link, kept: &mut Option<Connection>, message: &Message) -> io::Result<()> {
    let context = &link.context;
    let url = link.url();
    let connection = match kept.take().filter(|kept| kept.is_usable() && *kept.url() == url) {
        Some(usable) => kept.insert(usable),
        None => kept.insert(Connection::open(&*context.connect, &url, context.timeouts).await?),
    };
    let message: raftpb::Message = message.into();
    let body = message.encode_to_vec();
    let length = body.len();
    let request = introduce(&context.local, Request::post("/")).header(CONTENT_TYPE, "application/protobuf");
    let answer = connection.send(request, PATH, PeerBody::whole(body)).await?;
    let status = answer.status();
    // The connection can be used again once the answer is read.
    let says = read_short(answer).await?;
    link.metrics.sent(length);
    accepted(link, &url, status, &says)
}

/// What the answer to a post means.
pub(crate) fn accepted(link: &Link, url: &impl Display, status: StatusCode, says: &[u8]) -> io::Result<()> {
    match status {
        StatusCode::NO_CONTENT => Ok(()),
        // Of a member of etcd. It is another than the one that is meant to be there, so it cannot have removed us: the one
        // that was there before, perhaps, which does not know yet that it is replaced.
        StatusCode::FORBIDDEN if Misdirected::Mismatch.is_said_in(says) => {
            Err(io::Error::other(format!("{url} is another member")))
        }
        StatusCode::FORBIDDEN => {
            link.owner.removed(link.remote);
            Err(io::Error::other("the member was removed from the cluster"))
        }
        status => Err(io::Error::other(format!("{url} answers {status}"))),
    }
}
