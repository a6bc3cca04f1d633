//! What is counted of calls on their way into the member and back: shared by all net threads, each number an atomic.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use ferrite_member::ByKind;
use ferrite_observe::metrics::{Counter, Gauge, Histogram, Registry, families};
use ferrite_state::command::Kind;

use crate::handle::CallError;

/// Counters and durations of calls.
#[derive(Debug)]
pub struct CallMetrics {
    registry: Arc<Registry>,
    /// Looking up ranges: those that failed, those that did not. Shown from the first observation on.
    ranges: [OnceLock<Histogram>; 2],
    /// From submission to result, shared with the member's duties.
    pub requests: Arc<ByKind>,
    pub proposals_failed: Counter,
    pub reads_failed: Counter,
    pub slow_reads: Counter,
    pub slow_applies: Counter,
    pub hash: Histogram,
    pub hash_of_revision: Histogram,
    pub watch: WatchMetrics,
}

/// Numbers of watchers, each net thread's added up, and what sending to them takes.
#[derive(Debug)]
pub struct WatchMetrics {
    pub streams: Gauge,
    pub watchers: Gauge,
    pub lagging: Gauge,
    pub events: Counter,
    pub send_events: Histogram,
    pub send_event: Histogram,
    pub send_control: Histogram,
    pub send_progress: Histogram,
}

impl CallMetrics {
    pub fn new(registry: &Arc<Registry>) -> CallMetrics {
        CallMetrics {
            registry: registry.clone(),
            ranges: [OnceLock::new(), OnceLock::new()],
            requests: Arc::new(ByKind::requests(registry)),
            proposals_failed: registry.metric(&families::ETCD_SERVER_PROPOSALS_FAILED_TOTAL, &[]),
            reads_failed: registry.metric(&families::ETCD_SERVER_READ_INDEXES_FAILED_TOTAL, &[]),
            slow_reads: registry.metric(&families::ETCD_SERVER_SLOW_READ_INDEXES_TOTAL, &[]),
            slow_applies: registry.metric(&families::ETCD_SERVER_SLOW_APPLY_TOTAL, &[]),
            hash: registry.metric(&families::ETCD_MVCC_HASH_DURATION_SECONDS, &[]),
            hash_of_revision: registry.metric(&families::ETCD_MVCC_HASH_REV_DURATION_SECONDS, &[]),
            watch: WatchMetrics::new(registry),
        }
    }

    /// A proposal has ended.
    pub fn proposed(&self, kind: Kind, since: Instant, failure: Option<CallError>) {
        let success = matches!(failure, None | Some(CallError::Refused(_)));
        self.requests.observe(kind, success, since.elapsed());
        if matches!(failure, Some(CallError::TimedOut { .. } | CallError::ProposalDropped)) {
            self.proposals_failed.increment();
        }
    }

    /// A read that needed an index has it, or not.
    pub fn confirmed(&self, failure: Option<CallError>) {
        match failure {
            Some(CallError::LeaderChanged) => self.reads_failed.increment(),
            Some(CallError::TimedOut { .. }) => self.slow_reads.increment(),
            _ => {}
        }
    }

    /// A range has been looked up, in the time since; `request` also counts the way to its index.
    pub fn ranged(&self, request: Instant, lookup: Instant, success: bool) {
        let now = Instant::now();
        self.requests.observe(Kind::Range, success, now - request);
        let series = self.ranges[usize::from(success)].get_or_init(|| {
            let label = if success { "true" } else { "false" };
            self.registry.metric(&families::ETCD_SERVER_RANGE_DURATION_SECONDS, &[label])
        });
        series.observe_seconds(now - lookup);
    }
}

impl WatchMetrics {
    fn new(registry: &Registry) -> WatchMetrics {
        WatchMetrics {
            streams: registry.metric(&families::ETCD_DEBUGGING_MVCC_WATCH_STREAM_TOTAL, &[]),
            watchers: registry.metric(&families::ETCD_DEBUGGING_MVCC_WATCHER_TOTAL, &[]),
            lagging: registry.metric(&families::ETCD_DEBUGGING_MVCC_SLOW_WATCHER_TOTAL, &[]),
            events: registry.metric(&families::ETCD_DEBUGGING_MVCC_EVENTS_TOTAL, &[]),
            send_events: registry
                .metric(&families::ETCD_DEBUGGING_SERVER_WATCH_SEND_LOOP_WATCH_STREAM_DURATION_SECONDS, &[]),
            send_event: registry
                .metric(&families::ETCD_DEBUGGING_SERVER_WATCH_SEND_LOOP_WATCH_STREAM_DURATION_PER_EVENT_SECONDS, &[]),
            send_control: registry
                .metric(&families::ETCD_DEBUGGING_SERVER_WATCH_SEND_LOOP_CONTROL_STREAM_DURATION_SECONDS, &[]),
            send_progress: registry
                .metric(&families::ETCD_DEBUGGING_SERVER_WATCH_SEND_LOOP_PROGRESS_DURATION_SECONDS, &[]),
        }
    }
}
