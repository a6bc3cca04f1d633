//! Watchers over a real store: what they are owed moves from the window into files, is sealed, compacted, trimmed and cleaned
//! away under them, and they are told every event once and in order all the same, or that it was compacted.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use ferrite_proto::etcdserverpb::{self as pb, WatchCreateRequest, WatchResponse};
use ferrite_proto::mvccpb::KeyValue;
use ferrite_raft::Term;
use ferrite_state::clock::Millis;
use ferrite_state::mvcc::Keyspace;
use ferrite_state::watch::{Config, Hub, StreamId, WatchHeader, WatcherSpec};
use ferrite_state::{Command, Settings, State, Want};
use ferrite_storage::store::{Identity, Options, Store};
use ferrite_storage::vfs::LyingDisk;
use ferrite_storage::{Record, WindowWriter};
use prost::Message;

struct Member {
    state: State,
    window: WindowWriter,
    store: Store<LyingDisk>,
    /// Every record ever written.
    all: Vec<Record>,
}

impl Member {
    fn new() -> Member {
        let identity = Identity { node_id: 1, cluster_id: 2 };
        // Small segments, so that many are sealed.
        let options = Options { segment_bytes: 2048, window_bytes: 1 << 20, dump_bytes: 1 << 20 };
        let (store, opened) = Store::create(LyingDisk::new(), Path::new("/store"), identity, options).unwrap();
        let (state, _) = State::load(opened.rows, opened.revisions, Settings::default()).unwrap();
        Member { state, window: opened.window, store, all: Vec::new() }
    }

    fn keyspace(&self) -> Arc<Keyspace> {
        self.state.shared().keyspace().clone()
    }

    fn apply(&mut self, command: &Command) {
        self.apply_unpublished(command);
        self.publish();
    }

    fn apply_unpublished(&mut self, command: &Command) {
        let index = self.window.last_index().next();
        let applied = self.state.apply(index, Term(1), command, Want::Effect).unwrap();
        self.all.extend(applied.effect.records.iter().cloned());
        self.window.append(applied.effect);
    }

    fn publish(&mut self) {
        self.window.publish();
        self.state.publish();
    }

    fn put(&mut self, key: String, value: String) {
        let put = pb::PutRequest { key: key.into(), value: value.into(), ..Default::default() };
        self.apply(&Command::Put(put));
    }

    fn delete(&mut self, key: String, range_end: String) {
        let delete = pb::DeleteRangeRequest { key: key.into(), range_end: range_end.into(), prev_kv: false };
        self.apply(&Command::DeleteRange(delete));
    }

    fn compact(&mut self, revision: u64) {
        self.apply(&Command::Compaction(pb::CompactionRequest { revision: revision as i64, physical: false }));
    }

    /// Writes effects to the files and lets go of them in the window.
    fn write(&mut self, max_bytes: u64) {
        self.store.write(max_bytes).unwrap();
    }

    /// Takes out what is compacted, as far as it is written and nobody needs it.
    fn trim(&mut self, keys: usize) {
        while self.state.next_trim().is_some_and(|index| index <= self.store.applied()) {
            let trimmed = self.state.trim_step(keys);
            self.store.trim(&trimmed.dead);
            if !trimmed.more {
                break;
            }
        }
    }

    fn clean(&mut self) {
        self.store.sync().unwrap();
        self.store.clean(1 << 20).unwrap();
    }

    fn version(&self, key: &[u8], revision: u64) -> Option<KeyValue> {
        let records = self.all.iter().rev().filter(|record| record.revision.main <= revision);
        let newest =
            records.map(|r| (r, KeyValue::decode(r.key_value.clone()).unwrap())).find(|(_, kv)| kv.key == key)?;
        (!newest.0.tombstone).then_some(newest.1)
    }
}

struct Watching {
    spec: WatcherSpec,
    /// All it wants up to here has come.
    seen: u64,
    compacted: bool,
}

struct Client {
    hub: Hub<Arc<Keyspace>>,
    stream: StreamId,
    asked: Vec<WatcherSpec>,
    watchers: BTreeMap<i64, Watching>,
}

impl Client {
    fn new(member: &Member, queue_bytes: usize) -> Client {
        let mut hub = Hub::new(Config { queue_bytes, ..Config::default() }, &member.keyspace());
        let stream = hub.open(Millis(0));
        Client { hub, stream, asked: Vec::new(), watchers: BTreeMap::new() }
    }

    fn create(&mut self, member: &Member, key: &str, range_end: &str, start: u64, prev_kv: bool) {
        let request = WatchCreateRequest {
            key: Bytes::copy_from_slice(key.as_bytes()),
            range_end: Bytes::copy_from_slice(range_end.as_bytes()),
            start_revision: start as i64,
            prev_kv,
            ..Default::default()
        };
        let spec = WatcherSpec::parse(&request).unwrap();
        self.asked.push(spec.clone());
        self.hub.create(self.stream, spec, &member.keyspace()).unwrap();
    }

    fn step(&mut self, member: &Member) -> bool {
        self.hub.step(Millis(0), &member.keyspace()).unwrap()
    }

    /// Takes one message, and checks that it is what its watcher is owed next.
    fn take(&mut self, member: &Member) -> bool {
        let Some(message) = self.hub.take(self.stream) else { return false };
        let pieces = message.encode(WatchHeader::default(), usize::MAX).remove(0);
        let response = WatchResponse::decode(pieces.concat().as_slice()).unwrap();
        let id = response.watch_id;
        if response.created {
            let spec = self.asked.remove(0);
            let seen = spec.start.map_or(response.header.unwrap().revision as u64, |start| start - 1);
            self.watchers.insert(id, Watching { spec, seen, compacted: false });
            return true;
        }
        let watching = self.watchers.get_mut(&id).unwrap();
        assert!(!watching.compacted);
        if response.canceled {
            assert!(watching.seen + 1 < member.keyspace().compacted() as u64);
            watching.compacted = true;
            return true;
        }
        let last = response.events.last().unwrap().kv.as_ref().unwrap().mod_revision as u64;
        let owed = member.all.iter().filter(|r| (watching.seen + 1..=last).contains(&r.revision.main));
        let owed = owed.map(|record| (record, KeyValue::decode(record.key_value.clone()).unwrap()));
        let mut owed = owed.filter(|(_, kv)| watching.spec.range.contains(&kv.key));
        for event in response.events {
            let (record, mut kv) = owed.next().expect("no more events than there are");
            kv.mod_revision = record.revision.main as i64;
            let before = record.revision.main - 1;
            let prev = member.version(&kv.key, before).filter(|_| watching.spec.wants.prev_kv);
            assert_eq!((event.r#type == 1, event.kv), (record.tombstone, Some(kv)), "watcher {id} at {last}");
            let may_be_gone = (before as i64) < member.keyspace().compacted();
            assert!(event.prev_kv == prev || (event.prev_kv.is_none() && may_be_gone), "watcher {id} at {last}");
        }
        assert!(owed.next().is_none(), "watcher {id} has a gap before {last}");
        drop(owed);
        watching.seen = last;
        true
    }

    /// Takes all that there is until nothing more comes, and checks that nothing is missing.
    fn settle(&mut self, member: &Member) {
        loop {
            let more = self.step(member);
            let mut took = false;
            while self.take(member) {
                took = true;
            }
            if !more && !took {
                break;
            }
        }
        assert_eq!(self.hub.counts().lagging, 0);
        for (id, watching) in self.watchers.iter().filter(|(_, watching)| !watching.compacted) {
            let left = member.all.iter().filter(|record| record.revision.main > watching.seen);
            let mut left = left.map(|record| KeyValue::decode(record.key_value.clone()).unwrap());
            assert_eq!(left.find(|kv| watching.spec.range.contains(&kv.key)), None, "watcher {id} never got it");
        }
    }
}

/// Watchers from every revision, with every number of them in files, carried one revision at a time.
#[test]
fn cursors_cross_every_hand_over_at_every_revision() {
    const REVISIONS: u64 = 35;
    let mut member = Member::new();
    for i in 0..REVISIONS {
        if i % 7 == 6 {
            member.delete("k0".into(), "k2".into());
        } else {
            member.put(format!("k{}", i % 4), format!("{i:0100}"));
        }
    }
    for queue_bytes in [1, 600, 1 << 20] {
        while member.store.applied() < member.window.last_index() {
            let mut client = Client::new(&member, queue_bytes);
            for start in 0..=member.keyspace().revision() + 1 {
                client.create(&member, "k", "l", start, start % 2 == 0);
                client.create(&member, "k1", "", start, start % 3 == 0);
            }
            // One effect goes from the window to the files in the middle of it.
            for _ in 0..20 {
                client.step(&member);
                client.take(&member);
            }
            member.write(1);
            client.settle(&member);
        }
        // What follows is in the window again.
        for i in 0..10 {
            member.put(format!("k{}", i % 4), format!("{i:0100}"));
        }
    }
}

/// What is compacted stays until the hub has matched it.
#[test]
fn a_live_watcher_is_not_overtaken_by_a_compaction() {
    let mut member = Member::new();
    let mut client = Client::new(&member, 1 << 20);
    client.create(&member, "k", "l", 0, false);
    client.settle(&member);
    for i in 0..5 {
        member.put("k".into(), format!("{i}"));
    }
    member.compact(6);
    member.write(1 << 20);
    member.trim(1000);
    assert!(member.state.next_trim().is_some(), "trimming waits");
    client.settle(&member);
    assert_eq!((client.watchers[&0].seen, client.watchers[&0].compacted), (6, false));
    member.trim(1000);
    assert!(member.state.next_trim().is_none(), "nobody needs it any more");
}

/// What is read at once ends between two revisions, however many changes they have.
#[test]
fn long_histories_are_read_in_whole_revisions() {
    let mut member = Member::new();
    let mut client = Client::new(&member, 1 << 30);
    client.create(&member, "k", "l", 0, false);
    for round in 0..2 {
        for i in 0..1500 {
            member.put(format!("k{i:04}"), String::new());
        }
        member.delete(format!("k{round}"), "k1400".into());
        // The live watcher follows all of it at once, others come from behind.
        client.create(&member, "k", "l", 1, true);
        client.create(&member, "k0001", "", 1, true);
        client.settle(&member);
        while member.store.applied() < member.window.last_index() {
            member.write(1 << 20);
        }
    }
}

/// The index knows revisions before they are published; watchers do not.
#[test]
fn nothing_is_told_before_it_is_published() {
    let mut member = Member::new();
    for _ in 0..3 {
        member.put("k".into(), "1".into());
    }
    let put = pb::PutRequest { key: "k".into(), value: "2".into(), ..Default::default() };
    member.apply_unpublished(&Command::Put(put));
    let mut client = Client::new(&member, 1 << 20);
    client.create(&member, "k", "", 2, false);
    client.create(&member, "k", "l", 2, false);
    while client.step(&member) {}
    while client.take(&member) {}
    assert!(client.watchers.values().all(|watching| watching.seen == 4));
    member.publish();
    client.settle(&member);
    assert!(client.watchers.values().all(|watching| watching.seen == 5));
}

/// All that can happen to history, in any order.
#[test]
fn watchers_miss_nothing_whatever_becomes_of_history() {
    for seed in 0..if cfg!(debug_assertions) { 60 } else { 1000 } {
        let failed = std::panic::catch_unwind(|| run(seed));
        assert!(failed.is_ok(), "failed with seed {seed}");
    }
}

fn run(seed: u64) {
    let mut state = seed;
    // SplitMix64.
    let mut below = |bound: u64| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    };
    let mut member = Member::new();
    let mut client = Client::new(&member, 1 << below(16));
    for _ in 0..400 {
        let key = format!("k{:02}", below(20));
        match below(20) {
            0..7 => member.put(key, "v".repeat(below(200) as usize)),
            7 => member.delete(key, format!("k{:02}", below(20))),
            8 => member.delete(key, String::new()),
            9 => {
                let revision = member.keyspace().revision();
                member.compact(revision - below(revision.min(30)));
            }
            10..12 => member.write(1 + below(3000)),
            12 => member.trim(1 + below(10) as usize),
            13 => member.clean(),
            14 => {
                let end = ["", "k05", "k15", "\0", "l"][below(5) as usize];
                let start = if below(2) == 0 { 0 } else { 1 + below(member.keyspace().revision() + 2) };
                if end.is_empty() || end == "\0" || key.as_str() < end {
                    client.create(&member, &key, end, start, below(2) == 0);
                }
            }
            15..18 => {
                client.step(&member);
            }
            _ => {
                for _ in 0..below(8) {
                    client.take(&member);
                }
            }
        }
    }
    client.settle(&member);
    // Everything goes to the files and is trimmed; a watcher of all that is left reads it there.
    while member.store.applied() < member.window.last_index() {
        member.write(1 << 20);
    }
    client.settle(&member);
    member.trim(1000);
    member.clean();
    let oldest = member.keyspace().compacted().max(1) as u64;
    client.create(&member, "k", "l", oldest, true);
    client.settle(&member);
    assert!(!client.watchers.values().last().unwrap().compacted);
}
