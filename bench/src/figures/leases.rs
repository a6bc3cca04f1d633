//! Many leases that end together: how long after its time each is gone.

use super::measure::{Crowd, Meter, sample};
use super::{PATIENCE, Sample, Side, Sizes, VALUE_BYTES, crash_and_verify};
use crate::command::Failure;
use crate::grpc::{Connection, rpc};
use crate::ledger::{Write, WriteId, WriteIds, watch_everything};
use crate::load::{Plan, drive};
use crate::report::Report;
use bytes::Bytes;
use ferrite_proto::etcdserverpb::{LeaseGrantRequest, PutRequest};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::slice::from_ref;
use std::time::{Duration, Instant};

/// Long enough to grant all and attach a key to each.
const TTL: Duration = Duration::from_secs(20);
const DELETE: i32 = 1;

/// A granted lease.
#[derive(Clone, Copy, Debug)]
struct Granted {
    id: i64,
    sent: Instant,
    answered: Instant,
}

pub async fn run(side: &Side, sizes: &Sizes) -> Result<Vec<Sample>, Failure> {
    let setup = side.fresh()?;
    let server = setup.start(PATIENCE).await?;
    let crowd = Crowd::many(&server).await?;
    let granted = grant(&crowd, sizes.leases).await?;
    let writes = attach(&crowd, &granted).await?;
    let first = granted.iter().map(|g| g.sent).min().expect("leases were granted");
    if first.elapsed() >= TTL {
        return Err(Failure(format!("granting and attaching took longer than the leases live, {TTL:?}")));
    }
    let current = writes.iter().map(|w| w.revision).max().unwrap_or_default();
    let meter = Meter::start(from_ref(&server))?;
    let mut delays = delays(&crowd.connections[0], current, &granted).await?;
    let used = meter.read().await?;
    delays.sort_unstable();
    let percentile = |percent: usize| delays[(delays.len() * percent / 100).min(delays.len() - 1)].as_secs_f64();
    drop(crowd);
    crash_and_verify(server, &setup, &writes, &[current]).await?.kill()?;
    Ok(vec![
        sample("leases.p50", percentile(50)),
        sample("leases.p99", percentile(99)),
        sample("leases.cpu", used.cpu.as_secs_f64() * 1e6 / sizes.leases as f64),
    ])
}

async fn grant(crowd: &Crowd, leases: u64) -> Result<Vec<Granted>, Failure> {
    let granted = Rc::new(RefCell::new(Vec::new()));
    let all = granted.clone();
    let plan = Plan { total: leases, clients: crowd.clients, rate: 0 };
    let report = drive(&crowd.connections, plan, async move |connection: Connection, _| {
        let sent = Instant::now();
        let grant = LeaseGrantRequest { ttl: TTL.as_secs() as i64, id: 0 };
        let id = connection.call(rpc::LEASE_GRANT, &grant).await?.id;
        all.borrow_mut().push(Granted { id, sent, answered: Instant::now() });
        Ok(())
    })
    .await;
    all_succeeded(&report)?;
    Ok(granted.take())
}

fn key_of(lease: i64) -> Bytes {
    format!("lease/{lease:016x}").into()
}

async fn attach(crowd: &Crowd, granted: &[Granted]) -> Result<Vec<Write>, Failure> {
    let state = Rc::new(RefCell::new((WriteIds::new(), Vec::new())));
    let shared = state.clone();
    let leases: Vec<i64> = granted.iter().map(|g| g.id).collect();
    let plan = Plan { total: leases.len() as u64, clients: crowd.clients, rate: 0 };
    let report = drive(&crowd.connections, plan, async move |connection: Connection, number: u64| {
        let lease = leases[number as usize];
        let (id, mut value) = (shared.borrow_mut().0.next(), vec![0; VALUE_BYTES]);
        WriteId::stamp(id, &mut value);
        let put = PutRequest { key: key_of(lease), value: value.into(), lease, ..Default::default() };
        let revision = connection.call(rpc::PUT, &put).await?.header.unwrap_or_default().revision;
        shared.borrow_mut().1.push(Write { revision, id, key: put.key });
        Ok(())
    })
    .await;
    all_succeeded(&report)?;
    let writes = std::mem::take(&mut state.borrow_mut().1);
    Ok(writes)
}

fn all_succeeded(report: &Report) -> Result<(), Failure> {
    match report.first_error() {
        Some(error) => Err(Failure(format!("{} requests failed, one with: {error}", report.failed()))),
        None => Ok(()),
    }
}

/// Watches the attached keys go. A lease that ends before its time fails the run.
async fn delays(connection: &Connection, after: i64, granted: &[Granted]) -> Result<Vec<Duration>, Failure> {
    let mut waiting: HashMap<Bytes, Granted> = granted.iter().map(|g| (key_of(g.id), *g)).collect();
    let mut stream = connection.stream(rpc::WATCH).await?;
    stream.sender.send(&watch_everything(after + 1))?;
    let mut delays = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        let answer = tokio::time::timeout(TTL + PATIENCE, stream.next())
            .await
            .map_err(|_| Failure(format!("{} leases have not ended", waiting.len())))??;
        let Some(answer) = answer.filter(|a| !a.canceled) else { return Err(Failure("the watch ended".to_owned())) };
        let now = Instant::now();
        for kv in answer.events.into_iter().filter(|e| e.r#type == DELETE).filter_map(|e| e.kv) {
            let Some(lease) = waiting.remove(&kv.key) else { continue };
            if now < lease.sent + TTL {
                return Err(Failure(format!("lease {:x} ended {:?} early", lease.id, lease.sent + TTL - now)));
            }
            delays.push(now.saturating_duration_since(lease.answered + TTL));
        }
    }
    Ok(delays)
}
