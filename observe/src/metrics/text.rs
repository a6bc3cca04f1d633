//! A scrape: Prometheus' text format, families by name, labels by name, numbers as Go writes them.

use std::fmt::Write;
use std::sync::PoisonError;

use super::registry::{Group, Registry, Series};

impl Registry {
    /// Everything, as a scrape shows it.
    pub fn text(&self) -> String {
        let mut out = String::with_capacity(64 << 10);
        for (name, group) in self.groups.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            write_group(&mut out, name, group);
        }
        out
    }
}

fn write_group(out: &mut String, name: &str, group: &Group) {
    let _ = writeln!(out, "# HELP {name} {}\n# TYPE {name} {}", group.help, group.kind);
    for (values, series) in &group.series {
        let labels = labels(group.labels, values);
        match series {
            Series::Counter(counter) => line(out, name, "", &labels, counter.value() as f64),
            Series::Gauge(gauge) => line(out, name, "", &labels, gauge.value()),
            Series::Sampled(read) => line(out, name, "", &labels, read()),
            Series::Histogram(histogram) => {
                let buckets = histogram.cumulative();
                for (bound, count) in &buckets {
                    let mut labels = labels.clone();
                    // "le" stands last however the others are called, as in Prometheus' own encoder.
                    labels.push(("le", go_float(*bound)));
                    line(out, name, "_bucket", &labels, *count as f64);
                }
                line(out, name, "_sum", &labels, histogram.sum());
                line(out, name, "_count", &labels, buckets.last().map_or(0, |(_, count)| *count) as f64);
            }
        }
    }
}

fn labels<'a>(names: &[&'a str], values: &[String]) -> Vec<(&'a str, String)> {
    let mut labels: Vec<_> = names.iter().copied().zip(values.iter().cloned()).collect();
    labels.sort();
    labels
}

fn line(out: &mut String, name: &str, suffix: &str, labels: &[(&str, String)], value: f64) {
    out.push_str(name);
    out.push_str(suffix);
    for (i, (label, value)) in labels.iter().enumerate() {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = write!(out, "{}{label}=\"{value}\"", if i == 0 { '{' } else { ',' });
    }
    if !labels.is_empty() {
        out.push('}');
    }
    let _ = writeln!(out, " {}", go_float(value));
}

/// The shortest digits that give the number back, with an exponent below 1e-4 and from 1e6 on.
fn go_float(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    if value.is_nan() {
        return "NaN".into();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').expect("{:e} writes an exponent");
    let exponent: i32 = exponent.parse().expect("{:e} writes a number behind the e");
    if !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    format!("{value}")
}

#[cfg(test)]
mod tests {
    use super::super::{Registry, families};
    use super::go_float;

    #[test]
    fn numbers_look_like_go() {
        for (value, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (0.001, "0.001"),
            (8.192, "8.192"),
            (0.00001, "1e-05"),
            (999999.0, "999999"),
            (1000000.0, "1e+06"),
            (1048576.0, "1.048576e+06"),
            (2147483648.0, "2.147483648e+09"),
            (-1.5, "-1.5"),
            (f64::INFINITY, "+Inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(go_float(value), text);
        }
    }

    #[test]
    fn a_scrape_is_sorted_and_labelled() {
        let registry = Registry::new();
        let handled = &families::GRPC_SERVER_HANDLED_TOTAL;
        registry.metric(handled, &["unary", "etcdserverpb.KV", "Put", "OK"]).add(2);
        registry.metric(&families::ETCD_MVCC_PUT_TOTAL, &[]).increment();
        registry.metric(&families::ETCD_MVCC_PUT_TOTAL, &[]).increment();
        registry.sample(&families::ETCD_SERVER_VERSION, &["3.\"7\\"], || 1.0);
        let text = registry.text();
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("# HELP")).collect();
        assert_eq!(
            lines,
            [
                "# TYPE etcd_mvcc_put_total counter",
                "etcd_mvcc_put_total 2",
                "# TYPE etcd_server_version gauge",
                "etcd_server_version{server_version=\"3.\\\"7\\\\\"} 1",
                "# TYPE grpc_server_handled_total counter",
                "grpc_server_handled_total{grpc_code=\"OK\",grpc_method=\"Put\",grpc_service=\"etcdserverpb.KV\",\
                 grpc_type=\"unary\"} 2",
            ]
        );
    }

    #[test]
    fn a_histogram_adds_up() {
        let registry = Registry::new();
        let fsync = registry.metric(&families::ETCD_DISK_WAL_FSYNC_DURATION_SECONDS, &[]);
        for value in [0.001, 0.0011, 0.5, 100.0] {
            fsync.observe(value);
        }
        let text = registry.text();
        for line in ["_bucket{le=\"0.001\"} 1", "_bucket{le=\"0.002\"} 2", "_bucket{le=\"0.512\"} 3"] {
            assert!(text.contains(line), "{line} in {text}");
        }
        for line in ["_bucket{le=\"8.192\"} 3", "_bucket{le=\"+Inf\"} 4", "_sum 100.5021", "_count 4"] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }

    #[test]
    fn what_an_owner_has_made_is_shown_from_then_on() {
        let registry = Registry::new();
        families::register_fresh(&registry);
        let puts = families::ETCD_MVCC_PUT_TOTAL.create();
        puts.add(3);
        registry.adopt(&families::ETCD_MVCC_PUT_TOTAL, &puts);
        puts.increment();
        assert!(registry.text().contains("\netcd_mvcc_put_total 4\n"));
    }

    #[test]
    fn what_no_longer_holds_is_shown_as_zero() {
        let registry = Registry::new();
        let version = |version: &str| registry.metric(&families::ETCD_CLUSTER_VERSION, &[version]);
        version("3.6").set(1.0);
        registry.zero(&families::ETCD_CLUSTER_VERSION);
        version("3.7").set(1.0);
        let text = registry.text();
        for line in ["{cluster_version=\"3.6\"} 0", "{cluster_version=\"3.7\"} 1"] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }

    #[test]
    fn a_fresh_registry_shows_zeros() {
        let registry = Registry::new();
        families::register_fresh(&registry);
        let text = registry.text();
        for name in ["etcd_mvcc_put_total 0", "etcd_debugging_mvcc_keys_total 0", "etcd_server_has_leader 0"] {
            assert!(text.lines().any(|line| line == name), "{name}");
        }
    }
}
