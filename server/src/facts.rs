//! What duties look at, read from the published state.

use ferrite_member::duty::Facts;
use ferrite_proto::etcdserverpb::{AlarmMember, AlarmType};
use ferrite_proto::membershippb::Attributes;
use ferrite_raft::NodeId;
use ferrite_state::Shared;
use ferrite_state::cluster::ClusterVersion;

/// The published state, as duties see it.
#[derive(Clone, Debug)]
pub struct PublishedFacts(pub Shared);

impl Facts for PublishedFacts {
    fn revision(&self) -> u64 {
        self.0.keyspace.revision()
    }

    fn compacted(&self) -> i64 {
        self.0.keyspace.compacted()
    }

    fn cluster_version(&self) -> Option<ClusterVersion> {
        self.0.tables().cluster.version().cloned()
    }

    fn attributes(&self, member: u64) -> Option<Attributes> {
        let tables = self.0.tables();
        let member = tables.cluster.member(NodeId(member))?;
        Some(Attributes { name: member.name.clone(), client_urls: member.client_urls.clone() })
    }

    fn has_no_space(&self, member: u64) -> bool {
        let is_it = |alarm: AlarmMember| alarm.member_id == member && alarm.alarm == AlarmType::Nospace as i32;
        self.0.tables().alarms.all().any(is_it)
    }
}
