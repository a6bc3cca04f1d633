//! The thread that serves the peer port, and on which all that is sent to peers is written.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use ferrite_member::Input;
use ferrite_observe::log::GoTime;
use ferrite_peer::{Door, Impatient, PeerBody};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{mpsc, watch};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Instant, sleep};

use super::{pages, versions};
use crate::http::Site;
use crate::rpc::{Accepted, serve_accepted};

/// A request's head has to come within this time.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// How often and how long a new member looks whether others are connected (etcd's numbers).
const HURRY_LOOK: Duration = Duration::from_millis(50);
const HURRY_LIMIT: Duration = Duration::from_secs(5);
/// Ticks that a first election waits at least: a leader that is slow to say that it leads is given so many.
const TICKS_LEFT: u32 = 2;

/// The runtime of the peer thread, on which the transport's tasks run, too.
#[derive(Debug)]
pub struct PeerRuntime(Option<Runtime>);

impl PeerRuntime {
    pub fn new() -> io::Result<PeerRuntime> {
        Builder::new_current_thread().enable_all().build().map(Some).map(PeerRuntime)
    }

    fn get(&self) -> &Runtime {
        self.0.as_ref().expect("it is taken out when it is dropped, and not before")
    }

    pub fn handle(&self) -> &Handle {
        self.get().handle()
    }
}

impl Drop for PeerRuntime {
    /// A start that fails drops it on another runtime, which a runtime that waits for its tasks would not survive.
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// What the peer thread is made of.
#[derive(Debug)]
pub struct PeerThread {
    pub runtime: PeerRuntime,
    pub site: Site,
    /// Ticks until an election, if the first one may come early.
    pub hurry: Option<u32>,
}

impl PeerThread {
    /// Serves what comes on the lane until `stopped`.
    pub fn run(self, lane: mpsc::Receiver<Accepted>, mut stopped: watch::Receiver<bool>) {
        let PeerThread { runtime, site, hurry } = self;
        LocalSet::new().block_on(runtime.get(), async {
            let post = site.handle.post().clone();
            spawn_local(async move { post.deliver().await });
            spawn_local(versions::watch(site.handle.clone(), site.logger.clone()));
            if let Some(election_ticks) = hurry {
                spawn_local(hurry_first_election(site.handle.clone(), election_ticks));
            }
            let (door, logger) = (Door::new(site.handle.peers().transport.clone()), site.logger.clone());
            let site = Rc::new(site);
            spawn_local(serve_accepted(lane, logger, move |stream, _| {
                let (site, door) = (site.clone(), door.clone());
                async move { serve(stream, site, door).await }
            }));
            // The sender is dropped with the server.
            let _ = stopped.wait_for(|stopped| *stopped).await;
        });
    }
}

async fn serve<S>(stream: S, site: Rc<Site>, door: Door) -> Result<(), hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let patience = site.handle.peers().transport.timeouts().write;
    let service = service_fn(move |request| {
        let (site, door) = (site.clone(), door.clone());
        async move { Ok::<_, Infallible>(answer(request, &site, &door).await) }
    });
    let io = TokioIo::new(Impatient::new(stream, patience));
    let mut builder = http1::Builder::new();
    // As Go writes them, for those who compare texts.
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).title_case_headers(true);
    pin!(builder.serve_connection(io, service)).await
}

async fn answer(request: Request<Incoming>, site: &Site, door: &Door) -> Response<PeerBody> {
    if Door::knows(request.uri().path()) {
        return door.answer(request, &GoTime(SystemTime::now()).to_string()).await;
    }
    if pages::knows(request.uri().path()) {
        return pages::page(request, &site.handle).await.map(|body: Bytes| PeerBody::whole(body));
    }
    site.peer(&request.map(drop)).await.map(|body: Bytes| PeerBody::whole(body))
}

/// Where others can be reached, a leader would be heard of soon: then the first election need not wait its whole time.
async fn hurry_first_election(handle: crate::handle::Handle, election_ticks: u32) {
    let give_up = Instant::now() + HURRY_LIMIT;
    while Instant::now() < give_up {
        sleep(HURRY_LOOK).await;
        let transport = &handle.peers().transport;
        let active = {
            let tables = handle.state().tables();
            tables.cluster.members().filter(|member| transport.active_since(member.id).is_some()).count()
        };
        if active > 1 {
            // A member that has gone needs no ticks.
            let _ = handle.tell(Input::SkipTicks(election_ticks.saturating_sub(TICKS_LEFT)));
            return;
        }
    }
}
