//! One peer: its queues, its tasks, and whether it is there.

use std::fmt::Display;
use std::sync::Arc;

use ferrite_observe::log;
use ferrite_observe::log::{Id, lines};
use ferrite_observe::metrics::{Counter, Gauge, Histogram, Registry, families};
use ferrite_raft::{Body, Message, NodeId};
use parking_lot::Mutex;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use crate::frame::Stream;
use crate::outgoing::Outgoing;
use crate::owner::Owner;
use crate::queue::{Offered, Receiver, Sender, Waiting, queue};
use crate::snapshot::DatabasePieces;
use crate::transport::Context;
use crate::urls::{PeerUrl, Urls};
use crate::{incoming, pipeline, prober, snapshot};

/// Messages that wait for a stream. Full: dropped, and Raft told.
const STREAM_MESSAGES: usize = 4096;

/// What everything that talks with one peer needs of it.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) context: Arc<Context>,
    pub(crate) remote: NodeId,
    pub(crate) owner: Arc<dyn Owner>,
    pub(crate) metrics: Metrics,
    urls: Mutex<Urls>,
    /// Since when it is active, if it is.
    active: Mutex<Option<Instant>>,
}

/// The numbers of one peer.
#[derive(Debug)]
pub(crate) struct Metrics {
    sent_bytes: Counter,
    sent_failures: Counter,
    received_bytes: Counter,
    received_failures: Counter,
    active: Gauge,
    disconnected: Counter,
    pub(crate) round_trip: Histogram,
}

impl Metrics {
    fn new(registry: &Registry, local: NodeId, remote: NodeId) -> Metrics {
        let (local, remote) = (format!("{local:x}"), format!("{remote:x}"));
        let pair = [local.as_str(), remote.as_str()];
        let remote = [remote.as_str()];
        Metrics {
            sent_bytes: registry.metric(&families::ETCD_NETWORK_PEER_SENT_BYTES_TOTAL, &remote),
            sent_failures: registry.metric(&families::ETCD_NETWORK_PEER_SENT_FAILURES_TOTAL, &remote),
            received_bytes: registry.metric(&families::ETCD_NETWORK_PEER_RECEIVED_BYTES_TOTAL, &remote),
            received_failures: registry.metric(&families::ETCD_NETWORK_PEER_RECEIVED_FAILURES_TOTAL, &remote),
            active: registry.metric(&families::ETCD_NETWORK_ACTIVE_PEERS, &pair),
            disconnected: registry.metric(&families::ETCD_NETWORK_DISCONNECTED_PEERS_TOTAL, &pair),
            round_trip: registry.metric(&families::ETCD_NETWORK_PEER_ROUND_TRIP_TIME_SECONDS, &remote),
        }
    }

    pub(crate) fn sent(&self, bytes: usize) {
        if bytes > 0 {
            self.sent_bytes.add(bytes as u64);
        }
    }

    pub(crate) fn received(&self, bytes: usize) {
        self.received_bytes.add(bytes as u64);
    }

    pub(crate) fn receive_failed(&self) {
        self.received_failures.add(1);
    }

    pub(crate) fn send_failed(&self) {
        self.sent_failures.add(1);
    }
}

impl Link {
    fn new(context: Arc<Context>, remote: NodeId, urls: Urls) -> Link {
        let metrics = Metrics::new(&context.registry, context.local.member, remote);
        let owner = context.owner.clone();
        Link { context, remote, owner, metrics, urls: Mutex::new(urls), active: Mutex::new(None) }
    }

    pub(crate) fn url(&self) -> PeerUrl {
        self.urls.lock().picked()
    }

    /// `url` did not answer: the next one is tried next.
    pub(crate) fn url_failed(&self, url: &PeerUrl) {
        self.urls.lock().failed(url);
    }

    pub(crate) fn has_no_url_but(&self, some: &[PeerUrl]) -> bool {
        self.urls.lock().are_all_among(some)
    }

    fn set_urls(&self, urls: Urls) {
        *self.urls.lock() = urls;
    }

    pub(crate) fn activate(&self) {
        let mut active = self.active.lock();
        if active.is_none() {
            *active = Some(Instant::now());
            self.metrics.active.set(1.0);
            log!(self.context.logger, lines::PEER_ACTIVE, Id(self.remote.0));
        }
    }

    pub(crate) fn deactivate(&self, what: &str, reason: &dyn Display) {
        let mut active = self.active.lock();
        if active.take().is_some() {
            self.metrics.active.set(0.0);
            self.metrics.disconnected.add(1);
            log!(self.context.logger, lines::PEER_INACTIVE, Id(self.remote.0), &format!("{what}: {reason}"));
        }
    }

    pub(crate) fn active_since(&self) -> Option<Instant> {
        *self.active.lock()
    }

    pub(crate) fn stream_established(&self, stream: Stream) {
        let local = Id(self.context.local.member.0);
        log!(self.context.logger, lines::STREAM_WRITER_ESTABLISHED, local, Id(self.remote.0), stream.name());
    }

    pub(crate) fn stream_closed(&self, stream: Stream) {
        let local = Id(self.context.local.member.0);
        log!(self.context.logger, lines::STREAM_WRITER_CLOSED, local, Id(self.remote.0), stream.name());
    }
}

/// What we are to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A member: streams both ways.
    Member,
    /// One that we have heard of, but not from the log: it is answered, no more.
    Remote,
}

#[derive(Debug)]
pub(crate) struct Peer {
    link: Arc<Link>,
    waiting: Waiting,
    streams: [Mutex<Option<Sender>>; 2],
    pipeline: Sender,
    tasks: Vec<AbortHandle>,
    /// Those that send it a snapshot; they end with it, too.
    snapshots: Mutex<JoinSet<()>>,
}

impl Peer {
    pub(crate) fn start(context: &Arc<Context>, remote: NodeId, urls: Urls, kind: Kind) -> Peer {
        let link = Arc::new(Link::new(context.clone(), remote, urls));
        let waiting = Waiting::default();
        let (pipeline, posts) = queue(pipeline::MESSAGES, &waiting);
        let mut tasks = pipeline::start(&link, posts);
        if kind == Kind::Member {
            let runtime = &context.runtime;
            tasks.extend(Stream::ALL.map(|stream| runtime.spawn(incoming::run(link.clone(), stream)).abort_handle()));
            tasks.push(runtime.spawn(prober::run(link.clone())).abort_handle());
        }
        log!(context.logger, lines::STARTED_PEER, Id(remote.0));
        Peer { link, waiting, streams: Default::default(), pipeline, tasks, snapshots: Mutex::default() }
    }

    pub(crate) fn link(&self) -> &Arc<Link> {
        &self.link
    }

    pub(crate) fn set_urls(&self, urls: Urls) {
        self.link.set_urls(urls);
    }

    /// The peer has asked for a stream. One of the kind that was open before ends.
    pub(crate) fn attach(&self, stream: Stream) -> Outgoing {
        self.link.activate();
        let (sender, receiver): (Sender, Receiver) = queue(STREAM_MESSAGES, &self.waiting);
        *self.streams[stream as usize].lock() = Some(sender);
        Outgoing::new(self.link.clone(), stream, receiver)
    }

    /// Begins to send a snapshot.
    pub(crate) fn send_snapshot(&self, message: Message, pieces: DatabasePieces) {
        let mut snapshots = self.snapshots.lock();
        while snapshots.try_join_next().is_some() {}
        snapshots.spawn_on(snapshot::send(self.link.clone(), message, pieces), &self.link.context.runtime);
    }

    /// Puts a message on its way, or drops it and says so. Never waits.
    pub(crate) fn send(&self, message: Message) {
        let ways: &[Stream] = match message.body {
            Body::Append { .. } => &[Stream::MsgApp, Stream::Message],
            _ => &[Stream::Message],
        };
        let mut message = message;
        for way in ways {
            match self.offer(*way, message) {
                Offered::Taken => return,
                Offered::Full => return self.dropped(),
                Offered::Closed(back) => message = back,
            }
        }
        if !matches!(self.pipeline.offer(message), Offered::Taken) {
            self.dropped();
        }
    }

    fn offer(&self, stream: Stream, message: Message) -> Offered {
        let mut sender = self.streams[stream as usize].lock();
        let offered = match &*sender {
            Some(sender) => sender.offer(message),
            None => return Offered::Closed(message),
        };
        if matches!(offered, Offered::Closed(_)) {
            *sender = None;
        }
        offered
    }

    fn dropped(&self) {
        self.link.metrics.send_failed();
        log!(
            self.link.context.logger,
            lines::MESSAGE_DROPPED,
            Id(self.link.remote.0),
            self.link.active_since().is_some()
        );
        self.link.owner.unreachable(self.link.remote);
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        self.link.deactivate("stopped", &"the peer is not needed any more");
        log!(self.link.context.logger, lines::STOPPED_PEER, Id(self.link.remote.0));
    }
}
