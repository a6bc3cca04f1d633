//! `check perf`: a minute of writes at a rate that the cluster should bear.

use std::time::Duration;

use ferrite_client::Put;

use super::load::{Load, Report};
use super::{COMPACT, DEFRAG, LOAD, Size, clean_up, clients, is_empty, say};
use crate::command::{Command, Flag, Group, Invocation};
use crate::etcdctl::connect::Settings;
use crate::etcdctl::signals;
use crate::exit::Exit;

pub static COMMAND: Command = Command {
    usage: "perf [options]",
    short: "Check the performance of the etcd cluster",
    group: Group::Utility,
    flags: &[
        LOAD,
        Flag::text("prefix", "/etcdctl-check-perf/", "the prefix for writing the performance check's keys"),
        COMPACT,
        DEFRAG,
    ],
    run: Some(|call| Box::pin(run(call))),
    ..Command::NONE
};

const SECONDS: u64 = 60;
/// How long each step of cleaning up may take.
const CLEAN_UP: Duration = Duration::from_secs(30);
const KEY_BYTES: usize = 256;
const VALUE_BYTES: usize = 1024;

/// What a cluster has to bear: the share of the rate, the slowest write, how far writes may be from their mean.
const SHARE: f64 = 0.9;
const SLOWEST_SECONDS: f64 = 0.5;
const DEVIATION_SECONDS: f64 = 0.1;

/// Writes a second, and clients.
fn load(size: Size) -> (u64, usize) {
    match size {
        Size::Small => (150, 50),
        Size::Medium => (1000, 200),
        Size::Large => (8000, 500),
        Size::VeryLarge => (15000, 1000),
    }
}

async fn run(mut call: Invocation) -> Result<(), Exit> {
    let (rate, count) = load(Size::of(call.flags())?);
    let settings = Settings::read(&mut call, &[])?;
    let prefix = call.flags().text("prefix").to_string();
    let client = settings.connect().await?;
    if !is_empty(&client, &prefix).await? {
        let text = format!("prefix {prefix:?} has keys. Delete with 'etcdctl del --prefix {prefix}' first");
        return Err(Exit::invalid_input(text));
    }
    let writers = clients(&settings, count).await?;
    let limit = Some(Duration::from_secs(SECONDS));
    let mut signals = signals()?;
    let writing = Load { writes: rate * SECONDS, rate, limit }.run(writers, move |number| put(&prefix, number));
    let report = tokio::select! {
        report = writing => Some(report),
        _ = signals.recv() => None,
    };
    clean_up(&client.with_timeout(CLEAN_UP), call.flags()).await?;
    match report {
        Some(report) => judge(&report, rate),
        None => Err(Exit::error("interrupted")),
    }
}

/// Keys are long, and follow one another in no order.
fn put(prefix: &str, number: u64) -> Put {
    let scattered = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut key = [prefix.as_bytes(), &scattered.to_be_bytes()].concat();
    key.resize(prefix.len() + KEY_BYTES, 0);
    Put::new(key, vec![0; VALUE_BYTES])
}

fn judge(report: &Report, rate: u64) -> Result<(), Exit> {
    if let Some(failures) = report.failures() {
        say(&failures)?;
    }
    let enough = report.rate() / rate as f64 > SHARE;
    let throughput = report.rate().floor() as u64 + 1;
    let (slowest, deviation) = (report.slowest(), report.standard_deviation());
    say(&match enough {
        true => format!("PASS: Throughput is {throughput} writes/s"),
        false => format!("FAIL: Throughput too low: {throughput} writes/s"),
    })?;
    say(&match slowest > SLOWEST_SECONDS {
        false => format!("PASS: Slowest request took {slowest:.6}s"),
        true => format!("Slowest request took too long: {slowest:.6}s"),
    })?;
    say(&match deviation > DEVIATION_SECONDS {
        false => format!("PASS: Stddev is {deviation:.6}s"),
        true => format!("Stddev too high: {deviation:.6}s"),
    })?;
    let passed = report.errors.is_empty() && enough && slowest <= SLOWEST_SECONDS && deviation <= DEVIATION_SECONDS;
    say(if passed { "PASS" } else { "FAIL" })?;
    if passed { Ok(()) } else { Err(Exit::silent(1)) }
}
