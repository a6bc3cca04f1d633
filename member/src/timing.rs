//! How long things take, for metrics: each owner observes what it does.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ferrite_observe::metrics::{Counter, Family, Gauge, Histogram, Registry, families};
use ferrite_state::command::Kind;

const KINDS: usize = Kind::ALL.len();
const SUCCESS: [&str; 2] = ["false", "true"];

/// A histogram for each kind of request and whether it succeeded. A series is shown from its first observation on, and
/// looked up only for that.
pub struct ByKind {
    registry: Arc<Registry>,
    family: &'static Family<Histogram>,
    /// The value of the label before the kind, if the family has one.
    version: Option<&'static str>,
    series: [[OnceLock<Histogram>; 2]; KINDS],
}

impl fmt::Debug for ByKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.family.fmt(f)
    }
}

impl ByKind {
    /// From submission to result.
    pub fn requests(registry: &Arc<Registry>) -> ByKind {
        ByKind::new(registry, &families::ETCD_SERVER_REQUEST_DURATION_SECONDS, None)
    }

    /// How long applying takes.
    pub fn applied(registry: &Arc<Registry>) -> ByKind {
        ByKind::new(registry, &families::ETCD_SERVER_APPLY_DURATION_SECONDS, Some("v3"))
    }

    fn new(registry: &Arc<Registry>, family: &'static Family<Histogram>, version: Option<&'static str>) -> ByKind {
        let series = std::array::from_fn(|_| [OnceLock::new(), OnceLock::new()]);
        ByKind { registry: registry.clone(), family, version, series }
    }

    pub fn observe(&self, kind: Kind, success: bool, took: Duration) {
        let series = self.series[kind as usize][usize::from(success)].get_or_init(|| {
            let of_kind = [kind.name(), SUCCESS[usize::from(success)]];
            let labels: Vec<&str> = self.version.into_iter().chain(of_kind).collect();
            self.registry.metric(self.family, &labels)
        });
        series.observe_seconds(took);
    }
}

/// What the applier observes.
#[derive(Debug)]
pub struct ApplyTiming {
    pub(crate) applied: ByKind,
    /// What takes longer is told (`--warning-apply-duration`).
    pub(crate) slow_after: Duration,
    pub(crate) slow: Counter,
    pub(crate) trim: TrimTiming,
}

impl ApplyTiming {
    pub fn new(registry: &Arc<Registry>, slow_after: Duration) -> ApplyTiming {
        let slow = registry.metric(&families::ETCD_SERVER_SLOW_APPLY_TOTAL, &[]);
        ApplyTiming { applied: ByKind::applied(registry), slow_after, slow, trim: TrimTiming::new(registry) }
    }
}

/// What trimming after a compaction shows. One step is what etcd calls a pause, of the index and of its database at once.
#[derive(Debug)]
pub(crate) struct TrimTiming {
    pub index_step: Histogram,
    pub step: Histogram,
    pub whole: Histogram,
    pub revisions: Counter,
    pub last: Gauge,
}

impl TrimTiming {
    fn new(registry: &Registry) -> TrimTiming {
        TrimTiming {
            index_step: registry
                .metric(&families::ETCD_DEBUGGING_MVCC_INDEX_COMPACTION_PAUSE_DURATION_MILLISECONDS, &[]),
            step: registry.metric(&families::ETCD_DEBUGGING_MVCC_DB_COMPACTION_PAUSE_DURATION_MILLISECONDS, &[]),
            whole: registry.metric(&families::ETCD_DEBUGGING_MVCC_DB_COMPACTION_TOTAL_DURATION_MILLISECONDS, &[]),
            revisions: registry.metric(&families::ETCD_DEBUGGING_MVCC_DB_COMPACTION_KEYS_TOTAL, &[]),
            last: registry.metric(&families::ETCD_DEBUGGING_MVCC_DB_COMPACTION_LAST, &[]),
        }
    }
}

/// What the log writer observes.
#[derive(Debug)]
pub struct LogTiming {
    pub(crate) write: Histogram,
    pub(crate) sync: Histogram,
    pub(crate) bytes: Gauge,
    pub(crate) snapshot: Histogram,
    pub(crate) snapshot_sync: Histogram,
    /// What takes longer to be durable is told.
    pub(crate) slow_after: Duration,
}

impl LogTiming {
    pub fn new(registry: &Registry, slow_after: Duration) -> LogTiming {
        LogTiming {
            write: registry.metric(&families::ETCD_DISK_WAL_WRITE_DURATION_SECONDS, &[]),
            sync: registry.metric(&families::ETCD_DISK_WAL_FSYNC_DURATION_SECONDS, &[]),
            bytes: registry.metric(&families::ETCD_DISK_WAL_WRITE_BYTES_TOTAL, &[]),
            snapshot: registry.metric(&families::ETCD_DEBUGGING_SNAP_SAVE_TOTAL_DURATION_SECONDS, &[]),
            snapshot_sync: registry.metric(&families::ETCD_SNAP_FSYNC_DURATION_SECONDS, &[]),
            slow_after,
        }
    }
}

/// What the store keeper observes. A commit is what one step writes.
#[derive(Debug)]
pub struct StoreTiming {
    pub(crate) commit: Histogram,
    pub(crate) commit_write: Histogram,
    pub(crate) defragment: Histogram,
    pub(crate) defragmenting: Gauge,
}

impl StoreTiming {
    pub fn new(registry: &Registry) -> StoreTiming {
        StoreTiming {
            commit: registry.metric(&families::ETCD_DISK_BACKEND_COMMIT_DURATION_SECONDS, &[]),
            commit_write: registry.metric(&families::ETCD_DEBUGGING_DISK_BACKEND_COMMIT_WRITE_DURATION_SECONDS, &[]),
            defragment: registry.metric(&families::ETCD_DISK_BACKEND_DEFRAG_DURATION_SECONDS, &[]),
            defragmenting: registry.metric(&families::ETCD_DISK_DEFRAG_INFLIGHT, &[]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_there_from_its_first_observation_on() {
        let registry = Arc::new(Registry::new());
        let (requests, applied) = (ByKind::requests(&registry), ByKind::applied(&registry));
        assert_eq!(registry.text(), "");
        requests.observe(Kind::Put, true, Duration::from_millis(3));
        requests.observe(Kind::Put, true, Duration::from_millis(3));
        applied.observe(Kind::LeaseRevoke, false, Duration::from_millis(3));
        let text = registry.text();
        for line in [
            "etcd_server_request_duration_seconds_count{success=\"true\",type=\"Put\"} 2",
            "etcd_server_apply_duration_seconds_count{op=\"LeaseRevoke\",success=\"false\",version=\"v3\"} 1",
        ] {
            assert!(text.lines().any(|each| each == line), "{line} in {text}");
        }
    }
}
