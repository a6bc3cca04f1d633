//! `watch`: many watches are created, then keys are put and events counted.

use super::{Failure, connect, key, positive_key_space, print};
use crate::args::Args;
use crate::grpc::{CallError, Connection, Stream, rpc};
use crate::load::{Plan, drive};
use crate::process;
use crate::report::Recorder;
use crate::rng::Rng;
use bytes::Bytes;
use ferrite_proto::etcdserverpb::{
    PutRequest, WatchCreateRequest, WatchRequest, WatchResponse, watch_request::RequestUnion,
};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Streams that a server allows on a connection.
const STREAMS_PER_CONNECTION: u64 = 100;

/// A stream of watches.
pub type WatchStream = Stream<WatchRequest, WatchResponse>;

pub async fn run(args: &Args) -> Result<(), Failure> {
    let space = positive_key_space(args)?;
    let (streams, per_stream) = (args.uint("streams").max(1), args.uint("watch-per-stream"));
    let connections = connect(args).await?;
    if streams > STREAMS_PER_CONNECTION * connections.len() as u64 {
        eprintln!(
            "warning: grpc limits {STREAMS_PER_CONNECTION} streams per client connection, have {} but need {streams}",
            connections.len()
        );
    }
    let mut rng = Rng::from_clock();
    let (bytes, sequential) = (args.uint("key-size") as usize, args.on("sequential-keys"));
    let pick = |rng: &mut Rng, i: u64| key(if sequential { i % space } else { rng.below(space) }, bytes);
    let watched: Vec<Bytes> = (0..args.uint("watched-key-total").max(1)).map(|i| pick(&mut rng, i)).collect();

    println!("Watch creation summary:");
    let cpu = process::own_cpu();
    let mut created = Recorder::new();
    let mut open = Vec::new();
    let mut watchers_of: HashMap<Bytes, u64> = HashMap::new();
    for s in 0..streams {
        let mut stream = connections[s as usize % connections.len()].stream(rpc::WATCH).await?;
        for w in 0..per_stream {
            let key = &watched[((s * per_stream + w) % watched.len() as u64) as usize];
            *watchers_of.entry(key.clone()).or_default() += 1;
            let begin = Instant::now();
            let result = create(&mut stream, WatchCreateRequest { key: key.clone(), ..Default::default() }).await;
            created.add(begin, result);
        }
        open.push(stream);
    }
    print(args, &created.report(process::own_cpu().saturating_sub(cpu)))?;

    println!("Watch events received summary:");
    let total = args.uint("put-total");
    let puts: Vec<Bytes> =
        (0..total).map(|i| watched[pick_index(&mut rng, i, sequential, watched.len())].clone()).collect();
    let expected: u64 = puts.iter().map(|key| watchers_of.get(key).copied().unwrap_or(0)).sum();
    let received = count_events(open, expected);
    let plan = Plan { total, clients: args.uint("clients").max(1), rate: args.uint("put-rate") };
    let load = drive(&connections, plan, async move |connection: Connection, number: u64| {
        let request =
            PutRequest { key: puts[number as usize].clone(), value: Bytes::from_static(b"data"), ..Default::default() };
        connection.call(rpc::PUT, &request).await.map(|_| ())
    })
    .await;
    let recorder = received.await.map_err(Failure::because)??;
    print(args, &recorder.report(load.client_cpu))
}

fn pick_index(rng: &mut Rng, i: u64, sequential: bool, len: usize) -> usize {
    (if sequential { i % len as u64 } else { rng.below(len as u64) }) as usize
}

/// Creates a watch and waits until the server says so; events of other watches on the stream must not be due yet.
pub async fn create(stream: &mut WatchStream, request: WatchCreateRequest) -> Result<(), CallError> {
    stream.sender.send(&WatchRequest { request_union: Some(RequestUnion::CreateRequest(request)) })?;
    match stream.next().await? {
        Some(answer) if answer.created && !answer.canceled => Ok(()),
        Some(answer) => Err(CallError::Broken(format!("the watch was not created: {}", answer.cancel_reason))),
        None => Err(CallError::Broken("the watch stream ended".to_owned())),
    }
}

/// Counts events on all streams until the expected number has come.
fn count_events(streams: Vec<WatchStream>, expected: u64) -> tokio::task::JoinHandle<Result<Recorder, CallError>> {
    tokio::task::spawn_local(async move {
        let recorder = Rc::new(RefCell::new(Recorder::new()));
        let missing = Rc::new(Cell::new(expected));
        let changed = Rc::new(Notify::new());
        let failed: Rc<RefCell<Option<CallError>>> = Rc::default();
        for mut stream in streams {
            let (recorder, missing, changed, failed) =
                (recorder.clone(), missing.clone(), changed.clone(), failed.clone());
            tokio::task::spawn_local(async move {
                let mut begin = Instant::now();
                loop {
                    let answer = match stream.next().await {
                        Ok(Some(answer)) => answer,
                        Ok(None) => break,
                        Err(error) => {
                            *failed.borrow_mut() = Some(error);
                            break;
                        }
                    };
                    for _ in &answer.events {
                        recorder.borrow_mut().add(begin, Ok(()));
                    }
                    begin = Instant::now();
                    missing.set(missing.get().saturating_sub(answer.events.len() as u64));
                    changed.notify_one();
                }
                changed.notify_one();
            });
        }
        while missing.get() > 0 {
            changed.notified().await;
            if let Some(error) = failed.borrow_mut().take() {
                return Err(error);
            }
        }
        Ok(recorder.replace(Recorder::new()))
    })
}
