//! Watchers at a member that goes over to a snapshot: their cursors go on in what it holds then.

use std::sync::Arc;

use ferrite_proto::etcdserverpb as pb;
use ferrite_state::clock::Millis;
use ferrite_state::mvcc::Keyspace;
use ferrite_state::watch::{Body, Config, Hub, StreamId, WatchHeader, WatcherSpec};
use prost::Message;

use crate::pair::Pair;

/// A client of the learner that watches all keys.
struct Watcher {
    hub: Hub<Arc<Keyspace>>,
    stream: StreamId,
    /// The revisions of its events.
    seen: Vec<i64>,
    compacted: Option<u64>,
}

impl Watcher {
    fn new(pair: &Pair) -> Watcher {
        let keyspace = pair.learner.as_ref().unwrap().engine.shared.keyspace().clone();
        let mut hub = Hub::new(Config::default(), &keyspace);
        let stream = hub.open(Millis(0));
        let all = pb::WatchCreateRequest { key: "\0".into(), range_end: "\0".into(), ..Default::default() };
        hub.create(stream, WatcherSpec::parse(&all).unwrap(), &keyspace).unwrap();
        Watcher { hub, stream, seen: Vec::new(), compacted: None }
    }

    /// Takes all that there is.
    fn follow(&mut self, pair: &Pair) {
        let shared = &pair.learner.as_ref().unwrap().engine.shared;
        loop {
            let has_more = self.hub.step(Millis(0), &shared.keyspace()).unwrap();
            while let Some(message) = self.hub.take(self.stream) {
                if let Body::Compacted { compacted } = message.body {
                    self.compacted = Some(compacted);
                }
                for pieces in message.encode(WatchHeader::default(), usize::MAX) {
                    let response = pb::WatchResponse::decode(pieces.concat().as_slice()).unwrap();
                    self.seen.extend(response.events.iter().map(|event| event.kv.as_ref().unwrap().mod_revision));
                }
            }
            if !has_more {
                return;
            }
        }
    }
}

#[test]
fn a_watcher_sees_each_event_once_over_a_snapshot() {
    for seed in 0..4 {
        let mut pair = Pair::new(seed);
        pair.is_unplugged = false;
        pair.put(5);
        let begun = pair.revision();
        let (mut fast, mut slow) = (Watcher::new(&pair), Watcher::new(&pair));
        for round in 1..4 {
            pair.put(7);
            fast.follow(&pair);
            pair.wait_for_a_minute();
            pair.is_unplugged = true;
            pair.put(40);
            pair.is_unplugged = false;
            pair.settle();
            assert_eq!(pair.installed, round);
            pair.put(3);
            fast.follow(&pair);
            if round == 2 {
                slow.follow(&pair);
            }
        }
        slow.follow(&pair);
        let all: Vec<i64> = (begun + 1..=pair.revision()).collect();
        assert_eq!((&fast.seen, fast.compacted), (&all, None), "seed {seed}");
        assert_eq!((&slow.seen, slow.compacted), (&all, None), "seed {seed}");
    }
}

#[test]
fn a_watcher_behind_what_a_snapshot_has_compacted_is_told() {
    let mut pair = Pair::new(1);
    pair.is_unplugged = false;
    pair.put(5);
    let mut watcher = Watcher::new(&pair);
    pair.put(4);
    watcher.follow(&pair);
    assert_eq!(watcher.seen.len(), 4);
    pair.is_unplugged = true;
    pair.put(40);
    let compacted = pair.revision() - 10;
    pair.compact(compacted);
    pair.put(3);
    pair.is_unplugged = false;
    pair.settle();
    assert_eq!(pair.installed, 1);
    watcher.follow(&pair);
    assert_eq!((watcher.seen.len(), watcher.compacted), (4, Some(compacted as u64)));
}
