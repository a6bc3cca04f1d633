//! The Lease service.

use std::rc::Rc;

use ferrite_proto::etcdserverpb as pb;
use ferrite_state::Response;
use ferrite_state::command::Caller as Proposer;

use super::Services;
use crate::leases;
use crate::rpc::{Caller, Replies, Requests, Router, Status};

pub fn register(router: &mut Router, services: &Rc<Services>) {
    let s = services.clone();
    router.unary("/etcdserverpb.Lease/LeaseGrant", async move |request, caller| grant(&s, request, &caller).await);
    let s = services.clone();
    router.unary("/etcdserverpb.Lease/LeaseRevoke", async move |request, caller| revoke(&s, request, &caller).await);
    let s = services.clone();
    router.bidi_stream("/etcdserverpb.Lease/LeaseKeepAlive", async move |requests, replies, caller| {
        s.serve_stream(&caller, keep_alive(&s, requests, replies, &caller)).await
    });
    let s = services.clone();
    router.unary("/etcdserverpb.Lease/LeaseTimeToLive", async move |request, caller| {
        time_to_live(&s, request, &caller).await
    });
    let s = services.clone();
    router.unary("/etcdserverpb.Lease/LeaseLeases", async move |_: pb::LeaseLeasesRequest, caller| {
        leases(&s, &caller).await
    });
}

async fn grant(
    services: &Services,
    mut request: pb::LeaseGrantRequest,
    caller: &Caller,
) -> Result<pb::LeaseGrantResponse, Status> {
    services.admit(caller)?;
    services.room_for_lease().await?;
    while request.id == 0 {
        request.id = (services.handle.next_id().0 & i64::MAX as u64) as i64;
    }
    let request = pb::InternalRaftRequest { lease_grant: Some(request), ..Default::default() };
    let response = services.handle.propose(&Proposer::default(), request).await?;
    let header = Some(services.handle.header(response.revision()));
    match response {
        Response::LeaseGrant(granted) => Ok(pb::LeaseGrantResponse { header, ..granted }),
        _ => Ok(pb::LeaseGrantResponse { header, ..Default::default() }),
    }
}

async fn revoke(
    services: &Services,
    request: pb::LeaseRevokeRequest,
    caller: &Caller,
) -> Result<pb::LeaseRevokeResponse, Status> {
    services.admit(caller)?;
    let response = leases::revoke(&services.handle, request.id).await?;
    Ok(pb::LeaseRevokeResponse { header: Some(services.handle.header(response.revision())) })
}

/// Renewals of one stream at a time. A client renews all its leases there, and a renewal may have to wait for the log: one
/// after the other, those behind would run out.
const RENEWALS: usize = 256;

/// One answer for each request, in order. A lease that is gone is answered with a TTL of 0, and the stream goes on.
async fn keep_alive(
    services: &Services,
    requests: Requests<pb::LeaseKeepAliveRequest>,
    replies: Replies,
    caller: &Caller,
) -> Result<(), Status> {
    services.admit(caller)?;
    let renew = async |request: pb::LeaseKeepAliveRequest| {
        let header = Some(services.handle.header(0));
        let ttl = leases::renew(&services.handle, request.id).await?;
        Ok(pb::LeaseKeepAliveResponse { header, id: request.id, ttl })
    };
    requests.answer_each(replies, RENEWALS, renew).await
}

async fn time_to_live(
    services: &Services,
    request: pb::LeaseTimeToLiveRequest,
    caller: &Caller,
) -> Result<pb::LeaseTimeToLiveResponse, Status> {
    services.admit(caller)?;
    let id = request.id;
    let found = leases::time_to_live(&services.handle, request).await?;
    let header = Some(services.handle.header(0));
    Ok(match found {
        Some(found) => pb::LeaseTimeToLiveResponse { header, ..found },
        None => pb::LeaseTimeToLiveResponse { header, id, ttl: -1, ..Default::default() },
    })
}

async fn leases(services: &Services, caller: &Caller) -> Result<pb::LeaseLeasesResponse, Status> {
    services.admit(caller)?;
    let handle = &services.handle;
    // A million of them take a while to sort, and others wait on this thread.
    let now = handle.now();
    let leases = handle.read(move |state| state.lessor.list(now)).await?;
    let leases = leases.into_iter().map(|id| pb::LeaseStatus { id: id.get() });
    Ok(pb::LeaseLeasesResponse { header: Some(handle.header(0)), leases: leases.collect() })
}
