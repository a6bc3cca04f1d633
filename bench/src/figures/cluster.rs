//! Three members: puts and gets, paid for by all of them, and how long nothing succeeds when the leader is killed.

use super::measure::{Crowd, measure_gets, measure_puts, sample};
use super::{PATIENCE, Sample, Side, Sizes};
use crate::command::Failure;
use crate::grpc::{Connection, rpc};
use crate::process::{Server, Setup};
use ferrite_proto::etcdserverpb::{PutRequest, StatusRequest};
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

const MEMBERS: usize = 3;
/// A get takes a fraction of what a put takes, and the kernel counts CPU in hundredths of a second.
const GETS_PER_PUT: u64 = 4;
/// How often the leader is killed.
const KILLS: usize = 5;
/// A client that waits for a new leader asks so often, and gives a request so long.
const ASK_EVERY: Duration = Duration::from_millis(5);
const GIVE_UP: Duration = Duration::from_millis(100);
/// Between two kills, so that the one that came back has caught up.
const REST: Duration = Duration::from_secs(3);

pub async fn run(side: &Side, sizes: &Sizes) -> Result<Vec<Sample>, Failure> {
    let setups = setups(side)?;
    let mut servers = start(&setups).await?;
    let leader = leader(&servers).await?;
    let follower = (leader + 1) % MEMBERS;
    let mut writes = Vec::new();
    let keys = sizes.small_keys;
    let (all, single) = (Crowd::spread(&servers).await?, Crowd::single(&servers[leader]).await?);
    measure_puts(&servers, &all, keys, (keys, true), &mut writes).await?;
    let put = measure_puts(&servers, &all, sizes.many, (keys, false), &mut writes).await?;
    let put_single = measure_puts(&servers, &single, sizes.single, (keys, false), &mut writes).await?;
    let many = Crowd::many(&servers[follower]).await?;
    let get = measure_gets(&servers, &many, sizes.many * GETS_PER_PUT, keys).await?;
    drop((all, single, many));
    let mut outages = Vec::new();
    for _ in 0..KILLS {
        outages.push(kill_the_leader(&mut servers, &setups).await?);
        sleep(REST).await;
    }
    outages.sort();
    Ok(vec![
        sample("cluster.put1000.cpu", put.cpu_us()),
        sample("cluster.put1000.rate", put.report.rate()),
        sample("cluster.put1000.p99", put.millis(99.0)),
        sample("cluster.put1.cpu", put_single.cpu_us()),
        sample("cluster.put1.p50", put_single.millis(50.0)),
        sample("cluster.get1000.cpu", get.cpu_us()),
        sample("cluster.get1000.rate", get.report.rate()),
        sample("cluster.outage", outages[outages.len() / 2].as_secs_f64()),
        sample("cluster.outage.worst", outages[outages.len() - 1].as_secs_f64()),
    ])
}

/// Members that know each other.
fn setups(side: &Side) -> Result<Vec<Setup>, Failure> {
    let name = |number: usize| format!("member{number}");
    let fresh = |number: usize| Setup::fresh(&side.binary, &side.dir.join(name(number)), &[]);
    let mut setups = (0..MEMBERS).map(fresh).collect::<Result<Vec<_>, _>>()?;
    let all: Vec<String> =
        setups.iter().enumerate().map(|(number, setup)| format!("{}={}", name(number), setup.peer_url())).collect();
    for (number, setup) in setups.iter_mut().enumerate() {
        // The last one that is given counts.
        let own = [format!("--name={}", name(number)), format!("--initial-cluster={}", all.join(","))];
        setup.set_flags([&own[..], &side.flags].concat());
    }
    Ok(setups)
}

async fn start(setups: &[Setup]) -> Result<Vec<Server>, Failure> {
    let [a, b, c] = setups else { unreachable!("there are {MEMBERS} of them") };
    let (a, b, c) = tokio::try_join!(a.start(PATIENCE), b.start(PATIENCE), c.start(PATIENCE))?;
    Ok(vec![a, b, c])
}

async fn leader(servers: &[Server]) -> Result<usize, Failure> {
    for (number, server) in servers.iter().enumerate() {
        let connection = Connection::open(&server.endpoint()).await?;
        let status = connection.call(rpc::STATUS, &StatusRequest::default()).await?;
        if status.header.is_some_and(|header| header.member_id == status.leader) {
            return Ok(number);
        }
    }
    Err(Failure("nobody leads".to_owned()))
}

/// Kills the leader while a client puts through another member, and starts it again. Returns how long nothing succeeded.
async fn kill_the_leader(servers: &mut Vec<Server>, setups: &[Setup]) -> Result<Duration, Failure> {
    let leader = leader(servers).await?;
    let survivor = &servers[(leader + 1) % MEMBERS];
    let connection = Connection::open(&survivor.endpoint()).await?;
    let request = PutRequest { key: "outage".into(), value: "v".into(), ..Default::default() };
    connection.call(rpc::PUT, &request).await?;
    servers.remove(leader).kill()?;
    let begun = Instant::now();
    while !matches!(timeout(GIVE_UP, connection.call(rpc::PUT, &request)).await, Ok(Ok(_))) {
        if begun.elapsed() > PATIENCE {
            return Err(Failure(format!("nothing succeeded for {PATIENCE:?} after the leader was killed")));
        }
        sleep(ASK_EVERY).await;
    }
    let outage = begun.elapsed();
    servers.insert(leader, setups[leader].start(PATIENCE).await?);
    Ok(outage)
}
