//! What a request is called in metrics.

use ferrite_proto::etcdserverpb as pb;

use super::Command;

/// The kind of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    Range,
    /// A transaction that does not go through the log.
    ReadonlyTxn,
    Put,
    DeleteRange,
    Txn,
    Compaction,
    LeaseGrant,
    LeaseRevoke,
    LeaseCheckpoint,
    Alarm,
    ClusterVersionSet,
    ClusterMemberAttrSet,
    DowngradeInfoSet,
    DowngradeVersionTest,
    Unknown,
}

impl Kind {
    pub const ALL: [Kind; 15] = [
        Kind::Range,
        Kind::ReadonlyTxn,
        Kind::Put,
        Kind::DeleteRange,
        Kind::Txn,
        Kind::Compaction,
        Kind::LeaseGrant,
        Kind::LeaseRevoke,
        Kind::LeaseCheckpoint,
        Kind::Alarm,
        Kind::ClusterVersionSet,
        Kind::ClusterMemberAttrSet,
        Kind::DowngradeInfoSet,
        Kind::DowngradeVersionTest,
        Kind::Unknown,
    ];

    /// etcd's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Range => "Range",
            Kind::ReadonlyTxn => "ReadonlyTxn",
            Kind::Put => "Put",
            Kind::DeleteRange => "DeleteRange",
            Kind::Txn => "Txn",
            Kind::Compaction => "Compaction",
            Kind::LeaseGrant => "LeaseGrant",
            Kind::LeaseRevoke => "LeaseRevoke",
            Kind::LeaseCheckpoint => "LeaseCheckpoint",
            Kind::Alarm => "Alarm",
            Kind::ClusterVersionSet => "ClusterVersionSet",
            Kind::ClusterMemberAttrSet => "ClusterMemberAttrSet",
            Kind::DowngradeInfoSet => "DowngradeInfoSet",
            Kind::DowngradeVersionTest => "DowngradeVersionTest",
            Kind::Unknown => "Unknown",
        }
    }

    /// The kind of a request that is about to be proposed.
    pub fn of(request: &pb::InternalRaftRequest) -> Kind {
        let fields = [
            (request.range.is_some(), Kind::Range),
            (request.put.is_some(), Kind::Put),
            (request.delete_range.is_some(), Kind::DeleteRange),
            (request.txn.is_some(), Kind::Txn),
            (request.compaction.is_some(), Kind::Compaction),
            (request.lease_grant.is_some(), Kind::LeaseGrant),
            (request.lease_revoke.is_some(), Kind::LeaseRevoke),
            (request.lease_checkpoint.is_some(), Kind::LeaseCheckpoint),
            (request.alarm.is_some(), Kind::Alarm),
            (request.cluster_version_set.is_some(), Kind::ClusterVersionSet),
            (request.cluster_member_attr_set.is_some(), Kind::ClusterMemberAttrSet),
            (request.downgrade_info_set.is_some(), Kind::DowngradeInfoSet),
        ];
        fields.into_iter().find_map(|(is_set, kind)| is_set.then_some(kind)).unwrap_or(Kind::Unknown)
    }
}

impl Command {
    /// Its kind; `None` for what Raft itself puts into the log.
    pub fn kind(&self) -> Option<Kind> {
        Some(match self {
            Command::Noop | Command::ConfChange(_) => return None,
            Command::Range(_) => Kind::Range,
            Command::Put(_) => Kind::Put,
            Command::DeleteRange(_) => Kind::DeleteRange,
            Command::Txn(_) => Kind::Txn,
            Command::Compaction(_) => Kind::Compaction,
            Command::LeaseGrant(_) => Kind::LeaseGrant,
            Command::LeaseRevoke(_) => Kind::LeaseRevoke,
            Command::LeaseCheckpoint(_) => Kind::LeaseCheckpoint,
            Command::Alarm(_) => Kind::Alarm,
            Command::Auth(_) => Kind::Unknown,
            Command::ClusterVersionSet(_) => Kind::ClusterVersionSet,
            Command::MemberAttributesSet(_) => Kind::ClusterMemberAttrSet,
            Command::DowngradeInfoSet(_) => Kind::DowngradeInfoSet,
            Command::DowngradeVersionTest => Kind::DowngradeVersionTest,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_stand_in_their_order() {
        for (at, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, at, "{}", kind.name());
        }
    }

    #[test]
    fn a_request_has_the_kind_of_its_command() {
        let put = pb::PutRequest::default();
        let request = pb::InternalRaftRequest { put: Some(put.clone()), ..Default::default() };
        assert_eq!((Kind::of(&request), Command::Put(put).kind()), (Kind::Put, Some(Kind::Put)));
        assert_eq!((Kind::of(&pb::InternalRaftRequest::default()), Command::Noop.kind()), (Kind::Unknown, None));
    }
}
