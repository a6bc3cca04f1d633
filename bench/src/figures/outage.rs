//! How long nothing succeeds when the leader of three members is killed, again and again.

use super::measure::sample;
use super::trio::{MEMBERS, Trio};
use super::{PATIENCE, Sample, Side, Sizes};
use crate::command::Failure;
use crate::grpc::{Connection, rpc};
use ferrite_proto::etcdserverpb::PutRequest;
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

/// A client that waits for a new leader asks so often, and gives a request so long.
const ASK_EVERY: Duration = Duration::from_millis(5);
const GIVE_UP: Duration = Duration::from_millis(100);
/// Between two kills, so that the one that came back has caught up.
const REST: Duration = Duration::from_secs(3);

pub async fn run(side: &Side, sizes: &Sizes) -> Result<Vec<Sample>, Failure> {
    let mut trio = Trio::start(side).await?;
    let mut samples = Vec::new();
    let mut worst = Duration::ZERO;
    for _ in 0..sizes.kills {
        let Outage { begun, ended } = kill_the_leader(&mut trio).await?;
        let outage = ended - begun;
        worst = worst.max(outage);
        samples.push(sample("outage", outage.as_secs_f64()));
        sleep(REST).await;
    }
    samples.push(sample("outage.worst", worst.as_secs_f64()));
    Ok(samples)
}

/// When nothing succeeded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outage {
    pub begun: Instant,
    pub ended: Instant,
}

/// Kills the leader while a client puts through another member, and starts it again. Returns when nothing succeeded.
pub(super) async fn kill_the_leader(trio: &mut Trio) -> Result<Outage, Failure> {
    let leader = trio.leader().await?;
    let survivor = &trio.servers[(leader + 1) % MEMBERS];
    let connection = Connection::open(&survivor.endpoint()).await?;
    let request = PutRequest { key: "outage".into(), value: "v".into(), ..Default::default() };
    connection.call(rpc::PUT, &request).await?;
    let wait = async |_: &[_]| {
        let begun = Instant::now();
        while !matches!(timeout(GIVE_UP, connection.call(rpc::PUT, &request)).await, Ok(Ok(_))) {
            if begun.elapsed() > PATIENCE {
                return Err(Failure(format!("nothing succeeded for {PATIENCE:?} after the leader was killed")));
            }
            sleep(ASK_EVERY).await;
        }
        Ok(Outage { begun, ended: Instant::now() })
    };
    trio.kill_for(leader, wait).await
}
