//! What the hub says in each situation, as scripts: what is done, and all that a client is told.

use ferrite_proto::etcdserverpb::{WatchCreateRequest, WatchResponse};
use prost::Message as _;

use super::hub::{Config, Hub};
use super::message::{Body, Message, WatchHeader};
use super::naive::Naive;
use super::request::{Refusal, WatcherSpec};
use super::stream::StreamId;
use crate::clock::Millis;

struct Script {
    history: Naive,
    hub: Hub<Naive>,
    now: Millis,
}

impl Script {
    fn new() -> Script {
        Script::with(Config::default())
    }

    fn with(config: Config) -> Script {
        let history = Naive::new();
        Script { hub: Hub::new(config, &history), history, now: Millis(0) }
    }

    fn open(&mut self) -> StreamId {
        self.hub.open(self.now)
    }

    fn create(&mut self, stream: StreamId, request: WatchCreateRequest) {
        let spec = WatcherSpec::parse(&request).unwrap();
        self.hub.create(stream, spec, &self.history).unwrap();
    }

    fn cancel(&mut self, stream: StreamId, watch_id: i64) {
        self.hub.cancel(stream, watch_id, &self.history).unwrap();
    }

    fn progress(&mut self, stream: StreamId) {
        self.hub.progress_request(stream, &self.history).unwrap();
    }

    fn step(&mut self) -> bool {
        self.hub.step(self.now, &self.history).unwrap()
    }

    fn settle(&mut self) {
        while self.step() {}
    }

    fn take(&mut self, stream: StreamId) -> Vec<String> {
        std::iter::from_fn(|| self.hub.take(stream)).map(describe).collect()
    }

    /// Takes the next steps, and shows what the client has been told by then.
    fn told(&mut self, stream: StreamId) -> Vec<String> {
        self.settle();
        self.take(stream)
    }
}

/// `watch id @ header revision: what`, with an event as `key=value/revision` or `-key/revision`.
fn describe(message: Message) -> String {
    let (id, revision) = (message.watch_id, message.revision);
    let what = match &message.body {
        Body::Created => "created".to_string(),
        Body::Refused(reason) => format!("refused: {reason}"),
        Body::Canceled => "canceled".to_string(),
        Body::Compacted { compacted } => format!("compacted {compacted}"),
        Body::Progress => "progress".to_string(),
        Body::Events { .. } => events(message).join(" "),
    };
    format!("{id} @{revision}: {what}")
}

fn events(message: Message) -> Vec<String> {
    let responses = message.encode(WatchHeader::default(), usize::MAX);
    let response = WatchResponse::decode(responses[0].concat().as_slice()).unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let events = response.events.iter().map(|event| {
        let kv = event.kv.as_ref().unwrap();
        let prev = event.prev_kv.as_ref().map_or(String::new(), |prev| format!("({})", text(&prev.value)));
        match event.r#type {
            0 => format!("{}={}{prev}/{}", text(&kv.key), text(&kv.value), kv.mod_revision),
            _ => format!("-{}{prev}/{}", text(&kv.key), kv.mod_revision),
        }
    });
    events.collect()
}

fn key(key: &str) -> WatchCreateRequest {
    WatchCreateRequest { key: key.as_bytes().to_vec().into(), ..Default::default() }
}

fn range(start: &str, end: &str) -> WatchCreateRequest {
    WatchCreateRequest { range_end: end.as_bytes().to_vec().into(), ..key(start) }
}

fn all() -> WatchCreateRequest {
    range("", "\0")
}

fn from(start_revision: i64, request: WatchCreateRequest) -> WatchCreateRequest {
    WatchCreateRequest { start_revision, ..request }
}

fn with_id(watch_id: i64, request: WatchCreateRequest) -> WatchCreateRequest {
    WatchCreateRequest { watch_id, ..request }
}

#[test]
fn ids_are_counted_and_not_used_again_by_the_counter() {
    let mut s = Script::new();
    let stream = s.open();
    s.create(stream, key("a"));
    s.create(stream, with_id(1, key("a")));
    s.create(stream, key("a"));
    s.create(stream, with_id(2, key("a")));
    s.create(stream, with_id(-7, key("a")));
    s.cancel(stream, 2);
    s.cancel(stream, 99);
    s.create(stream, with_id(2, key("a")));
    s.create(stream, key("a"));
    let refused = "-1 @1: refused: mvcc: duplicate watch ID provided on the WatchStream";
    assert_eq!(
        s.told(stream),
        [
            "0 @1: created",
            "1 @1: created",
            "2 @1: created",
            refused,
            "-7 @1: created",
            "2 @1: canceled",
            "2 @1: created",
            "3 @1: created"
        ]
    );
}

#[test]
fn requests_that_are_refused() {
    let negative = WatcherSpec::parse(&from(-1, range("b", "a"))).unwrap_err();
    assert_eq!(negative, Refusal::NegativeStart);
    assert_eq!(negative.to_string(), "etcdserver: mvcc: required revision has been compacted");
    let mut s = Script::new();
    let stream = s.open();
    s.history.put("a", "1");
    s.create(stream, with_id(5, key("a")));
    s.create(stream, with_id(5, range("b", "a")));
    s.create(stream, range("b", "b"));
    s.create(stream, range("", "\0"));
    s.hub.refuse(stream, "no".into(), &s.history).unwrap();
    let empty = "-1 @2: refused: mvcc: watcher range is empty";
    assert_eq!(s.told(stream), ["5 @2: created", empty, empty, "0 @2: created", "-1 @2: refused: no"]);
}

#[test]
fn no_key_is_the_key_of_one_zero_byte() {
    let mut s = Script::new();
    let stream = s.open();
    s.create(stream, key(""));
    s.create(stream, range("", "b"));
    s.history.put("\0", "1");
    s.history.put("a", "2");
    s.history.put("b", "3");
    assert_eq!(s.told(stream), ["0 @1: created", "1 @1: created", "0 @2: \0=1/2", "1 @2: \0=1/2", "1 @3: a=2/3"]);
}

#[test]
fn a_live_watcher_gets_one_message_for_each_revision() {
    let mut s = Script::new();
    let stream = s.open();
    s.history.put("a", "0");
    s.create(stream, range("a", "c"));
    s.create(stream, WatchCreateRequest { prev_kv: true, ..key("a") });
    s.create(stream, WatchCreateRequest { filters: vec![0, 77], ..range("a", "c") });
    s.create(stream, WatchCreateRequest { filters: vec![1], ..range("a", "c") });
    s.history.write(&[(b"a", Some(b"1")), (b"b", Some(b"2")), (b"c", Some(b"3"))]);
    s.history.published = 3;
    s.history.delete("a");
    s.history.write(&[(b"a", Some(b"unpublished"))]);
    assert_eq!(
        s.told(stream),
        [
            "0 @2: created",
            "1 @2: created",
            "2 @2: created",
            "3 @2: created",
            "1 @3: a=1(0)/3",
            "0 @3: a=1/3 b=2/3",
            "3 @3: a=1/3 b=2/3",
            "1 @4: -a(1)/4",
            "0 @4: -a/4",
            "2 @4: -a/4",
        ]
    );
}

#[test]
fn a_watcher_of_the_past_gets_history_then_what_is_new() {
    let mut s = Script::new();
    for value in ["2", "3", "4"] {
        s.history.put("a", value);
        s.history.put("b", value);
    }
    let stream = s.open();
    s.create(stream, from(4, key("a")));
    s.create(stream, from(4, range("a", "c")));
    s.create(stream, from(7, key("b")));
    s.progress(stream);
    assert_eq!(
        s.told(stream),
        [
            "0 @7: created",
            "1 @7: created",
            "2 @7: created",
            "0 @7: a=3/4 a=4/6",
            "2 @7: b=4/7",
            "1 @7: a=3/4 b=3/5 a=4/6 b=4/7",
        ]
    );
    s.history.put("a", "5");
    s.progress(stream);
    assert_eq!(s.told(stream), ["0 @8: a=5/8", "1 @8: a=5/8", "-1 @8: progress"]);
}

#[test]
fn a_watcher_of_the_future_waits_for_its_revision() {
    let mut s = Script::new();
    let stream = s.open();
    s.create(stream, from(3, key("a")));
    s.progress(stream);
    s.history.put("a", "1");
    s.progress(stream);
    assert_eq!(s.told(stream), ["0 @1: created"]);
    s.history.put("a", "2");
    s.progress(stream);
    assert_eq!(s.told(stream), ["0 @3: a=2/3", "-1 @3: progress"]);
}

#[test]
fn a_compacted_cursor_ends_and_keeps_its_id() {
    let mut s = Script::new();
    for value in ["2", "3", "4", "5"] {
        s.history.put("a", value);
    }
    s.history.compact(4);
    s.history.trim();
    let stream = s.open();
    s.create(stream, from(3, key("a")));
    s.create(stream, from(3, range("a", "b")));
    s.create(stream, from(4, key("a")));
    assert_eq!(
        s.told(stream),
        [
            "0 @5: created",
            "1 @5: created",
            "2 @5: created",
            "0 @0: compacted 4",
            "2 @5: a=4/4 a=5/5",
            "1 @0: compacted 4"
        ]
    );
    s.progress(stream);
    s.create(stream, with_id(1, key("a")));
    s.cancel(stream, 0);
    s.cancel(stream, 1);
    s.cancel(stream, 1);
    s.progress(stream);
    s.history.put("a", "6");
    assert_eq!(
        s.told(stream),
        [
            "-1 @5: refused: mvcc: duplicate watch ID provided on the WatchStream",
            "0 @5: canceled",
            "1 @5: canceled",
            "-1 @5: progress",
            "2 @6: a=6/6",
        ]
    );
}

/// The hub keeps what its synced watchers have not seen, so compacting at once takes nothing from them.
#[test]
fn a_live_watcher_is_not_overtaken_by_a_compaction() {
    let mut s = Script::new();
    let stream = s.open();
    s.create(stream, key("a"));
    for value in ["2", "3", "4"] {
        s.history.put("a", value);
    }
    s.history.compact(4);
    s.history.trim();
    assert_eq!(s.told(stream), ["0 @1: created", "0 @2: a=2/2", "0 @3: a=3/3", "0 @4: a=4/4"]);
    // Without watchers nothing is kept.
    s.cancel(stream, 0);
    s.history.put("a", "5");
    s.history.put("a", "6");
    s.step();
    s.history.compact(6);
    s.history.trim();
    s.create(stream, from(5, key("a")));
    assert_eq!(s.told(stream), ["0 @4: canceled", "1 @6: created", "1 @0: compacted 6"]);
}

#[test]
fn a_swapped_history_ends_whom_it_cannot_serve() {
    let mut s = Script::new();
    let stream = s.open();
    s.create(stream, key("a"));
    s.create(stream, from(5, key("a")));
    for value in ["2", "3", "4", "5"] {
        s.history.put("a", value);
    }
    s.history.swap();
    s.history.compact(4);
    s.history.trim();
    assert_eq!(s.told(stream), ["0 @1: created", "1 @1: created", "0 @0: compacted 4", "1 @5: a=5/5"]);
}

#[test]
fn history_comes_in_messages_of_a_thousand_revisions_at_most() {
    let mut s = Script::with(Config { queue_bytes: 1 << 30, ..Config::default() });
    for i in 0..2500 {
        // In some revisions, two keys.
        let writes: [(&[u8], Option<&[u8]>); 2] = [(b"a", Some(b"1")), (b"b", Some(b"x"))];
        s.history.write(&writes[..if i < 1500 { 1 } else { 2 }]);
    }
    s.history.published = s.history.last();
    // Those of ranges are read in smaller pieces.
    for (request, wanted, length) in [(key("a"), 2500, 1000), (range("a", "b"), 2500, 400), (all(), 3500, 400)] {
        let stream = s.open();
        s.create(stream, from(1, request));
        s.settle();
        assert_eq!(s.hub.take(stream).unwrap().body, Body::Created);
        let mut revisions = Vec::new();
        let (mut count, mut longest) = (0, 0);
        while let Some(message) = s.hub.take(stream) {
            assert_eq!(message.revision, 2501);
            let events = events(message);
            let mut of_message: Vec<u64> =
                events.iter().map(|event| event.rsplit('/').next().unwrap().parse().unwrap()).collect();
            of_message.dedup();
            assert!(of_message.len() <= 1000);
            longest = longest.max(of_message.len());
            revisions.append(&mut of_message);
            count += events.len();
        }
        assert!(revisions.into_iter().eq(2..=2501), "each revision is in one message");
        assert_eq!((count, longest), (wanted, length));
    }
}

#[test]
fn a_slow_stream_delays_only_itself() {
    let mut s = Script::with(Config { queue_bytes: 1000, ..Config::default() });
    let (slow, fast) = (s.open(), s.open());
    s.create(slow, all());
    s.create(fast, all());
    s.create(fast, key("a"));
    assert_eq!(s.take(fast).len(), 2);
    for i in 0..200 {
        s.history.put("a", &format!("{i:050}"));
        s.step();
        assert_eq!(s.take(fast).len(), 2, "the fast stream gets each revision at once");
    }
    assert!(s.hub.is_full(slow) && !s.hub.wants_step(slow));
    assert_eq!(s.hub.counts().lagging, 1);
    s.progress(slow);
    let mut seen = Vec::new();
    while let Some(message) = s.hub.take(slow) {
        if let Body::Events { .. } = message.body {
            seen.extend(events(message));
        }
        if s.hub.wants_step(slow) {
            s.step();
            assert!(s.hub.counts().lagging <= 1);
        }
    }
    assert_eq!(seen.len(), 200);
    assert!(seen.is_sorted(), "values are in order");
    assert_eq!(s.hub.counts().lagging, 0);
    assert!(s.take(fast).is_empty());
}

/// A queue takes a revision whole: whoever of its watchers wants it, and however large it is.
#[test]
fn a_revision_enters_a_queue_whole() {
    let mut s = Script::with(Config { queue_bytes: 500, ..Config::default() });
    let stream = s.open();
    for _ in 0..100 {
        s.create(stream, key("a"));
    }
    assert_eq!(s.take(stream).len(), 100);
    s.history.put("a", "1");
    s.history.put("a", "2");
    s.step();
    assert_eq!((s.take(stream).len(), s.hub.counts().lagging), (100, 100));
    let mut told = 0;
    while s.hub.counts().lagging > 0 {
        let round = s.told(stream).len();
        assert!(round > 0, "whoever lags is carried as soon as there is room");
        told += round;
    }
    assert_eq!(told + s.take(stream).len(), 100);
}

/// Watchers that begin in different places go on together, and who is far behind does not hold up who is near.
#[test]
fn lagging_watchers_share_one_scan() {
    let mut s = Script::new();
    for i in 0..20_000 {
        s.history.put("a", &format!("{i}"));
    }
    let (far, near) = (s.open(), s.open());
    for _ in 0..50 {
        s.create(far, from(2, range("b", "c")));
    }
    s.create(near, from(19_900, all()));
    s.take(near);
    s.step();
    s.step();
    assert_eq!(s.take(near).len(), 1, "it is there after two steps");
    s.settle();
    assert_eq!(s.hub.counts().lagging, 0);
    let reads = s.history.reads.get();
    assert!(reads < 21_000, "{reads} changes were read for 50 watchers");
}

#[test]
fn a_single_key_is_looked_up() {
    let mut s = Script::new();
    for i in 0..5000 {
        s.history.put(if i % 1000 == 0 { "a" } else { "b" }, "x");
    }
    let stream = s.open();
    s.create(stream, from(2, key("a")));
    assert_eq!(s.told(stream).len(), 2);
    assert_eq!(s.history.reads.get(), 5);
}

/// A hub that was away for long does not go through all of it at once.
#[test]
fn a_hub_far_behind_lets_its_watchers_lag() {
    let mut s = Script::new();
    let stream = s.open();
    s.create(stream, range("a", "b"));
    s.create(stream, from(30_000, all()));
    s.take(stream);
    for i in 0..25_000 {
        s.history.put(if i % 100 == 0 { "a" } else { "b" }, "x");
    }
    s.progress(stream);
    assert_eq!(s.hub.position(), 25_001);
    assert_eq!(s.hub.counts().lagging, 1);
    s.settle();
    let mut count = 0;
    while let Some(message) = s.hub.take(stream) {
        count += events(message).len();
    }
    assert_eq!(count, 250);
    s.history.put("a", "y");
    assert_eq!(s.told(stream), ["0 @25002: a=y/25002"]);
}

/// What a hub follows at once is read in several pieces, with all revisions between them.
#[test]
fn a_hub_follows_a_burst_without_a_gap() {
    let mut s = Script::with(Config { queue_bytes: 1 << 30, ..Config::default() });
    let stream = s.open();
    s.create(stream, all());
    s.take(stream);
    for i in 0..2000 {
        let writes: [(&[u8], Option<&[u8]>); 3] = [(b"a", Some(b"1")), (b"b", Some(b"2")), (b"c", Some(b"3"))];
        s.history.write(&writes[..1 + i % 3]);
    }
    s.history.published = s.history.last();
    s.step();
    let revisions: Vec<u64> = std::iter::from_fn(|| s.hub.take(stream)).map(|message| message.revision).collect();
    assert!(revisions.into_iter().eq(2..=2001));
}

#[test]
fn progress_is_told_to_who_was_silent() {
    let mut s = Script::with(Config { progress_interval_millis: 1000, ..Config::default() });
    let stream = s.open();
    let period = s.hub.next_tick().unwrap();
    assert!((1000..=1100).contains(&period.0));
    let notify = |request| WatchCreateRequest { progress_notify: true, ..request };
    s.create(stream, notify(key("a")));
    s.create(stream, key("b"));
    s.create(stream, notify(key("b")));
    s.create(stream, notify(from(5, key("c"))));
    s.take(stream);
    s.history.put("a", "1");
    s.now = Millis(period.0 - 1);
    assert_eq!(s.told(stream), ["0 @2: a=1/2"]);
    s.now = period;
    assert_eq!(s.told(stream), ["2 @2: progress"]);
    assert_eq!(s.told(stream), [] as [&str; 0]);
    s.now = period + period.0;
    assert_eq!(s.told(stream), ["0 @2: progress", "2 @2: progress"]);
    // Ticks missed in a pause are not made up for.
    s.now = period + 10 * period.0;
    assert_eq!(s.told(stream).len(), 2);
    for i in 3..6 {
        s.history.put("x", &format!("{i}"));
    }
    s.now = s.hub.next_tick().unwrap();
    assert_eq!(s.told(stream), ["0 @5: progress", "2 @5: progress", "3 @5: progress"]);
    let fast = Script::with(Config { progress_interval_millis: 1, ..Config::default() }).open_period();
    assert!((100..=110).contains(&fast), "raised to 100 ms");
}

impl Script {
    fn open_period(mut self) -> u64 {
        self.open();
        self.hub.next_tick().unwrap().0
    }
}

#[test]
fn a_full_queue_is_not_told_of_progress() {
    let mut s = Script::with(Config { queue_bytes: 200, progress_interval_millis: 1000, ..Config::default() });
    let stream = s.open();
    s.create(stream, WatchCreateRequest { progress_notify: true, ..key("a") });
    for _ in 0..10 {
        s.now = s.hub.next_tick().unwrap();
        s.step();
    }
    assert_eq!(s.take(stream).len(), 4, "created and progress until it is full");
}

#[test]
fn closing_a_stream_leaves_nothing_of_it() {
    let mut s = Script::new();
    for _ in 0..10 {
        s.history.put("a", "1");
    }
    let (one, other) = (s.open(), s.open());
    for stream in [one, other, one] {
        s.create(stream, key("a"));
        s.create(stream, from(2, key("a")));
        s.create(stream, from(2, all()));
    }
    assert_eq!(s.hub.counts().lagging, 6);
    s.hub.close(one);
    assert_eq!((s.hub.counts().lagging, s.hub.counts().watchers, s.hub.counts().streams), (2, 3, 1));
    s.history.put("a", "2");
    assert_eq!(s.told(other).len(), 6);
    assert_eq!(s.hub.ready(), [other]);
    s.hub.close(other);
    assert_eq!(s.hub.next_tick(), None);
    assert_eq!(s.hub.counts(), super::hub::Counts { events: s.hub.counts().events, ..Default::default() });
}

#[test]
fn a_stream_is_ready_once_until_it_has_been_emptied() {
    let mut s = Script::new();
    let stream = s.open();
    s.create(stream, key("a"));
    s.create(stream, key("a"));
    assert_eq!(s.hub.ready(), [stream]);
    assert_eq!(s.hub.ready(), []);
    s.hub.take(stream);
    s.history.put("a", "1");
    s.step();
    assert_eq!(s.hub.ready(), [], "it has not been emptied");
    assert_eq!(s.take(stream).len(), 3);
    s.history.put("a", "1");
    s.step();
    assert_eq!(s.hub.ready(), [stream]);
}

/// All forms of an event are made once, whoever watches.
#[test]
fn watchers_share_the_bytes_of_an_event() {
    let mut s = Script::new();
    let (one, other) = (s.open(), s.open());
    s.create(one, key("a"));
    s.create(other, all());
    s.history.put("a", "1");
    s.step();
    let mut events = [one, other].map(|stream| {
        s.hub.take(stream);
        match s.hub.take(stream).unwrap().body {
            Body::Events { events, .. } => events[0].as_ptr(),
            _ => panic!("an event follows"),
        }
    });
    events.sort_unstable();
    assert_eq!(events[0], events[1]);
}
