//! What is asked of leases and does not go through the log: only the leader knows how long they live. Other members hand
//! such calls on to it, over its peer port.
//!
//!   renew, time to live ──at the leader──▶ lessor
//!            └──elsewhere──POST /leases, /leases/internal──▶ the leader's peer port ──▶ here, at the leader

use std::time::Duration;

use bytes::Bytes;
use ferrite_proto::{etcdserverpb as pb, leasepb};
use ferrite_state::Response;
use ferrite_state::command::Caller as Proposer;
use ferrite_state::lease::{LeaseId, NotPrimary, Renewal};
use http::StatusCode;
use prost::Message;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::handle::{CallError, Handle};

/// Where the leader takes them.
pub const KEEP_ALIVE_PATH: &str = "/leases";
pub const TIME_TO_LIVE_PATH: &str = "/leases/internal";
/// What it writes and reads there.
pub const CONTENT_TYPE: &str = "application/protobuf";

/// Between two tries to reach a leader (etcd's number), and between two looks whether a lease has gone.
const PAUSE: Duration = Duration::from_millis(50);

/// Why there is no answer about a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseCallError {
    /// This member does not lead: ask the leader.
    NotPrimary,
    /// Nobody led for as long as a request may wait.
    NoLeader,
    Call(CallError),
}

impl From<CallError> for LeaseCallError {
    fn from(error: CallError) -> LeaseCallError {
        LeaseCallError::Call(error)
    }
}

impl From<NotPrimary> for LeaseCallError {
    fn from(_: NotPrimary) -> LeaseCallError {
        LeaseCallError::NotPrimary
    }
}

/// Gives a lease its whole TTL again, and says how long that is, in seconds; 0 if it is gone.
pub async fn renew(handle: &Handle, id: i64) -> Result<i64, LeaseCallError> {
    match renew_here(handle, id).await {
        Err(LeaseCallError::NotPrimary) => {}
        here => return here,
    }
    let request = pb::LeaseKeepAliveRequest { id }.encode_to_vec();
    let answer: Option<pb::LeaseKeepAliveResponse> = ask_leader(handle, KEEP_ALIVE_PATH, request.into()).await?;
    Ok(answer.map_or(0, |answer| answer.ttl))
}

/// The same at the leader. At another member: `NotPrimary`.
pub async fn renew_here(handle: &Handle, id: i64) -> Result<i64, LeaseCallError> {
    let Some(id) = LeaseId::new(id) else { return Ok(0) };
    let lessor = &handle.state().lessor;
    let give_up = Instant::now() + handle.timeout();
    let mut is_confirmed = false;
    let assurance = &handle.signals().assurance;
    let begun = handle.now();
    if lessor.is_primary() && !(handle.limits().renews_at_once && assurance.is_fresh(begun)) {
        handle.confirm_read().await?;
        is_confirmed = true;
        assurance.confirmed(begun);
    }
    loop {
        match lessor.renew(id, handle.now())? {
            Renewal::Renewed { ttl_seconds } => {
                handle.state().counts.leases_renewed.increment();
                return Ok(ttl_seconds);
            }
            // It may have been granted a moment ago, and not be applied yet.
            Renewal::NotFound if is_confirmed => return Ok(0),
            Renewal::NotFound => {
                handle.confirm_read().await?;
                is_confirmed = true;
            }
            Renewal::ClearCheckpoint if Instant::now() < give_up => clear_checkpoint(handle, id).await?,
            // Its revocation is on its way, if we still lead. Another one of ours could be handed on to a new leader,
            // which has given the lease its time again.
            Renewal::Expired if Instant::now() < give_up => sleep(PAUSE).await,
            // Or the log is so slow that there is a new rest in it each time.
            Renewal::Expired | Renewal::ClearCheckpoint => return Err(CallError::TimedOut.into()),
        }
    }
}

/// Ends a lease, and deletes its keys.
pub async fn revoke(handle: &Handle, id: i64) -> Result<Response, CallError> {
    let request = pb::LeaseRevokeRequest { id };
    let request = pb::InternalRaftRequest { lease_revoke: Some(request), ..Default::default() };
    handle.propose(&Proposer::default(), request).await
}

async fn clear_checkpoint(handle: &Handle, id: LeaseId) -> Result<(), CallError> {
    let checkpoint = pb::LeaseCheckpoint { id: id.get(), remaining_ttl: 0 };
    let request = pb::LeaseCheckpointRequest { checkpoints: vec![checkpoint] };
    let request = pb::InternalRaftRequest { lease_checkpoint: Some(request), ..Default::default() };
    handle.propose(&Proposer::default(), request).await.map(drop)
}

/// How long a lease still lives, and if asked its keys. `None` if there is none. The answer has no header yet.
pub async fn time_to_live(
    handle: &Handle,
    request: pb::LeaseTimeToLiveRequest,
) -> Result<Option<pb::LeaseTimeToLiveResponse>, LeaseCallError> {
    match time_to_live_here(handle, &request).await {
        Err(LeaseCallError::NotPrimary) => {}
        here => return here,
    }
    let request = leasepb::LeaseInternalRequest { lease_time_to_live_request: Some(request) }.encode_to_vec();
    let answer: Option<leasepb::LeaseInternalResponse> = ask_leader(handle, TIME_TO_LIVE_PATH, request.into()).await?;
    Ok(answer.and_then(|answer| answer.lease_time_to_live_response))
}

/// The same at the leader. At another member: `NotPrimary`.
pub async fn time_to_live_here(
    handle: &Handle,
    request: &pb::LeaseTimeToLiveRequest,
) -> Result<Option<pb::LeaseTimeToLiveResponse>, LeaseCallError> {
    let lessor = &handle.state().lessor;
    if !lessor.is_primary() {
        return Err(LeaseCallError::NotPrimary);
    }
    // What was committed before the question must be in the answer, and somebody else may lead by now.
    handle.confirm_read().await?;
    let Some(id) = LeaseId::new(request.id) else { return Ok(None) };
    let Some(found) = lessor.time_to_live(id, handle.now())? else { return Ok(None) };
    let keys = if request.keys { &found.keys[..] } else { &[] };
    Ok(Some(pb::LeaseTimeToLiveResponse {
        header: None,
        id: request.id,
        ttl: found.remaining_seconds,
        granted_ttl: found.granted_seconds,
        keys: keys.iter().map(|key| Bytes::copy_from_slice(key)).collect(),
    }))
}

/// Asks whoever leads, until one answers or time is up. `None`: there is no such lease.
async fn ask_leader<A: Message + Default>(
    handle: &Handle,
    path: &str,
    request: Bytes,
) -> Result<Option<A>, LeaseCallError> {
    let give_up = Instant::now() + handle.timeout();
    loop {
        let (leader, urls) = leader(handle, give_up).await?;
        for url in &urls {
            let left = give_up.saturating_duration_since(Instant::now());
            let asked = handle.peers().asker.post(url, path, CONTENT_TYPE, request.clone(), left);
            let Some(answer) = while_it_leads(handle.signals().leadership.subscribe(), leader, asked).await else {
                break;
            };
            match answer {
                Ok(answer) if answer.status == StatusCode::NOT_FOUND => return Ok(None),
                // What cannot be read is taken for no answer.
                Ok(answer) if answer.status == StatusCode::OK => {
                    if let Ok(answer) = A::decode(answer.body) {
                        return Ok(Some(answer));
                    }
                }
                Ok(_) | Err(_) => {}
            }
        }
        if Instant::now() >= give_up {
            return Err(CallError::TimedOut.into());
        }
        sleep(PAUSE).await;
    }
}

/// What comes of a question to `leader`; `None` if it leads no more. One that is frozen would be waited for to the end,
/// while its successor lets the lease run out.
async fn while_it_leads<T>(
    mut leadership: watch::Receiver<u64>,
    leader: u64,
    asked: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        biased;
        answer = asked => Some(answer),
        _ = leadership.wait_for(|known| *known != leader) => None,
    }
}

/// Who leads, and where it is reached, as soon as there is somebody.
async fn leader(handle: &Handle, give_up: Instant) -> Result<(u64, Vec<String>), LeaseCallError> {
    let mut leadership = handle.signals().leadership.subscribe();
    let leader = tokio::time::timeout_at(give_up, leadership.wait_for(|leader| *leader != 0)).await;
    let leader = match leader {
        Ok(Ok(leader)) => *leader,
        Ok(Err(_)) => return Err(CallError::Stopped.into()),
        Err(_) => return Err(LeaseCallError::NoLeader),
    };
    let tables = handle.state().tables();
    let member = tables.cluster.members().find(|member| member.id.0 == leader);
    Ok((leader, member.map(|member| member.peer_urls.clone()).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test]
    async fn a_leader_that_is_none_any_more_is_not_waited_for() {
        let (leadership, known) = watch::channel(1);
        assert_eq!(while_it_leads(known.clone(), 1, async { 7 }).await, Some(7));
        assert_eq!(while_it_leads(known.clone(), 2, pending::<()>()).await, None);
        let asked = tokio::spawn(while_it_leads(known, 1, pending::<()>()));
        leadership.send_replace(0);
        assert_eq!(asked.await.unwrap(), None);
    }
}
