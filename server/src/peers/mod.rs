//! The other members, as this process deals with them.
//!
//!   member's turn ──messages──▶ Transport ──▶ their peer ports
//!   our peer port ──▶ PeerThread ──▶ Door ──▶ Inlet ──Input::Message──▶ member
//!   applier ──members have changed──▶ Roster ──▶ Transport
//!   first start ──▶ begin: asks those that run already, if there are any
//!
//! Peers have a thread and a runtime of their own: no client can keep a heartbeat waiting.

mod begin;
mod inlet;
mod lane;
mod pages;
mod roster;
mod same_urls;
mod snapshots;
mod thread;
mod told;
mod transfers;
mod versions;

pub use begin::{Begin, BeginError, begin};
pub use inlet::Inlet;
pub use lane::Lane;
pub use roster::Roster;
pub use snapshots::{SnapshotSender, SnapshotTaker, TakeSnapshot};
pub use thread::{PeerRuntime, PeerThread};
pub use told::Told;
pub use transfers::Transfers;

use std::sync::Arc;

use ferrite_member::bootstrap::Ids;
use ferrite_peer::{Asker, Connect, Local, Plain, Timeouts, Transport, Version};

#[cfg(test)]
use {crate::handle::MemberInput, ferrite_member::Outlet, ferrite_state::Shared};

use crate::config::{Config, Raft};

/// The oldest version of a cluster that we can be in.
const MIN_CLUSTER_VERSION: Version = Version { major: 3, minor: 0, patch: 0 };

/// The ways to the other members.
#[derive(Clone, Debug)]
pub struct Peers {
    /// For the messages of Raft.
    pub transport: Transport,
    /// For anything else.
    pub asker: Asker,
}

/// For a server without peers.
#[cfg(test)]
#[derive(Debug)]
struct TakesNone;

#[cfg(test)]
impl TakeSnapshot for TakesNone {
    fn take(self: Arc<Self>, _: ferrite_raft::Message, _: ferrite_peer::Database) -> ferrite_peer::ReceiveSnapshot {
        Box::pin(async { Err("nobody is there".to_owned()) })
    }
}

#[cfg(test)]
impl Peers {
    /// Nobody else is there.
    pub fn nobody(ids: Ids, member: Outlet<MemberInput>, state: Shared, runtime: &tokio::runtime::Handle) -> Peers {
        let config = Config::default();
        let (lane, removed) = (Arc::default(), tokio::sync::watch::Sender::new(false));
        let _on_its_runtime = runtime.enter();
        let (logger, registry) = (ferrite_observe::log::Logger::silent(), Arc::default());
        let transfers = Transfers::new(ids.member, logger.clone(), Arc::clone(&registry));
        let inlet = Inlet { member, state, lane, snapshots: Arc::new(TakesNone), transfers, removed };
        let limit = timeouts(&config);
        let transport =
            Transport::start(local(ids, &config), Arc::new(inlet), connect(&config), limit, logger, registry);
        Peers { transport, asker: asker(&config) }
    }
}

/// How to ask members before there is a transport.
pub fn asker(config: &Config) -> Asker {
    Asker::new(connect(config), timeouts(config))
}

/// How connections with other members are made.
pub fn connect(config: &Config) -> Arc<dyn Connect> {
    Arc::new(Plain { from: config.member_address() })
}

/// How long peers may take.
pub fn timeouts(config: &Config) -> Timeouts {
    let Raft { read_timeout: read, write_timeout: write, .. } = config.raft;
    Timeouts { read, write, ..Timeouts::of_election(config.election_timeout()) }
}

/// Who this member is to its peers.
pub fn local(ids: Ids, config: &Config) -> Local {
    Local {
        member: ids.member,
        cluster: ids.cluster,
        version: crate::version::ETCD.parse().expect("our version is one"),
        min_version: MIN_CLUSTER_VERSION,
        peer_urls: config.urls.advertise_peer.iter().map(ToString::to_string).collect(),
    }
}
