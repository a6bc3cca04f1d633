//! The Lease service.

use std::rc::Rc;

use bytes::Bytes;
use ferrite_proto::etcdserverpb as pb;
use ferrite_state::command::Caller as Proposer;
use ferrite_state::lease::{LeaseId, Renewal};
use ferrite_state::{ApplyError, Response};

use super::Services;
use crate::handle::CallError;
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
    router.unary("/etcdserverpb.Lease/LeaseLeases", async move |_: pb::LeaseLeasesRequest, caller| leases(&s, &caller));
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
    let response = services.propose_revoke(request.id).await?;
    Ok(pb::LeaseRevokeResponse { header: Some(services.handle.header(response.revision())) })
}

/// One answer for each request, in order. A lease that is gone is answered with a TTL of 0, and the stream goes on.
async fn keep_alive(
    services: &Services,
    mut requests: Requests<pb::LeaseKeepAliveRequest>,
    mut replies: Replies,
    caller: &Caller,
) -> Result<(), Status> {
    services.admit(caller)?;
    while let Some(request) = requests.next().await? {
        let header = Some(services.handle.header(0));
        let ttl = services.renew(request.id).await?;
        replies.send(pb::LeaseKeepAliveResponse { header, id: request.id, ttl }).await?;
    }
    Ok(())
}

async fn time_to_live(
    services: &Services,
    request: pb::LeaseTimeToLiveRequest,
    caller: &Caller,
) -> Result<pb::LeaseTimeToLiveResponse, Status> {
    services.admit(caller)?;
    let handle = &services.handle;
    // What was committed before the question must be in the answer.
    handle.confirm_read().await?;
    let found = match LeaseId::new(request.id) {
        Some(id) => handle.state().lessor.time_to_live(id, handle.now())?,
        None => None,
    };
    let header = Some(handle.header(0));
    let missing = pb::LeaseTimeToLiveResponse { header, id: request.id, ttl: -1, ..Default::default() };
    Ok(found.map_or(missing, |found| pb::LeaseTimeToLiveResponse {
        header,
        id: request.id,
        ttl: found.remaining_seconds,
        granted_ttl: found.granted_seconds,
        keys: if request.keys {
            found.keys.iter().map(|key| Bytes::copy_from_slice(key)).collect()
        } else {
            Vec::new()
        },
    }))
}

fn leases(services: &Services, caller: &Caller) -> Result<pb::LeaseLeasesResponse, Status> {
    services.admit(caller)?;
    let handle = &services.handle;
    let leases = handle.state().lessor.list(handle.now()).into_iter().map(|id| pb::LeaseStatus { id: id.get() });
    Ok(pb::LeaseLeasesResponse { header: Some(handle.header(0)), leases: leases.collect() })
}

impl Services {
    async fn propose_revoke(&self, id: i64) -> Result<Response, CallError> {
        let request = pb::LeaseRevokeRequest { id };
        let request = pb::InternalRaftRequest { lease_revoke: Some(request), ..Default::default() };
        self.handle.propose(&Proposer::default(), request).await
    }

    /// Gives a lease its whole TTL again, and says how long that is; 0 if it is gone.
    async fn renew(&self, id: i64) -> Result<i64, Status> {
        let Some(id) = LeaseId::new(id) else { return Ok(0) };
        let lessor = &self.handle.state().lessor;
        let mut is_confirmed = false;
        if !self.settings.renews_at_once {
            self.handle.confirm_read().await?;
            is_confirmed = true;
        }
        loop {
            match lessor.renew(id, self.handle.now())? {
                Renewal::Renewed { ttl_seconds } => {
                    self.handle.state().counts.leases_renewed.increment();
                    return Ok(ttl_seconds);
                }
                // It may have been granted a moment ago, and not be applied yet.
                Renewal::NotFound if is_confirmed => return Ok(0),
                Renewal::NotFound => {
                    self.handle.confirm_read().await?;
                    is_confirmed = true;
                }
                Renewal::ClearCheckpoint => self.clear_checkpoint(id).await?,
                Renewal::Expired => {
                    // Its revocation is on its way; this one is behind it in the log, or does its work.
                    match self.propose_revoke(id.get()).await {
                        Ok(_) | Err(CallError::Refused(ApplyError::Lease(_))) => return Ok(0),
                        Err(error) => return Err(error.into()),
                    }
                }
            }
        }
    }

    async fn clear_checkpoint(&self, id: LeaseId) -> Result<(), CallError> {
        let checkpoint = pb::LeaseCheckpoint { id: id.get(), remaining_ttl: 0 };
        let request = pb::LeaseCheckpointRequest { checkpoints: vec![checkpoint] };
        let request = pb::InternalRaftRequest { lease_checkpoint: Some(request), ..Default::default() };
        self.handle.propose(&Proposer::default(), request).await.map(drop)
    }
}
