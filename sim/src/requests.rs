//! Requests as clients send them, and what their answers say.

use bytes::Bytes;
use ferrite_proto::etcdserverpb as pb;
use ferrite_proto::etcdserverpb::request_op::Request;
use ferrite_proto::mvccpb::KeyValue;
use ferrite_state::Response;
use ferrite_state::answer::{OpAnswer, RangeAnswer};
use ferrite_state::mvcc::Keyspace;
use prost::Message as _;

use crate::history::{Operation, Outcome, SLOTS, Value, Values};

/// The key in a slot of a group.
pub(crate) fn name(group: u64, slot: usize) -> Bytes {
    format!("g{group}/{slot}").into()
}

/// Where a group begins, and where it has ended.
pub(crate) fn range(group: u64) -> (Bytes, Bytes) {
    (format!("g{group}/").into(), format!("g{group}0").into())
}

/// All groups.
pub(crate) fn everything() -> (Bytes, Bytes) {
    (Bytes::from_static(b"g"), Bytes::from_static(b"h"))
}

/// A value, as it is stored.
pub(crate) fn text(value: Value) -> Bytes {
    format!("{value}").into()
}

/// A put, with a lease if it is not 0.
pub(crate) fn put(group: u64, slot: usize, value: Value, lease: i64) -> pb::PutRequest {
    pb::PutRequest { key: name(group, slot), value: text(value), lease, ..Default::default() }
}

fn get(group: u64, revision: i64) -> pb::RangeRequest {
    let (key, range_end) = range(group);
    pb::RangeRequest { key, range_end, revision, ..Default::default() }
}

/// What is proposed for an operation that writes.
pub(crate) fn encoded(group: u64, operation: Operation) -> pb::InternalRaftRequest {
    let mut request = pb::InternalRaftRequest::default();
    match operation {
        Operation::Put { slot, value } => request.put = Some(put(group, slot, value, 0)),
        Operation::Delete { slot } => {
            request.delete_range = Some(pb::DeleteRangeRequest { key: name(group, slot), ..Default::default() });
        }
        Operation::Swap { slot, expected, new } => {
            let op = |request| pb::RequestOp { request: Some(request) };
            let (target, target_union) = match expected {
                0 => (pb::compare::CompareTarget::Version, pb::compare::TargetUnion::Version(0)),
                _ => (pb::compare::CompareTarget::Value, pb::compare::TargetUnion::Value(text(expected))),
            };
            let compare = pb::Compare {
                target: target as i32,
                target_union: Some(target_union),
                key: name(group, slot),
                ..Default::default()
            };
            request.txn = Some(pb::TxnRequest {
                compare: vec![compare],
                success: (0..SLOTS).map(|slot| op(Request::RequestPut(put(group, slot, new, 0)))).collect(),
                failure: vec![op(Request::RequestRange(get(group, 0)))],
            });
        }
        Operation::Get => unreachable!("reads are not proposed"),
    }
    request
}

/// What a client is told of a request that was carried out.
pub(crate) fn outcome(response: &Response) -> Outcome {
    match response {
        Response::Put(answer) => Outcome::Written { revision: answer.revision },
        Response::DeleteRange(answer) if answer.deleted == 0 => Outcome::Nothing { revision: answer.revision },
        Response::DeleteRange(answer) => Outcome::Written { revision: answer.revision },
        Response::Txn(answer) => match &answer.levels[0].responses[..] {
            [OpAnswer::Range(range)] => Outcome::Found { values: values(range), revision: answer.revision },
            _ => Outcome::Written { revision: answer.revision },
        },
        other => panic!("no request of a client is answered like this: {other:?}"),
    }
}

fn values(answer: &RangeAnswer) -> Values {
    let mut values = [0; SLOTS];
    for kv in &answer.kvs {
        let kv = KeyValue::decode(kv.clone()).expect("what is stored is a KeyValue");
        let slot = kv.key.last().expect("no key is empty") - b'0';
        let value = std::str::from_utf8(&kv.value).ok().and_then(|text| text.parse().ok());
        values[usize::from(slot)] = value.expect("a value of ours");
    }
    values
}

/// The values of a group at a revision, 0 for the newest. Nothing if it is compacted.
pub(crate) fn read(keyspace: &Keyspace, group: u64, revision: i64) -> Option<Outcome> {
    let answer = keyspace.range(&get(group, revision)).ok()?;
    Some(Outcome::Found { values: values(&answer), revision: answer.revision })
}
