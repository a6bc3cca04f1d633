//! Questions to members that are no messages of Raft: who the members are, which version runs, a lease's time.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use tokio::sync::Semaphore;
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use crate::body::PeerBody;
use crate::dial::{Connect, Connection, Timeouts, timed_out};
use crate::urls::PeerUrl;

/// What an answer may take.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// Questions with a body at a time: clients bring them about, and must not take all files that the process may open. There is
/// room for a stream of lease renewals, all of which may stand until something is committed.
const PLACES: usize = 256;

/// Asks members. A clone asks the same way, and has no places of its own. A connection is made for each question: they are
/// rare.
#[derive(Clone, Debug)]
pub struct Asker {
    connect: Arc<dyn Connect>,
    timeouts: Timeouts,
    places: Arc<Semaphore>,
}

/// What a member answered.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Asker {
    pub fn new(connect: Arc<dyn Connect>, timeouts: Timeouts) -> Asker {
        Asker { connect, timeouts, places: Arc::new(Semaphore::new(PLACES)) }
    }

    /// Asks for a page of the member that listens at `url`. All of it has to come within `limit`.
    pub async fn get(&self, url: &str, path: &str, limit: Duration) -> io::Result<Answer> {
        timeout(limit, self.ask(url, path, Request::get("/"), Bytes::new())).await.unwrap_or_else(late)
    }

    /// Asks with a body of type `content_type`.
    pub async fn post(
        &self,
        url: &str,
        path: &str,
        content_type: &'static str,
        body: Bytes,
        limit: Duration,
    ) -> io::Result<Answer> {
        let asked = async {
            let _place = self.places.acquire().await.map_err(io::Error::other)?;
            self.ask(url, path, Request::post("/").header(CONTENT_TYPE, content_type), body).await
        };
        timeout(limit, asked).await.unwrap_or_else(late)
    }

    async fn ask(&self, url: &str, path: &str, request: http::request::Builder, body: Bytes) -> io::Result<Answer> {
        let url: PeerUrl = url.parse().map_err(io::Error::other)?;
        let mut connection = Connection::open(&*self.connect, &url, self.timeouts).await?;
        let (head, body) = connection.send(request, path, PeerBody::whole(body)).await?.into_parts();
        let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await.map_err(io::Error::other)?;
        Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
    }
}

fn late(_: Elapsed) -> io::Result<Answer> {
    Err(timed_out("an answer"))
}
