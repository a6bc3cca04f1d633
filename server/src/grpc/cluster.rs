//! The Cluster service: so far, who the members are.

use std::rc::Rc;

use ferrite_proto::etcdserverpb as pb;
use ferrite_state::cluster::Member;

use super::Services;
use crate::rpc::{Caller, Router, Status};

pub fn register(router: &mut Router, services: &Rc<Services>) {
    let s = services.clone();
    router.unary("/etcdserverpb.Cluster/MemberList", async move |request, caller| list(&s, request, &caller).await);
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
    let tables = handle.state().tables();
    let members = tables.cluster.members().map(member).collect();
    Ok(pb::MemberListResponse { header: Some(handle.header_without_revision()), members })
}

fn member(member: &Member) -> pb::Member {
    pb::Member {
        id: member.id.0,
        name: member.name.clone(),
        peer_ur_ls: member.peer_urls.clone(),
        client_ur_ls: member.client_urls.clone(),
        is_learner: member.is_learner,
    }
}
