//! Puts and gets on ten thousand keys.

use super::measure::{Crowd, measure_gets, measure_puts, sample};
use super::{PATIENCE, Sample, Side, Sizes, crash_and_verify};
use crate::command::Failure;
use std::slice::from_ref;

/// A get takes a fraction of what a put takes, and the kernel counts CPU in hundredths of a second.
const GETS_PER_PUT: u64 = 4;

pub async fn run(side: &Side, sizes: &Sizes) -> Result<Vec<Sample>, Failure> {
    let setup = side.fresh()?;
    let server = setup.start(PATIENCE).await?;
    let mut writes = Vec::new();
    let (many, single) = (Crowd::many(&server).await?, Crowd::single(&server).await?);
    let keys = sizes.small_keys;
    measure_puts(from_ref(&server), &many, keys, (keys, true), &mut writes).await?;
    let filled = writes.iter().map(|w| w.revision).max().unwrap_or_default();
    let put = measure_puts(from_ref(&server), &many, sizes.many, (keys, false), &mut writes).await?;
    let put_single = measure_puts(from_ref(&server), &single, sizes.single, (keys, false), &mut writes).await?;
    let get = measure_gets(from_ref(&server), &many, sizes.many, keys).await?;
    let get_single = measure_gets(from_ref(&server), &single, sizes.single * GETS_PER_PUT, keys).await?;
    crash_and_verify(server, &setup, &writes, &[filled]).await?.kill()?;
    Ok(vec![
        sample("put1000.cpu", put.cpu_us()),
        sample("put1000.rate", put.report.rate()),
        sample("put1000.p50", put.millis(50.0)),
        sample("put1000.p99", put.millis(99.0)),
        sample("put1000.device", put.device_bytes()),
        sample("put1000.client", put.client_us()),
        sample("put1.cpu", put_single.cpu_us()),
        sample("put1.p50", put_single.millis(50.0)),
        sample("put1.p99", put_single.millis(99.0)),
        sample("put1.device", put_single.device_bytes()),
        sample("get1000.cpu", get.cpu_us()),
        sample("get1000.rate", get.report.rate()),
        sample("get1000.p50", get.millis(50.0)),
        sample("get1000.p99", get.millis(99.0)),
        sample("get1000.client", get.client_us()),
        sample("get1.cpu", get_single.cpu_us()),
        sample("get1.p50", get_single.millis(50.0)),
    ])
}
