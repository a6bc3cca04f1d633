//! What duties look at: the state, as far as it has been published.

use ferrite_proto::etcdserverpb::{AlarmMember, AlarmType};
use ferrite_proto::membershippb::Attributes;
use ferrite_raft::NodeId;
use ferrite_state::Shared;
use ferrite_state::cluster::ClusterVersion;

#[derive(Debug)]
pub(super) struct Facts(pub Shared);

impl Facts {
    /// The newest revision.
    pub fn revision(&self) -> u64 {
        self.0.keyspace.revision()
    }

    /// The revision that was compacted last, -1 if none was.
    pub fn compacted(&self) -> i64 {
        self.0.keyspace.compacted()
    }

    /// The cluster's version, once it is known.
    pub fn cluster_version(&self) -> Option<ClusterVersion> {
        self.0.tables().cluster.version().cloned()
    }

    /// What the member with this id has published of itself: its name and client URLs.
    pub fn attributes(&self, member: u64) -> Option<Attributes> {
        let tables = self.0.tables();
        let member = tables.cluster.member(NodeId(member))?;
        Some(Attributes { name: member.name.clone(), client_urls: member.client_urls.clone() })
    }

    /// Whether the member with this id has raised NOSPACE.
    pub fn has_no_space(&self, member: u64) -> bool {
        let is_it = |alarm: AlarmMember| alarm.member_id == member && alarm.alarm == AlarmType::Nospace as i32;
        self.0.tables().alarms.all().any(is_it)
    }
}
