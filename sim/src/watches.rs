//! Watchers: each follows keys at some member from its first revision on, and when that member goes away, or for no reason,
//! at another one from behind the last revision that it was told.
//!
//! What holds: a watcher is told every event that it watches, once, in order, and as it was published; and progress tells of
//! no revision of which it has not been told all. If it is told that what it wants is compacted, that has been compacted.
//! [`Ledger`] knows what was published and compacted.

use std::time::Duration;

use bytes::Bytes;
use ferrite_proto::etcdserverpb as pb;
use ferrite_proto::mvccpb;
use ferrite_state::watch::{Change, StreamId, WatchHeader, WatcherSpec};
use prost::Message as _;

use crate::cluster::Cluster;
use crate::defect::Defect;
use crate::finding::{Check, Violation};
use crate::ledger::{self, Ledger};
use crate::requests;

const WATCHERS: usize = 5;
/// Messages that a watcher takes at a time.
const AT_ONCE: u64 = 6;
/// One of so many looks ends with the watcher going elsewhere.
const RESTLESS: u64 = 60;

#[derive(Debug)]
struct Watcher {
    key: Bytes,
    range_end: Bytes,
    /// Where it watches: the node, its life, and the stream.
    at: Option<(usize, u64, StreamId)>,
    /// All that it watches has come up to this revision.
    seen: u64,
    /// Changes of the ledger that it has gone through.
    passed: usize,
    next: Duration,
}

impl Watcher {
    fn watches(&self, change: &Change) -> bool {
        let key = ledger::key_of(change);
        match self.range_end.is_empty() {
            true => key == self.key,
            false => self.key <= key && key < self.range_end,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Watches {
    watchers: Vec<Watcher>,
    events: usize,
    resumed: usize,
}

impl Watches {
    pub fn new() -> Watches {
        let watcher = |number: usize| {
            let (key, range_end) = match number % 3 {
                0 => requests::everything(),
                1 => requests::range(number as u64),
                _ => (requests::name(number as u64, 0), Bytes::new()),
            };
            Watcher { key, range_end, at: None, seen: 0, passed: 0, next: Duration::from_secs(1) }
        };
        Watches { watchers: (0..WATCHERS).map(watcher).collect(), events: 0, resumed: 0 }
    }

    /// Events that watchers were told, and how often one went on elsewhere.
    pub fn counts(&self) -> (usize, usize) {
        (self.events, self.resumed)
    }

    /// When a watcher looks.
    pub fn next(&self) -> Duration {
        self.watchers.iter().map(|watcher| watcher.next).min().unwrap_or(Duration::MAX)
    }

    /// Whether everybody has been told everything.
    pub fn are_at_rest(&self, cluster: &Cluster) -> bool {
        let changes = cluster.ledger.changes();
        let is_told = |watcher: &Watcher| !changes[watcher.passed..].iter().any(|change| watcher.watches(change));
        self.watchers.iter().all(is_told)
    }

    /// What a watcher still waits for.
    pub fn missing(&self, cluster: &Cluster) -> Option<String> {
        let changes = cluster.ledger.changes();
        self.watchers.iter().enumerate().find_map(|(number, watcher)| {
            let change = changes[watcher.passed..].iter().find(|change| watcher.watches(change))?;
            Some(format!("watcher {number} was never told of {:?} {:?}", change.revision, ledger::key_of(change)))
        })
    }

    /// Those whose time has come take what there is, or begin to watch.
    pub fn act(&mut self, cluster: &mut Cluster, is_restless: bool) -> Result<(), Violation> {
        for number in 0..self.watchers.len() {
            if self.watchers[number].next > cluster.now {
                continue;
            }
            let slowness = if number % 2 == 0 { 30 } else { 300 };
            self.watchers[number].next = cluster.now + Duration::from_millis(5 + cluster.dice.below(slowness));
            match self.watchers[number].at {
                None => self.begin(number, cluster),
                Some((node, life, stream)) => {
                    let is_there = cluster.nodes[node].lives == life && cluster.life(node).is_some();
                    let is_awake = cluster.nodes[node].is_awake(cluster.now);
                    let goes =
                        (is_restless && cluster.dice.once_in(RESTLESS)) || (!is_awake && cluster.dice.once_in(5));
                    if is_there && goes {
                        let life = cluster.nodes[node].life.as_mut().expect("it is there");
                        life.hub.close(stream);
                    }
                    if !is_there || goes {
                        self.watchers[number].at = None;
                    } else if is_awake {
                        self.take(number, node, stream, cluster)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self, number: usize, cluster: &mut Cluster) {
        let node = cluster.any_node();
        if !cluster.nodes[node].is_awake(cluster.now) {
            return;
        }
        let watcher = &mut self.watchers[number];
        let start_revision = match (cluster.defect(), watcher.seen) {
            (Some(Defect::WatchRepeats), seen @ 1..) => seen,
            (Some(Defect::WatchSkips), seen @ 1..) => seen + 2,
            (_, seen) => seen + 1,
        };
        let request = pb::WatchCreateRequest {
            key: watcher.key.clone(),
            range_end: watcher.range_end.clone(),
            start_revision: start_revision as i64,
            progress_notify: number.is_multiple_of(2),
            ..Default::default()
        };
        let spec = WatcherSpec::parse(&request).expect("a request that makes sense");
        let lives = cluster.nodes[node].lives;
        let Some(life) = cluster.nodes[node].life.as_mut() else { return };
        let stream = life.hub.open(life.clock.millis(cluster.now));
        life.hub.create(stream, spec, &*life.engine.shared.keyspace()).expect("history can be read");
        life.hub_has_more = true;
        watcher.at = Some((node, lives, stream));
        self.resumed += usize::from(watcher.seen > 0);
    }

    fn take(&mut self, number: usize, node: usize, stream: StreamId, cluster: &mut Cluster) -> Result<(), Violation> {
        for _ in 0..1 + cluster.dice.below(AT_ONCE) {
            let Some(life) = cluster.nodes[node].life.as_mut() else { break };
            let newest = life.engine.shared.keyspace().revision() as i64;
            let Some(message) = life.hub.take(stream) else { break };
            if life.hub.wants_step(stream) {
                life.hub_has_more = true;
            }
            for pieces in message.encode(WatchHeader::default(), usize::MAX) {
                let response = pb::WatchResponse::decode(pieces.concat().as_slice());
                let mut response = response.expect("what the hub encodes can be decoded");
                if cluster.defect() == Some(Defect::WatchCompacted) && cluster.dice.once_in(200) {
                    (response.canceled, response.compact_revision) = (true, newest);
                }
                if !response.events.is_empty()
                    && cluster.defect() == Some(Defect::WatchLoses)
                    && cluster.dice.once_in(200)
                {
                    continue;
                }
                self.told(number, node, &response, &cluster.ledger)?;
            }
        }
        Ok(())
    }

    fn told(
        &mut self,
        number: usize,
        node: usize,
        response: &pb::WatchResponse,
        ledger: &Ledger,
    ) -> Result<(), Violation> {
        let watcher = &mut self.watchers[number];
        let wrong =
            |what: String| Err(Violation::new(Check::Watch, format!("watcher {number} at m{}: {what}", node + 1)));
        if response.canceled && response.compact_revision > 0 {
            let compacted = response.compact_revision as u64;
            if compacted <= watcher.seen + 1 {
                return wrong(format!("{compacted} is compacted, which does not matter: it has seen {}", watcher.seen));
            }
            if !ledger.is_compacted(compacted) {
                return wrong(format!("{compacted} is compacted, which nobody has asked for"));
            }
            // What it missed is gone for ever: it goes on with what there is.
            let changes = ledger.changes();
            watcher.passed = changes.partition_point(|change| change.revision.main < compacted);
            (watcher.seen, watcher.at) = (compacted - 1, None);
            return Ok(());
        }
        let changes = ledger.changes();
        let next = |passed: usize| (passed..changes.len()).find(|at| watcher.watches(&changes[*at]));
        let mut passed = watcher.passed;
        for event in &response.events {
            let Some(at) = next(passed) else {
                return wrong(format!("{event:?}, which was never published"));
            };
            let change = &changes[at];
            if !is_event_of(event, change) {
                return wrong(format!("{event:?}, where {:?} of {:?} is due", change.revision, ledger::key_of(change)));
            }
            passed = at + 1;
        }
        let revision = response.header.as_ref().map_or(0, |header| header.revision) as u64;
        let is_progress = response.events.is_empty() && !response.created && !response.canceled;
        if is_progress && let Some(at) = next(passed).filter(|at| changes[*at].revision.main <= revision) {
            return wrong(format!("progress at {revision}, but {:?} was not told", changes[at].revision));
        }
        self.events += response.events.len();
        watcher.passed = passed;
        let last = response.events.last().and_then(|event| event.kv.as_ref()).map(|kv| kv.mod_revision as u64);
        watcher.seen = watcher.seen.max(if is_progress { revision } else { last.unwrap_or(0) });
        Ok(())
    }
}

fn is_event_of(event: &mvccpb::Event, change: &Change) -> bool {
    let Some(kv) = &event.kv else { return false };
    let is_delete = event.r#type == mvccpb::event::EventType::Delete as i32;
    is_delete == change.tombstone && *kv == ledger::key_value_of(change)
}

#[cfg(test)]
mod tests {
    use ferrite_raft::{Entry, Index, Payload, Term};
    use ferrite_state::RequestId;
    use ferrite_state::command::{Caller, encode};

    use super::*;

    #[test]
    fn what_is_said_to_be_compacted_is_compacted() {
        let compaction = pb::CompactionRequest { revision: 50, physical: false };
        let request = pb::InternalRaftRequest { compaction: Some(compaction), ..Default::default() };
        let payload = Payload::Data(encode(RequestId(1), &Caller::default(), request));
        let mut ledger = Ledger::default();
        ledger.applies("m1", &[Entry { term: Term(1), index: Index(1), payload }], Duration::ZERO).unwrap();
        let check = |seen: u64, compacted: i64, expected: bool| {
            let mut watches = Watches::new();
            watches.watchers[0].seen = seen;
            let response = pb::WatchResponse { canceled: true, compact_revision: compacted, ..Default::default() };
            let told = watches.told(0, 0, &response, &ledger);
            assert_eq!(told.is_ok(), expected, "{compacted}, where {seen} was seen: {told:?}");
        };
        check(10, 50, true);
        check(48, 50, true);
        // The next revision can be read still.
        check(49, 50, false);
        // Nobody has compacted that.
        check(10, 51, false);
        check(10, 40, false);
    }
}
