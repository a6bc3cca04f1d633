//! The services of etcd's client API, one file each: check the request, find who asks, ask the member, answer.
//!
//! A handler is a plain async function from a request to an answer or a status; it knows nothing of HTTP/2. What is not
//! built yet decodes its request, so that a malformed one is an error, and answers Unimplemented (`absent`).

mod absent;
mod answer;
mod auth;
mod backups;
mod check;
mod cluster;
mod error;
mod health;
mod kv;
mod lease;
mod led;
mod maintenance;
mod roomy_read;
mod snapshot;
mod watch;

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::handle::Handle;
use crate::rpc::{Budget, Caller, Router, Status};

pub use backups::Backups;
pub use error::RequestError;
use led::LedStreams;

/// What is decided by flags.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Operations in a transaction (`--max-txn-ops`).
    pub max_txn_ops: usize,
    /// Bytes of a request (`--max-request-bytes`): parts of a stream are made about as long.
    pub max_request_bytes: usize,
    /// Bytes that the store may take (`--quota-backend-bytes`): 0 is etcd's default, less than 0 no limit.
    pub quota_bytes: i64,
    /// Health says that nothing is served while a defragmentation runs (the feature `StopGRPCServiceOnDefrag`).
    pub pauses_on_defragment: bool,
    /// How often watchers that want it are told of progress (`--watch-progress-notify-interval`): zero is etcd's default.
    pub watch_progress_interval: Duration,
    /// How long it takes at most to notice that a leader has gone.
    pub election_timeout: Duration,
}

/// What the handlers of one net thread share.
#[derive(Debug)]
pub struct Services {
    pub handle: Handle,
    pub settings: Settings,
    /// Memory for answers.
    pub budget: Arc<Budget>,
    /// The backups of all net threads.
    pub backups: Arc<Backups>,
    streams: LedStreams,
}

/// Puts every method of the API into the router of a net thread.
pub fn register(router: &mut Router, services: Rc<Services>) {
    let s = services.clone();
    tokio::task::spawn_local(async move {
        s.streams.drive(s.settings.election_timeout, || s.handle.leader() != 0).await;
    });
    kv::register(router, &services);
    watch::register(router, &services);
    lease::register(router, &services);
    cluster::register(router, &services);
    maintenance::register(router, &services);
    health::register(router, &services);
    auth::register(router, &services);
    absent::register(router);
}

impl Services {
    pub fn new(handle: Handle, settings: Settings, budget: Arc<Budget>, backups: Arc<Backups>) -> Services {
        Services { handle, settings, budget, backups, streams: LedStreams::default() }
    }

    /// What is asked of a call before its handler sees it, in etcd's order.
    fn admit(&self, caller: &Caller) -> Result<(), Status> {
        if self.handle.is_learner() {
            return Err(RequestError::NotForLearner.into());
        }
        self.admit_at_learner(caller)
    }

    /// The same for the few calls that a learner serves, too.
    fn admit_at_learner(&self, caller: &Caller) -> Result<(), Status> {
        if let Some(version) = caller.metadata.get("client-api-version")
            && std::str::from_utf8(version).is_err()
        {
            return Err(RequestError::InvalidClientApiVersion.into());
        }
        if led::wants_leader(caller) && self.handle.leader() == 0 {
            return Err(RequestError::NoLeader.into());
        }
        Ok(())
    }

    /// Serves an admitted stream until it ends, or until the leader is lost that its client asked for.
    async fn serve_stream<T>(
        &self,
        caller: &Caller,
        stream: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        self.streams.serve(led::wants_leader(caller), stream).await
    }
}
