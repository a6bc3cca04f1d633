//! `watch-get`: serializable gets while many watchers read history.

use super::{Failure, connect, print};
use crate::args::Args;
use crate::grpc::rpc;
use crate::process;
use crate::report::Recorder;
use bytes::Bytes;
use ferrite_proto::etcdserverpb::{
    PutRequest, RangeRequest, WatchCreateRequest, WatchRequest, watch_request::RequestUnion,
};
use std::cell::Cell;
use std::rc::Rc;
use tokio::time::Instant;

pub async fn run(args: &Args) -> Result<(), Failure> {
    let (watchers, streams, events) = (args.uint("watchers"), args.uint("streams").max(1), args.uint("events"));
    let connections = connect(args).await?;
    let key = Bytes::from_static(b"watchkey");
    let mut first = 0;
    for i in 0..events {
        let request = PutRequest { key: key.clone(), value: Bytes::from_static(b"data"), ..Default::default() };
        let revision = connections[0].call(rpc::PUT, &request).await?.header.unwrap_or_default().revision;
        first = if i == 0 { revision } else { first };
    }
    let missing = Rc::new(Cell::new(watchers * events));
    for s in 0..streams {
        let mut stream = connections[s as usize % connections.len()].stream(rpc::WATCH).await?;
        for _ in 0..watchers / streams + u64::from(s < watchers % streams) {
            let create = WatchCreateRequest { key: key.clone(), start_revision: first, ..Default::default() };
            stream.sender.send(&WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) })?;
        }
        let missing = missing.clone();
        tokio::task::spawn_local(async move {
            while let Ok(Some(answer)) = stream.next().await {
                missing.set(missing.get().saturating_sub(answer.events.len() as u64));
            }
        });
    }
    println!("Get during watch summary:");
    let cpu = process::own_cpu();
    let mut recorder = Recorder::new();
    let get = RangeRequest { key: Bytes::from_static(b"abc"), serializable: true, ..Default::default() };
    while missing.get() > 0 {
        let begin = Instant::now();
        let result = connections[0].call(rpc::RANGE, &get).await.map(|_| ());
        let broken = result.clone();
        recorder.add(begin, result);
        broken?;
    }
    print(args, &recorder.report(process::own_cpu().saturating_sub(cpu)))
}
