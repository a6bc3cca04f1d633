//! Three members: puts and gets, paid for by all of them. Then all are killed, and held to what they had acknowledged.

use super::measure::{Crowd, measure_gets, measure_puts, sample};
use super::trio::{MEMBERS, Trio};
use super::{Sample, Side, Sizes, hold_to};
use crate::command::Failure;

/// A get takes a fraction of what a put takes, and the kernel counts CPU in hundredths of a second.
const GETS_PER_PUT: u64 = 4;

pub async fn run(side: &Side, sizes: &Sizes) -> Result<Vec<Sample>, Failure> {
    let trio = Trio::start(side).await?;
    let (servers, leader) = (&trio.servers, trio.leader().await?);
    let follower = (leader + 1) % MEMBERS;
    let mut writes = Vec::new();
    let keys = sizes.small_keys;
    let (all, single) = (Crowd::spread(servers).await?, Crowd::single(&servers[leader]).await?);
    measure_puts(servers, &all, keys, (keys, true), &mut writes).await?;
    let filled = writes.iter().map(|write| write.revision).max().unwrap_or_default();
    let put = measure_puts(servers, &all, sizes.many, (keys, false), &mut writes).await?;
    let put_single = measure_puts(servers, &single, sizes.single, (keys, false), &mut writes).await?;
    let many = Crowd::many(&servers[follower]).await?;
    let get = measure_gets(servers, &many, sizes.many * GETS_PER_PUT, keys).await?;
    drop((all, single, many));
    let trio = trio.crash().await?;
    hold_to(&trio.servers[follower], &writes, &[filled]).await?;
    Ok(vec![
        sample("cluster.put1000.cpu", put.cpu_us()),
        sample("cluster.put1000.rate", put.report.rate()),
        sample("cluster.put1000.p99", put.millis(99.0)),
        sample("cluster.put1.cpu", put_single.cpu_us()),
        sample("cluster.put1.p50", put_single.millis(50.0)),
        sample("cluster.get1000.cpu", get.cpu_us()),
        sample("cluster.get1000.rate", get.report.rate()),
    ])
}
