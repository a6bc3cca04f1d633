//! `put`: the load of writes, with a ledger if asked for.

use super::{Failure, connect, key, plan, positive_key_space, print};
use crate::args::Args;
use crate::grpc::{CallError, Connection, rpc};
use crate::ledger::{Ledger, Write, WriteId, WriteIds};
use crate::load::{Plan, drive};
use crate::report::{Report, go};
use crate::rng::Rng;
use bytes::Bytes;
use ferrite_proto::etcdserverpb::{CompactionRequest, HashKvRequest, PutRequest, StatusRequest};
use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

pub async fn run(args: &Args) -> Result<(), Failure> {
    let keys = Keys {
        bytes: args.uint("key-size") as usize,
        space: positive_key_space(args)?,
        sequential: args.on("sequential-keys"),
    };
    let value_bytes = args.uint("val-size") as usize;
    let path = args.text("ledger");
    if !path.is_empty() && value_bytes < WriteId::BYTES {
        return Err(Failure(format!(
            "--ledger needs a --val-size of {} or more: a value begins with the id of its write",
            WriteId::BYTES
        )));
    }
    let connections = connect(args).await?;
    let interval = args.duration("compact-interval");
    if !interval.is_zero() {
        tokio::task::spawn_local(compact_regularly(connections[0].clone(), interval, args.int("compact-index-delta")));
    }
    let (report, writes) = puts(&connections, plan(args), keys, value_bytes).await;
    if !path.is_empty() {
        let mut ledger = Ledger::append(Path::new(path))?;
        writes.iter().try_for_each(|write| ledger.add(write))?;
        ledger.finish()?;
    }
    let printed = print(args, &report);
    println!();
    printed?;
    if args.on("check-hashkv") {
        hash_kv(&connections[0], &args.list("endpoints")[0]).await?;
    }
    Ok(())
}

/// Which keys are written.
#[derive(Clone, Copy, Debug)]
pub struct Keys {
    pub bytes: usize,
    pub space: u64,
    pub sequential: bool,
}

/// Puts, each with its own id in its value if that is long enough; what was acknowledged comes back.
pub async fn puts(connections: &[Connection], plan: Plan, keys: Keys, value_bytes: usize) -> (Report, Vec<Write>) {
    let state = Rc::new(RefCell::new((Rng::from_clock(), WriteIds::new(), Vec::new())));
    let value = state.borrow_mut().0.bytes(value_bytes);
    let shared = state.clone();
    let report = drive(connections, plan, async move |connection: Connection, number: u64| {
        let (request, id) = {
            let (rng, ids, _) = &mut *shared.borrow_mut();
            let number = if keys.sequential { number % keys.space } else { rng.below(keys.space) };
            let (id, mut value) = (ids.next(), value.clone());
            if value.len() >= WriteId::BYTES {
                id.stamp(&mut value);
            }
            (PutRequest { key: key(number, keys.bytes), value: value.into(), ..Default::default() }, id)
        };
        let answer = connection.call(rpc::PUT, &request).await?;
        let revision = answer.header.unwrap_or_default().revision;
        shared.borrow_mut().2.push(Write { revision, id, key: request.key });
        Ok(())
    })
    .await;
    let writes = std::mem::take(&mut state.borrow_mut().2);
    (report, writes)
}

async fn compact_regularly(connection: Connection, interval: Duration, keep: i64) {
    let mut ticks = tokio::time::interval(interval);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        if let Err(error) = compact(&connection, keep).await {
            eprintln!("compaction failed: {error}");
        }
    }
}

async fn compact(connection: &Connection, keep: i64) -> Result<(), CallError> {
    let probe = ferrite_proto::etcdserverpb::RangeRequest { key: Bytes::from_static(b"\0"), ..Default::default() };
    let current = connection.call(rpc::RANGE, &probe).await?.header.unwrap_or_default().revision;
    let request = CompactionRequest { revision: (current - keep).max(0), physical: false };
    connection.call(rpc::COMPACT, &request).await.map(|_| ())
}

async fn hash_kv(connection: &Connection, endpoint: &str) -> Result<(), Failure> {
    let begin = Instant::now();
    let hash = connection.call(rpc::HASH_KV, &HashKvRequest { revision: 0 }).await?;
    let taken = begin.elapsed();
    let status = connection.call(rpc::STATUS, &StatusRequest {}).await?;
    println!("\nHashKV Summary:\n\tHashKV: {}\n\tEndpoint: {endpoint}", hash.hash);
    println!("\tTime taken to get hashkv: {}\n\tDB size: {} MB", go(taken), status.db_size / 1_000_000);
    Ok(())
}
