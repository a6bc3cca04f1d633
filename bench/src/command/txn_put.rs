//! `txn-put`: transactions of several puts on consecutive keys.

use super::{Failure, connect, key, plan, positive_key_space, print};
use crate::args::Args;
use crate::grpc::{Connection, rpc};
use crate::ledger::{Ledger, Write, WriteId, WriteIds};
use crate::load::drive;
use crate::rng::Rng;
use ferrite_proto::etcdserverpb::{PutRequest, RequestOp, TxnRequest, request_op::Request};
use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

pub async fn run(args: &Args) -> Result<(), Failure> {
    let (space, ops) = (positive_key_space(args)?, args.uint("txn-ops"));
    if ops > space {
        let text =
            format!("expected --txn-ops no larger than --key-space-size, got txn-ops({ops}) key-space-size({space})");
        return Err(Failure(text));
    }
    let (key_bytes, value_bytes, path) =
        (args.uint("key-size") as usize, args.uint("val-size") as usize, args.text("ledger"));
    if !path.is_empty() && value_bytes < WriteId::BYTES {
        return Err(Failure(format!(
            "--ledger needs a --val-size of {} or more: a value begins with the id of its write",
            WriteId::BYTES
        )));
    }
    let connections = connect(args).await?;
    let value = Rng::from_clock().bytes(value_bytes);
    let state = Rc::new(RefCell::new((WriteIds::new(), Vec::new())));
    let shared = state.clone();
    let report = drive(&connections, plan(args), async move |connection: Connection, number: u64| {
        let put = |op: u64| {
            let (mut value, id) = (value.clone(), shared.borrow_mut().0.next());
            if value.len() >= WriteId::BYTES {
                id.stamp(&mut value);
            }
            (
                PutRequest {
                    key: key((number * ops + op) % space, key_bytes),
                    value: value.into(),
                    ..Default::default()
                },
                id,
            )
        };
        let puts: Vec<_> = (0..ops).map(put).collect();
        let success =
            puts.iter().map(|(put, _)| RequestOp { request: Some(Request::RequestPut(put.clone())) }).collect();
        let answer = connection.call(rpc::TXN, &TxnRequest { success, ..Default::default() }).await?;
        let revision = answer.header.unwrap_or_default().revision;
        let written = puts.into_iter().map(|(put, id)| Write { revision, id, key: put.key });
        shared.borrow_mut().1.extend(written);
        Ok(())
    })
    .await;
    if !path.is_empty() {
        let mut ledger = Ledger::append(Path::new(path))?;
        state.borrow().1.iter().try_for_each(|write| ledger.add(write))?;
        ledger.finish()?;
    }
    let printed = print(args, &report);
    println!();
    printed
}
