//! A net thread: the connections that it is dealt, their calls, and the hub of its watchers.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ferrite_observe::log::Logger;
use ferrite_observe::metrics::Registry;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_local;

use crate::config::{Config, Feature};
use crate::grpc::{self, Backups, Services};
use crate::handle::{CallError, Handle};
use crate::http::{FrontDoor, Role, Site};
use crate::listen::Port;
use crate::rpc::{Accepted, Budget, Keepalive, Observing, Router, Service, Settings, Stopping, serve_accepted};

/// Calls that are open when the server stops may end within this time.
const DRAIN: Duration = Duration::from_millis(250);

/// What gRPC adds to a request at most.
const GRPC_OVERHEAD_BYTES: usize = 512 << 10;

/// How often clients are asked whether they are there, where the flags say nothing else.
const PING_INTERVAL: Duration = Duration::from_secs(2 * 60 * 60);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// What a net thread is made of.
#[derive(Debug)]
pub struct NetThread {
    pub handle: Handle,
    pub registry: Arc<Registry>,
    pub services: grpc::Settings,
    pub rpc: Settings,
    /// What answers of all net threads share.
    pub budget: Arc<Budget>,
    pub backups: Arc<Backups>,
    pub observing: Observing,
    pub door: FrontDoor,
    pub stopped: watch::Receiver<bool>,
    pub logger: Logger,
}

impl NetThread {
    /// Serves what comes on the lanes until all acceptors are gone and the server has stopped.
    pub fn run(self, lanes: Vec<(Port, mpsc::Receiver<Accepted>)>) {
        let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
        let runtime = runtime.expect("a net thread's runtime needs no more than a few file descriptors");
        runtime.block_on(async {
            let post = self.handle.post().clone();
            spawn_local(async move { post.deliver().await });
            let ports = self.ports();
            let mut serving = Vec::new();
            for (port, lane) in lanes {
                let service = ports.service(port);
                let stopped = self.stopped.clone();
                serving.push(spawn_local(serve_accepted(lane, self.logger.clone(), move |stream, address| {
                    service.clone().serve(stream, address, stopped.clone())
                })));
            }
            for each in serving {
                // A task that panics takes the process with it; there is no other error.
                let _ = each.await;
            }
            let mut stopped = self.stopped.clone();
            let _ = stopped.wait_for(|stopped| *stopped).await;
            tokio::time::sleep(DRAIN).await;
        });
    }

    fn ports(&self) -> Ports {
        let stopping = Stopping { signal: self.stopped.clone(), status: CallError::Stopped.into() };
        let mut router = Router::new(self.registry.clone(), self.observing.clone(), stopping);
        let services =
            Services::new(self.handle.clone(), self.services.clone(), self.budget.clone(), self.backups.clone());
        grpc::register(&mut router, Rc::new(services));
        let site = Rc::new(Site {
            handle: self.handle.clone(),
            metrics: self.registry.clone(),
            door: self.door.clone(),
            logger: self.logger.clone(),
        });
        Ports { router: Rc::new(router), site, settings: self.rpc, budget: self.budget.clone() }
    }
}

/// From a port to what it serves.
struct Ports {
    router: Rc<Router>,
    site: Rc<Site>,
    settings: Settings,
    budget: Arc<Budget>,
}

impl Ports {
    fn service(&self, port: Port) -> Rc<Service> {
        let (router, role) = match port {
            Port::Client => (Some(self.router.clone()), Some(Role::Client)),
            Port::ClientGrpc => (Some(self.router.clone()), None),
            Port::ClientHttp => (None, Some(Role::Client)),
            Port::Metrics => (None, Some(Role::Metrics)),
            // Theirs is another thread.
            Port::Peer => (None, None),
        };
        let pages = role.map(|role| self.site.pages(role));
        Rc::new(Service::new(router, pages, self.settings, self.budget.clone()))
    }
}

pub fn services_settings(config: &Config) -> grpc::Settings {
    grpc::Settings {
        max_txn_ops: config.limits.max_txn_ops as usize,
        max_request_bytes: config.limits.max_request_bytes as usize,
        quota_bytes: config.limits.quota_backend_bytes,
        pauses_on_defragment: config.features.enabled(Feature::StopGrpcServiceOnDefrag),
        watch_progress_interval: config.limits.watch_progress_notify_interval,
        election_timeout: config.election_timeout(),
    }
}

pub fn observing(config: &Config, logger: &Logger) -> Observing {
    Observing {
        extensive: config.http.metrics == "extensive",
        slow_after: config.limits.warning_unary_request_duration,
        logger: logger.clone(),
    }
}

pub fn rpc_settings(config: &Config) -> Settings {
    let streams = config.limits.max_concurrent_streams;
    let or = |given: Duration, default: Duration| if given.is_zero() { default } else { given };
    Settings {
        max_message_bytes: config.limits.max_request_bytes as usize + GRPC_OVERHEAD_BYTES,
        max_concurrent_streams: (streams != u32::MAX).then_some(streams),
        keepalive: Keepalive {
            min_interval: config.keepalive.min_time,
            interval: or(config.keepalive.interval, PING_INTERVAL),
            timeout: or(config.keepalive.timeout, PING_TIMEOUT),
        },
    }
}
