//! The KV service.

use std::rc::Rc;
use std::time::Instant;

use ferrite_proto::etcdserverpb as pb;
use ferrite_state::answer::RangeAnswer;
use ferrite_state::command::{Caller as Proposer, LevelId, Op, Txn, put_cost};
use ferrite_state::mvcc::{KeyRange, RangeStream};
use ferrite_state::{Executed, Response, Shared};

use super::error::RequestError;
use super::{Services, answer, check};
use crate::handle::Handle;
use crate::rpc::{Body, Caller, Code, Raw, Replies, Router, Share, Status};

/// Fields of `InternalRaftRequest`.
const PUT: u32 = 4;
const DELETE_RANGE: u32 = 5;
const TXN: u32 = 6;

/// Keys in the first part of a stream.
const FIRST_PART_KEYS: u64 = 10;

/// A range over more keys is not read where other calls wait.
const SHORT_RANGE_KEYS: u64 = 512;

pub fn register(router: &mut Router, services: &Rc<Services>) {
    let of = |services: &Rc<Services>| services.clone();
    let s = of(services);
    router.unary("/etcdserverpb.KV/Range", async move |request, caller| range(&s, request, &caller).await);
    let s = of(services);
    router.server_stream("/etcdserverpb.KV/RangeStream", async move |request, replies, caller| {
        s.serve_stream(&caller, range_stream(&s, request, replies, &caller)).await
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
    match request.serializable {
        true => services.admit_at_learner(caller)?,
        false => services.admit(caller)?,
    }
    check::range(&request)?;
    let handle = &services.handle;
    // The clock is looked at again only after waiting: it costs as much as many reads do.
    let mut confirmed = caller.arrived;
    if !request.serializable && handle.confirm_read().await? {
        confirmed = Instant::now();
    }
    let answer = if request.range_end.is_empty() {
        let found = handle.sound(handle.state().keyspace().range(&request)).map_err(Status::from);
        found.map(|found| answer::range(&found, Some(&handle.header(found.revision))))
    } else {
        // The answer is put together where its values have just been read: they are in that core's caches.
        let header = handle.header_without_revision();
        let is_short = is_short(handle, &request);
        services
            .read_with_room(is_short, move |state, share| {
                let found = state.keyspace().range_within(&request, share)?;
                Ok(answer::range(&found, Some(&pb::ResponseHeader { revision: found.revision, ..header })))
            })
            .await
    };
    handle.state().counts.executed(Executed { ranges: 1, ..Executed::default() });
    handle.metrics().ranged(caller.arrived, confirmed, answer.is_ok());
    answer
}

/// Whether a range takes no longer than others of this thread may be made to wait.
fn is_short(handle: &Handle, request: &pb::RangeRequest) -> bool {
    let is_current = request.revision <= 0;
    if request.range_end.is_empty() || request.count_only && is_current {
        return true;
    }
    // The first keys are enough only where they come in their order and none is left out.
    if check::range_stream(request).is_ok() && is_current && (1..=SHORT_RANGE_KEYS as i64).contains(&request.limit) {
        return true;
    }
    let range = KeyRange::new(request.key.clone(), &request.range_end);
    is_current && handle.state().keyspace().view(0).is_ok_and(|view| view.count(&range) <= SHORT_RANGE_KEYS)
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
    if request.count_only {
        let found = handle.sound(handle.read(move |state| state.keyspace().range(&request)).await?)?;
        replies.send_or_give_up(stream_part(&found, Some(handle.header(found.revision)))).await?;
        return Ok(());
    }
    let header = handle.header(0);
    let revision = if request.revision > 0 { request.revision } else { header.revision };
    let mut stream = RangeStream::new(&request);
    let mut keys = if request.limit < 0 { u64::MAX } else { FIRST_PART_KEYS };
    loop {
        // Pinned for this part only: a client that stalls must not keep what has been compacted.
        let read = move |state: &Shared, share: &mut Share| {
            let mut next = stream.clone();
            let part = next.next(&state.keyspace().view(revision)?, keys, share)?;
            Ok((next, part))
        };
        let ((next, part), share) = services.read_sharing(services.budget.share(), read).await?;
        stream = next;
        let end = part.end;
        let found = RangeAnswer {
            revision: header.revision,
            kvs: part.kvs,
            more: end.is_some_and(|end| end.more),
            count: end.map_or(0, |end| end.count as i64),
        };
        let body = stream_part(&found, end.is_some().then_some(header)).held_by(share);
        let bytes = body.len();
        replies.send_or_give_up(body).await?;
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
    let share = services.room_for_answer(previous_values(&request).into_iter().collect()).await?;
    let request = pb::InternalRaftRequest { delete_range: Some(request), ..Default::default() };
    match services.handle.propose(&Proposer::default(), request).await? {
        Response::DeleteRange(applied) => {
            Ok(answer::delete_range(&applied, &services.handle.header(applied.revision)).held_by(share))
        }
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
        let ranges = txn.compares() + txn.level(LevelId::OUTERMOST).success.len() as u64;
        if !shape.serializable {
            handle.confirm_read().await?;
        }
        let header = handle.header_without_revision();
        let is_short = is_short_txn(handle, &txn);
        let read = move |state: &Shared, share: &mut Share| {
            let found = state.keyspace().txn_read(&txn, share)?;
            Ok(answer::txn(&found, &pb::ResponseHeader { revision: found.revision, ..header }))
        };
        let answer = services.read_with_room(is_short, read).await;
        handle.state().counts.executed(Executed { ranges, ..Executed::default() });
        handle.metrics().read_txn(caller.arrived, answer.is_ok());
        return answer;
    }
    let share = services.room_for_answer(long_ranges(&txn)).await?;
    drop(txn);
    match handle.propose_txn(&Proposer::default(), &request).await? {
        Response::Txn(applied) => Ok(answer::txn(&applied, &handle.header(applied.revision)).held_by(share)),
        Response::TooLarge { .. } => Ok(Body::too_long(0)),
        other => Err(unexpected(TXN, &other)),
    }
}

/// What a transaction may list.
fn long_ranges(txn: &Txn) -> Vec<pb::RangeRequest> {
    let ops = txn.levels().iter().flat_map(|level| level.success.iter().chain(&level.failure));
    let listed = |op: &Op| match op {
        Op::Range(range) => (!range.range_end.is_empty() && !range.count_only).then(|| range.clone()),
        Op::DeleteRange(delete) => previous_values(delete),
        Op::Put(_) | Op::Txn(_) | Op::Unset => None,
    };
    ops.filter_map(listed).collect()
}

/// What a deletion lists, if it does.
fn previous_values(delete: &pb::DeleteRangeRequest) -> Option<pb::RangeRequest> {
    let range =
        || pb::RangeRequest { key: delete.key.clone(), range_end: delete.range_end.clone(), ..Default::default() };
    (delete.prev_kv && !delete.range_end.is_empty()).then(range)
}

/// Whether everything it looks at is short.
fn is_short_txn(handle: &Handle, txn: &Txn) -> bool {
    let outermost = txn.level(LevelId::OUTERMOST);
    let mut ops = outermost.success.iter().chain(&outermost.failure);
    outermost.compare.iter().all(|compare| compare.range_end.is_empty())
        && ops.all(|op| match op {
            Op::Range(range) => is_short(handle, range),
            Op::Put(_) | Op::DeleteRange(_) | Op::Txn(_) | Op::Unset => false,
        })
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
