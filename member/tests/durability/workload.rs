//! Requests about few keys, so that they meet.

use bytes::Bytes;
use ferrite_proto::etcdserverpb as pb;
use ferrite_proto::etcdserverpb::request_op::Request;
use ferrite_storage::vfs::lying::Dice;

use crate::model::Model;

/// One request, as it is proposed at a state.
pub fn request(dice: &mut Dice, model: &Model) -> pb::InternalRaftRequest {
    let mut request = pb::InternalRaftRequest::default();
    match dice.below(16) {
        0..=6 => request.put = Some(put(dice, model)),
        7 | 8 => request.delete_range = Some(delete(dice)),
        9 | 10 => request.txn = Some(txn(dice)),
        11 | 12 => {
            let revision = model.compacted().max(1) + dice.below(1 + model.current() as u64 / 2) as i64;
            request.compaction = Some(pb::CompactionRequest { revision, physical: dice.once_in(3) });
        }
        13 | 14 => {
            let ttl = if dice.once_in(4) { 2 } else { 1000 };
            let grant = pb::LeaseGrantRequest { id: 1 + dice.below(20) as i64, ttl };
            request.lease_grant = Some(grant);
        }
        _ => request.lease_revoke = Some(pb::LeaseRevokeRequest { id: some_lease(dice, model).unwrap_or(99) }),
    }
    request
}

/// A put with a value that nobody else writes.
pub fn put(dice: &mut Dice, model: &Model) -> pb::PutRequest {
    let longest = if dice.once_in(8) { 900 } else { 60 };
    let filler = dice.below(longest) as usize;
    let value = format!("{:016x}{}", dice.roll(), "v".repeat(filler));
    let lease = if dice.once_in(3) { some_lease(dice, model).unwrap_or(0) } else { 0 };
    pb::PutRequest { key: key(dice), value: value.into(), lease, ..Default::default() }
}

pub fn delete(dice: &mut Dice) -> pb::DeleteRangeRequest {
    let range_end = if dice.once_in(3) { key(dice) } else { Bytes::new() };
    pb::DeleteRangeRequest { key: key(dice), range_end, ..Default::default() }
}

fn txn(dice: &mut Dice) -> pb::TxnRequest {
    let op = |request| pb::RequestOp { request: Some(request) };
    let first = dice.below(5);
    let puts = (first..first + 1 + dice.below(3)).map(|number| {
        let value = format!("{:016x}", dice.roll());
        op(Request::RequestPut(pb::PutRequest { key: named(number), value: value.into(), ..Default::default() }))
    });
    let mut success: Vec<_> = puts.collect();
    let delete = pb::DeleteRangeRequest { key: named(9), ..Default::default() };
    success.push(op(Request::RequestDeleteRange(delete)));
    pb::TxnRequest { success, ..Default::default() }
}

fn some_lease(dice: &mut Dice, model: &Model) -> Option<i64> {
    let leases = model.leases();
    leases.get(dice.below(leases.len().max(1) as u64) as usize).copied()
}

fn key(dice: &mut Dice) -> Bytes {
    named(dice.below(10))
}

fn named(number: u64) -> Bytes {
    format!("/registry/{number}").into()
}
