//! What was measured, in the shape of etcd's tool.

use crate::grpc::CallError;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// Collects results while load runs.
#[derive(Debug)]
pub struct Recorder {
    begin: Instant,
    begin_unix: Duration,
    latencies: Vec<Duration>,
    seconds: BTreeMap<u64, Second>,
    errors: HashMap<String, u64>,
}

/// The requests that ended in one second.
#[derive(Clone, Copy, Debug, Default)]
struct Second {
    least: Duration,
    most: Duration,
    sum: Duration,
    count: u32,
}

impl Recorder {
    pub fn new() -> Recorder {
        Recorder {
            begin: Instant::now(),
            begin_unix: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
            latencies: Vec::new(),
            seconds: BTreeMap::new(),
            errors: HashMap::new(),
        }
    }

    /// Adds a request that began at `begin` and has just ended.
    pub fn add(&mut self, begin: Instant, result: Result<(), CallError>) {
        match result {
            Ok(()) => self.add_latency(begin.elapsed()),
            Err(error) => *self.errors.entry(error.to_string()).or_default() += 1,
        }
    }

    /// Adds a success that has just ended and took this long.
    pub fn add_latency(&mut self, latency: Duration) {
        self.latencies.push(latency);
        let second = self.seconds.entry((self.begin_unix + self.begin.elapsed()).as_secs()).or_default();
        second.least = if second.count == 0 { latency } else { second.least.min(latency) };
        second.most = second.most.max(latency);
        second.sum += latency;
        second.count += 1;
    }

    pub fn report(mut self, client_cpu: Duration) -> Report {
        let total = self.begin.elapsed();
        self.latencies.sort_unstable();
        Report { total, client_cpu, latencies: self.latencies, seconds: self.seconds, errors: self.errors }
    }
}

/// The result of a load.
#[derive(Debug)]
pub struct Report {
    pub total: Duration,
    /// CPU time that this program took meanwhile.
    pub client_cpu: Duration,
    /// In ascending order.
    latencies: Vec<Duration>,
    seconds: BTreeMap<u64, Second>,
    errors: HashMap<String, u64>,
}

/// How a report is printed.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    pub precise: bool,
    pub sample: bool,
}

const PERCENTILES: [f64; 8] = [10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9];
const BAR_COLUMNS: u64 = 40;

impl Report {
    pub fn succeeded(&self) -> u64 {
        self.latencies.len() as u64
    }

    pub fn failed(&self) -> u64 {
        self.errors.values().sum()
    }

    pub fn first_error(&self) -> Option<&str> {
        self.errors.keys().next().map(String::as_str)
    }

    pub fn rate(&self) -> f64 {
        self.succeeded() as f64 / self.total.as_secs_f64()
    }

    /// The latency that `percent` of the requests did not exceed.
    pub fn percentile(&self, percent: f64) -> Duration {
        let rank = (percent / 100.0 * self.latencies.len() as f64).ceil() as usize;
        self.latencies.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }

    pub fn text(&self, style: Style) -> String {
        let mut text = String::from("\n");
        if !self.latencies.is_empty() {
            self.summary(&mut text, style);
            self.histogram(&mut text, style);
            self.distribution(&mut text, style);
            if style.sample {
                self.samples(&mut text);
            }
        }
        if !self.errors.is_empty() {
            text.push_str("\nError distribution:\n");
            for (error, count) in &self.errors {
                let _ = writeln!(text, "  [{count}]\t{error}");
            }
        }
        text
    }

    /// What this program itself cost: above all, whether it was the bottleneck.
    pub fn client_cost(&self) -> String {
        let requests = (self.succeeded() + self.failed()).max(1);
        format!(
            "benchmark's own CPU: {:.2} s, {:.1} us per request, {:.0}% of a core",
            self.client_cpu.as_secs_f64(),
            self.client_cpu.as_secs_f64() * 1e6 / requests as f64,
            100.0 * self.client_cpu.as_secs_f64() / self.total.as_secs_f64().max(1e-9),
        )
    }

    fn summary(&self, text: &mut String, style: Style) {
        let seconds: Vec<f64> = self.latencies.iter().map(Duration::as_secs_f64).collect();
        let count = seconds.len() as f64;
        let average = seconds.iter().sum::<f64>() / count;
        let variance = seconds.iter().map(|s| (s - average).powi(2)).sum::<f64>() / count;
        text.push_str("Summary:\n");
        for (name, value, unit) in [
            ("Total", self.total.as_secs_f64(), " secs."),
            ("Slowest", seconds[seconds.len() - 1], " secs."),
            ("Fastest", seconds[0], " secs."),
            ("Average", average, " secs."),
            ("Stddev", variance.sqrt(), " secs."),
            ("Requests/sec", self.rate(), ""),
        ] {
            let _ = writeln!(text, "  {name}:\t{}{unit}", number(value, style));
        }
    }

    fn histogram(&self, text: &mut String, style: Style) {
        let (fastest, slowest) =
            (self.latencies[0].as_secs_f64(), self.latencies[self.latencies.len() - 1].as_secs_f64());
        let mut bounds: Vec<f64> = (0..10).map(|i| fastest + f64::from(i) * (slowest - fastest) / 10.0).collect();
        bounds.push(slowest);
        let mut counts = vec![0u64; bounds.len()];
        let mut bound = 0;
        for latency in &self.latencies {
            while bound + 1 < bounds.len() && latency.as_secs_f64() > bounds[bound] {
                bound += 1;
            }
            counts[bound] += 1;
        }
        let most = counts.iter().copied().max().unwrap_or(0).max(1);
        text.push_str("\nResponse time histogram:\n");
        for (bound, count) in bounds.iter().zip(&counts) {
            let bar = "∎".repeat((count * BAR_COLUMNS / most) as usize);
            let _ = writeln!(text, "  {} [{count}]\t|{bar}", number(*bound, style));
        }
    }

    fn distribution(&self, text: &mut String, style: Style) {
        text.push_str("\nLatency distribution:\n");
        let mut wanted = PERCENTILES.iter().peekable();
        for (i, latency) in self.latencies.iter().enumerate() {
            let Some(&&percent) = wanted.peek() else { break };
            if i as f64 * 100.0 / self.latencies.len() as f64 >= percent {
                let _ = writeln!(text, "  {percent}% in {} secs.", number(latency.as_secs_f64(), style));
                wanted.next();
            }
        }
    }

    fn samples(&self, text: &mut String) {
        text.push_str("\nSample in one second (unix latency throughput):\n");
        text.push_str("UNIX-SECOND,MIN-LATENCY-MS,AVG-LATENCY-MS,MAX-LATENCY-MS,AVG-THROUGHPUT\n");
        let (first, last) = (self.seconds.keys().next(), self.seconds.keys().next_back());
        for unix in first.copied().unwrap_or(1)..=last.copied().unwrap_or(0) {
            let s = self.seconds.get(&unix).copied().unwrap_or_default();
            let average = s.sum.checked_div(s.count).unwrap_or_default();
            let _ = writeln!(text, "{unix},{},{},{},{}", go(s.least), go(average), go(s.most), s.count);
        }
        text.push('\n');
    }
}

/// `%4.4f`, or `%g` when precise.
fn number(value: f64, style: Style) -> String {
    if !style.precise {
        return format!("{value:.4}");
    }
    if value != 0.0 && !(1e-4..1e21).contains(&value.abs()) {
        let text = format!("{value:e}");
        let (mantissa, exponent) = text.split_once('e').expect("an exponent was asked for");
        let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |d| ('-', d));
        return format!("{mantissa}e{sign}{digits:0>2}");
    }
    format!("{value}")
}

/// A duration as Go prints it.
pub fn go(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    match nanos {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => format!("{}µs", nanos as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{}ms", nanos as f64 / 1e6),
        _ => {
            let (minutes, seconds) = (nanos / 60_000_000_000, (nanos % 60_000_000_000) as f64 / 1e9);
            match minutes {
                0 => format!("{seconds}s"),
                1..60 => format!("{minutes}m{seconds}s"),
                _ => format!("{}h{}m{seconds}s", minutes / 60, minutes % 60),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(millis: impl Iterator<Item = u64>) -> Report {
        let mut latencies: Vec<Duration> = millis.map(Duration::from_millis).collect();
        latencies.sort_unstable();
        let total = Duration::from_secs(2);
        Report {
            total,
            client_cpu: Duration::from_millis(500),
            latencies,
            seconds: BTreeMap::new(),
            errors: HashMap::new(),
        }
    }

    #[test]
    fn a_report_has_the_shape_of_etcds() {
        let text = report(1..=100).text(Style { precise: false, sample: false });
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[..8],
            [
                "",
                "Summary:",
                "  Total:\t2.0000 secs.",
                "  Slowest:\t0.1000 secs.",
                "  Fastest:\t0.0010 secs.",
                "  Average:\t0.0505 secs.",
                "  Stddev:\t0.0289 secs.",
                "  Requests/sec:\t50.0000",
            ]
        );
        assert_eq!(lines[10], "  0.0010 [1]\t|∎∎∎∎", "{text}");
        assert_eq!(
            lines.iter().filter(|l| l.contains(" secs.")).count(),
            5 + 7,
            "one element a percentile, 99.9 not reached\n{text}"
        );
        assert!(text.contains("\n  99% in 0.1000 secs.\n"), "{text}");
    }

    #[test]
    fn percentiles_are_ranks() {
        let table = [(50.0, 50), (99.0, 99), (99.9, 100), (100.0, 100), (0.0, 1)];
        for (percent, millis) in table {
            assert_eq!(report(1..=100).percentile(percent), Duration::from_millis(millis), "{percent}");
        }
        assert_eq!(report(0..0).percentile(50.0), Duration::ZERO);
        assert_eq!(report(0..0).text(Style { precise: false, sample: true }), "\n");
    }

    #[test]
    fn numbers_are_gos() {
        let precise = Style { precise: true, sample: false };
        for (value, text) in [(0.5, "0.5"), (0.000012, "1.2e-05"), (0.0, "0"), (1e21, "1e+21"), (418.25, "418.25")] {
            assert_eq!(number(value, precise), text);
        }
        for (nanos, text) in [(0, "0s"), (585_847, "585.847µs"), (1_500_000, "1.5ms"), (61_000_000_000, "1m1s")] {
            assert_eq!(go(Duration::from_nanos(nanos)), text);
        }
    }
}
