//! All peers: who there is, and messages to them.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use ferrite_observe::log;
use ferrite_observe::log::{Id, Logger, lines};
use ferrite_observe::metrics::Registry;
use ferrite_raft::{Message, NodeId};
use parking_lot::RwLock;
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::dial::{Connect, Timeouts};
use crate::frame::Stream;
use crate::headers::Refusal;
use crate::local::Local;
use crate::outgoing::Outgoing;
use crate::owner::Owner;
use crate::peer::{Kind, Peer};
use crate::snapshot::DatabasePieces;
use crate::urls::Urls;

/// Those whom we know from their own words alone. Full: one more is not answered. The members of a cluster that one joins
/// are far fewer.
const REMOTES: usize = 256;

/// What all peers have in common.
pub(crate) struct Context {
    pub(crate) local: Local,
    pub(crate) owner: Arc<dyn Owner>,
    pub(crate) connect: Arc<dyn Connect>,
    pub(crate) timeouts: Timeouts,
    pub(crate) runtime: Handle,
    pub(crate) logger: Logger,
    pub(crate) registry: Arc<Registry>,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("local", &self.local).finish_non_exhaustive()
    }
}

/// A message that is not for us, or not of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Misdirected {
    #[error("cannot process message from removed member")]
    Removed,
    #[error("cannot process message to mismatch member")]
    Mismatch,
}

impl Misdirected {
    /// Whether an answer to a message names this reason.
    pub(crate) fn is_said_in(self, answer: &[u8]) -> bool {
        String::from_utf8_lossy(answer).contains(&self.to_string())
    }
}

impl Context {
    /// Whether a message is for this member, and of one that was not removed.
    pub(crate) fn admit(&self, message: &Message) -> Result<(), Misdirected> {
        let (local, from) = (Id(self.local.member.0), Id(message.from.0));
        if self.owner.is_removed(message.from) {
            log!(self.logger, lines::REJECTED_FROM_REMOVED, local, from);
            return Err(Misdirected::Removed);
        }
        if message.to != self.local.member {
            log!(self.logger, lines::REJECTED_TO_MISMATCH, local, from, Id(message.to.0));
            return Err(Misdirected::Mismatch);
        }
        Ok(())
    }
}

/// The peers of a member. A clone is the same transport. Tasks end when the last clone is dropped, or at
/// [`stop`](Self::stop).
#[derive(Clone, Debug)]
pub struct Transport(Arc<Inside>);

#[derive(Debug)]
struct Inside {
    context: Arc<Context>,
    peers: RwLock<HashMap<NodeId, (Kind, Peer)>>,
}

impl Transport {
    /// A transport without peers. Its tasks will run on the current runtime.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(
        local: Local,
        owner: Arc<dyn Owner>,
        connect: Arc<dyn Connect>,
        timeouts: Timeouts,
        logger: Logger,
        registry: Arc<Registry>,
    ) -> Transport {
        let context = Context { local, owner, connect, timeouts, runtime: Handle::current(), logger, registry };
        Transport(Arc::new(Inside { context: Arc::new(context), peers: RwLock::default() }))
    }

    pub(crate) fn context(&self) -> &Arc<Context> {
        &self.0.context
    }

    /// How long peers may take.
    pub fn timeouts(&self) -> Timeouts {
        self.0.context.timeouts
    }

    /// A member of the cluster from now on. One that is known already is left as it is.
    pub fn add_peer(&self, id: NodeId, urls: &[String]) {
        self.add(id, urls, Kind::Member);
    }

    /// One that is answered although the log has not named it yet: it asked us, or was there when we joined.
    pub fn add_remote(&self, id: NodeId, urls: &[String]) {
        self.add(id, urls, Kind::Remote);
    }

    fn add(&self, id: NodeId, urls: &[String], kind: Kind) {
        if id == self.0.context.local.member {
            return;
        }
        let Some(urls) = self.readable(id, urls) else { return };
        let mut peers = self.0.peers.write();
        let known = peers.get(&id).map(|(kind, _)| *kind);
        if kind == Kind::Remote
            && known.is_none()
            && peers.values().filter(|(kind, _)| *kind == Kind::Remote).count() >= REMOTES
        {
            log!(self.0.context.logger, lines::TOO_MANY_REMOTES, Id(id.0));
            return;
        }
        if known.is_none() || (known, kind) == (Some(Kind::Remote), Kind::Member) {
            peers.insert(id, (kind, Peer::start(&self.0.context, id, urls, kind)));
        }
    }

    /// Not a member any more.
    pub fn remove_peer(&self, id: NodeId) {
        let removed = self.0.peers.write().remove(&id);
        drop(removed);
    }

    /// A member has other URLs now.
    pub fn update_peer(&self, id: NodeId, urls: &[String]) {
        let Some(urls) = self.readable(id, urls) else { return };
        if let Some((_, peer)) = self.0.peers.read().get(&id) {
            peer.set_urls(urls);
        }
    }

    fn readable(&self, id: NodeId, urls: &[String]) -> Option<Urls> {
        let readable = Urls::new(urls);
        if readable.is_none() {
            log!(self.0.context.logger, lines::PEER_WITHOUT_URL, Id(id.0), urls);
        }
        readable
    }

    /// Puts messages on their way, each to the member that it is for. What cannot be sent is dropped; the owner is told
    /// which member could not be reached. Never waits.
    pub fn send(&self, messages: impl IntoIterator<Item = Message>) {
        let peers = self.0.peers.read();
        for message in messages {
            if let Some((_, peer)) = peers.get(&message.to) {
                peer.send(message);
            }
        }
    }

    /// Sends a snapshot: the message, then the database in `pieces`. The owner is told how it ended, also where the
    /// member is not known.
    pub fn send_snapshot(&self, message: Message, pieces: DatabasePieces) {
        if let Some((_, peer)) = self.0.peers.read().get(&message.to) {
            return peer.send_snapshot(message, pieces);
        }
        self.0.context.owner.snapshot_sent(message.to, false);
    }

    /// Whether messages to it are sent.
    pub fn knows(&self, id: NodeId) -> bool {
        self.0.peers.read().contains_key(&id)
    }

    /// Since when there is a connection with a member; `None` if there is none.
    pub fn active_since(&self, id: NodeId) -> Option<Instant> {
        self.0.peers.read().get(&id).and_then(|(_, peer)| peer.link().active_since())
    }

    /// Ends all connections, and sends nothing any more.
    pub fn stop(&self) {
        let peers = std::mem::take(&mut *self.0.peers.write());
        drop(peers);
    }

    /// A member asks for a stream.
    pub(crate) fn attach(&self, id: NodeId, stream: Stream) -> Result<Outgoing, Refusal> {
        match self.0.peers.read().get(&id) {
            Some((Kind::Member, peer)) => Ok(peer.attach(stream)),
            _ => Err(Refusal::UnknownSender),
        }
    }
}
