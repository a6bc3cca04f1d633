//! Three members with much data; a follower loses its disk, and a new one takes its place while the leader is put to work.
//!
//! "Before" are steady puts to the two that are left, so that nothing but the newcomer is added "during". It has caught up
//! when it answers a linearizable read. In a real cluster it has a disk of its own; here it shares that of the leader, unless it is
//! given another folder.

use super::disk::write_rate;
use super::measure::{Crowd, sample};
use super::steady::{Steadiness, steady_puts};
use super::trio::{MEMBERS, Trio};
use super::{KEY_BYTES, PATIENCE, Sample, Side, Sizes};
use crate::command::Failure;
use crate::command::put::{Keys, puts};
use crate::load::Plan;
use crate::process::Server;
use std::time::Duration;
use tokio::time::sleep;

/// What the data is made of.
const VALUE_BYTES: usize = 4 << 10;
const FILLERS: u64 = 100;
const BEFORE: Duration = Duration::from_secs(10);
/// Until what the fill has put off is done.
const REST: Duration = Duration::from_secs(5);

pub async fn run(side: &Side, sizes: &Sizes) -> Result<Vec<Sample>, Failure> {
    let mut trio = Trio::start(side).await?;
    let leader = trio.leader().await?;
    let follower = (leader + 1) % MEMBERS;
    let crowd = Crowd::many(&trio.servers[leader]).await?;
    let keys = (sizes.rejoin_bytes / (KEY_BYTES + VALUE_BYTES) as u64).max(1);
    let data_bytes = keys * (KEY_BYTES + VALUE_BYTES) as u64;
    let plan = Plan { total: keys, clients: FILLERS, rate: 0 };
    let (report, _) =
        puts(&crowd.connections, plan, Keys { bytes: KEY_BYTES, space: keys, sequential: true }, VALUE_BYTES).await;
    if let Some(error) = report.first_error() {
        return Err(Failure(format!("{} puts failed, one with: {error}", report.failed())));
    }
    let folder = sizes.rejoin_dir.as_ref().unwrap_or(&side.dir).join("newcomer");
    let newcomer = trio.replace(side, (leader, follower), &folder).await?;
    sleep(REST).await;

    let rate = sizes.rejoin_rate;
    let alone = Steadiness { rate, least: BEFORE, most: BEFORE };
    let before = steady_puts(&crowd, alone, keys, &mut Vec::new(), &mut std::pin::pin!(sleep(BEFORE))).await?;
    let mut joined = None;
    let during = {
        let mut joining = std::pin::pin!(async { joined = Some(newcomer.start(PATIENCE).await) });
        let steadiness = Steadiness { rate, least: Duration::ZERO, most: PATIENCE };
        steady_puts(&crowd, steadiness, keys, &mut Vec::new(), &mut joining).await?
    };
    let joined: Server = joined.ok_or_else(|| Failure(format!("it has not caught up within {PATIENCE:?}")))??;
    let (took, written) = (joined.started_in.as_secs_f64(), joined.usage()?.written_bytes as f64);
    drop((joined, trio, crowd));
    let disk = write_rate(&folder, data_bytes)?;
    std::fs::remove_dir_all(&folder)?;
    let mb = |bytes: f64| bytes / 1e6;
    let p99 = |steady: &super::steady::Steady| steady.report.percentile(99.0).as_secs_f64() * 1e3;
    Ok(vec![
        sample("rejoin.time", took),
        sample("rejoin.rate", mb(data_bytes as f64) / took),
        sample("rejoin.written", mb(written) / took),
        sample("rejoin.disk", mb(disk)),
        sample("rejoin.share", written / took / disk),
        sample("rejoin.before", p99(&before)),
        sample("rejoin.during", p99(&during)),
        sample("rejoin.slower", p99(&during) / p99(&before)),
        sample("rejoin.refused", (before.refused + during.refused) as f64),
    ])
}
