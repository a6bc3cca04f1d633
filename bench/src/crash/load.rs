//! Random requests, and a note of each: what it could have done, and what its answer said it did.

use super::{Change, Hash, Known, Lease, LeaseEnd, Planned, Round, Unanswered, value};
use crate::grpc::{CallError, Connection, rpc};
use crate::ledger::{WriteIds, watch_everything};
use crate::rng::Rng;
use bytes::Bytes;
use ferrite_proto::etcdserverpb::{
    CompactionRequest, Compare, DeleteRangeRequest, HashKvRequest, LeaseGrantRequest, LeaseRevokeRequest, PutRequest,
    RequestOp, ResponseOp, TxnRequest, TxnResponse, compare, request_op, response_op,
};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

const KEYS: u64 = 200;
const CONNECTIONS: usize = 4;
const CLIENTS: usize = 16;

/// Seconds a lease lives: most outlive the test, some end in it.
const LONG_TTL: u64 = 3600;
pub const SHORT_TTL: u64 = 3;

/// What the clients of a round share.
#[derive(Debug)]
pub struct Shared {
    pub rng: Rng,
    pub ids: WriteIds,
    pub known: Known,
    pub round: Round,
}

/// Runs clients and a watcher from a revision on, until they are dropped or the server is gone.
pub async fn start(
    endpoint: &str,
    from: i64,
    shared: &Rc<RefCell<Shared>>,
) -> Result<Vec<tokio::task::JoinHandle<()>>, CallError> {
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(Connection::open(endpoint).await?);
    }
    let mut watch = connections[0].stream(rpc::WATCH).await?;
    watch.sender.send(&watch_everything(from))?;
    let seen = shared.clone();
    let watcher = tokio::task::spawn_local(async move {
        while let Ok(Some(answer)) = watch.next().await {
            let mut shared = seen.borrow_mut();
            if answer.canceled {
                shared.round.wrong.push(format!("the watch was cancelled: {}", answer.cancel_reason));
            }
            let now = Instant::now();
            shared.round.watched.extend(answer.events.into_iter().map(|e| (e, now)));
        }
    });
    let clients = (0..CLIENTS).map(|client| {
        let (connection, shared) = (connections[client % CONNECTIONS].clone(), shared.clone());
        tokio::task::spawn_local(async move { while one_request(&connection, &shared).await.is_ok() {} })
    });
    Ok(clients.chain([watcher]).collect())
}

/// Makes one request; fails when the connection has broken.
async fn one_request(connection: &Connection, shared: &RefCell<Shared>) -> Result<(), CallError> {
    let kind = {
        let mut shared = shared.borrow_mut();
        shared.round.requests += 1;
        shared.rng.below(100)
    };
    match kind {
        0..55 => put(connection, shared).await,
        55..70 => delete(connection, shared).await,
        70..88 => txn(connection, shared).await,
        88..94 => grant(connection, shared).await,
        94..96 => revoke(connection, shared).await,
        96..98 => compact(connection, shared).await,
        _ => hash(connection, shared).await,
    }
}

/// Sorts an outcome: an answer, a refusal that did nothing (none), or nobody knows (noted as unanswered).
fn outcome<A>(
    result: Result<A, CallError>,
    shared: &RefCell<Shared>,
    variants: Vec<Vec<Planned>>,
) -> Result<Option<A>, CallError> {
    match result {
        Ok(answer) => Ok(Some(answer)),
        // Not found, invalid, out of range, failed precondition, exhausted: refused before anything was done.
        Err(error @ CallError::Status { code: 3 | 5 | 8 | 9 | 11, .. }) => {
            shared.borrow_mut().round.refused.push((error, Unanswered { variants }));
            Ok(None)
        }
        Err(error) => {
            shared.borrow_mut().round.unanswered.push(Unanswered { variants });
            Err(error)
        }
    }
}

fn acknowledge(shared: &RefCell<Shared>, revision: i64, changes: Vec<Change>) {
    if changes.is_empty() {
        return;
    }
    let mut shared = shared.borrow_mut();
    if let Some(other) = shared.round.acknowledged.insert(revision, changes) {
        shared.round.wrong.push(format!("two writes were acknowledged at revision {revision}, one of them {other:?}"));
    }
}

fn key(rng: &mut Rng) -> Bytes {
    format!("key{:03}", rng.below(KEYS)).into()
}

impl Shared {
    /// A put on a key, sometimes under a lease, sometimes large.
    fn plan_put(&mut self, key: Bytes) -> (PutRequest, Planned) {
        let bytes = match self.rng.below(100) {
            0 => 40_000,
            1..10 => 4_000,
            _ => self.rng.below(500) as usize,
        };
        let lease = match self.rng.below(5) {
            0 => self.some_lease().unwrap_or(0),
            _ => 0,
        };
        let id = self.ids.next();
        let request = PutRequest { key: key.clone(), value: value(id, bytes), lease, ..Default::default() };
        (request, Planned::Put { key, id, lease })
    }

    fn some_lease(&mut self) -> Option<i64> {
        let mut ids: Vec<i64> =
            self.known.leases.iter().filter(|(_, l)| l.granted && l.end == LeaseEnd::None).map(|(id, _)| *id).collect();
        ids.sort_unstable();
        (!ids.is_empty()).then(|| ids[self.rng.below(ids.len() as u64) as usize])
    }

    fn plan_delete(&mut self, several: bool) -> (DeleteRangeRequest, Planned) {
        let from = key(&mut self.rng);
        let mut end = Vec::new();
        if several {
            // Up to ten neighbours: behind the last digit.
            end.extend_from_slice(&from[..from.len() - 1]);
            end.push(b'~');
        }
        let end = Bytes::from(end);
        // Previous values tell which keys were there.
        (DeleteRangeRequest { key: from.clone(), range_end: end.clone(), prev_kv: true }, Planned::Delete { from, end })
    }
}

async fn put(connection: &Connection, shared: &RefCell<Shared>) -> Result<(), CallError> {
    let (request, planned) = {
        let shared = &mut *shared.borrow_mut();
        let key = key(&mut shared.rng);
        shared.plan_put(key)
    };
    let result = connection.call(rpc::PUT, &request).await;
    if let Some(answer) = outcome(result, shared, vec![vec![planned.clone()]])? {
        let Planned::Put { key, id, lease } = planned else { return Ok(()) };
        acknowledge(shared, answer.header.unwrap_or_default().revision, vec![Change::Put { key, id, lease }]);
    }
    Ok(())
}

async fn delete(connection: &Connection, shared: &RefCell<Shared>) -> Result<(), CallError> {
    let (request, planned) = {
        let mut shared = shared.borrow_mut();
        let several = shared.rng.below(4) == 0;
        shared.plan_delete(several)
    };
    let result = connection.call(rpc::DELETE_RANGE, &request).await;
    if let Some(answer) = outcome(result, shared, vec![vec![planned]])? {
        let deleted = answer.prev_kvs.iter().map(|kv| Change::Delete { key: kv.key.clone() }).collect();
        acknowledge(shared, answer.header.unwrap_or_default().revision, deleted);
    }
    Ok(())
}

/// Two puts and a delete if a key is there, with a transaction in it that puts one of two values; else one put.
async fn txn(connection: &Connection, shared: &RefCell<Shared>) -> Result<(), CallError> {
    let (request, variants) = {
        let shared = &mut *shared.borrow_mut();
        // Keys of one transaction must differ.
        let first = shared.rng.below(KEYS - 4);
        let key = |i: u64| Bytes::from(format!("key{:03}", first + i));
        let exists = |key: Bytes| Compare {
            key,
            target: compare::CompareTarget::Version.into(),
            result: compare::CompareResult::Greater.into(),
            target_union: Some(compare::TargetUnion::Version(0)),
            ..Default::default()
        };
        let (put_a, a) = shared.plan_put(key(0));
        let (put_b, b) = shared.plan_put(key(1));
        let (put_c, c) = shared.plan_put(key(3));
        let (put_d, d) = shared.plan_put(key(3));
        let (put_e, e) = shared.plan_put(key(0));
        let delete = DeleteRangeRequest { key: key(2), prev_kv: true, ..Default::default() };
        let gone = Planned::Delete { from: key(2), end: Bytes::new() };
        let op = |request| RequestOp { request: Some(request) };
        let put = |p: PutRequest| op(request_op::Request::RequestPut(p));
        let nested = TxnRequest { compare: vec![exists(key(3))], success: vec![put(put_c)], failure: vec![put(put_d)] };
        let success = vec![
            put(put_a),
            op(request_op::Request::RequestDeleteRange(delete)),
            put(put_b),
            op(request_op::Request::RequestTxn(nested)),
        ];
        let request = TxnRequest { compare: vec![exists(key(0))], success, failure: vec![put(put_e)] };
        let with = |last: &Planned| vec![a.clone(), gone.clone(), b.clone(), last.clone()];
        (request, vec![with(&c), with(&d), vec![e]])
    };
    let result = connection.call(rpc::TXN, &request).await;
    if let Some(answer) = outcome(result, shared, variants)? {
        let mut changes = Vec::new();
        let revision = answer.header.as_ref().map_or(0, |h| h.revision);
        match txn_changes(&request, &answer, &mut changes) {
            Some(()) => acknowledge(shared, revision, changes),
            None => {
                shared.borrow_mut().round.wrong.push(format!("the answer of a transaction does not fit it: {answer:?}"))
            }
        }
    }
    Ok(())
}

fn txn_changes(request: &TxnRequest, answer: &TxnResponse, changes: &mut Vec<Change>) -> Option<()> {
    let ops = if answer.succeeded { &request.success } else { &request.failure };
    if ops.len() != answer.responses.len() {
        return None;
    }
    for (op, response) in ops.iter().zip(&answer.responses) {
        let ResponseOp { response: Some(response) } = response else { return None };
        match (op.request.as_ref()?, response) {
            (request_op::Request::RequestPut(put), response_op::Response::ResponsePut(_)) => {
                let id = crate::ledger::WriteId::of(&put.value)?;
                changes.push(Change::Put { key: put.key.clone(), id, lease: put.lease });
            }
            (request_op::Request::RequestDeleteRange(_), response_op::Response::ResponseDeleteRange(deleted)) => {
                changes.extend(deleted.prev_kvs.iter().map(|kv| Change::Delete { key: kv.key.clone() }));
            }
            (request_op::Request::RequestTxn(nested), response_op::Response::ResponseTxn(answer)) => {
                txn_changes(nested, answer, changes)?;
            }
            _ => return None,
        }
    }
    Some(())
}

async fn grant(connection: &Connection, shared: &RefCell<Shared>) -> Result<(), CallError> {
    let (id, ttl) = {
        let shared = &mut *shared.borrow_mut();
        let ttl = if shared.rng.below(4) == 0 { SHORT_TTL } else { LONG_TTL };
        let id = (shared.rng.next() >> 1) as i64;
        let lease = Lease { ttl: Duration::from_secs(ttl), sent: Instant::now(), granted: false, end: LeaseEnd::None };
        shared.known.leases.insert(id, lease);
        (id, ttl)
    };
    let result = connection.call(rpc::LEASE_GRANT, &LeaseGrantRequest { ttl: ttl as i64, id }).await;
    if outcome(result, shared, Vec::new())?.is_some()
        && let Some(lease) = shared.borrow_mut().known.leases.get_mut(&id)
    {
        lease.granted = true;
    }
    Ok(())
}

async fn revoke(connection: &Connection, shared: &RefCell<Shared>) -> Result<(), CallError> {
    let Some(id) = shared.borrow_mut().some_lease() else { return Ok(()) };
    let mark = |end| {
        if let Some(lease) = shared.borrow_mut().known.leases.get_mut(&id) {
            lease.end = end;
        }
    };
    mark(LeaseEnd::Asked);
    let result = connection.call(rpc::LEASE_REVOKE, &LeaseRevokeRequest { id }).await;
    if outcome(result, shared, Vec::new())?.is_some() {
        mark(LeaseEnd::Revoked);
    }
    Ok(())
}

/// Compacts at most up to what the watcher has seen, so that no history is lost to the check.
async fn compact(connection: &Connection, shared: &RefCell<Shared>) -> Result<(), CallError> {
    let request = {
        let shared = &mut *shared.borrow_mut();
        let watched = shared.round.watched.last().and_then(|(e, _)| e.kv.as_ref()).map_or(0, |kv| kv.mod_revision);
        // The last revision may still be coming in; one before it is complete.
        let ahead = watched - 1 - shared.known.compaction_asked;
        if ahead <= 0 {
            return Ok(());
        }
        let revision = shared.known.compaction_asked + 1 + shared.rng.below(ahead as u64) as i64;
        shared.known.compaction_asked = revision;
        CompactionRequest { revision, physical: shared.rng.below(3) == 0 }
    };
    let result = connection.call(rpc::COMPACT, &request).await;
    if outcome(result, shared, Vec::new())?.is_some() {
        let known = &mut shared.borrow_mut().known;
        known.compacted = known.compacted.max(request.revision);
    }
    Ok(())
}

async fn hash(connection: &Connection, shared: &RefCell<Shared>) -> Result<(), CallError> {
    let result = connection.call(rpc::HASH_KV, &HashKvRequest { revision: 0 }).await;
    if let Some(answer) = outcome(result, shared, Vec::new())? {
        let hash = Hash { revision: answer.hash_revision, compacted: answer.compact_revision, hash: answer.hash };
        shared.borrow_mut().round.hashes.push(hash);
    }
    Ok(())
}
