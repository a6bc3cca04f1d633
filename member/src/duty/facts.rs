//! What duties look at: the state, as far as it has been published.

use ferrite_proto::etcdserverpb::{AlarmMember, AlarmType};
use ferrite_raft::NodeId;
use ferrite_state::Shared;
use ferrite_state::cluster::ClusterVersion;

#[derive(Debug)]
pub(super) struct Facts(pub Shared);

impl Facts {
    /// The newest revision.
    pub fn revision(&self) -> u64 {
        self.0.keyspace().revision()
    }

    /// The revision that was compacted last, -1 if none was.
    pub fn compacted(&self) -> i64 {
        self.0.keyspace().compacted()
    }

    /// The cluster's version, once it is known.
    pub fn cluster_version(&self) -> Option<ClusterVersion> {
        self.0.tables().cluster.version().cloned()
    }

    /// Whether somebody wants the cluster to go to an older version.
    pub fn is_downgraded(&self) -> bool {
        self.0.tables().cluster.downgrade().enabled
    }

    /// Whether nobody else is in the cluster.
    pub fn is_alone(&self, member: u64) -> bool {
        self.0.tables().cluster.members().all(|other| other.id.0 == member)
    }

    /// Whether everybody who has been started runs Ferrite.
    pub fn are_all_ferrite(&self) -> bool {
        self.0.tables().cluster.members().all(|member| member.is_ferrite || member.name.is_empty())
    }

    /// Of how many members it is known that they run Ferrite, this one not counted.
    pub fn ferrites_besides(&self, id: u64) -> usize {
        self.0.tables().cluster.members().filter(|member| member.is_ferrite && member.id.0 != id).count()
    }

    /// Whether it is known of a member that it runs Ferrite, or it has not published itself, or is none.
    pub fn is_known_as_ferrite(&self, id: u64) -> bool {
        let tables = self.0.tables();
        tables.cluster.member(NodeId(id)).is_none_or(|member| member.is_ferrite || member.name.is_empty())
    }

    /// Whether the member with this id has raised NOSPACE.
    pub fn has_no_space(&self, member: u64) -> bool {
        let is_it = |alarm: AlarmMember| alarm.member_id == member && alarm.alarm == AlarmType::Nospace as i32;
        self.0.tables().alarms.all().any(is_it)
    }
}
