//! Three members, and the disk of one follower takes ten times as long for a sync: puts with and without, in turns.
//!
//! `strace` holds each sync of the follower back. It does so in both cases, once for next to nothing, so that what tracing
//! itself costs is on both sides.

use super::disk::sync_time;
use super::measure::{Crowd, Measured, measure_puts, sample};
use super::trio::{MEMBERS, Trio};
use super::{Sample, Side, Sizes};
use crate::command::Failure;
use std::time::Duration;
use tokio::time::sleep;

/// So often each case is measured.
const TURNS: usize = 2;
const TIMES_SLOWER: u32 = 10;
const NEXT_TO_NOTHING: Duration = Duration::from_micros(1);
/// After the follower has come back: it catches up, and the leader finds its pace.
const REST: Duration = Duration::from_secs(3);

/// The puts of one turn.
struct Turn {
    many: Measured,
    single: Measured,
}

/// What is taken from a turn.
type Figure = dyn Fn(&Turn) -> f64;

pub async fn run(side: &Side, sizes: &Sizes) -> Result<Vec<Sample>, Failure> {
    let mut trio = Trio::start(side).await?;
    let sync = sync_time(&side.dir)?;
    let leader = trio.leader().await?;
    let keys = sizes.small_keys;
    let crowd = Crowd::many(&trio.servers[leader]).await?;
    measure_puts(&trio.servers, &crowd, keys, (keys, true), &mut Vec::new()).await?;
    drop(crowd);
    let (mut plain, mut slow) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        plain.push(turn(&mut trio, leader, NEXT_TO_NOTHING, sizes).await?);
        slow.push(turn(&mut trio, leader, sync * (TIMES_SLOWER - 1), sizes).await?);
    }
    let mean = |turns: &[Turn], of: &Figure| turns.iter().map(of).sum::<f64>() / turns.len() as f64;
    let figures: [(_, &Figure); 5] = [
        (["slow.put1000.rate", "slow.put1000.rate.with"], &|turn| turn.many.report.rate()),
        (["slow.put1000.p50", "slow.put1000.p50.with"], &|turn| turn.many.millis(50.0)),
        (["slow.put1000.p99", "slow.put1000.p99.with"], &|turn| turn.many.millis(99.0)),
        (["slow.put1.p50", "slow.put1.p50.with"], &|turn| turn.single.millis(50.0)),
        (["slow.put1.p99", "slow.put1.p99.with"], &|turn| turn.single.millis(99.0)),
    ];
    let mut samples = vec![sample("slow.sync", sync.as_secs_f64() * 1e3)];
    for ([without, with], of) in figures {
        samples.extend([sample(without, mean(&plain, of)), sample(with, mean(&slow, of))]);
    }
    let rate = |turns: &[Turn]| mean(turns, &|turn| turn.many.report.rate());
    let p50 = |turns: &[Turn]| mean(turns, &|turn| turn.single.millis(50.0));
    samples.push(sample("slow.put1000.slower", rate(&plain) / rate(&slow)));
    samples.push(sample("slow.put1000.noise", spread(&plain, &|turn| turn.many.report.rate())));
    samples.push(sample("slow.put1.slower", p50(&slow) / p50(&plain)));
    samples.push(sample("slow.put1.noise", spread(&plain, &|turn| turn.single.millis(50.0))));
    Ok(samples)
}

/// The largest to the least: what two measurements of the same differ by.
fn spread(turns: &[Turn], of: &Figure) -> f64 {
    let values = || turns.iter().map(of);
    values().fold(f64::MIN, f64::max) / values().fold(f64::MAX, f64::min)
}

/// Puts to the leader while each sync of a follower is held back for so long.
async fn turn(trio: &mut Trio, leader: usize, delay: Duration, sizes: &Sizes) -> Result<Turn, Failure> {
    let follower = (leader + 1) % MEMBERS;
    trio.setups[follower].delay_syncs(delay);
    trio.kill_for(follower, async |_| Ok(())).await?;
    sleep(REST).await;
    if trio.leader().await? != leader {
        return Err(Failure("the leader has changed since the run began".to_owned()));
    }
    let server = &trio.servers[leader];
    let (many, single) = (Crowd::many(server).await?, Crowd::single(server).await?);
    let (keys, servers) = ((sizes.small_keys, false), &trio.servers);
    Ok(Turn {
        many: measure_puts(servers, &many, sizes.many, keys, &mut Vec::new()).await?,
        single: measure_puts(servers, &single, sizes.single, keys, &mut Vec::new()).await?,
    })
}
