//! `range`: the load of reads.

use super::{Failure, connect, key, plan, prefix_end, print};
use crate::args::Args;
use crate::grpc::{CallError, Connection, rpc};
use crate::load::drive;
use crate::rng::Rng;
use bytes::Bytes;
use ferrite_proto::etcdserverpb::RangeRequest;
use std::cell::RefCell;

const PAGE_KEYS: i64 = 10_000;

pub async fn run(args: &Args) -> Result<(), Failure> {
    let (prefix, random) = (args.on("prefix"), args.uint("random-keys"));
    if args.words.len() > 2 || (args.words.is_empty() && !prefix && random == 0) {
        return Err(Failure(crate::args::help(super::COMMANDS, Some("range")) + "<nil>"));
    }
    if args.on("paginate") && args.int("limit") != 0 {
        return Err(Failure("--paginate and --limit are mutually exclusive".to_owned()));
    }
    if args.on("keys-only") && args.on("count-only") {
        return Err(Failure("`--keys-only` and `--count-only` cannot be set at the same time".to_owned()));
    }
    let word = |i: usize| args.words.get(i).map(|w| Bytes::copy_from_slice(w.as_bytes())).unwrap_or_default();
    let first = if word(0).is_empty() { Bytes::from_static(b"\0") } else { word(0) };
    let request = RangeRequest {
        range_end: if prefix { prefix_end(&word(0)) } else { word(1) },
        key: first,
        limit: args.int("limit"),
        serializable: serializable(args)?,
        keys_only: args.on("keys-only"),
        count_only: args.on("count-only"),
        ..Default::default()
    };
    println!("bench with {} range", if request.serializable { "serializable" } else { "linearizable" });
    let connections = connect(args).await?;
    let (stream, paginate, key_bytes) = (args.on("stream"), args.on("paginate"), args.uint("key-size") as usize);
    let rng = RefCell::new(Rng::from_clock());
    let report = drive(&connections, plan(args), async move |connection: Connection, _| {
        let mut request = request.clone();
        if random > 0 {
            request.key = key(rng.borrow_mut().below(random), key_bytes);
        }
        match (paginate, stream) {
            (true, _) => pages(&connection, request).await,
            (false, true) => streamed(&connection, &request).await,
            (false, false) => connection.call(rpc::RANGE, &request).await.map(|_| ()),
        }
    })
    .await;
    print(args, &report)
}

/// The flag `--consistency`.
pub fn serializable(args: &Args) -> Result<bool, Failure> {
    match args.text("consistency") {
        "l" => Ok(false),
        "s" => Ok(true),
        other => Err(Failure(format!("--consistency is l (linearizable) or s (serializable), not {other:?}"))),
    }
}

async fn streamed(connection: &Connection, request: &RangeRequest) -> Result<(), CallError> {
    let mut stream = connection.stream(rpc::RANGE_STREAM).await?;
    stream.sender.send_last(request)?;
    while stream.next().await?.is_some() {}
    Ok(())
}

async fn pages(connection: &Connection, mut request: RangeRequest) -> Result<(), CallError> {
    request.limit = PAGE_KEYS;
    loop {
        let page = connection.call(rpc::RANGE, &request).await?;
        let Some(last) = page.kvs.last().filter(|_| page.more) else { return Ok(()) };
        request.key = [&last.key[..], b"\0"].concat().into();
        if request.revision == 0 {
            request.revision = page.header.unwrap_or_default().revision;
        }
    }
}
