//! Keeps the transport's peers equal to the cluster's members.

use std::collections::BTreeMap;

use ferrite_peer::Transport;
use ferrite_raft::NodeId;
use ferrite_state::cluster::Cluster;
use tokio::sync::watch;

use super::Told;

/// The peers that the transport knows, with their URLs.
#[derive(Debug)]
pub struct Roster {
    own: NodeId,
    transport: Transport,
    known: BTreeMap<NodeId, Vec<String>>,
    /// Set when this member is removed.
    removed: watch::Sender<bool>,
    told: Told,
}

impl Roster {
    /// `known` are members that the log may not have named yet: those of the cluster that this one joins.
    pub fn new(
        own: NodeId,
        transport: Transport,
        known: Vec<(NodeId, Vec<String>)>,
        removed: watch::Sender<bool>,
        told: Told,
    ) -> Roster {
        for (id, urls) in &known {
            transport.add_peer(*id, urls);
        }
        Roster { own, transport, known: known.into_iter().collect(), removed, told }
    }

    /// The cluster's members may have changed. Those it does not name are left until it says that they were removed: while
    /// a new member catches up, it applies what was long before them.
    pub fn follow(&mut self, cluster: &Cluster) {
        self.told.follow(cluster);
        for member in cluster.members().filter(|member| member.id != self.own) {
            let known = self.known.insert(member.id, member.peer_urls.clone());
            match known {
                None => self.transport.add_peer(member.id, &member.peer_urls),
                Some(urls) if urls != member.peer_urls => self.transport.update_peer(member.id, &member.peer_urls),
                Some(_) => {}
            }
        }
        self.known.retain(|id, _| {
            let stays = !cluster.is_removed(*id);
            if !stays {
                self.transport.remove_peer(*id);
            }
            stays
        });
        if cluster.is_removed(self.own) {
            self.removed.send_replace(true);
        }
    }
}
