//! Random histories and clients, against what a watcher was promised: every event that it wants, once and in order, whole
//! revisions, or to be told that it was compacted; and progress that speaks the truth.

use std::collections::BTreeMap;

use ferrite_proto::etcdserverpb::watch_create_request::FilterType;
use ferrite_proto::etcdserverpb::{WatchCreateRequest, WatchResponse};
use ferrite_proto::mvccpb::KeyValue;
use prost::Message as _;

use super::event::key_of;
use super::history::{Change, History};
use super::hub::{Config, Hub};
use super::message::WatchHeader;
use super::naive::Naive;
use super::request::WatcherSpec;
use super::stream::StreamId;
use crate::clock::Millis;
use crate::random::Random;

const FRAGMENT_BYTES: usize = 300;

/// A client's end of a stream.
struct Client {
    stream: StreamId,
    /// What it has asked for and not yet been answered, in order.
    creating: Vec<(WatcherSpec, u64)>,
    watchers: BTreeMap<i64, Watching>,
    /// Ids it has cancelled and not yet been told so.
    canceling: Vec<i64>,
    /// Events of fragments whose end has not come.
    fragments: Option<WatchResponse>,
    /// It takes what comes at once.
    fast: bool,
}

/// What a client knows of a watcher of its own.
struct Watching {
    spec: WatcherSpec,
    /// All it wants up to here has come.
    seen: u64,
    compacted: bool,
}

struct World {
    history: Naive,
    hub: Hub<Naive>,
    clients: Vec<Client>,
    now: Millis,
    /// Nobody is slow, and nobody's history is swapped: then only who asks for the past can be too late.
    gentle: bool,
}

impl Watching {
    fn wants(&self, change: &Change) -> bool {
        let wants = self.spec.wants;
        self.spec.range.contains(key_of(&change.key_value)) && if change.tombstone { wants.deletes } else { wants.puts }
    }

    /// All it is owed of the revisions behind `seen` up to `until`.
    fn missing<'a>(&'a self, history: &'a Naive, until: u64) -> impl Iterator<Item = &'a Change> {
        self.all_missing(history, until).filter(|change| !history.is_superseded(change))
    }

    /// The same with what compaction may have taken out of the compacted revision.
    fn all_missing<'a>(&'a self, history: &'a Naive, until: u64) -> impl Iterator<Item = &'a Change> {
        let from = history.all.partition_point(|change| change.revision.main <= self.seen);
        let behind = history.all[from..].iter();
        behind.take_while(move |change| change.revision.main <= until).filter(|change| self.wants(change))
    }
}

impl World {
    fn receive(&mut self, client: usize) -> bool {
        let Some(message) = self.hub.take(self.clients[client].stream) else {
            return false;
        };
        for pieces in message.encode(WatchHeader::default(), FRAGMENT_BYTES) {
            let response = WatchResponse::decode(pieces.concat().as_slice()).expect("what we encode can be decoded");
            self.check(client, response);
        }
        true
    }

    fn check(&mut self, client: usize, mut response: WatchResponse) {
        let Client { creating, watchers, canceling, fragments, .. } = &mut self.clients[client];
        let history = &self.history;
        let revision = response.header.as_ref().map_or(0, |header| header.revision) as u64;
        let id = response.watch_id;

        if response.created {
            let (spec, published) = creating.remove(0);
            assert_eq!(revision, published, "created at the published revision");
            if response.canceled {
                let empty = spec.check().is_err();
                let taken = spec.watch_id.is_some_and(|id| watchers.contains_key(&id) || canceling.contains(&id));
                assert!(empty || taken, "refused for no reason: {}", response.cancel_reason);
                assert_eq!((id, response.compact_revision), (-1, 0));
                return;
            }
            assert!(spec.watch_id.is_none_or(|wanted| wanted == id));
            let seen = spec.start.map_or(published, |start| start - 1);
            let before = watchers.insert(id, Watching { spec, seen, compacted: false });
            assert!(before.is_none(), "the id {id} was given twice");
            return;
        }
        if response.canceled && response.compact_revision == 0 {
            let place = canceling.iter().position(|canceled| *canceled == id).expect("it was cancelled");
            canceling.remove(place);
            watchers.remove(&id).expect("it was created");
            return;
        }
        if response.canceled {
            let watching = watchers.get_mut(&id).expect("it was created");
            assert!(!watching.compacted, "told twice");
            watching.compacted = true;
            let compacted = response.compact_revision as u64;
            assert!(compacted <= history.compacted() && revision == 0 && response.events.is_empty());
            assert!(watching.seen + 1 < compacted || watching.missing(history, compacted - 1).next().is_none());
            let asked_late = watching.spec.start.is_some_and(|start| start < compacted);
            assert!(asked_late || !self.gentle, "watcher {id} is told that {compacted} is compacted");
            return;
        }
        if response.events.is_empty() {
            // Progress, of one watcher or of all.
            for (watch_id, watching) in watchers.iter() {
                if id == -1 || id == *watch_id {
                    assert!(!watching.compacted);
                    let missing = watching.missing(history, revision).next();
                    assert!(missing.is_none(), "progress to {revision}, but {watch_id} misses {missing:?}");
                }
            }
            return;
        }
        if let Some(mut first) = fragments.take() {
            assert_eq!(first.watch_id, id, "fragments of one message follow each other");
            first.events.append(&mut response.events);
            first.fragment = response.fragment;
            response = first;
        }
        if response.fragment {
            *fragments = Some(response);
            return;
        }
        let watching = watchers.get_mut(&id).expect("events of a watcher that was created");
        assert!(!watching.compacted, "nothing comes after it was compacted");
        let last = response.events.last().and_then(|event| event.kv.as_ref()).expect("events have a kv").mod_revision;
        assert!(revision >= last as u64 && history.published >= revision);
        let mut expected: Vec<&Change> = watching.all_missing(history, last as u64).collect();
        if response.events.len() != expected.len() {
            expected.retain(|change| !history.is_superseded(change));
        }
        assert_eq!(response.events.len(), expected.len(), "watcher {id}, {} to {last}", watching.seen);
        for (event, change) in response.events.into_iter().zip(expected) {
            let mut kv = KeyValue::decode(change.key_value.clone()).expect("our own bytes");
            kv.mod_revision = change.revision.main as i64;
            assert_eq!((event.r#type == 1, event.kv.as_ref()), (change.tombstone, Some(&kv)));
            let before = change.revision.main - 1;
            let prev = history.version(key_of(&change.key_value), before);
            let prev = prev.map(|prev| KeyValue::decode(prev).expect("our own bytes"));
            // What a transaction deletes and puts again is told as created, with nothing before.
            let created = !change.tombstone && kv.create_revision == kv.mod_revision;
            let has_prev = watching.spec.wants.prev_kv && prev.is_some() && !created;
            match event.prev_kv {
                Some(found) => assert!(has_prev && Some(found) == prev),
                None => assert!(!has_prev || before < history.compacted()),
            }
        }
        watching.seen = last as u64;
    }

    fn step(&mut self) -> bool {
        let more = self.hub.step(self.now, &self.history).expect("memory can be read");
        self.hub.ready();
        for client in 0..self.clients.len() {
            while self.clients[client].fast && self.receive(client) {}
        }
        more
    }
}

fn create_request(random: &mut Random, history: &Naive) -> WatchCreateRequest {
    let key = key(random);
    let range_end = match random.below(8) {
        0..4 => Vec::new(),
        4 => vec![0],
        5 => [key.as_slice(), b"~"].concat(),
        _ => self::key(random),
    };
    let start_revision = match random.below(4) {
        0..2 => 0,
        2 => random.below(history.last() + 1),
        _ => history.last() - random.below(history.last().min(8)) + 2,
    } as i64;
    let filter = |random: &mut Random, filter: FilterType| (random.below(8) == 0).then_some(filter as i32);
    WatchCreateRequest {
        key: key.into(),
        range_end: range_end.into(),
        start_revision,
        progress_notify: random.below(3) == 0,
        filters: [filter(random, FilterType::Noput), filter(random, FilterType::Nodelete)]
            .into_iter()
            .flatten()
            .collect(),
        prev_kv: random.below(3) == 0,
        // -1 can be had, but then nobody can tell its progress from that of all.
        watch_id: if random.below(6) == 0 { [-2, 0, 1, 2, 5][random.below(5) as usize] } else { 0 },
        fragment: random.below(3) == 0,
    }
}

fn key(random: &mut Random) -> Vec<u8> {
    format!("{:02}", random.below(25)).into_bytes()
}

#[test]
fn every_watcher_is_told_everything_once_and_in_order() {
    for seed in 0..if cfg!(debug_assertions) { 1500 } else { 20_000 } {
        let failed = std::panic::catch_unwind(|| run(seed));
        assert!(failed.is_ok(), "failed with seed {seed}");
    }
}

fn run(seed: u64) {
    let mut random = Random::new(seed);
    let gentle = random.below(3) == 0;
    let history = Naive::new();
    let queue_bytes = if gentle { 1 << 20 } else { 100 + random.below(4000) as usize };
    let config = Config { queue_bytes, progress_interval_millis: 200, seed };
    let hub = Hub::new(config, &history);
    let mut world = World { history, hub, clients: Vec::new(), now: Millis(0), gentle };
    for _ in 0..250 {
        act(&mut world, &mut random);
    }
    // Everybody takes what is left, and then nothing is missing.
    world.history.published = world.history.last();
    loop {
        let more = world.step();
        let mut received = false;
        for client in 0..world.clients.len() {
            while world.receive(client) {
                received = true;
            }
        }
        // A fast client makes room for who lags without our noticing.
        let wanted = world.clients.iter().any(|client| world.hub.wants_step(client.stream));
        if !more && !received && !wanted {
            break;
        }
    }
    let World { history, hub, clients, .. } = &mut world;
    assert_eq!(hub.counts().lagging, 0);
    for client in clients.iter() {
        assert!(client.creating.is_empty() && client.canceling.is_empty() && client.fragments.is_none());
        for (id, watching) in &client.watchers {
            let missing = watching.missing(history, history.published).next();
            assert!(watching.compacted || missing.is_none(), "watcher {id} never got {missing:?}");
        }
        hub.progress_request(client.stream, history).expect("memory can be read");
        let watchers = &client.watchers;
        let at = |w: &Watching| !w.compacted && w.spec.start.is_none_or(|start| start <= history.published);
        let told = !watchers.is_empty() && watchers.values().all(at);
        assert_eq!(hub.take(client.stream).is_some(), told, "progress on request");
    }
}

fn act(world: &mut World, random: &mut Random) {
    let World { history, hub, clients, now, gentle } = world;
    let client = if clients.is_empty() { 0 } else { random.below(clients.len() as u64) as usize };
    match random.below(30) {
        0..9 => {
            let mut keys: Vec<Vec<u8>> = (0..1 + random.below(3)).map(|_| key(random)).collect();
            if random.below(4) == 0 {
                // The same key several times under one revision.
                keys.extend_from_within(..);
            }
            let value = vec![b'v'; random.below(80) as usize];
            let writes: Vec<(&[u8], Option<&[u8]>)> =
                (keys.iter()).map(|key| (key.as_slice(), (random.below(4) > 0).then_some(value.as_slice()))).collect();
            history.write(&writes);
        }
        9..13 => history.published = history.last() - random.below((history.last() - history.published).max(1)),
        13 => {
            history.compact(history.published - random.below(history.published.min(20)));
        }
        14 => history.trim(),
        15 if !*gentle && random.below(2) == 0 => history.swap(),
        15 => history.strikes.set(Some(history.published - random.below(history.published.min(5)))),
        16 if clients.len() < 4 => clients.push(Client {
            stream: hub.open(*now),
            creating: Vec::new(),
            watchers: BTreeMap::new(),
            canceling: Vec::new(),
            fragments: None,
            fast: *gentle || random.below(2) == 0,
        }),
        17 if random.below(8) == 0 && !clients.is_empty() => hub.close(clients.remove(client).stream),
        18..21 if !clients.is_empty() => {
            let request = create_request(random, history);
            let spec = WatcherSpec::parse(&request).expect("the start is not negative");
            clients[client].creating.push((spec.clone(), history.published));
            hub.create(clients[client].stream, spec, history).expect("memory can be read");
        }
        21 if !clients.is_empty() => {
            let Client { stream, watchers, canceling, .. } = &mut clients[client];
            let mut ids = watchers.keys().filter(|id| !canceling.contains(id));
            let id = ids.nth(random.below(4) as usize).copied();
            canceling.extend(id);
            hub.cancel(*stream, id.unwrap_or(1000), history).expect("memory can be read");
        }
        22 if !clients.is_empty() => {
            hub.progress_request(clients[client].stream, history).expect("memory can be read");
        }
        23 => *now = *now + random.below(300),
        24..27 => {
            world.step();
        }
        _ if !clients.is_empty() => {
            for _ in 0..random.below(6) {
                world.receive(client);
            }
        }
        _ => {}
    }
}
