//! Leases that come, go, and are noted.

use ferrite_proto::etcdserverpb as pb;
use ferrite_proto::etcdserverpb::ResponseHeader;
use ferrite_storage::{Effect, Table};

use super::State;
use crate::answer::Response;
use crate::cluster::ClusterVersion;
use crate::lease::{LeaseError, LeaseId, row_key};
use crate::mvcc::KeyRange;
use crate::tables::{no_row, row};
use crate::{Executed, Outcome};

/// Since this version the rest of a lease is in its row.
const CHECKPOINTS_KEPT: ClusterVersion = ClusterVersion::new(3, 6);

impl State {
    fn header(&self) -> Option<ResponseHeader> {
        Some(ResponseHeader { revision: self.revisions.current as i64, ..Default::default() })
    }

    pub(super) fn lease_grant(&mut self, grant: &pb::LeaseGrantRequest, effect: &mut Effect) -> Outcome {
        let id = LeaseId::new(grant.id).ok_or(LeaseError::NotFound)?;
        let mut lessor = self.shared.lessor.lock();
        let ttl = lessor.grant(id, grant.ttl)?;
        let stored = lessor.row(id).expect("just granted");
        drop(lessor);
        self.shared.counts.leases_granted.increment();
        self.shared.counts.lease_ttl.observe(ttl as f64);
        effect.rows.push(row(Table::Lease, row_key(id), stored));
        Ok(Response::LeaseGrant(pb::LeaseGrantResponse {
            header: self.header(),
            id: grant.id,
            ttl,
            error: String::new(),
        }))
    }

    pub(super) fn lease_revoke(&mut self, revoke: &pb::LeaseRevokeRequest, effect: &mut Effect) -> Outcome {
        let id = LeaseId::new(revoke.id).ok_or(LeaseError::NotFound)?;
        let keys = self.shared.lessor.lock().revoke(id)?;
        self.shared.counts.leases_revoked.increment();
        self.shared.counts.executed(Executed { deletes: keys.len() as u64, ..Executed::default() });
        let mut writer = self.writer();
        for key in keys {
            writer.delete_range(&KeyRange::single(bytes::Bytes::copy_from_slice(&key)));
        }
        let records = writer.finish();
        self.written(records, effect);
        effect.rows.push(no_row(Table::Lease, row_key(id)));
        Ok(Response::LeaseRevoke(pb::LeaseRevokeResponse { header: self.header() }))
    }

    pub(super) fn lease_checkpoint(&mut self, request: &pb::LeaseCheckpointRequest, effect: &mut Effect) -> Response {
        let version = self.tables().cluster.version();
        let kept = version.is_some_and(|version| version.without_patch() >= CHECKPOINTS_KEPT);
        let mut lessor = self.shared.lessor.lock();
        for checkpoint in &request.checkpoints {
            // A lease that is gone meanwhile is passed over.
            let Some(id) = LeaseId::new(checkpoint.id) else { continue };
            if lessor.checkpoint(id, checkpoint.remaining_ttl) && kept {
                effect.rows.extend(lessor.row(id).map(|stored| row(Table::Lease, row_key(id), stored)));
            }
        }
        drop(lessor);
        Response::LeaseCheckpoint(pb::LeaseCheckpointResponse { header: self.header() })
    }
}
