//! One load on one server, measured from outside.

use super::{KEY_BYTES, Sample, VALUE_BYTES};
use crate::command::Failure;
use crate::command::put::{Keys, puts};
use crate::grpc::{Connection, rpc};
use crate::ledger::Write;
use crate::load::{Plan, drive};
use crate::process::{Server, Usage};
use crate::report::Report;
use crate::rng::Rng;
use ferrite_proto::etcdserverpb::RangeRequest;
use std::cell::RefCell;
use std::time::Duration;

/// How long a server may put work off before what it used is read.
const SETTLE: Duration = Duration::from_millis(500);

/// Connections and clients of a load.
#[derive(Clone, Debug)]
pub struct Crowd {
    pub connections: Vec<Connection>,
    pub clients: u64,
}

impl Crowd {
    /// 100 connections with 10 clients each.
    pub async fn many(server: &Server) -> Result<Crowd, Failure> {
        Crowd::open(server, 100, 1000).await
    }

    pub async fn single(server: &Server) -> Result<Crowd, Failure> {
        Crowd::open(server, 1, 1).await
    }

    /// 100 connections with 10 clients each, dealt out to all members.
    pub async fn spread(servers: &[Server]) -> Result<Crowd, Failure> {
        Crowd::over(&servers.iter().collect::<Vec<_>>(), 100, 1000).await
    }

    async fn open(server: &Server, connections: usize, clients: u64) -> Result<Crowd, Failure> {
        Crowd::over(&[server], connections, clients).await
    }

    async fn over(servers: &[&Server], connections: usize, clients: u64) -> Result<Crowd, Failure> {
        let mut open = Vec::with_capacity(connections);
        for server in servers.iter().cycle().take(connections) {
            open.push(Connection::open(&server.endpoint()).await?);
        }
        Ok(Crowd { connections: open, clients })
    }

    fn plan(&self, total: u64) -> Plan {
        Plan { total, clients: self.clients, rate: 0 }
    }
}

/// A report with what the server used meanwhile.
#[derive(Debug)]
pub struct Measured {
    pub report: Report,
    used: Usage,
}

impl Measured {
    /// Server CPU per request.
    pub fn cpu_us(&self) -> f64 {
        per(self.used.cpu, &self.report)
    }

    pub fn client_us(&self) -> f64 {
        per(self.report.client_cpu, &self.report)
    }

    pub fn device_bytes(&self) -> f64 {
        self.used.written_bytes as f64 / self.report.succeeded() as f64
    }

    pub fn millis(&self, percent: f64) -> f64 {
        self.report.percentile(percent).as_secs_f64() * 1e3
    }
}

fn per(cpu: Duration, report: &Report) -> f64 {
    cpu.as_secs_f64() * 1e6 / report.succeeded() as f64
}

pub fn sample(name: &'static str, value: f64) -> Sample {
    Sample { name, value }
}

/// What servers use together from now on, until the work they have put off is done.
#[derive(Debug)]
pub struct Meter<'a> {
    servers: &'a [Server],
    before: Usage,
}

fn usage(servers: &[Server]) -> Result<Usage, Failure> {
    let mut sum = Usage::default();
    for server in servers {
        let used = server.usage()?;
        sum.cpu += used.cpu;
        sum.written_bytes += used.written_bytes;
    }
    Ok(sum)
}

impl Meter<'_> {
    pub fn start(servers: &[Server]) -> Result<Meter<'_>, Failure> {
        Ok(Meter { servers, before: usage(servers)? })
    }

    pub async fn read(&self) -> Result<Usage, Failure> {
        tokio::time::sleep(SETTLE).await;
        let after = usage(self.servers)?;
        Ok(Usage {
            cpu: after.cpu.saturating_sub(self.before.cpu),
            written_bytes: after.written_bytes - self.before.written_bytes,
        })
    }
}

/// Puts on a key space, in turn or at random; every one must succeed.
pub async fn measure_puts(
    servers: &[Server],
    crowd: &Crowd,
    total: u64,
    (space, sequential): (u64, bool),
    ledger: &mut Vec<Write>,
) -> Result<Measured, Failure> {
    let meter = Meter::start(servers)?;
    let keys = Keys { bytes: KEY_BYTES, space, sequential };
    let (report, writes) = puts(&crowd.connections, crowd.plan(total), keys, VALUE_BYTES).await;
    ledger.extend(writes);
    succeeded(Measured { report, used: meter.read().await? })
}

/// Linearizable gets of random keys.
pub async fn measure_gets(servers: &[Server], crowd: &Crowd, total: u64, space: u64) -> Result<Measured, Failure> {
    let rng = RefCell::new(Rng::from_clock());
    measure_reads(servers, crowd, total, move || {
        let key = crate::command::key(rng.borrow_mut().below(space), KEY_BYTES);
        RangeRequest { key, ..Default::default() }
    })
    .await
}

/// Reads of any kind.
pub async fn measure_reads(
    servers: &[Server],
    crowd: &Crowd,
    total: u64,
    request: impl Fn() -> RangeRequest + 'static,
) -> Result<Measured, Failure> {
    let meter = Meter::start(servers)?;
    let report = drive(&crowd.connections, crowd.plan(total), async move |connection: Connection, _| {
        connection.call(rpc::RANGE, &request()).await.map(|_| ())
    })
    .await;
    succeeded(Measured { report, used: meter.read().await? })
}

fn succeeded(measured: Measured) -> Result<Measured, Failure> {
    match measured.report.first_error() {
        Some(error) => Err(Failure(format!("{} requests failed, one with: {error}", measured.report.failed()))),
        None => Ok(measured),
    }
}
