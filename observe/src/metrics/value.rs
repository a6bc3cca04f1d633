//! The three kinds of metric. A clone is another handle to the same number.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A number that only grows.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    #[inline]
    pub fn increment(&self) {
        self.add(1);
    }

    #[inline]
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }

    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicU64>);

impl Gauge {
    #[inline]
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Relaxed);
    }

    pub fn add(&self, change: f64) {
        add_f64(&self.0, change);
    }

    pub fn value(&self) -> f64 {
        f64::from_bits(self.0.load(Relaxed))
    }
}

/// How often a value fell below each of some bounds, and the sum of all values.
#[derive(Clone, Debug)]
pub struct Histogram(Arc<Buckets>);

#[derive(Debug)]
struct Buckets {
    bounds: &'static [f64],
    /// One more than bounds: the last counts what is above all of them. Not cumulative; the scrape adds up.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    pub(super) fn new(bounds: &'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self(Arc::new(Buckets { bounds, counts, sum: AtomicU64::new(0) }))
    }

    #[inline]
    pub fn observe(&self, value: f64) {
        let bucket = self.0.bounds.partition_point(|bound| *bound < value);
        self.0.counts[bucket].fetch_add(1, Relaxed);
        add_f64(&self.0.sum, value);
    }

    #[inline]
    pub fn observe_seconds(&self, took: Duration) {
        self.observe(took.as_secs_f64());
    }

    /// Upper bounds with the number of values at or below each; the last bound is infinite.
    pub(super) fn cumulative(&self) -> Vec<(f64, u64)> {
        let mut total = 0;
        let bounds = self.0.bounds.iter().copied().chain([f64::INFINITY]);
        bounds
            .zip(&self.0.counts)
            .map(|(bound, count)| {
                total += count.load(Relaxed);
                (bound, total)
            })
            .collect()
    }

    pub(super) fn sum(&self) -> f64 {
        f64::from_bits(self.0.sum.load(Relaxed))
    }
}

fn add_f64(cell: &AtomicU64, change: f64) {
    let mut seen = cell.load(Relaxed);
    loop {
        let next = (f64::from_bits(seen) + change).to_bits();
        match cell.compare_exchange_weak(seen, next, Relaxed, Relaxed) {
            Ok(_) => return,
            Err(now) => seen = now,
        }
    }
}
