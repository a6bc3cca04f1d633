//! `check datascale`: how much memory a member needs for an amount of data.

use ferrite_client::Put;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::load::Load;
use super::{COMPACT, DEFRAG, LOAD, Size, clean_up, clients, is_empty, say};
use crate::command::{Command, Flag, Group, Invocation};
use crate::etcdctl::connect::Settings;
use crate::exit::Exit;

pub static COMMAND: Command = Command {
    usage: "datascale [options]",
    short: "Check the memory usage of holding data for different workloads on a given server endpoint.",
    group: Group::Utility,
    flags: &[
        LOAD,
        Flag::text("prefix", "/etcdctl-check-datascale/", "the prefix for writing the datascale check's keys"),
        COMPACT,
        DEFRAG,
    ],
    run: Some(|call| Box::pin(run(call))),
    ..Command::NONE
};

/// Of a key behind its prefix, and of its value.
const PART_BYTES: usize = 512;
const METRIC: &str = "process_resident_memory_bytes";

/// Keys, and clients.
fn load(size: Size) -> (u64, usize) {
    match size {
        Size::Small => (10_000, 50),
        Size::Medium => (100_000, 200),
        Size::Large => (1_000_000, 500),
        Size::VeryLarge => (3_000_000, 1000),
    }
}

async fn run(mut call: Invocation) -> Result<(), Exit> {
    let (writes, count) = load(Size::of(call.flags())?);
    let settings = Settings::read(&mut call, &[])?;
    let prefix = call.flags().text("prefix").to_string();
    let client = settings.connect().await?;
    if !is_empty(&client, &prefix).await? {
        let text = format!("prefix {prefix:?} has keys. Delete with etcdctl del --prefix {prefix} first");
        return Err(Exit::invalid_input(text));
    }
    let endpoint = client.config().endpoints[0].clone();
    say(&format!(
        "Start data scale check for work load [{writes} key-value pairs, {} bytes per key-value, {count} concurrent clients].",
        2 * PART_BYTES
    ))?;
    let before = resident_bytes(&endpoint, "before").await?;
    let writers = clients(&settings, count).await?;
    let report = Load { writes, rate: 0, limit: None }.run(writers, move |number| put(&prefix, number)).await;
    let after = resident_bytes(&endpoint, "after").await;
    clean_up(&client, call.flags()).await?;
    if let Some(failures) = report.failures() {
        say(&failures)?;
        return Err(Exit::silent(1));
    }
    let used = (after? - before) / f64::from(1 << 20);
    say(&format!("PASS: Approximate system memory used : {used:.2} MB."))
}

fn put(prefix: &str, number: u64) -> Put {
    let mut key = [prefix.as_bytes(), &number.to_be_bytes()].concat();
    key.resize(prefix.len() + PART_BYTES, 0);
    Put::new(key, vec![0; PART_BYTES])
}

/// The memory that the member at `endpoint` says it uses.
async fn resident_bytes(endpoint: &str, when: &str) -> Result<f64, Exit> {
    let found = match fetch(endpoint).await {
        Ok(metrics) => value(&metrics),
        Err(error) => Err(format!("fetch error: {error}")),
    };
    found.or_else(|reason| {
        say(&reason)?;
        say(&format!("FAIL: Could not read {METRIC} {when} the put operations."))?;
        Err(Exit::silent(1))
    })
}

async fn fetch(endpoint: &str) -> std::io::Result<String> {
    let host = endpoint.split_once("://").map_or(endpoint, |(_, host)| host);
    let mut stream = TcpStream::connect(host).await?;
    // Of this old version an answer is never in chunks, and ends with the connection.
    stream.write_all(format!("GET /metrics HTTP/1.0\r\nHost: {host}\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

fn value(metrics: &str) -> Result<f64, String> {
    let line = metrics.lines().find_map(|line| line.strip_prefix(METRIC)?.strip_prefix(' '));
    let text = line.ok_or_else(|| format!("could not find: {METRIC}"))?;
    text.trim().parse().map_err(|error| format!("parse error: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metric_is_found() {
        let metrics = "# TYPE process_resident_memory_bytes gauge\nprocess_resident_memory_bytes 2.5e+07\n";
        assert_eq!(value(metrics), Ok(2.5e7));
        assert!(value("other 1\n").is_err());
    }
}
