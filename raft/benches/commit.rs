//! What consensus costs, in three parts: an entry from proposal to commit, time that goes by, and the length of the log.

mod trio;

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ferrite_raft::{Body, ConfState, Config, Index, MemoryLog, Message, NodeId, RawNode, StorageWrites, Term};

use trio::Trio;

/// Propose to commit: entries of 128 bytes, applied by three nodes.
fn commit(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("propose_to_commit");
    let data = || Bytes::from(vec![0; 128]);
    for batch in [1, 64] {
        group.throughput(Throughput::Elements(batch));
        let mut trio = Trio::new(StorageWrites::Synchronous);
        group.bench_function(format!("batch_{batch}"), |bencher| {
            bencher.iter(|| {
                trio.round(|leader| (0..batch).try_for_each(|_| leader.propose(data())));
                trio.compact();
            });
        });
    }
    let mut trio = Trio::new(StorageWrites::Synchronous);
    group.bench_function("batch_64_at_once", |bencher| {
        bencher.iter(|| {
            trio.round(|leader| leader.propose_batch((0..64).map(|_| data())));
            trio.compact();
        });
    });
    group.finish();
}

/// The same with a long log behind it: the cost must not grow.
fn log_length(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("log_length");
    let data = Bytes::from_static(&[0; 128]);
    for length in [1_000, 100_000, 1_000_000] {
        let mut trio = Trio::new(StorageWrites::Synchronous);
        while trio.applied() < Index(length) {
            trio.round(|leader| leader.propose_batch((0..64).map(|_| data.clone())));
        }
        group.bench_function(format!("{length}_entries"), |bencher| {
            bencher.iter(|| trio.round(|leader| leader.propose(data.clone())));
        });
    }
    group.finish();
}

fn follower(id: u64) -> RawNode<MemoryLog> {
    let mut log = MemoryLog::new();
    log.set_conf(ConfState { voters: vec![NodeId(1), NodeId(2), NodeId(3)], ..ConfState::default() });
    // Elections are far away: only time is measured.
    let config = Config { election_ticks: u32::MAX / 4, ..Config::new(NodeId(2)) };
    let mut node = RawNode::new(Config { seed: id, ..config }, log).expect("a valid configuration");
    let body = Body::Heartbeat { commit: Index(0), context: Bytes::new() };
    node.step(Message { to: NodeId(2), from: NodeId(1), term: Term(1), body }).expect("a heartbeat");
    while let Some(ready) = node.take_ready() {
        ready.save.into_iter().for_each(|ticket| node.saved(ticket));
    }
    node
}

/// Time goes by for who has nothing to do.
fn idle(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("idle");
    let mut one = follower(1);
    group.bench_function("tick_of_a_follower", |bencher| {
        bencher.iter(|| {
            one.tick();
            black_box(one.has_ready())
        });
    });
    let mut groups: Vec<_> = (0..10_000).map(follower).collect();
    group.throughput(Throughput::Elements(10_000));
    group.bench_function("tick_of_10000_groups", |bencher| {
        bencher.iter(|| {
            let work = |node: &mut RawNode<MemoryLog>| {
                node.tick();
                usize::from(node.has_ready())
            };
            groups.iter_mut().map(work).sum::<usize>()
        });
    });
    group.bench_function("tick_of_10000_quiesced_groups", |bencher| {
        bencher.iter(|| groups.iter_mut().for_each(RawNode::tick_quiesced));
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = commit, log_length, idle
}
criterion_main!(benches);
