//! `txn-mixed`: transactions that read the whole key space or put one key, at a ratio.

use super::{Failure, connect, key, positive_key_space, print, range::serializable};
use crate::args::Args;
use crate::grpc::{Connection, rpc};
use crate::load::{Plan, drive};
use crate::report::Recorder;
use crate::rng::Rng;
use bytes::Bytes;
use ferrite_proto::etcdserverpb::{PutRequest, RangeRequest, RequestOp, TxnRequest, request_op::Request};
use std::cell::RefCell;
use std::rc::Rc;
use tokio::time::Instant;

pub async fn run(args: &Args) -> Result<(), Failure> {
    let (space, key_bytes) = (positive_key_space(args)?, args.uint("key-size") as usize);
    let serializable = serializable(args)?;
    println!("bench with {} range", if serializable { "serializable" } else { "linearizable" });
    let end = Bytes::copy_from_slice(args.text("end-key").as_bytes());
    let read = RangeRequest {
        key: Bytes::from_static(b"\0"),
        range_end: if end.is_empty() { Bytes::from_static(b"\0") } else { end },
        limit: args.int("limit"),
        serializable,
        ..Default::default()
    };
    let read_share = args.float("rw-ratio") / (1.0 + args.float("rw-ratio"));
    let connections = connect(args).await?;
    let rng = RefCell::new(Rng::from_clock());
    let value: Bytes = rng.borrow_mut().bytes(args.uint("val-size") as usize).into();
    let recorders = Rc::new(RefCell::new((Recorder::new(), Recorder::new())));
    let shared = recorders.clone();
    let plan = Plan { total: args.uint("total"), clients: args.uint("clients").max(1), rate: args.uint("rate") };
    let all = drive(&connections, plan, async move |connection: Connection, _| {
        let reads = (rng.borrow_mut().below(1 << 53) as f64 / (1u64 << 53) as f64) < read_share;
        let op = match reads {
            true => Request::RequestRange(read.clone()),
            false => {
                let key = key(rng.borrow_mut().below(space), key_bytes);
                Request::RequestPut(PutRequest { key, value: value.clone(), ..Default::default() })
            }
        };
        let request = TxnRequest { success: vec![RequestOp { request: Some(op) }], ..Default::default() };
        let begin = Instant::now();
        let result = connection.call(rpc::TXN, &request).await.map(|_| ());
        let (of_reads, of_writes) = &mut *shared.borrow_mut();
        (if reads { of_reads } else { of_writes }).add(begin, result.clone());
        result
    })
    .await;
    let (reads, writes) = Rc::try_unwrap(recorders).expect("every client has ended").into_inner();
    for (name, recorder) in [("Read", reads), ("Write", writes)] {
        let report = recorder.report(all.client_cpu);
        println!("Total {name} Ops: {}\nDetails:", report.succeeded() + report.failed());
        print(args, &report)?;
        println!();
    }
    Ok(())
}
