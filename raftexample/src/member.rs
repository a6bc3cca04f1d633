//! A member, put together and running.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use bytes::Bytes;
use ferrite_observe::log::Logger;
use ferrite_observe::metrics::Registry;
use ferrite_peer::{Local, Plain, Timeouts, Transport, Version};
use ferrite_raft::{
    BootstrapError, Config, HardState, Limits, LogStore, NewError, NodeId, Peer, RawNode, SnapshotMeta, StorageWrites,
};
use ferrite_storage::wal;
use parking_lot::RwLock;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::disk::{Disk, DiskError};
use crate::node::{Input, Node, NodeError, Place};
use crate::peers::Owner;
use crate::state::{State, Unreadable};
use crate::{api, peers};

/// Inputs that wait for the node. Full: messages of peers are dropped, and Raft asks again; requests are refused.
const INPUTS: usize = 1024;

/// All clusters of this program: members of others are refused.
const CLUSTER: u64 = 0x1000;

/// Which member of which cluster.
#[derive(Clone, Debug)]
pub struct Options {
    pub id: NodeId,
    /// The peer URL of each member: the first is that of member 1.
    pub cluster: Vec<String>,
    /// The member was added to a cluster that is running.
    pub join: bool,
    /// Where its directories are.
    pub dir: PathBuf,
    pub settings: Settings,
}

impl Options {
    /// Where its peers reach it, if it has a place in the cluster.
    pub fn url(&self) -> Option<&str> {
        let place = usize::try_from(self.id.0).ok()?.checked_sub(1)?;
        self.cluster.get(place).map(String::as_str)
    }
}

/// What nobody but a test needs to change.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub tick: Duration,
    /// Entries between two snapshots.
    pub snapshot_entries: u64,
    /// Entries before a snapshot that are kept for those who are a little behind.
    pub kept_entries: u64,
    pub log_segment_bytes: u64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            tick: Duration::from_millis(100),
            snapshot_entries: 10_000,
            kept_entries: 10_000,
            log_segment_bytes: wal::Options::default().segment_bytes,
        }
    }
}

/// Why a member cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("--id {id} has no place among the {members} URLs of --cluster")]
    NotInCluster { id: NodeId, members: usize },
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Raft(#[from] NewError),
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
    #[error(transparent)]
    Snapshot(#[from] Unreadable),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// How a member has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Somebody wanted it to.
    Stopped,
    /// It is no member any more.
    Removed,
}

/// A member that runs. Dropped, it stops as if it had been killed.
#[derive(Debug)]
pub struct Member {
    api: SocketAddr,
    inputs: SyncSender<Input>,
    ended: oneshot::Receiver<Result<Ended, NodeError>>,
    listeners: [JoinHandle<()>; 2],
    transport: Transport,
}

impl Member {
    /// Starts a member that listens on these two sockets: for its peers, and for clients. Its tasks run on the current runtime.
    pub fn start(options: &Options, peer_socket: TcpListener, api_socket: TcpListener) -> Result<Member, StartError> {
        let Options { id, cluster, settings, .. } = options;
        let url = options.url().ok_or(StartError::NotInCluster { id: *id, members: cluster.len() })?;

        let (disk, log) = Disk::open(&options.dir, *id, wal::Options { segment_bytes: settings.log_segment_bytes })?;
        let snapshot = log.snapshot().unwrap_or_default();
        let state = match snapshot.meta.index.0 {
            0 => State::default(),
            _ => State::decode(snapshot.data)?,
        };
        let is_new = log.is_empty() && log.hard_state() == HardState::default() && snapshot.meta.index.0 == 0;
        let config = Config {
            applied: snapshot.meta.index,
            writes: StorageWrites::Synchronous,
            limits: Limits { max_uncommitted_size: 64 << 20, ..Limits::default() },
            ..Config::new(*id)
        };
        let mut raft = RawNode::new(config, log)?;
        if is_new && !options.join {
            raft.bootstrap(&first_members(cluster))?;
        }

        let state = Arc::new(RwLock::new(state));
        let (inputs, waiting) = sync_channel(INPUTS);
        let owner = Arc::new(Owner { inputs: inputs.clone(), state: state.clone() });
        let transport = transport(*id, url.to_owned(), owner, settings.tick);
        for peer in first_members(cluster) {
            let url = String::from_utf8_lossy(&peer.context).into_owned();
            transport.add_peer(peer.id, &[url]);
        }
        let SnapshotMeta { index, conf, .. } = snapshot.meta;
        let place = Place { applied: index, conf, snapshot: index, due: false };
        let node = Node { raft, disk, state: state.clone(), transport: transport.clone(), settings: *settings, place };
        node.connect();

        let api = api_socket.local_addr()?;
        let (end, ended) = oneshot::channel();
        // Whoever started the member may be gone.
        std::thread::Builder::new().name(format!("member {id}")).spawn(move || _ = end.send(node.run(&waiting)))?;
        let listeners = [
            tokio::spawn(peers::serve(peer_socket, transport.clone())),
            tokio::spawn(api::serve(api_socket, api::Api { inputs: inputs.clone(), state })),
        ];
        Ok(Member { api, inputs, ended, listeners, transport })
    }

    /// Where clients reach it.
    pub fn api(&self) -> SocketAddr {
        self.api
    }

    /// Waits until it has ended.
    pub async fn ended(&mut self) -> Result<Ended, NodeError> {
        (&mut self.ended).await.expect("the node's thread does not panic")
    }

    /// Stops it, and waits until its files can be opened again, and its addresses used.
    pub async fn stop(mut self) -> Result<Ended, NodeError> {
        for listener in &mut self.listeners {
            listener.abort();
            // It was aborted: that is the answer.
            let _ = listener.await;
        }
        let inputs = self.inputs.clone();
        // The queue may be full. A node that has ended already needs no telling.
        drop(tokio::task::spawn_blocking(move || _ = inputs.send(Input::Stop)));
        self.ended().await
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.listeners.iter().for_each(JoinHandle::abort);
        self.transport.stop();
        // If there is no room, the node ends when nobody can send to it any more.
        let _ = self.inputs.try_send(Input::Stop);
    }
}

fn first_members(cluster: &[String]) -> Vec<Peer> {
    (1..)
        .zip(cluster)
        .map(|(id, url)| Peer { id: NodeId(id), context: Bytes::copy_from_slice(url.as_bytes()) })
        .collect()
}

fn transport(id: NodeId, url: String, owner: Arc<Owner>, tick: Duration) -> Transport {
    let local = Local {
        member: id,
        cluster: CLUSTER,
        version: Version { major: 3, minor: 7, patch: 1 },
        min_version: Version { major: 3, minor: 0, patch: 0 },
        peer_urls: vec![url],
    };
    let timeouts = Timeouts::of_election(10 * tick);
    Transport::start(
        local,
        owner,
        Arc::new(Plain::default()),
        timeouts,
        Logger::silent(),
        Arc::new(Registry::default()),
    )
}
