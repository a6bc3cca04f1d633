//! Numbers that are looked up when somebody asks: how the member stands, and the process.

use std::sync::atomic::Ordering;

use ferrite_observe::metrics::{Family, Gauge, Registry, families};

use crate::config::Config;
use crate::handle::Handle;
use crate::version;

/// The one summary that etcd shows, kept for dashboards that ask for its name.
pub const NO_GARBAGE_COLLECTION: &str = "\
# HELP go_gc_duration_seconds Go runtime statistic, kept for dashboards that ask for its name.
# TYPE go_gc_duration_seconds summary
go_gc_duration_seconds{quantile=\"0\"} 0
go_gc_duration_seconds{quantile=\"0.25\"} 0
go_gc_duration_seconds{quantile=\"0.5\"} 0
go_gc_duration_seconds{quantile=\"0.75\"} 0
go_gc_duration_seconds{quantile=\"1\"} 0
go_gc_duration_seconds_sum 0
go_gc_duration_seconds_count 0
";

/// Puts into the registry what does not change, and what is read at each scrape from the process.
pub fn register(registry: &Registry, config: &Config, handle: &Handle) {
    let signals = handle.signals().clone();
    let changes = move || signals.leader_changes.load(Ordering::Relaxed) as f64;
    registry.sample(&families::ETCD_SERVER_LEADER_CHANGES_SEEN_TOTAL, &[], changes);
    registry.metric(&families::ETCD_SERVER_VERSION, &[version::ETCD]).set(1.0);
    registry.metric(&families::ETCD_SERVER_GO_VERSION, &["none"]).set(1.0);
    registry.metric(&families::GO_INFO, &["none"]).set(1.0);
    registry.metric(&families::ETCD_SERVER_ID, &[&format!("{:x}", handle.ids().member.0)]).set(1.0);
    let quota = config.quota_bytes().map_or(config.limits.quota_backend_bytes as f64, |bytes| bytes as f64);
    registry.metric(&families::ETCD_SERVER_QUOTA_BACKEND_BYTES, &[]).set(quota);
    for (name, stage, enabled) in config.features.list() {
        registry.metric(&families::ETCD_SERVER_FEATURE_ENABLED, &[name, stage]).set(f64::from(u8::from(enabled)));
    }
    for code in ["200", "500", "503"] {
        registry.metric(&families::PROMHTTP_METRIC_HANDLER_REQUESTS_TOTAL, &[code]);
    }
    handle.state().counts.register(registry);
    let own = format!("{:x}", handle.ids().member.0);
    registry.metric(&families::ETCD_NETWORK_KNOWN_PEERS, &[&own, &own]).set(1.0);
    // There are no users and roles yet: this is the revision of none.
    registry.metric(&families::ETCD_DEBUGGING_AUTH_REVISION, &[]).set(1.0);
    process(registry);
}

/// Brings up to date what the member's published state tells.
pub fn refresh(registry: &Registry, handle: &Handle) {
    let set = |family: &Family<Gauge>, value: f64| registry.metric(family, &[]).set(value);
    let leader = handle.leader();
    set(&families::ETCD_SERVER_HAS_LEADER, f64::from(u8::from(leader != 0)));
    set(&families::ETCD_SERVER_IS_LEADER, f64::from(u8::from(leader == handle.ids().member.0)));
    let tables = handle.state().tables();
    let learner = tables.cluster.member(handle.ids().member).is_some_and(|member| member.is_learner);
    set(&families::ETCD_SERVER_IS_LEARNER, f64::from(u8::from(learner)));
    set(&families::ETCD_SERVER_PROPOSALS_COMMITTED_TOTAL, handle.progress().committed().0 as f64);
    set(&families::ETCD_SERVER_PROPOSALS_APPLIED_TOTAL, handle.progress().applied().0 as f64);
    set(&families::ETCD_SERVER_PROPOSALS_PENDING, handle.pending_proposals() as f64);
    registry.zero(&families::ETCD_DEBUGGING_SERVER_ALARMS);
    for alarm in tables.alarms.all() {
        let labels = [format!("{:x}", alarm.member_id), alarm.alarm().as_str_name().to_owned()];
        registry.metric(&families::ETCD_DEBUGGING_SERVER_ALARMS, &[&labels[0], &labels[1]]).set(1.0);
    }
    let sizes = handle.sizes().get();
    set(&families::ETCD_MVCC_DB_TOTAL_SIZE_IN_BYTES, sizes.bytes_written as f64);
    set(&families::ETCD_MVCC_DB_TOTAL_SIZE_IN_USE_IN_BYTES, sizes.bytes_alive as f64);
    let keyspace = &handle.state().keyspace();
    set(&families::ETCD_DEBUGGING_MVCC_CURRENT_REVISION, keyspace.revision() as f64);
    set(&families::ETCD_DEBUGGING_MVCC_COMPACT_REVISION, keyspace.compacted().max(0) as f64);
    if let Ok(view) = keyspace.view(0) {
        let keys = view.count(&ferrite_state::mvcc::KeyRange::all());
        set(&families::ETCD_DEBUGGING_MVCC_KEYS_TOTAL, keys as f64);
    }
    if let Some(version) = tables.cluster.version() {
        let version = format!("{}.{}", version.major, version.minor);
        registry.zero(&families::ETCD_CLUSTER_VERSION);
        registry.metric(&families::ETCD_CLUSTER_VERSION, &[&version]).set(1.0);
    }
}

fn process(registry: &Registry) {
    registry.sample(&families::PROCESS_CPU_SECONDS_TOTAL, &[], || stat_ticks(13) + stat_ticks(14));
    registry.sample(&families::PROCESS_RESIDENT_MEMORY_BYTES, &[], || stat(23) * page_bytes());
    registry.sample(&families::PROCESS_VIRTUAL_MEMORY_BYTES, &[], || stat(22));
    registry.metric(&families::PROCESS_VIRTUAL_MEMORY_MAX_BYTES, &[]).set(max_memory());
    registry.sample(&families::PROCESS_NETWORK_RECEIVE_BYTES_TOTAL, &[], || network_bytes("InOctets"));
    registry.sample(&families::PROCESS_NETWORK_TRANSMIT_BYTES_TOTAL, &[], || network_bytes("OutOctets"));
    registry.sample(&families::PROCESS_OPEN_FDS, &[], open_files);
    registry.sample(&families::OS_FD_USED, &[], open_files);
    registry.sample(&families::PROCESS_MAX_FDS, &[], max_files);
    registry.sample(&families::OS_FD_LIMIT, &[], max_files);
    registry.sample(&families::GO_THREADS, &[], || stat(19));
    let started = boot_seconds() + stat_ticks(21);
    registry.metric(&families::PROCESS_START_TIME_SECONDS, &[]).set(started);
}

/// A field of `/proc/self/stat`, numbered from 0 with the process id.
fn stat(field: usize) -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field is the name in brackets, which may hold spaces.
    let rest = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    rest.split_whitespace().nth(field - 2).and_then(|value| value.parse().ok()).unwrap_or(0.0)
}

fn stat_ticks(field: usize) -> f64 {
    stat(field) / rustix::param::clock_ticks_per_second() as f64
}

fn page_bytes() -> f64 {
    rustix::param::page_size() as f64
}

fn open_files() -> f64 {
    std::fs::read_dir("/proc/self/fd").map_or(0.0, |files| files.count() as f64)
}

fn max_files() -> f64 {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    limit.map_or(f64::INFINITY, |limit| limit as f64)
}

/// Without a limit it is the largest number there is, as in etcd.
fn max_memory() -> f64 {
    let limit = rustix::process::getrlimit(rustix::process::Resource::As).current;
    limit.unwrap_or(u64::MAX) as f64
}

/// A column of the IP counters of the network that this process is in.
fn network_bytes(column: &str) -> f64 {
    let text = std::fs::read_to_string("/proc/self/net/netstat").unwrap_or_default();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("IpExt: "));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else { return 0.0 };
    let found = names.split_whitespace().zip(values.split_whitespace()).find(|(name, _)| *name == column);
    found.and_then(|(_, value)| value.parse().ok()).unwrap_or(0.0)
}

/// When the machine was started, in seconds since 1970.
fn boot_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("btime "));
    line.and_then(|seconds| seconds.parse().ok()).unwrap_or(0.0)
}
