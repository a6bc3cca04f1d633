//! How often the disk is synced. Being traced slows a server down, so that nothing else is measured here.

use super::measure::{Crowd, measure_puts, sample};
use super::{PATIENCE, Sample, Side, Sizes};
use crate::command::Failure;
use std::slice::from_ref;

/// Puts at 100x10 and at one connection: fewer than where time is measured.
const PART_OF_LOAD: u64 = 3;

pub async fn run(side: &Side, sizes: &Sizes) -> Result<Vec<Sample>, Failure> {
    let mut samples = Vec::new();
    for (name, single) in [("put1000.syncs", false), ("put1.syncs", true)] {
        let setup = side.fresh()?.counting_syncs();
        let server = setup.start(PATIENCE).await?;
        let (crowd, total) = match single {
            true => (Crowd::single(&server).await?, sizes.single / PART_OF_LOAD),
            false => (Crowd::many(&server).await?, sizes.many / PART_OF_LOAD),
        };
        let put = measure_puts(from_ref(&server), &crowd, total, (sizes.small_keys, false), &mut Vec::new()).await?;
        let syncs = server.kill_and_count_syncs()?;
        samples.push(sample(name, syncs as f64 / put.report.succeeded() as f64));
    }
    Ok(samples)
}
