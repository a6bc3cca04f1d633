//! Leases over changes of leader: three members, whose leader is killed twice while leases of three TTLs run. When each lease
//! is gone is told by a watch on the key that hangs on it.
//!
//! ```text
//! grant and attach, the longest first ──▶ kill, wait for a put, start ──▶ the same again ──▶ until all are gone
//!                one in a hundred is renewed until some seconds behind the second kill
//! ```
//!
//! A lease is early if it is gone before its TTL is over, counted from when its grant or its last renewal was sent. It is late
//! by what has passed since its TTL was over, counted from the answer; of that a tenth of its TTL, a second, and the time in
//! which no put succeeded are allowed.

use super::measure::{Crowd, sample};
use super::outage::{Outage, kill_the_leader};
use super::trio::Trio;
use super::{Sample, Side, Sizes, VALUE_BYTES};
use crate::command::Failure;
use crate::grpc::{Connection, rpc};
use crate::ledger::watch_everything;
use crate::load::{Plan, drive};
use crate::process::Server;
use bytes::Bytes;
use ferrite_proto::etcdserverpb::{LeaseGrantRequest, LeaseKeepAliveRequest, PutRequest};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// The longest first, so that all live when the leader goes.
const TTL_SECONDS: [u64; 3] = [120, 60, 20];
const FIGURES: [(&str, &str); 3] = [
    ("reigns.120.p50", "reigns.120.worst"),
    ("reigns.60.p50", "reigns.60.worst"),
    ("reigns.20.p50", "reigns.20.worst"),
];
const KILLS: usize = 2;
/// Before each kill.
const CALM: Duration = Duration::from_secs(4);
/// One lease of so many is renewed.
const RENEWED: u64 = 100;
/// A renewal that has no answer by then is tried elsewhere.
const RENEWAL: Duration = Duration::from_secs(1);
/// After the last kill renewals go on for so long.
const RENEWALS_GO_ON: Duration = Duration::from_secs(5);
/// Behind the longest TTL, for who loses count of time at each change.
const GIVE_UP: Duration = Duration::from_secs(15 * 60);
const DELETE: i32 = 1;

/// A lease, and what its holder knows.
#[derive(Clone, Copy, Debug)]
struct Lease {
    id: i64,
    ttl: Duration,
    /// When its holder asked for the time that it has.
    sent: Instant,
    /// From when on nobody has asked for more.
    answered: Instant,
    gone: Option<Instant>,
}

type Leases = Rc<RefCell<HashMap<Bytes, Lease>>>;

pub async fn run(side: &Side, sizes: &Sizes) -> Result<Vec<Sample>, Failure> {
    let mut trio = Trio::start(side).await?;
    let endpoints: Vec<String> = trio.servers.iter().map(Server::endpoint).collect();
    let leases = Leases::default();
    let watch = tokio::task::spawn_local(watch(endpoints.clone(), leases.clone()));
    let crowd = Crowd::spread(&trio.servers).await?;
    for ttl_seconds in TTL_SECONDS {
        grant(&crowd, sizes.reigns / TTL_SECONDS.len() as u64, ttl_seconds, &leases).await?;
    }
    drop(crowd);
    let renewals = renew_some(&endpoints, &leases);
    let mut outages = Vec::new();
    for _ in 0..KILLS {
        sleep(CALM).await;
        outages.push(kill_the_leader(&mut trio).await?);
    }
    sleep(RENEWALS_GO_ON).await;
    renewals.into_iter().for_each(|renewal| renewal.abort());
    let longest = Duration::from_secs(TTL_SECONDS[0]);
    let ended = timeout(longest + GIVE_UP, watch).await;
    let leases = leases.borrow().values().copied().collect::<Vec<_>>();
    let living = leases.iter().filter(|lease| lease.gone.is_none()).count();
    match ended {
        Ok(Ok(Ok(()))) => Ok(figures(&leases, &outages)),
        Ok(Ok(Err(failure))) => Err(failure),
        Ok(Err(_)) | Err(_) => Err(Failure(format!("{living} leases have not ended"))),
    }
}

async fn grant(crowd: &Crowd, count: u64, ttl_seconds: u64, leases: &Leases) -> Result<(), Failure> {
    let all = leases.clone();
    let plan = Plan { total: count, clients: crowd.clients, rate: 0 };
    let report = drive(&crowd.connections, plan, async move |connection: Connection, number| {
        let sent = Instant::now();
        let grant = LeaseGrantRequest { ttl: ttl_seconds as i64, id: 0 };
        let id = connection.call(rpc::LEASE_GRANT, &grant).await?.id;
        let answered = Instant::now();
        let key: Bytes = format!("lease/{ttl_seconds}/{number:08}").into();
        let ttl = Duration::from_secs(ttl_seconds);
        all.borrow_mut().insert(key.clone(), Lease { id, ttl, sent, answered, gone: None });
        let put = PutRequest { key, value: vec![0; VALUE_BYTES].into(), lease: id, ..Default::default() };
        connection.call(rpc::PUT, &put).await.map(drop)
    })
    .await;
    match report.first_error() {
        Some(error) => Err(Failure(format!("{} requests failed, one with: {error}", report.failed()))),
        None => Ok(()),
    }
}

/// Holders that renew their leases each third of the TTL, until they are aborted.
fn renew_some(endpoints: &[String], leases: &Leases) -> Vec<JoinHandle<()>> {
    let keys: Vec<Bytes> =
        leases.borrow().keys().filter(|key| number_of(key).is_multiple_of(RENEWED)).cloned().collect();
    let connections: Rc<RefCell<Vec<Option<Connection>>>> = Rc::new(RefCell::new(vec![None; endpoints.len()]));
    let holder =
        |(at, key)| tokio::task::spawn_local(hold(key, at, endpoints.to_vec(), connections.clone(), leases.clone()));
    keys.into_iter().enumerate().map(holder).collect()
}

fn number_of(key: &[u8]) -> u64 {
    let text = std::str::from_utf8(key).unwrap_or_default();
    text.rsplit_once('/').and_then(|(_, number)| number.parse().ok()).expect("we made the key")
}

/// Renews one lease, at a member that answers.
async fn hold(
    key: Bytes,
    mut member: usize,
    endpoints: Vec<String>,
    connections: Rc<RefCell<Vec<Option<Connection>>>>,
    leases: Leases,
) {
    let Some(Lease { id, ttl, answered, .. }) = leases.borrow().get(&key).copied() else { return };
    let mut next = answered + ttl / 3;
    loop {
        tokio::time::sleep_until(next.into()).await;
        member = (member + 1) % endpoints.len();
        let sent = Instant::now();
        // Whatever comes of it, it may have been renewed.
        let set = |change: &dyn Fn(&mut Lease)| leases.borrow_mut().get_mut(&key).map(change);
        set(&|lease| lease.answered = sent + RENEWAL);
        let renewed = timeout(RENEWAL, async {
            let known = connections.borrow()[member].clone();
            let connection = match known {
                Some(connection) => connection,
                None => Connection::open(&endpoints[member]).await?,
            };
            connections.borrow_mut()[member] = Some(connection.clone());
            connection.call(rpc::LEASE_KEEP_ALIVE, &LeaseKeepAliveRequest { id }).await
        })
        .await;
        match renewed {
            Ok(Ok(answer)) if answer.ttl > 0 => {
                set(&|lease| (lease.sent, lease.answered) = (sent, Instant::now()));
                next = sent + ttl / 3;
            }
            // It is gone: that is judged by when.
            Ok(Ok(_)) => return,
            Ok(Err(_)) | Err(_) => {
                connections.borrow_mut()[member] = None;
                next = Instant::now() + Duration::from_millis(100);
            }
        }
    }
}

/// Notes when keys go, and goes on at another member when one ends, until all are gone.
async fn watch(endpoints: Vec<String>, leases: Leases) -> Result<(), Failure> {
    let (mut from, mut has_begun) = (1, false);
    for endpoint in endpoints.iter().cycle() {
        let Ok(connection) = Connection::open(endpoint).await else {
            sleep(Duration::from_millis(20)).await;
            continue;
        };
        let Ok(mut stream) = connection.stream(rpc::WATCH).await else { continue };
        stream.sender.send(&watch_everything(from))?;
        while let Ok(Some(answer)) = stream.next().await {
            if answer.canceled {
                return Err(Failure(format!("the watch was canceled: {}", answer.cancel_reason)));
            }
            let now = Instant::now();
            let mut leases = leases.borrow_mut();
            for event in answer.events {
                let Some(kv) = event.kv else { continue };
                from = from.max(kv.mod_revision + 1);
                has_begun = true;
                if event.r#type == DELETE
                    && let Some(lease) = leases.get_mut(&kv.key)
                {
                    lease.gone = Some(now);
                }
            }
            if has_begun && leases.values().all(|lease| lease.gone.is_some()) {
                return Ok(());
            }
        }
    }
    unreachable!("there is always another member")
}

fn figures(leases: &[Lease], outages: &[Outage]) -> Vec<Sample> {
    let ended = |lease: &Lease| lease.gone.expect("all have ended");
    let seconds_since = |at: Instant, since: Instant| match at.checked_duration_since(since) {
        Some(after) => after.as_secs_f64(),
        None => -(since - at).as_secs_f64(),
    };
    let late = |lease: &Lease| seconds_since(ended(lease), lease.answered + lease.ttl);
    let outage = |lease: &Lease| {
        let during = outages.iter().filter(|outage| lease.answered < outage.ended && outage.begun < ended(lease));
        during.map(|outage| (outage.ended - outage.begun).as_secs_f64()).sum::<f64>()
    };
    let mut samples = Vec::new();
    for (ttl_seconds, (median, worst)) in TTL_SECONDS.into_iter().zip(FIGURES) {
        let of_ttl = leases.iter().filter(|lease| lease.ttl.as_secs() == ttl_seconds);
        let mut delays: Vec<f64> = of_ttl.map(late).collect();
        delays.sort_unstable_by(f64::total_cmp);
        samples.push(sample(median, delays[delays.len() / 2]));
        samples.push(sample(worst, delays[delays.len() - 1]));
    }
    let slack = leases.iter().map(|lease| seconds_since(ended(lease), lease.sent + lease.ttl));
    let over = leases.iter().map(|lease| late(lease) - lease.ttl.as_secs_f64() / 10.0 - 1.0 - outage(lease));
    let too_late = over.clone().filter(|over| *over > 0.0).count();
    samples.extend([
        sample("reigns.earliest", slack.fold(f64::MAX, f64::min)),
        sample("reigns.over", over.fold(f64::MIN, f64::max)),
        sample("reigns.late", too_late as f64),
        sample("reigns.outage", outages.iter().map(|outage| (outage.ended - outage.begun).as_secs_f64()).sum()),
    ]);
    samples
}
