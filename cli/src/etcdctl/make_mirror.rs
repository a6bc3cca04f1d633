//! `make-mirror`: copies one cluster to another, and keeps copying.

use std::time::Duration;

use bytes::Bytes;
use ferrite_client::proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use ferrite_client::proto::mvccpb::Event;
use ferrite_client::proto::mvccpb::event::EventType;
use ferrite_client::{Client, Config, Delete, Error, Get, Op, Put, Txn, Watch};

use super::connect::{Settings, TlsFlags, authentication_from, check_tls};
use super::{only, text};
use crate::command::{Command, Flag, Flags, Group, Invocation, Kind};
use crate::exit::{self, Exit};

pub static COMMAND: Command = Command {
    usage: "make-mirror [options] <destination>",
    short: "Makes a mirror at the destination etcd cluster",
    group: Group::Utility,
    flags: &[
        Flag::text("prefix", "", "key-value prefix to mirror"),
        Flag::int("rev", "the revision to start from; without it everything is copied first"),
        Flag::new(Kind::Uint, "max-txn-ops", "128", "maximum number of operations in a transaction"),
        Flag::text("dest-prefix", "", "destination prefix to mirror a prefix to a different prefix"),
        Flag::bool("no-dest-prefix", "mirror key-values to the root of the destination cluster"),
        Flag::text("dest-cert", "", "identify with this TLS certificate file at the destination"),
        Flag::text("dest-key", "", "identify with this TLS key file at the destination"),
        Flag::text("dest-cacert", "", "verify the destination with this bundle of certificates"),
        Flag::new(Kind::Bool, "dest-insecure-transport", "true", "allow connections to the destination without TLS"),
        Flag::text("dest-user", "", "destination username[:password] for authentication"),
        Flag::text("dest-password", "", "destination password for authentication"),
    ],
    run: Some(|call| Box::pin(run(call))),
    ..Command::NONE
};

/// How often the number of keys written is told.
const REPORT: Duration = Duration::from_secs(30);
/// Keys read at once.
const PAGE_KEYS: i64 = 1000;

async fn run(mut call: Invocation) -> Result<(), Exit> {
    let destination = text(only(call.args(), "make-mirror takes one destination argument")?);
    let settings = Settings::read(&mut call, &[])?;
    let flags = call.flags();
    let config = destination_config(&settings, flags, destination)?;
    let target = Client::connect(config).await.map_err(Exit::bad_connection)?;
    let source = settings.connect().await?;
    if !flags.text("dest-prefix").is_empty() && flags.bool("no-dest-prefix") {
        let text = "`--dest-prefix` and `--no-dest-prefix` cannot be set at the same time, choose one";
        return Err(Exit::bad_args(text));
    }
    let mut mirror = Mirror {
        source,
        target,
        prefix: flags.text("prefix").to_string(),
        target_prefix: flags.text("dest-prefix").to_string(),
        max_ops: flags.uint("max-txn-ops").max(1) as usize,
        written: 0,
    };
    let start = (flags.int("rev") - 1).max(0);
    if start == 0 && mirror.target_prefix.is_empty() && !flags.bool("no-dest-prefix") {
        mirror.target_prefix = mirror.prefix.clone();
    }
    let failed = mirror.run(start).await;
    Err(failed.map_or_else(Exit::error, |()| Exit::error("<nil>")))
}

fn destination_config(settings: &Settings, flags: &Flags, destination: String) -> Result<Config, Exit> {
    check_tls(flags.text("dest-cert"), flags.text("dest-key"))?;
    let tls = TlsFlags {
        cert: flags.text("dest-cert"),
        key: flags.text("dest-key"),
        authorities: flags.text("dest-cacert"),
        server_name: None,
        plain: flags.bool("dest-insecure-transport"),
        skip_verification: false,
    }
    .load()?;
    let (user, password) = (flags.text("dest-user"), flags.text("dest-password"));
    let credentials = authentication_from(user, password, "Destination Password: ")?;
    Ok(Config { endpoints: vec![destination], tls, credentials, token: None, ..settings.config.clone() })
}

struct Mirror {
    source: Client,
    target: Client,
    prefix: String,
    target_prefix: String,
    max_ops: usize,
    /// Keys and events written so far.
    written: u64,
}

impl Mirror {
    /// Copies what is there, unless it is to start from a revision, and then follows. It does not end by itself.
    async fn run(mut self, start: i64) -> Result<(), String> {
        let mut report = tokio::time::interval_at(tokio::time::Instant::now() + REPORT, REPORT);
        let start = match start {
            0 => self.copy(&mut report).await.map_err(|error| error.to_string())?,
            start => start,
        };
        let watch = Watch::new(self.prefix.clone()).prefix().revision(start + 1);
        let mut watcher = self.source.watch(watch).await.map_err(|error| error.to_string())?;
        loop {
            tokio::select! {
                response = watcher.next() => {
                    let Some(response) = response else { return Ok(()) };
                    if let Some(error) = response.error {
                        return Err(error.to_string());
                    }
                    self.replay(response.events).await.map_err(|error| error.to_string())?;
                }
                _ = report.tick() => self.report()?,
            }
        }
    }

    fn report(&self) -> Result<(), String> {
        exit::print(format!("{}\n", self.written).as_bytes()).map_err(|exit| exit.message.unwrap_or_default())
    }

    /// Copies all keys as of one revision, and returns it.
    async fn copy(&mut self, report: &mut tokio::time::Interval) -> Result<i64, Error> {
        let any = if self.prefix.is_empty() { "foo" } else { &self.prefix };
        let revision = self.source.get(any.to_string()).await?.header.unwrap_or_default().revision;
        let whole = Get::new(self.prefix.clone()).prefix();
        let end = ferrite_client::prefix_end(self.prefix.as_bytes());
        let mut from: Option<Bytes> = None;
        loop {
            let page = from.take().map_or(whole.clone(), |from| Get::new(from).range(end.clone()));
            let page = page.limit(PAGE_KEYS).revision(revision).sort(SortTarget::Key, SortOrder::Ascend);
            let response = self.source.get(page).await?;
            for kv in &response.kvs {
                self.target.put(Put::new(self.target_key(&kv.key), kv.value.clone())).await?;
                self.written += 1;
                if is_due(report) {
                    // Whoever closes our output does not stop the copy: the next report will.
                    let _ = self.report();
                }
            }
            match response.kvs.last() {
                Some(last) if response.more => from = Some([&last.key[..], &[0]].concat().into()),
                _ => return Ok(revision),
            }
        }
    }

    /// Writes events; those of one revision in one transaction, as they were, unless there are too many of them.
    async fn replay(&mut self, events: Vec<Event>) -> Result<(), Error> {
        let (mut ops, mut revision) = (Vec::<Op>::new(), 0);
        for event in events {
            let kv = event.kv.clone().unwrap_or_default();
            if !ops.is_empty() && (kv.mod_revision != revision || ops.len() >= self.max_ops) {
                self.write(std::mem::take(&mut ops)).await?;
            }
            revision = kv.mod_revision;
            let key = self.target_key(&kv.key);
            ops.push(match event.r#type() {
                EventType::Put => Put::new(key, kv.value).into(),
                EventType::Delete => Delete::new(key).into(),
            });
        }
        if ops.is_empty() { Ok(()) } else { self.write(ops).await }
    }

    async fn write(&mut self, ops: Vec<Op>) -> Result<(), Error> {
        self.written += ops.len() as u64;
        self.target.txn(Txn::new().and_then(ops)).await?;
        Ok(())
    }

    /// The key with the first occurrence of the one prefix replaced by the other.
    fn target_key(&self, key: &Bytes) -> Bytes {
        replace_first(key, self.prefix.as_bytes(), self.target_prefix.as_bytes())
    }
}

/// Whether it is time to report. Asked between writes, so that reporting never waits.
fn is_due(report: &mut tokio::time::Interval) -> bool {
    report.poll_tick(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_ready()
}

fn replace_first(text: &Bytes, from: &[u8], to: &[u8]) -> Bytes {
    let at = if from.is_empty() { Some(0) } else { text.windows(from.len()).position(|part| part == from) };
    match at {
        Some(at) if from != to => [&text[..at], to, &text[at + from.len()..]].concat().into(),
        _ => text.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_exchanged_where_they_come_first() {
        for (key, from, to, expected) in [
            ("o_k", "o_", "d_", "d_k"),
            ("o_k", "o_", "", "k"),
            ("k", "", "d_", "d_k"),
            ("ao_o_", "o_", "x", "axo_"),
            ("k", "o_", "d_", "k"),
        ] {
            assert_eq!(replace_first(&key.into(), from.as_bytes(), to.as_bytes()), expected, "{key}");
        }
    }
}
