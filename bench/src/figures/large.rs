//! What a million keys cost: memory, start, lists, counts, puts and gets, and a watcher far behind.

use super::measure::{Crowd, measure_gets, measure_puts, measure_reads, sample};
use super::steady::{Steadiness, Steady, steady_puts};
use super::{PATIENCE, Sample, Side, Sizes, crash_and_verify};
use crate::command::Failure;
use crate::grpc::{CallError, Connection, rpc};
use crate::ledger::{Write, watch_everything};
use crate::process::{Memory, Server};
use bytes::Bytes;
use ferrite_proto::etcdserverpb::RangeRequest;
use std::cell::Cell;
use std::slice::from_ref;
use std::time::{Duration, Instant};

/// An allocator may keep memory for a while before it gives it back.
const AFTER_START: Duration = Duration::from_secs(2);

const LIST_KEYS: i64 = 10_000;
const LISTS: u64 = 100;
const COUNTS: u64 = 50;

/// The puts beside the watcher.
const STEADY: Steadiness = Steadiness { rate: 400, least: Duration::from_secs(5), most: Duration::from_secs(20) };

pub async fn run(side: &Side, sizes: &Sizes) -> Result<Vec<Sample>, Failure> {
    let setup = side.fresh()?;
    let server = setup.start(PATIENCE).await?;
    let mut writes = Vec::new();
    let (many, single) = (Crowd::many(&server).await?, Crowd::single(&server).await?);
    let keys = sizes.large_keys;
    let load = measure_puts(from_ref(&server), &many, keys, (keys, true), &mut writes).await?;
    let filled = writes.iter().map(|w| w.revision).max().unwrap_or_default();
    let written = server.memory()?;
    let put = measure_puts(from_ref(&server), &many, sizes.many, (keys, false), &mut writes).await?;
    let get = measure_gets(from_ref(&server), &many, sizes.many, keys).await?;
    let all =
        || RangeRequest { key: Bytes::from_static(b"\0"), range_end: Bytes::from_static(b"\0"), ..Default::default() };
    // A range that holds just so many: with a limit, etcd would count all keys besides.
    let end = end_of_first(&single.connections[0], RangeRequest { limit: LIST_KEYS, keys_only: true, ..all() }).await?;
    let list =
        measure_reads(from_ref(&server), &single, LISTS, move || RangeRequest { range_end: end.clone(), ..all() })
            .await?;
    let count =
        measure_reads(from_ref(&server), &single, COUNTS, move || RangeRequest { count_only: true, ..all() }).await?;
    let behind = behind(&server, &many, sizes, &mut writes).await?;
    drop((many, single));

    let server = crash_and_verify(server, &setup, &writes, &[filled]).await?;
    let started_in = server.started_in;
    server.kill()?;
    // The check has read every key, so memory is looked at after one more start, when what only the start needed has had
    // time to go.
    let server = setup.start(PATIENCE).await?;
    tokio::time::sleep(AFTER_START).await;
    measure_gets(from_ref(&server), &Crowd::many(&server).await?, sizes.many, keys).await?;
    let started = server.memory()?;
    server.kill()?;
    let mib = |bytes: u64| bytes as f64 / (1 << 20) as f64;
    let memory = |[resident, anonymous]: [&'static str; 2], m: Memory| {
        [sample(resident, mib(m.resident_bytes)), sample(anonymous, mib(m.anonymous_bytes))]
    };
    let mut samples = vec![
        sample("load.rate", load.report.rate()),
        sample("load.cpu", load.cpu_us()),
        sample("put1000.cpu.large", put.cpu_us()),
        sample("get1000.cpu.large", get.cpu_us()),
        sample("list.cpu", list.cpu_us() / 1e3),
        sample("list.p50", list.millis(50.0)),
        sample("count.p50", count.millis(50.0) * 1e3),
        sample("count.cpu", count.cpu_us()),
        sample("start.time", started_in.as_secs_f64()),
    ];
    samples.extend(behind);
    samples.extend(memory(["memory.resident", "memory.anonymous"], written));
    samples.extend(memory(["start.resident", "start.anonymous"], started));
    Ok(samples)
}

/// Where a range ends that holds just the keys of an answer.
async fn end_of_first(connection: &Connection, keys: RangeRequest) -> Result<Bytes, Failure> {
    let answer = connection.call(rpc::RANGE, &keys).await?;
    let last = answer.kvs.last().ok_or_else(|| Failure("there are no keys".to_owned()))?;
    Ok([&last.key[..], b"\0"].concat().into())
}

/// Steady puts, first alone and then while a watcher reads history.
async fn behind(
    server: &Server,
    crowd: &Crowd,
    sizes: &Sizes,
    writes: &mut Vec<Write>,
) -> Result<[Sample; 5], Failure> {
    let mut alone = std::pin::pin!(tokio::time::sleep(STEADY.least));
    let before = steady_puts(crowd, STEADY, sizes.large_keys, writes, &mut alone).await?;
    let connection = Connection::open(&server.endpoint()).await?;
    let current = writes.iter().map(|w| w.revision).max().unwrap_or_default();
    let from = (current - sizes.behind as i64).max(1);
    let progress = Progress::default();
    let mut result = None;
    let begin = Instant::now();
    let during = {
        let mut caught_up =
            std::pin::pin!(async { result = Some(catch_up(&connection, from + 1, current, &progress).await) });
        steady_puts(crowd, STEADY, sizes.large_keys, writes, &mut caught_up).await?
    };
    // One that has not caught up by then is given the rate that it had so far.
    let elapsed = match result {
        Some(elapsed) => elapsed?,
        None => begin.elapsed(),
    };
    let rate = progress.events.get() as f64 / elapsed.as_secs_f64();
    let millis = |steady: &Steady| steady.report.percentile(99.0).as_secs_f64() * 1e3;
    Ok([
        sample("behind.rate", rate),
        sample("behind.before", millis(&before)),
        sample("behind.during", millis(&during)),
        sample("behind.refused", (before.refused + during.refused) as f64),
        sample("behind.slower", millis(&during) / millis(&before)),
    ])
}

/// How far a watcher has come.
#[derive(Debug, Default)]
struct Progress {
    events: Cell<u64>,
}

/// Reads history from a revision to another, and says how long it took.
async fn catch_up(connection: &Connection, from: i64, to: i64, progress: &Progress) -> Result<Duration, CallError> {
    let begin = Instant::now();
    let mut stream = connection.stream(rpc::WATCH).await?;
    stream.sender.send(&watch_everything(from))?;
    let mut next = from;
    while next <= to {
        let Some(answer) = stream.next().await?.filter(|a| !a.canceled) else {
            return Err(CallError::Broken("the watch ended".to_owned()));
        };
        for event in &answer.events {
            let revision = event.kv.as_ref().map_or(0, |kv| kv.mod_revision);
            if revision != next {
                return Err(CallError::Broken(format!("revision {revision} was told where {next} follows")));
            }
            next += 1;
        }
        progress.events.set(progress.events.get() + answer.events.len() as u64);
    }
    Ok(begin.elapsed())
}
