//! Where a member that begins learns who the others are, if the flags do not name them.
//!
//!   --discovery-endpoints ──▶ registry: puts its own URLs into another etcd, and waits until enough members have done so
//!   --discovery-srv       ──▶ srv: asks the DNS
//!   --initial-cluster     ──▶ as it stands
//!
//! Either way an initial cluster comes of it, and the start goes on as if the flags had named it.

mod list;
mod registry;
mod srv;

use ferrite_observe::log::Logger;

use crate::config::{Config, InitialCluster};

pub use registry::{JoinError, join};

/// The cluster that a member begins with, as far as it is known before anybody is asked who takes part in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Initial {
    pub cluster: InitialCluster,
    /// Makes the ids of members and cluster.
    pub token: String,
}

/// What flags and DNS say of the initial cluster. In a registry others are found only once we have put ourselves into it.
pub async fn initial(config: &Config, logger: &Logger) -> Result<Initial, String> {
    let (discovery, token) = (&config.discovery, config.cluster.token.clone());
    if !discovery.endpoints.is_empty() {
        let own = (config.member.name.clone(), config.urls.advertise_peer.clone());
        return Ok(Initial { cluster: InitialCluster(vec![own]), token: discovery.token.clone() });
    }
    let cluster = match discovery.srv.is_empty() {
        true => InitialCluster::parse(&config.cluster.initial)?,
        false => srv::cluster(config, logger).await?,
    };
    Ok(Initial { cluster, token })
}
