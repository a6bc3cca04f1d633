//! What an entry costs from proposal to commit on three nodes, in processor time: `commit_loop BATCH ENTRIES [at-once]`.
//! The loop to hold beside one that is written against another library. Entries of a batch are proposed one by one, or at
//! once.

#[path = "../benches/trio/mod.rs"]
mod trio;

use std::time::{Duration, Instant};

use bytes::Bytes;
use ferrite_raft::StorageWrites;
use rustix::time::{ClockId, clock_gettime};

use trio::Trio;

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number =
        |place: usize, default| arguments.get(place).map_or(default, |text: &String| text.parse().expect("a number"));
    let (batch, entries) = (number(0, 64), number(1, 1_000_000));
    let at_once = arguments.get(2).is_some_and(|word| word == "at-once");
    let mut trio = Trio::new(StorageWrites::Synchronous);
    let mut run = |entries: usize| {
        for round in 0..entries.div_ceil(batch) {
            let mut data = (0..batch).map(|_| Bytes::from(vec![0; 128]));
            trio.round(|leader| match at_once {
                true => leader.propose_batch(data),
                false => data.try_for_each(|data| leader.propose(data)),
            });
            if round % 64 == 0 {
                trio.compact();
            }
        }
    };
    run(entries / 10);
    let (used, wall) = (processor_time(), Instant::now());
    run(entries);
    let each = |time: Duration| time.as_nanos() as f64 / entries as f64;
    println!(
        "rust batch {batch:2}: {:7.0} ns CPU an entry, {:7.0} ns wall ({entries} entries)",
        each(processor_time() - used),
        each(wall.elapsed())
    );
    assert!(trio.applied().0 as usize >= entries);
}
