//! Figures: two servers measured side by side, so that a claim can be repeated by anybody.
//!
//! ```text
//! for each run: for each scenario: side A, side B (the other way round in the next run)
//!     fresh folder ──▶ start ──▶ load, measured from outside
//!         small, large, leases, cluster: ──▶ SIGKILL ──▶ start ──▶ the ledger holds?
//! ──▶ median of each figure and side, their ratio, and what was asked
//! ```
//!
//! CPU is charged with the work a server has put off: it is read after a pause. The scenarios:
//!
//! * `small`: puts and gets on 10 thousand keys, at 100 connections with 10 clients each and at one.
//! * `large`: memory, start, lists, counts, puts and gets at a million keys; a watcher far behind under steady puts.
//! * `leases`: many leases that end together.
//! * `cluster`: three members, whose CPU counts together; puts, and gets through a follower.
//! * `outage`: three members, the leader killed again and again.
//! * `reigns`: leases of three TTLs on three members, whose leader is killed twice.
//! * `rejoin`: three members, one of which loses its disk and begins anew under puts.
//! * `slow-disk`: three members, one of which has a slow disk.
//! * `syncs`: how often the disk is synced, under `strace`.

pub mod cluster;
pub mod disk;
pub mod large;
pub mod leases;
pub mod measure;
pub mod outage;
pub mod reigns;
pub mod rejoin;
pub mod slow_disk;
pub mod small;
pub mod steady;
pub mod syncs;
pub mod table;
pub mod trio;

use crate::command::Failure;
use crate::grpc::Connection;
use crate::ledger::{Write, verify};
use crate::process::{Server, Setup};
use std::path::PathBuf;
use std::time::Duration;

/// What is asked of side B.
#[derive(Clone, Copy, Debug)]
pub enum Asked {
    /// At most this part of side A.
    OfA(f64),
    AtMost(f64),
    AtLeast(f64),
    Nothing,
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    pub name: &'static str,
    pub about: &'static str,
    pub unit: &'static str,
    pub asked: Asked,
}

const fn row(name: &'static str, about: &'static str, unit: &'static str, asked: Asked) -> Figure {
    Figure { name, about, unit, asked }
}

const THIRD: f64 = 1.0 / 3.0;

/// Every figure, in the order of the table.
pub const FIGURES: &[Figure] = &[
    row("put1000.cpu", "put, 100x10: server CPU", "us", Asked::OfA(THIRD)),
    row("put1000.rate", "put, 100x10: throughput", "/s", Asked::Nothing),
    row("put1000.p50", "put, 100x10: latency p50", "ms", Asked::Nothing),
    row("put1000.p99", "put, 100x10: latency p99", "ms", Asked::Nothing),
    row("put1000.device", "put, 100x10: bytes to the device", "B", Asked::OfA(1.0)),
    row("put1000.syncs", "put, 100x10: syncs per put", "", Asked::Nothing),
    row("put1000.client", "put, 100x10: the load generator's own CPU", "us", Asked::Nothing),
    row("put1.cpu", "put, 1 connection: server CPU", "us", Asked::OfA(0.5)),
    row("put1.p50", "put, 1 connection: latency p50", "ms", Asked::OfA(1.0)),
    row("put1.p99", "put, 1 connection: latency p99", "ms", Asked::Nothing),
    row("put1.device", "put, 1 connection: bytes to the device", "B", Asked::OfA(1.0)),
    row("put1.syncs", "put, 1 connection: syncs per put", "", Asked::Nothing),
    row("get1000.cpu", "linearizable get, 100x10: server CPU", "us", Asked::OfA(0.5)),
    row("get1000.rate", "linearizable get, 100x10: throughput", "/s", Asked::Nothing),
    row("get1000.p50", "linearizable get, 100x10: latency p50", "ms", Asked::Nothing),
    row("get1000.p99", "linearizable get, 100x10: latency p99", "ms", Asked::Nothing),
    row("get1000.client", "linearizable get, 100x10: the load generator's own CPU", "us", Asked::Nothing),
    row("get1.cpu", "linearizable get, 1 connection: server CPU", "us", Asked::OfA(0.5)),
    row("get1.p50", "linearizable get, 1 connection: latency p50", "ms", Asked::OfA(1.0)),
    row("load.rate", "filling with 1 M keys: throughput", "/s", Asked::Nothing),
    row("load.cpu", "filling with 1 M keys: server CPU per put", "us", Asked::Nothing),
    row("memory.resident", "1 M keys written: resident memory", "MiB", Asked::OfA(0.5)),
    row("memory.anonymous", "1 M keys written: anonymous memory", "MiB", Asked::OfA(THIRD)),
    row("put1000.cpu.large", "put, 100x10, 1 M keys: server CPU", "us", Asked::Nothing),
    row("get1000.cpu.large", "linearizable get, 100x10, 1 M keys: server CPU", "us", Asked::Nothing),
    row("put1000.growth", "put: CPU at 1 M keys to that at 10 thousand", "", Asked::AtMost(1.2)),
    row("get1000.growth", "get: CPU at 1 M keys to that at 10 thousand", "", Asked::AtMost(1.2)),
    row("list.cpu", "list of 10,000 keys: server CPU", "ms", Asked::OfA(THIRD)),
    row("list.p50", "list of 10,000 keys: latency p50", "ms", Asked::Nothing),
    row("count.p50", "count of 1 M keys: latency p50", "us", Asked::AtMost(1000.0)),
    row("count.cpu", "count of 1 M keys: server CPU", "us", Asked::Nothing),
    row("behind.rate", "watcher 300,000 revisions behind: events a second", "/s", Asked::AtLeast(100_000.0)),
    row("behind.before", "400 puts a second, no watcher: latency p99", "ms", Asked::Nothing),
    row("behind.during", "400 puts a second, watcher catching up: latency p99", "ms", Asked::Nothing),
    row("behind.slower", "the same, to what it was without", "", Asked::AtMost(1.5)),
    row("behind.refused", "the same: puts refused or timed out", "", Asked::AtMost(0.0)),
    row("start.time", "start with 1 M keys after SIGKILL, to the first answer", "s", Asked::OfA(THIRD)),
    row("start.resident", "1 M keys after a start and some gets: resident memory", "MiB", Asked::OfA(0.5)),
    row("start.anonymous", "1 M keys after a start and some gets: anonymous memory", "MiB", Asked::OfA(THIRD)),
    row("leases.p50", "20,000 leases that end together: gone after p50", "s", Asked::Nothing),
    row("leases.p99", "20,000 leases that end together: gone after p99", "s", Asked::AtMost(1.0)),
    row("leases.cpu", "20,000 leases that end together: server CPU per lease", "us", Asked::Nothing),
    row("cluster.put1000.cpu", "three members, put, 100x10: CPU of all", "us", Asked::OfA(THIRD)),
    row("cluster.put1000.rate", "three members, put, 100x10: throughput", "/s", Asked::Nothing),
    row("cluster.put1000.p99", "three members, put, 100x10: latency p99", "ms", Asked::Nothing),
    row("cluster.put1.cpu", "three members, put, 1 connection: CPU of all", "us", Asked::OfA(0.5)),
    row("cluster.put1.p50", "three members, put, 1 connection: latency p50", "ms", Asked::OfA(1.0)),
    row(
        "cluster.get1000.cpu",
        "three members, linearizable get through a follower, 100x10: CPU of all",
        "us",
        Asked::OfA(0.5),
    ),
    row(
        "cluster.get1000.rate",
        "three members, linearizable get through a follower, 100x10: throughput",
        "/s",
        Asked::Nothing,
    ),
    row("outage", "leader killed: no success for", "s", Asked::AtMost(1.2)),
    row("outage.worst", "leader killed: no success for, worst of a run", "s", Asked::Nothing),
    row("reigns.20.p50", "leases of 20 s, leader killed twice: gone after p50", "s", Asked::Nothing),
    row("reigns.20.worst", "the same, worst", "s", Asked::Nothing),
    row("reigns.60.p50", "leases of 60 s, leader killed twice: gone after p50", "s", Asked::Nothing),
    row("reigns.60.worst", "the same, worst", "s", Asked::Nothing),
    row("reigns.120.p50", "leases of 120 s, leader killed twice: gone after p50", "s", Asked::Nothing),
    row("reigns.120.worst", "the same, worst", "s", Asked::Nothing),
    row("reigns.earliest", "leases, leader killed twice: the first to go, after its time", "s", Asked::AtLeast(0.0)),
    row(
        "reigns.over",
        "leases, leader killed twice: worst, beyond a tenth of its TTL + 1 s + no success",
        "s",
        Asked::AtMost(0.0),
    ),
    row("reigns.late", "leases, leader killed twice: how many are beyond that", "", Asked::AtMost(0.0)),
    row("reigns.outage", "leases, leader killed twice: no success for, together", "s", Asked::Nothing),
    row("rejoin.time", "a member without data joins: until it answers a linearizable get", "s", Asked::Nothing),
    row("rejoin.rate", "the same: keys and values a second", "MB", Asked::Nothing),
    row("rejoin.written", "the same: bytes it wrote a second", "MB", Asked::Nothing),
    row("rejoin.disk", "one file written from end to end: bytes a second", "MB", Asked::Nothing),
    row("rejoin.share", "the rate at which it wrote, to that of the file", "", Asked::Nothing),
    row("rejoin.before", "steady puts, two members: latency p99", "ms", Asked::Nothing),
    row("rejoin.during", "steady puts, a third one joins: latency p99", "ms", Asked::Nothing),
    row("rejoin.slower", "the same, to what it was without", "", Asked::AtMost(1.5)),
    row("rejoin.refused", "the same: puts refused or timed out", "", Asked::AtMost(0.0)),
    row("slow.sync", "a sync of this disk", "ms", Asked::Nothing),
    row("slow.put1000.rate", "three members, put, 100x10: throughput", "/s", Asked::Nothing),
    row("slow.put1000.rate.with", "the same, a follower's syncs ten times slower", "/s", Asked::Nothing),
    row("slow.put1000.slower", "the first to the second", "", Asked::AtMost(1.1)),
    row("slow.put1000.noise", "two measurements of the first: the larger to the smaller", "", Asked::Nothing),
    row("slow.put1000.p50", "three members, put, 100x10: latency p50", "ms", Asked::Nothing),
    row("slow.put1000.p50.with", "the same, a follower's syncs ten times slower", "ms", Asked::Nothing),
    row("slow.put1000.p99", "three members, put, 100x10: latency p99", "ms", Asked::Nothing),
    row("slow.put1000.p99.with", "the same, a follower's syncs ten times slower", "ms", Asked::Nothing),
    row("slow.put1.p50", "three members, put, 1 connection: latency p50", "ms", Asked::Nothing),
    row("slow.put1.p50.with", "the same, a follower's syncs ten times slower", "ms", Asked::Nothing),
    row("slow.put1.slower", "the second to the first", "", Asked::AtMost(1.1)),
    row("slow.put1.noise", "two measurements of the first: the larger to the smaller", "", Asked::Nothing),
    row("slow.put1.p99", "three members, put, 1 connection: latency p99", "ms", Asked::Nothing),
    row("slow.put1.p99.with", "the same, a follower's syncs ten times slower", "ms", Asked::Nothing),
];

/// A measured figure.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub name: &'static str,
    pub value: f64,
}

/// How much load: less of it only to try things out.
#[derive(Clone, Debug)]
pub struct Sizes {
    pub small_keys: u64,
    pub large_keys: u64,
    /// Requests at 100 connections with 10 clients each.
    pub many: u64,
    /// Requests at one connection.
    pub single: u64,
    pub behind: u64,
    pub leases: u64,
    /// Leases that live through changes of leader.
    pub reigns: u64,
    /// How often the leader is killed.
    pub kills: u64,
    /// Keys and values that a new member has to be sent.
    pub rejoin_bytes: u64,
    /// Where the new member has its data, if not beside the others.
    pub rejoin_dir: Option<PathBuf>,
    /// Puts a second meanwhile.
    pub rejoin_rate: u64,
}

/// A server binary and where its data goes.
#[derive(Clone, Debug)]
pub struct Side {
    pub name: String,
    pub binary: PathBuf,
    pub dir: PathBuf,
    pub flags: Vec<String>,
}

const VALUE_BYTES: usize = 256;
const KEY_BYTES: usize = 8;
const PATIENCE: Duration = Duration::from_secs(120);

impl Side {
    fn fresh(&self) -> Result<Setup, Failure> {
        Ok(Setup::fresh(&self.binary, &self.dir, &self.flags)?)
    }
}

/// Kills the server, starts it again and holds it to what it acknowledged. It then still runs.
async fn crash_and_verify(server: Server, setup: &Setup, writes: &[Write], views: &[i64]) -> Result<Server, Failure> {
    server.kill()?;
    let server = setup.start(PATIENCE).await?;
    hold_to(&server, writes, views).await?;
    Ok(server)
}

/// Whether a server has what was acknowledged.
async fn hold_to(server: &Server, writes: &[Write], views: &[i64]) -> Result<(), Failure> {
    let connection = Connection::open(&server.endpoint()).await?;
    let verdict = verify(&connection, writes, views).await?;
    if verdict.holds() { Ok(()) } else { Err(Failure(verdict.to_string())) }
}
