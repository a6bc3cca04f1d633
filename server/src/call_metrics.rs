//! What is counted of calls on their way into the member and back: shared by all net threads, each number an atomic.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use ferrite_member::ByKind;
use ferrite_observe::log;
use ferrite_observe::log::{Logger, lines};
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
    slow: SlowReads,
    pub hash: Histogram,
    pub hash_of_revision: Histogram,
    pub watch: WatchMetrics,
}

/// Reads that take longer than is usual: counted and told.
#[derive(Debug)]
struct SlowReads {
    /// `--warning-apply-duration`.
    after: Duration,
    counter: Counter,
    logger: Logger,
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
    pub fn new(registry: &Arc<Registry>, slow_after: Duration, logger: &Logger) -> CallMetrics {
        CallMetrics {
            registry: registry.clone(),
            ranges: [OnceLock::new(), OnceLock::new()],
            requests: Arc::new(ByKind::requests(registry)),
            proposals_failed: registry.metric(&families::ETCD_SERVER_PROPOSALS_FAILED_TOTAL, &[]),
            reads_failed: registry.metric(&families::ETCD_SERVER_READ_INDEXES_FAILED_TOTAL, &[]),
            slow_reads: registry.metric(&families::ETCD_SERVER_SLOW_READ_INDEXES_TOTAL, &[]),
            slow: SlowReads {
                after: slow_after,
                counter: registry.metric(&families::ETCD_SERVER_SLOW_APPLY_TOTAL, &[]),
                logger: logger.clone(),
            },
            hash: registry.metric(&families::ETCD_MVCC_HASH_DURATION_SECONDS, &[]),
            hash_of_revision: registry.metric(&families::ETCD_MVCC_HASH_REV_DURATION_SECONDS, &[]),
            watch: WatchMetrics::new(registry),
        }
    }

    /// A proposal has ended.
    pub fn proposed(&self, kind: Kind, since: Instant, failure: Option<CallError>) {
        let success = matches!(failure, None | Some(CallError::Refused(_)));
        self.requests.observe(kind, success, since.elapsed());
        let is_late = matches!(
            failure,
            Some(
                CallError::TimedOut
                    | CallError::TimedOutByLeader
                    | CallError::TimedOutByConnection
                    | CallError::NotTaken
            )
        );
        if is_late || failure == Some(CallError::ProposalDropped) {
            self.proposals_failed.increment();
        }
    }

    /// A read that needed an index has it, or not.
    pub fn confirmed(&self, failure: Option<CallError>) {
        match failure {
            Some(CallError::LeaderChanged) => self.reads_failed.increment(),
            Some(CallError::TimedOut) => self.slow_reads.increment(),
            _ => {}
        }
    }

    /// A transaction that only reads has been carried out.
    pub fn read_txn(&self, since: Instant, success: bool) {
        let took = since.elapsed();
        self.requests.observe(Kind::ReadonlyTxn, success, took);
        self.slow.look(took, "read-only txn ");
    }

    /// A range has been looked up, in the time since; `request` also counts the way to its index.
    pub fn ranged(&self, request: Instant, lookup: Instant, success: bool) {
        let now = Instant::now();
        self.requests.observe(Kind::Range, success, now - request);
        self.slow.look(now - request, "read-only range ");
        let series = self.ranges[usize::from(success)].get_or_init(|| {
            let label = if success { "true" } else { "false" };
            self.registry.metric(&families::ETCD_SERVER_RANGE_DURATION_SECONDS, &[label])
        });
        series.observe_seconds(now - lookup);
    }
}

impl SlowReads {
    fn look(&self, took: Duration, prefix: &str) {
        if took > self.after {
            self.counter.increment();
            log!(self.logger, lines::APPLY_TOOK_TOO_LONG, took, self.after, prefix, "", "", "");
        }
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

#[cfg(test)]
mod tests {
    use ferrite_observe::log::Level;

    use super::*;

    /// What of these lines a scrape shows.
    fn shown(registry: &Registry, lines: &[&str]) -> Vec<bool> {
        let text = registry.text();
        lines.iter().map(|line| text.lines().any(|each| each == *line)).collect()
    }

    #[test]
    fn slow_reads_are_counted_and_told() {
        for (after, is_slow) in [(Duration::ZERO, true), (Duration::MAX, false)] {
            let (logger, told) = Logger::to_memory(Level::Info);
            let registry = Arc::new(Registry::new());
            let metrics = CallMetrics::new(&registry, after, &logger);
            let begun = Instant::now();
            metrics.ranged(begun, begun, false);
            metrics.read_txn(begun, true);
            let told = told.lock().unwrap().clone();
            let lines = told.lines().filter(|line| line.contains("apply request took too long")).count();
            assert_eq!((lines, told.contains("read-only range ")), (2 * usize::from(is_slow), is_slow));
            let expected = [
                "etcd_server_range_duration_seconds_count{success=\"false\"} 1",
                "etcd_server_request_duration_seconds_count{success=\"false\",type=\"Range\"} 1",
                "etcd_server_request_duration_seconds_count{success=\"true\",type=\"ReadonlyTxn\"} 1",
                if is_slow { "etcd_server_slow_apply_total 2" } else { "etcd_server_slow_apply_total 0" },
            ];
            assert_eq!(shown(&registry, &expected), [true; 4], "{}", registry.text());
        }
    }

    #[test]
    fn an_answer_of_the_state_machine_is_no_failure_of_the_request() {
        let registry = Arc::new(Registry::new());
        let metrics = CallMetrics::new(&registry, Duration::MAX, &Logger::silent());
        let refused = CallError::Refused(ferrite_state::ApplyError::Compacted);
        let (begun, timed_out) = (Instant::now(), CallError::TimedOut);
        for failure in [None, Some(refused), Some(timed_out), Some(CallError::TooManyRequests)] {
            metrics.proposed(Kind::Compaction, begun, failure);
        }
        metrics.confirmed(Some(timed_out));
        metrics.confirmed(Some(CallError::LeaderChanged));
        metrics.confirmed(None);
        let expected = [
            "etcd_server_request_duration_seconds_count{success=\"true\",type=\"Compaction\"} 2",
            "etcd_server_request_duration_seconds_count{success=\"false\",type=\"Compaction\"} 2",
            "etcd_server_proposals_failed_total 1",
            "etcd_server_slow_read_indexes_total 1",
            "etcd_server_read_indexes_failed_total 1",
        ];
        assert_eq!(shown(&registry, &expected), [true; 5], "{}", registry.text());
    }
}
