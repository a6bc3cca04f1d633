//! The Maintenance service.

use std::rc::Rc;
use std::time::Instant;

use ferrite_proto::etcdserverpb as pb;
use ferrite_proto::etcdserverpb::AlarmType;
use ferrite_proto::etcdserverpb::alarm_request::AlarmAction;
use ferrite_raft::NodeId;
use ferrite_state::Response;
use ferrite_state::command::Caller as Proposer;

use super::error::RequestError;
use super::{Services, snapshot};
use crate::handle::Handle;
use crate::membership;
use crate::rpc::{Caller, Router, Status};
use crate::version;

/// etcd's quota when none is given.
const DEFAULT_QUOTA_BYTES: i64 = 2 << 30;

pub fn register(router: &mut Router, services: &Rc<Services>) {
    let s = services.clone();
    router.unary("/etcdserverpb.Maintenance/Alarm", async move |request, caller| alarm(&s, request, &caller).await);
    let s = services.clone();
    router.unary("/etcdserverpb.Maintenance/Status", async move |_: pb::StatusRequest, caller| status(&s, &caller));
    let s = services.clone();
    router.unary("/etcdserverpb.Maintenance/Defragment", async move |_: pb::DefragmentRequest, caller| {
        s.admit(&caller)?;
        let _pause = s.settings.pauses_on_defragment.then(|| s.handle.pause());
        s.handle.defragment().await?;
        Ok(pb::DefragmentResponse::default())
    });
    let s = services.clone();
    router.unary("/etcdserverpb.Maintenance/MoveLeader", async move |request, caller| {
        move_leader(&s, request, &caller).await
    });
    let s = services.clone();
    router.unary("/etcdserverpb.Maintenance/HashKV", async move |request, caller| hash_kv(&s, &request, &caller).await);
    let s = services.clone();
    router.unary("/etcdserverpb.Maintenance/Hash", async move |_: pb::HashRequest, caller| hash(&s, &caller).await);
    let s = services.clone();
    router.server_stream("/etcdserverpb.Maintenance/Snapshot", async move |_: pb::SnapshotRequest, replies, caller| {
        snapshot::send(&s, replies, &caller).await
    });
}

async fn move_leader(
    services: &Services,
    request: pb::MoveLeaderRequest,
    caller: &Caller,
) -> Result<pb::MoveLeaderResponse, Status> {
    services.admit(caller)?;
    membership::move_leader(&services.handle, NodeId(request.target_id)).await?;
    Ok(pb::MoveLeaderResponse::default())
}

/// The quota in force; `None` is no limit.
pub fn quota(configured: i64) -> Option<u64> {
    match configured {
        0 => Some(DEFAULT_QUOTA_BYTES as u64),
        configured => u64::try_from(configured).ok(),
    }
}

/// Raises this member's NOSPACE alarm. Who meets the quota is refused, whatever comes of this.
pub async fn raise_no_space(handle: &Handle) {
    let own = handle.ids().member.0;
    let is_raised = |alarm: pb::AlarmMember| alarm.member_id == own && alarm.alarm == AlarmType::Nospace as i32;
    if handle.state().tables().alarms.all().any(is_raised) {
        return;
    }
    let request =
        pb::AlarmRequest { action: AlarmAction::Activate as i32, member_id: own, alarm: AlarmType::Nospace as i32 };
    let request = pb::InternalRaftRequest { alarm: Some(request), ..Default::default() };
    let _ = handle.propose(&Proposer::default(), request).await;
}

async fn alarm(services: &Services, request: pb::AlarmRequest, caller: &Caller) -> Result<pb::AlarmResponse, Status> {
    services.admit(caller)?;
    if AlarmAction::try_from(request.action).is_err() {
        return Err(RequestError::UnknownAlarmAction.into());
    }
    let request = pb::InternalRaftRequest { alarm: Some(request), ..Default::default() };
    let response = services.handle.propose(&Proposer::default(), request).await?;
    let header = Some(services.handle.header(0));
    match response {
        Response::Alarm(answer) => Ok(pb::AlarmResponse { header, ..answer }),
        _ => Ok(pb::AlarmResponse { header, ..Default::default() }),
    }
}

fn status(services: &Services, caller: &Caller) -> Result<pb::StatusResponse, Status> {
    services.admit_at_learner(caller)?;
    let handle = &services.handle;
    let (tables, sizes, progress) = (handle.state().tables(), handle.sizes().get(), handle.progress());
    let (leader, own) = (handle.leader(), handle.ids().member);
    let mut errors = Vec::new();
    if leader == 0 {
        errors.push("etcdserver: no leader".to_string());
    }
    errors.extend(tables.alarms.all().map(|alarm| {
        let name = AlarmType::try_from(alarm.alarm)
            .map_or_else(|_| alarm.alarm.to_string(), |kind| kind.as_str_name().to_string());
        format!("memberID:{} alarm:{name}", alarm.member_id)
    }));
    let downgrade = tables.cluster.downgrade();
    Ok(pb::StatusResponse {
        header: Some(handle.header(0)),
        version: version::ETCD.to_string(),
        db_size: sizes.bytes_written as i64,
        leader,
        raft_index: progress.committed().0,
        raft_term: progress.applied_term().0,
        raft_applied_index: progress.applied().0,
        errors,
        db_size_in_use: sizes.bytes_alive as i64,
        is_learner: tables.cluster.member(own).is_some_and(|member| member.is_learner),
        storage_version: tables.cluster.storage_version().map_or_else(String::new, ToString::to_string),
        db_size_quota: if services.settings.quota_bytes == 0 {
            DEFAULT_QUOTA_BYTES
        } else {
            services.settings.quota_bytes
        },
        downgrade_info: Some(pb::DowngradeInfo {
            enabled: downgrade.enabled,
            target_version: downgrade.target_version.clone(),
        }),
    })
}

async fn hash_kv(
    services: &Services,
    request: &pb::HashKvRequest,
    caller: &Caller,
) -> Result<pb::HashKvResponse, Status> {
    services.admit(caller)?;
    let handle = &services.handle;
    let revision = request.revision;
    let begun = Instant::now();
    let found = handle.read(move |state| state.keyspace().hash_kv(revision)).await??;
    handle.metrics().hash_of_revision.observe_seconds(begun.elapsed());
    Ok(pb::HashKvResponse {
        header: Some(handle.header(0)),
        hash: found.hash,
        compact_revision: found.compact_revision,
        hash_revision: found.revision,
    })
}

/// The hash of everything this member holds: keys, and the rows of the other tables.
async fn hash(services: &Services, caller: &Caller) -> Result<pb::HashResponse, Status> {
    services.admit(caller)?;
    let handle = &services.handle;
    let begun = Instant::now();
    let (hash, _) = handle.read(|state| state.hash()).await?;
    handle.metrics().hash.observe_seconds(begun.elapsed());
    Ok(pb::HashResponse { header: Some(handle.header(0)), hash })
}
