//! Writes at a rate, from many clients at once, and what they took.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use ferrite_client::{Client, Put};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::LocalSet;
use tokio::time::Instant;

/// What is to be written.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// How many writes in all.
    pub writes: u64,
    /// How many a second; 0 is as many as there can be.
    pub rate: u64,
    /// When it is over, even if not all was written.
    pub limit: Option<Duration>,
}

/// What the writes took.
#[derive(Debug, Default)]
pub struct Report {
    /// Of each write that succeeded.
    pub latencies: Vec<Duration>,
    /// How often each error came.
    pub errors: BTreeMap<String, u64>,
    /// From the first write to the last.
    pub total: Duration,
}

/// Where the writers are together.
struct Progress {
    start: Instant,
    next: Cell<u64>,
    bar: ProgressBar,
}

impl Load {
    /// Writes what `put` makes of the number of each write. The bar is drawn only on a terminal.
    pub async fn run(self, clients: Vec<Client>, put: impl Fn(u64) -> Put + 'static) -> Report {
        let style = ProgressStyle::with_template("{pos} / {len} [{bar:50}] {percent}% {elapsed}");
        let bar = ProgressBar::new(self.writes).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let progress = Rc::new(Progress { start: Instant::now(), next: Cell::new(0), bar });
        let put = Rc::new(put);
        let writers = LocalSet::new();
        let tasks: Vec<_> = clients
            .into_iter()
            .map(|client| writers.spawn_local(self.write(client, progress.clone(), put.clone())))
            .collect();
        let mut whole = Report::default();
        writers
            .run_until(async {
                for task in tasks {
                    let report = task.await.unwrap_or_default();
                    whole.latencies.extend(report.latencies);
                    for (error, count) in report.errors {
                        *whole.errors.entry(error).or_default() += count;
                    }
                }
            })
            .await;
        progress.bar.finish_and_clear();
        whole.total = progress.start.elapsed();
        whole
    }

    /// One client's share: the next write that nobody has taken yet, at its time.
    async fn write(self, client: Client, progress: Rc<Progress>, put: Rc<impl Fn(u64) -> Put>) -> Report {
        let mut report = Report::default();
        let end = self.limit.map(|limit| progress.start + limit);
        loop {
            let number = progress.next.get();
            if number >= self.writes {
                return report;
            }
            progress.next.set(number + 1);
            if self.rate > 0 {
                let due = progress.start + Duration::from_secs(1).mul_f64(number as f64 / self.rate as f64);
                tokio::time::sleep_until(due).await;
            }
            if end.is_some_and(|end| Instant::now() >= end) {
                return report;
            }
            let start = Instant::now();
            match client.put(put(number)).await {
                Ok(_) => report.latencies.push(start.elapsed()),
                Err(error) => *report.errors.entry(error.to_string()).or_default() += 1,
            }
            progress.bar.inc(1);
        }
    }
}

impl Report {
    /// Writes in a second.
    pub fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.total.as_secs_f64()
    }

    /// What the slowest write took, in seconds.
    pub fn slowest(&self) -> f64 {
        self.latencies.iter().max().map_or(0.0, Duration::as_secs_f64)
    }

    /// How far the writes are from their mean, in seconds.
    pub fn standard_deviation(&self) -> f64 {
        let count = self.latencies.len().max(1) as f64;
        let seconds = || self.latencies.iter().map(Duration::as_secs_f64);
        let mean = seconds().sum::<f64>() / count;
        (seconds().map(|latency| (latency - mean).powi(2)).sum::<f64>() / count).sqrt()
    }

    /// The errors, if there were any.
    pub fn failures(&self) -> Option<String> {
        let lines = self.errors.iter().map(|(error, count)| format!("\nFAIL: ERROR({error}) -> {count}"));
        (!self.errors.is_empty()).then(|| format!("FAIL: too many errors{}", lines.collect::<String>()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_sums_up() {
        let latencies = [1, 3].map(Duration::from_secs).to_vec();
        let report = Report { latencies, total: Duration::from_secs(4), ..Report::default() };
        assert_eq!((report.rate(), report.slowest(), report.standard_deviation()), (0.5, 3.0, 1.0));
        assert_eq!(report.failures(), None);
        let report = Report { errors: [("oops".to_string(), 2)].into(), ..report };
        assert_eq!(report.failures().unwrap(), "FAIL: too many errors\nFAIL: ERROR(oops) -> 2");
    }
}
