//! The Cluster service: who the members are, and changes of them.

use std::rc::Rc;

use ferrite_proto::etcdserverpb as pb;
use ferrite_raft::NodeId;
use ferrite_state::cluster::Member;

use super::Services;
use crate::membership;
use crate::rpc::{Caller, Router, Status};

pub fn register(router: &mut Router, services: &Rc<Services>) {
    let s = services.clone();
    router.unary("/etcdserverpb.Cluster/MemberAdd", async move |request, caller| add(&s, request, &caller).await);
    let s = services.clone();
    router.unary("/etcdserverpb.Cluster/MemberRemove", async move |request, caller| remove(&s, request, &caller).await);
    let s = services.clone();
    router.unary("/etcdserverpb.Cluster/MemberUpdate", async move |request, caller| update(&s, request, &caller).await);
    let s = services.clone();
    router
        .unary("/etcdserverpb.Cluster/MemberPromote", async move |request, caller| promote(&s, request, &caller).await);
    let s = services.clone();
    router.unary("/etcdserverpb.Cluster/MemberList", async move |request, caller| list(&s, request, &caller).await);
}

async fn add(
    services: &Services,
    request: pb::MemberAddRequest,
    caller: &Caller,
) -> Result<pb::MemberAddResponse, Status> {
    services.admit(caller)?;
    let handle = &services.handle;
    let (added, members) = membership::add(handle, &request.peer_ur_ls, request.is_learner).await?;
    Ok(pb::MemberAddResponse {
        header: Some(handle.header_without_revision()),
        member: Some(member(added)),
        members: all(members),
    })
}

async fn remove(
    services: &Services,
    request: pb::MemberRemoveRequest,
    caller: &Caller,
) -> Result<pb::MemberRemoveResponse, Status> {
    services.admit(caller)?;
    let handle = &services.handle;
    let members = membership::remove(handle, NodeId(request.id)).await?;
    Ok(pb::MemberRemoveResponse { header: Some(handle.header_without_revision()), members: all(members) })
}

async fn update(
    services: &Services,
    request: pb::MemberUpdateRequest,
    caller: &Caller,
) -> Result<pb::MemberUpdateResponse, Status> {
    services.admit(caller)?;
    let handle = &services.handle;
    let members = membership::update(handle, NodeId(request.id), request.peer_ur_ls).await?;
    Ok(pb::MemberUpdateResponse { header: Some(handle.header_without_revision()), members: all(members) })
}

async fn promote(
    services: &Services,
    request: pb::MemberPromoteRequest,
    caller: &Caller,
) -> Result<pb::MemberPromoteResponse, Status> {
    services.admit(caller)?;
    let handle = &services.handle;
    let members = membership::promote(handle, NodeId(request.id)).await?;
    Ok(pb::MemberPromoteResponse { header: Some(handle.header_without_revision()), members: all(members) })
}

async fn list(
    services: &Services,
    request: pb::MemberListRequest,
    caller: &Caller,
) -> Result<pb::MemberListResponse, Status> {
    services.admit(caller)?;
    let handle = &services.handle;
    if request.linearizable {
        handle.confirm_read().await?;
    }
    let members = handle.state().tables().cluster.members().cloned().collect();
    Ok(pb::MemberListResponse { header: Some(handle.header_without_revision()), members: all(members) })
}

fn all(members: Vec<Member>) -> Vec<pb::Member> {
    members.into_iter().map(member).collect()
}

fn member(member: Member) -> pb::Member {
    pb::Member {
        id: member.id.0,
        name: member.name,
        peer_ur_ls: member.peer_urls,
        client_ur_ls: member.client_urls,
        is_learner: member.is_learner,
    }
}
