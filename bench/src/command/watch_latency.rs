//! `watch-latency`: how long after a put's answer its event arrives.

use super::{Failure, connect, print, watch::create};
use crate::args::Args;
use crate::grpc::rpc;
use crate::load::Pace;
use crate::process;
use crate::report::Recorder;
use crate::rng::Rng;
use bytes::Bytes;
use ferrite_proto::etcdserverpb::{PutRequest, WatchCreateRequest};
use tokio::sync::mpsc;
use tokio::time::Instant;

pub async fn run(args: &Args) -> Result<(), Failure> {
    let connections = connect(args).await?;
    let mut rng = Rng::from_clock();
    let key: Bytes = rng.bytes(args.uint("key-size") as usize).into();
    let value: Bytes = rng.bytes(args.uint("val-size") as usize).into();
    let per_stream = args.uint("watchers-per-stream");
    let streams = args.uint("streams").max(1);
    // One put is out at a time, so that this never holds more than the events of one.
    let (sender, mut arrivals) = mpsc::unbounded_channel();
    for s in 0..streams {
        let mut stream = connections[s as usize % connections.len()].stream(rpc::WATCH).await?;
        for _ in 0..per_stream {
            create(
                &mut stream,
                WatchCreateRequest { key: key.clone(), prev_kv: args.on("prevkv"), ..Default::default() },
            )
            .await?;
        }
        let sender = sender.clone();
        tokio::task::spawn_local(async move {
            while let Ok(Some(answer)) = stream.next().await {
                for _ in &answer.events {
                    // The receiver is gone when the last put has been seen.
                    let _ = sender.send(Instant::now());
                }
            }
        });
    }
    drop(sender);
    let cpu = process::own_cpu();
    let (mut puts, mut events) = (Recorder::new(), Recorder::new());
    let pace = Pace::new(args.uint("put-rate"));
    for number in 0..args.uint("put-total") {
        let begin = pace.due(number).await;
        let request = PutRequest { key: key.clone(), value: value.clone(), ..Default::default() };
        let result = connections[0].call(rpc::PUT, &request).await.map(|_| ());
        puts.add(begin, result.clone());
        result?;
        let answered = Instant::now();
        for _ in 0..streams * per_stream {
            let arrived = arrivals.recv().await.ok_or_else(|| Failure("a watch stream ended".to_owned()))?;
            events.add_latency(arrived.saturating_duration_since(answered));
        }
    }
    let cpu = process::own_cpu().saturating_sub(cpu);
    println!("\nPut summary:");
    print(args, &puts.report(cpu))?;
    println!("\nWatch events summary:");
    print(args, &events.report(cpu))
}
