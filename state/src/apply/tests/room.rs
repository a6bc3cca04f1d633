//! Answers that have too little room, or too much in them.

use bytes::Bytes;
use ferrite_proto::etcdserverpb as pb;
use pb::range_request::SortTarget;
use pb::request_op::Request;

use crate::answer::{AtMost, OpAnswer};
use crate::command::{Command, Txn};
use crate::mvcc::RangeStream;
use crate::testing::Machine;
use crate::{ReadError, Response, Want};

/// A machine with so many keys of a value as long as given.
fn filled(keys: u32, value_bytes: usize) -> Machine {
    let mut machine = Machine::new(Want::Answer);
    for key in 0..keys {
        let key = Bytes::from(format!("{key:08}"));
        machine.apply(&put(key, value_bytes)).unwrap();
    }
    machine
}

fn put(key: Bytes, value_bytes: usize) -> Command {
    Command::Put(pb::PutRequest { key, value: vec![b'v'; value_bytes].into(), ..Default::default() })
}

fn all() -> pb::RangeRequest {
    pb::RangeRequest { key: "\0".into(), range_end: "\0".into(), ..Default::default() }
}

fn txn(ops: Vec<Request>) -> Txn {
    let success = ops.into_iter().map(|op| pb::RequestOp { request: Some(op) }).collect();
    Txn::try_from(pb::TxnRequest { success, ..Default::default() }).unwrap()
}

#[test]
fn a_range_is_read_if_there_is_room() {
    let machine = filled(100, 200);
    let keyspace = machine.state.shared().keyspace().clone();
    let room_for_keys = |request: &pb::RangeRequest| {
        let whole = keyspace.range(request).unwrap().kvs.iter().map(|kv| kv.len() as u64 + 8).sum::<u64>();
        (
            whole,
            keyspace.range_within(request, &mut AtMost(whole)),
            keyspace.range_within(request, &mut AtMost(whole - 1)),
        )
    };
    for request in [
        all(),
        pb::RangeRequest { limit: 7, ..all() },
        pb::RangeRequest { keys_only: true, ..all() },
        pb::RangeRequest { sort_target: SortTarget::Value as i32, sort_order: 2, ..all() },
        pb::RangeRequest { sort_target: SortTarget::Mod as i32, sort_order: 2, limit: 7, ..all() },
    ] {
        let (whole, fits, exceeds) = room_for_keys(&request);
        assert_eq!(fits.unwrap(), keyspace.range(&request).unwrap(), "{request:?}");
        match exceeds {
            Err(ReadError::NoRoom { bytes }) => assert_eq!(bytes, whole, "{request:?}"),
            other => panic!("{request:?}: {other:?}"),
        }
    }
    // What it will need is known long before it is read.
    let early = keyspace.range_within(&all(), &mut AtMost(500));
    assert!(matches!(early, Err(ReadError::NoRoom { bytes }) if bytes > 20_000), "{early:?}");
    // One key, or a number, is always told.
    let one = pb::RangeRequest { key: "00000001".into(), ..Default::default() };
    assert_eq!(keyspace.range_within(&one, &mut AtMost(0)).unwrap().kvs.len(), 1);
    let count = pb::RangeRequest { count_only: true, ..all() };
    assert_eq!(keyspace.range_within(&count, &mut AtMost(0)).unwrap().count, 100);
    // All ranges of a transaction share its room.
    let twice = txn(vec![Request::RequestRange(all()), Request::RequestRange(all())]);
    let (whole, ..) = room_for_keys(&all());
    assert!(matches!(keyspace.txn_read(&twice, &mut AtMost(2 * whole - 1)), Err(ReadError::NoRoom { .. })));
    assert!(keyspace.txn_read(&twice, &mut AtMost(2 * whole)).is_ok());
}

#[test]
fn a_part_of_a_stream_can_be_asked_for_again() {
    let machine = filled(10, 200);
    let keyspace = machine.state.shared().keyspace();
    let view = keyspace.view(0).unwrap();
    let mut stream = RangeStream::new(&all());
    let mut keys = 0;
    loop {
        stream.next(&view, 3, &mut AtMost(100)).expect_err("there is room for none");
        let part = stream.next(&view, 3, &mut AtMost(3 * 300)).unwrap();
        keys += part.kvs.len();
        if part.end.is_some() {
            break;
        }
    }
    assert_eq!(keys, 10);
}

#[test]
fn a_transaction_is_carried_out_though_its_answer_is_too_large() {
    let mut machine = filled(20, 1 << 20);
    let before = machine.state.shared().keyspace().revision();
    let put = pb::PutRequest { key: "z".into(), value: "z".into(), ..Default::default() };
    // 127 times 20 MiB are more than 2 GiB. The bytes are shared, so it costs little to try.
    let ranges = |count| std::iter::repeat_n(Request::RequestRange(all()), count);
    let ops = ranges(127).chain([Request::RequestPut(put)]).collect();
    let outcome = machine.apply(&Command::Txn(txn(ops)));
    assert_eq!(outcome, Ok(Response::TooLarge { revision: before as i64 + 1 }));
    let keyspace = &machine.state.shared().keyspace();
    let written = pb::RangeRequest { key: "z".into(), ..Default::default() };
    assert_eq!((keyspace.revision(), keyspace.range(&written).unwrap().count), (before + 1, 1));
    let ops = ranges(3).chain([Request::RequestDeleteRange(pb::DeleteRangeRequest::default())]).collect();
    let Ok(Response::Txn(answer)) = machine.apply(&Command::Txn(txn(ops))) else { panic!("there is room for this") };
    assert!(matches!(&answer.levels[0].responses[2], OpAnswer::Range(range) if range.kvs.len() == 21));
}
