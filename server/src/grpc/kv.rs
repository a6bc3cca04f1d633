//! The KV service.

use std::rc::Rc;

use ferrite_proto::etcdserverpb as pb;
use ferrite_state::Response;
use ferrite_state::answer::RangeAnswer;
use ferrite_state::command::{Caller as Proposer, Txn, put_cost};
use ferrite_state::mvcc::RangeStream;

use super::error::RequestError;
use super::{Services, answer, check};
use crate::rpc::{Body, Caller, Code, Raw, Replies, Router, Status};

/// Fields of `InternalRaftRequest`.
const PUT: u32 = 4;
const DELETE_RANGE: u32 = 5;
const TXN: u32 = 6;

/// Keys in the first part of a stream.
const FIRST_PART_KEYS: u64 = 10;

pub fn register(router: &mut Router, services: &Rc<Services>) {
    let of = |services: &Rc<Services>| services.clone();
    let s = of(services);
    router.unary("/etcdserverpb.KV/Range", async move |request, caller| range(&s, request, &caller).await);
    let s = of(services);
    router.server_stream("/etcdserverpb.KV/RangeStream", async move |request, replies, caller| {
        range_stream(&s, request, replies, &caller).await
    });
    let s = of(services);
    router.unary("/etcdserverpb.KV/Put", async move |request, caller| put(&s, request, &caller).await);
    let s = of(services);
    router.unary("/etcdserverpb.KV/DeleteRange", async move |request, caller| delete_range(&s, request, &caller).await);
    let s = of(services);
    router.unary("/etcdserverpb.KV/Txn", async move |request: Raw, caller| txn(&s, request, &caller).await);
    let s = of(services);
    router.unary("/etcdserverpb.KV/Compact", async move |request, caller| compact(&s, request, &caller).await);
}

async fn range(services: &Services, request: pb::RangeRequest, caller: &Caller) -> Result<Body, Status> {
    services.admit(caller)?;
    check::range(&request)?;
    if !request.serializable {
        services.handle.confirm_read().await?;
    }
    let found = services.handle.state().keyspace.range(&request)?;
    Ok(answer::range(&found, Some(&services.handle.header(found.revision))))
}

async fn range_stream(
    services: &Services,
    request: pb::RangeRequest,
    mut replies: Replies,
    caller: &Caller,
) -> Result<(), Status> {
    services.admit(caller)?;
    check::range_stream(&request)?;
    let handle = &services.handle;
    if !request.serializable {
        handle.confirm_read().await?;
    }
    let keyspace = &handle.state().keyspace;
    if request.count_only {
        let found = keyspace.range(&request)?;
        replies.send(stream_part(&found, Some(handle.header(found.revision)))).await?;
        return Ok(());
    }
    let header = handle.header(0);
    let revision = if request.revision > 0 { request.revision } else { header.revision };
    let mut stream = RangeStream::new(&request);
    let mut keys = if request.limit < 0 { u64::MAX } else { FIRST_PART_KEYS };
    loop {
        // Pinned for this part only: a client that stalls must not keep what has been compacted.
        let part = stream.next(&keyspace.view(revision)?, keys).map_err(ferrite_state::ReadError::from)?;
        let end = part.end;
        let found = RangeAnswer {
            revision: header.revision,
            kvs: part.kvs,
            more: end.is_some_and(|end| end.more),
            count: end.map_or(0, |end| end.count as i64),
        };
        let body = stream_part(&found, end.is_some().then_some(header));
        let bytes = body.len();
        replies.send(body).await?;
        if end.is_some() {
            return Ok(());
        }
        let wanted = services.settings.max_request_bytes;
        if bytes < wanted / 2 {
            keys = keys.saturating_mul(2);
        } else if bytes > 2 * wanted {
            keys = (keys / 2).max(1);
        }
    }
}

/// `RangeStreamResponse`: a `RangeResponse` in field 1.
fn stream_part(found: &RangeAnswer, header: Option<pb::ResponseHeader>) -> Body {
    answer::range(found, header.as_ref()).nested(1)
}

async fn put(services: &Services, request: pb::PutRequest, caller: &Caller) -> Result<Body, Status> {
    services.admit(caller)?;
    services.room_for(put_cost(&request)).await?;
    check::put(&request)?;
    let request = pb::InternalRaftRequest { put: Some(request), ..Default::default() };
    match services.handle.propose(&Proposer::default(), request).await? {
        Response::Put(applied) => Ok(answer::put(&applied, &services.handle.header(applied.revision))),
        other => Err(unexpected(PUT, &other)),
    }
}

async fn delete_range(services: &Services, request: pb::DeleteRangeRequest, caller: &Caller) -> Result<Body, Status> {
    services.admit(caller)?;
    check::delete_range(&request)?;
    let request = pb::InternalRaftRequest { delete_range: Some(request), ..Default::default() };
    match services.handle.propose(&Proposer::default(), request).await? {
        Response::DeleteRange(applied) => Ok(answer::delete_range(&applied, &services.handle.header(applied.revision))),
        other => Err(unexpected(DELETE_RANGE, &other)),
    }
}

/// A transaction stays as it came, encoded: however deep it nests, it is parsed, judged and run without recursion.
async fn txn(services: &Services, Raw(request): Raw, caller: &Caller) -> Result<Body, Status> {
    services.admit(caller)?;
    let malformed = |error| Status::new(Code::Internal, format!("grpc: error unmarshalling request: {error}"));
    let txn = Txn::parse(request.clone()).map_err(malformed)?;
    services.room_for(txn.cost()).await?;
    check::txn(&txn, services.settings.max_txn_ops)?;
    let shape = txn.shape();
    let handle = &services.handle;
    if shape.read_only {
        if !shape.serializable {
            handle.confirm_read().await?;
        }
        let found = handle.state().keyspace.txn_read(&txn)?;
        return Ok(answer::txn(&found, &handle.header(found.revision)));
    }
    drop(txn);
    match handle.propose_parsed(&Proposer::default(), TXN, &request).await? {
        Response::Txn(applied) => Ok(answer::txn(&applied, &handle.header(applied.revision))),
        other => Err(unexpected(TXN, &other)),
    }
}

async fn compact(
    services: &Services,
    request: pb::CompactionRequest,
    caller: &Caller,
) -> Result<pb::CompactionResponse, Status> {
    services.admit(caller)?;
    let physical = request.physical;
    let request = pb::InternalRaftRequest { compaction: Some(request), ..Default::default() };
    let response = match physical {
        true => services.handle.propose_patiently(&Proposer::default(), request).await?,
        false => services.handle.propose(&Proposer::default(), request).await?,
    };
    Ok(pb::CompactionResponse { header: Some(services.handle.header(response.revision())) })
}

/// The state machine answers each command in kind; that it did not is a defect of ours.
fn unexpected(field: u32, response: &Response) -> Status {
    let text = format!("the request in field {field} was answered with {response:?}");
    Status::new(Code::Internal, text)
}

impl Services {
    /// Refuses what would make the store larger than its quota, and says so to the cluster.
    async fn room_for(&self, cost: u64) -> Result<(), Status> {
        let Some(quota) = super::maintenance::quota(self.settings.quota_bytes) else { return Ok(()) };
        if cost == 0 || self.handle.sizes().get().bytes_written.saturating_add(cost) < quota {
            return Ok(());
        }
        super::maintenance::raise_no_space(&self.handle).await;
        Err(RequestError::NoSpace.into())
    }

    /// The same for a lease.
    pub(super) async fn room_for_lease(&self) -> Result<(), Status> {
        self.room_for(LEASE_COST).await
    }
}

/// What a lease may add to the store, as etcd reckons for the quota.
const LEASE_COST: u64 = 64;
