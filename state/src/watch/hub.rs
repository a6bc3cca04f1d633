//! The hub: the streams of one net thread, their watchers, and how they follow history as it grows.

use std::collections::BTreeSet;

use bytes::Bytes;
use ferrite_storage::ReadError;

use super::catch_up::{Lagging, NO_SEAT};
use super::event::Event;
use super::history::{Change, History, Step};
use super::matcher::{Matcher, Place};
use super::message::{BROADCAST_ID, Body, Message};
use super::request::{KeyRange, Refusal, Wants, WatcherSpec};
use super::slab::{Key, Slab};
use super::stream::{Stream, StreamId};
use crate::clock::Millis;

/// What is read at once while the hub follows.
const FOLLOW_STEP: Step = Step { changes: 256, bytes: 1 << 20 };

/// A hub further behind than this does not go through all that it missed before it does anything else: its watchers lag.
/// That is so when a snapshot from a peer was installed, or when the thread did not run for long.
const FOLLOW_REVISIONS: u64 = 10_000;

/// Progress is told no more often than this.
const MIN_PROGRESS_INTERVAL_MILLIS: u64 = 100;

#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Bytes that a stream's queue holds, and one revision more. Full means: its watchers lag.
    pub queue_bytes: usize,
    /// How often watchers with `progress_notify` are told of progress; each stream adds up to a tenth.
    pub progress_interval_millis: u64,
    /// Decides what each stream adds.
    pub seed: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config { queue_bytes: 256 << 10, progress_interval_millis: 600_000, seed: 0 }
    }
}

/// For metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub streams: usize,
    pub watchers: usize,
    /// Watchers that are not where the hub is.
    pub lagging: usize,
    /// Events handed to queues so far.
    pub events: u64,
}

/// The streams and watchers of one net thread.
#[derive(Debug)]
pub struct Hub<H: History> {
    config: Config,
    /// All revisions up to this one have been matched.
    pub(super) at: u64,
    /// Counts steps through history, so that a queue can tell which revision it has let in.
    pub(super) pass: u64,
    /// While there are watchers: keeps what the hub has not yet matched.
    pin: Option<H::Pin>,
    pinned: u64,
    pub(super) members: Members,
    pub(super) matcher: Matcher,
    pub(super) lagging: Lagging,
    ticks: BTreeSet<(Millis, StreamId)>,
    random: u64,
    /// Kept for their memory.
    changes: Vec<Change>,
    matched: Vec<Key>,
}

/// Streams and watchers: what matching writes to while it reads the matcher.
#[derive(Debug, Default)]
pub struct Members {
    pub streams: Slab<Stream>,
    pub watchers: Slab<Watcher>,
    /// Streams whose queues were empty and are not any more.
    ready: Vec<StreamId>,
    events: u64,
}

#[derive(Debug)]
pub struct Watcher {
    pub stream: StreamId,
    pub watch_id: i64,
    pub range: KeyRange,
    pub wants: Wants,
    pub phase: Phase,
    /// Where it is in the matcher; nowhere once it has ended.
    place: Option<Place>,
    /// Its events of the revision that is being matched.
    pub events: Vec<Bytes>,
    /// No event since the last tick of its stream.
    silent: bool,
}

/// Where a watcher's cursor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It wants the first revision behind the hub's position that is not below `start`.
    Synced { start: u64 },
    /// It wants `next`, which the hub has passed. `seat` is where it sits in the pass of history that carries it.
    Lagging { next: u64, seat: usize },
    /// It wanted what was compacted. Its id is in use until the client cancels it.
    Ended,
}

impl Watcher {
    pub fn wants(&self, change: &Change) -> bool {
        if change.tombstone { self.wants.deletes } else { self.wants.puts }
    }
}

impl Members {
    pub fn push(&mut self, id: StreamId, message: Message) {
        let stream = self.streams.get_mut(id.0).expect("a watcher's stream is open");
        if stream.push(message) {
            self.ready.push(id);
        }
    }

    /// Hands a watcher's events to its queue as one message. Their bytes are reserved there.
    pub fn push_events(&mut self, key: Key, revision: u64, events: Vec<Bytes>) {
        let watcher = self.watchers.get_mut(key).expect("a watcher that is told something exists");
        watcher.silent = false;
        self.events += events.len() as u64;
        let (id, watch_id, fragment) = (watcher.stream, watcher.watch_id, watcher.wants.fragment);
        let reserved = events.iter().map(Bytes::len).sum();
        self.streams.get_mut(id.0).expect("a watcher's stream is open").release(reserved);
        self.push(id, Message { watch_id, revision, body: Body::Events { events, fragment } });
    }

    fn stream(&mut self, id: StreamId) -> &mut Stream {
        self.streams.get_mut(id.0).expect("a stream is not used after it was closed")
    }
}

/// What streams ask for.
impl<H: History> Hub<H> {
    /// A hub that begins at the published revision.
    pub fn new(config: Config, history: &H) -> Hub<H> {
        Hub {
            config,
            at: history.published(),
            pass: 0,
            pin: None,
            pinned: 0,
            members: Members::default(),
            matcher: Matcher::default(),
            lagging: Lagging::default(),
            ticks: BTreeSet::new(),
            random: config.seed,
            changes: Vec::new(),
            matched: Vec::new(),
        }
    }

    /// Opens a stream. Its id is good until it is closed; using it after that is a defect.
    pub fn open(&mut self, now: Millis) -> StreamId {
        let interval = self.config.progress_interval_millis.max(MIN_PROGRESS_INTERVAL_MILLIS);
        let period = interval + self.random() % (interval / 10 + 1);
        let id = StreamId(self.members.streams.insert(Stream::new(now, period)));
        self.ticks.insert((now + period, id));
        id
    }

    /// Closes a stream with all its watchers and whatever it has not been sent.
    pub fn close(&mut self, id: StreamId) {
        let stream = self.members.streams.remove(id.0).expect("a stream is closed once");
        self.ticks.remove(&(stream.tick, id));
        self.members.ready.retain(|ready| *ready != id);
        for key in stream.watchers.into_values() {
            self.unmatch(key);
            self.members.watchers.remove(key);
        }
    }

    /// Creates a watcher, or says in the stream why not.
    pub fn create(&mut self, id: StreamId, spec: WatcherSpec, history: &H) -> Result<(), ReadError> {
        self.follow(history)?;
        let stream = self.members.stream(id);
        let in_use = spec.watch_id.is_some_and(|watch_id| stream.watchers.contains_key(&watch_id));
        match spec.check() {
            Err(refusal) => self.say_refused(id, refusal.to_string()),
            Ok(()) if in_use => self.say_refused(id, Refusal::DuplicateId.to_string()),
            Ok(()) => {
                // From the first watcher on, what follows is kept. If it is compacted already, more was published since.
                while self.pin.is_none() {
                    self.at = history.published();
                    self.move_pin(history);
                }
                self.insert(id, spec);
            }
        }
        Ok(())
    }

    fn insert(&mut self, id: StreamId, spec: WatcherSpec) {
        let stream = self.members.streams.get_mut(id.0).expect("looked up before");
        let watch_id = spec.watch_id.unwrap_or_else(|| stream.free_id());
        let phase = match spec.start {
            Some(next) if next <= self.at => Phase::Lagging { next, seat: NO_SEAT },
            start => Phase::Synced { start: start.unwrap_or(0) },
        };
        let wants = spec.wants;
        stream.progress_watchers += usize::from(wants.progress_notify);
        let watcher = Watcher {
            stream: id,
            watch_id,
            range: spec.range,
            wants,
            phase,
            place: None,
            events: Vec::new(),
            silent: true,
        };
        let key = self.members.watchers.insert(watcher);
        stream.watchers.insert(watch_id, key);
        let watcher = self.members.watchers.get_mut(key).expect("just inserted");
        watcher.place = Some(self.matcher.insert(&watcher.range, key));
        if let Phase::Lagging { .. } = phase {
            self.lagging.add(key, &watcher.range);
            stream.lagging += 1;
        }
        self.members.push(id, Message { watch_id, revision: self.at, body: Body::Created });
    }

    /// Says that a watcher is not created, for a reason that was found outside (permissions).
    pub fn refuse(&mut self, id: StreamId, reason: String, history: &H) -> Result<(), ReadError> {
        self.follow(history)?;
        self.say_refused(id, reason);
        Ok(())
    }

    fn say_refused(&mut self, id: StreamId, reason: String) {
        let message = Message { watch_id: BROADCAST_ID, revision: self.at, body: Body::Refused(reason) };
        self.members.push(id, message);
    }

    /// Ends a watcher; nothing follows the answer. An id that is not in use is not answered.
    pub fn cancel(&mut self, id: StreamId, watch_id: i64, history: &H) -> Result<(), ReadError> {
        self.follow(history)?;
        let stream = self.members.stream(id);
        let Some(key) = stream.watchers.remove(&watch_id) else {
            return Ok(());
        };
        self.unmatch(key);
        let watcher = self.members.watchers.remove(key).expect("a stream's watcher exists");
        let stream = self.members.stream(id);
        stream.progress_watchers -= usize::from(watcher.wants.progress_notify);
        self.members.push(id, Message { watch_id, revision: self.at, body: Body::Canceled });
        Ok(())
    }

    /// Tells a stream how far it is, if all its watchers are where the hub is; otherwise nothing.
    pub fn progress_request(&mut self, id: StreamId, history: &H) -> Result<(), ReadError> {
        self.follow(history)?;
        let at = self.at;
        let Members { streams, watchers, .. } = &mut self.members;
        let stream = streams.get(id.0).expect("a stream is not used after it was closed");
        let all = stream.watchers.values().all(|key| watchers.get(*key).is_some_and(|w| w.is_at(at)));
        if all && !stream.watchers.is_empty() {
            self.members.push(id, Message { watch_id: BROADCAST_ID, revision: at, body: Body::Progress });
        }
        Ok(())
    }
}

/// What the thread drives.
impl<H: History> Hub<H> {
    /// Follows history to what is published, tells of progress that is due, and carries lagging watchers one bounded step.
    /// True: there is more to carry right now, so call it again soon.
    pub fn step(&mut self, now: Millis, history: &H) -> Result<bool, ReadError> {
        self.follow(history)?;
        self.tick(now);
        self.catch_up(history)
    }

    /// When progress has to be told next.
    pub fn next_tick(&self) -> Option<Millis> {
        self.ticks.first().map(|(at, _)| *at)
    }

    /// Streams that have something to be taken and had nothing before.
    pub fn ready(&mut self) -> Vec<StreamId> {
        std::mem::take(&mut self.members.ready)
    }

    /// The next message of a stream, when it can be sent. `None`: nothing for now; the stream will be `ready` again.
    pub fn take(&mut self, id: StreamId) -> Option<Message> {
        self.members.stream(id).pop()
    }

    /// Whether a stream has so much unsent that nothing more should be asked for it: wait until some has been taken.
    pub fn is_full(&self, id: StreamId) -> bool {
        self.members.streams.get(id.0).is_some_and(|stream| stream.unsent_bytes() >= self.config.queue_bytes)
    }

    /// Whether a step would carry a stream's lagging watchers on: ask after taking from its queue.
    pub fn wants_step(&self, id: StreamId) -> bool {
        self.members.streams.get(id.0).is_some_and(|stream| stream.lagging > 0 && self.has_room(stream))
    }

    pub fn counts(&self) -> Counts {
        Counts {
            streams: self.members.streams.len(),
            watchers: self.members.watchers.len(),
            lagging: self.lagging.len(),
            events: self.members.events,
        }
    }

    /// The revision up to which this hub has matched all events.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// Room for lagging watchers. They wait until half the queue is sent, so that they do not go by single events.
    pub(super) fn has_room(&self, stream: &Stream) -> bool {
        stream.unsent_bytes() <= self.config.queue_bytes / 2
    }

    pub(super) fn queue_bytes(&self) -> usize {
        self.config.queue_bytes
    }
}

impl<H: History> Hub<H> {
    /// Matches what was published since the last time.
    fn follow(&mut self, history: &H) -> Result<(), ReadError> {
        let published = history.published();
        assert!(published >= self.at, "history went back from {} to {published}", self.at);
        if self.members.watchers.len() == 0 {
            self.at = published;
            self.pin = None;
            return Ok(());
        }
        if published - self.at > FOLLOW_REVISIONS {
            self.fall_behind(published);
        }
        let mut changes = std::mem::take(&mut self.changes);
        while self.at < published {
            changes.clear();
            let covered = history.read(self.at + 1, published, FOLLOW_STEP, &mut changes)?;
            if history.compacted() > self.at + 1 && !self.pin.as_ref().is_some_and(|pin| history.is_kept_by(pin)) {
                // Some of what was read may have been missing. Each watcher finds out for itself.
                self.fall_behind(published);
                break;
            }
            self.pass += 1;
            for revision in changes.chunk_by(|a, b| a.revision.main == b.revision.main) {
                self.match_revision(revision, history)?;
            }
            self.at = covered;
        }
        changes.clear();
        self.changes = changes;
        self.move_pin(history);
        Ok(())
    }

    /// Keeps what is behind the hub's position, and lets go what is before it.
    fn move_pin(&mut self, history: &H) {
        if self.pinned == self.at + 1 && self.pin.as_ref().is_some_and(|pin| history.is_kept_by(pin)) {
            return;
        }
        // If that much is compacted already, while we looked, the pin before still keeps it.
        if let Some(pin) = history.pin(self.at + 1) {
            self.pin = Some(pin);
            self.pinned = self.at + 1;
        }
    }

    /// Takes one revision to all who watch it.
    fn match_revision(&mut self, changes: &[Change], history: &H) -> Result<(), ReadError> {
        let mut touched: Vec<Key> = Vec::new();
        let mut matched = std::mem::take(&mut self.matched);
        for change in changes {
            let mut event = Event::new(change);
            let main = event.main();
            matched.clear();
            self.matcher.find(event.key(), &mut matched);
            for &key in &matched {
                let Members { streams, watchers, .. } = &mut self.members;
                let watcher = watchers.get_mut(key).expect("a matched watcher exists");
                match watcher.phase {
                    Phase::Synced { start } if start <= main && watcher.wants(change) => {}
                    _ => continue,
                }
                let stream = streams.get_mut(watcher.stream.0).expect("a watcher's stream is open");
                if watcher.events.is_empty() {
                    if !stream.admits(self.pass, main, self.config.queue_bytes) {
                        watcher.phase = Phase::Lagging { next: main, seat: NO_SEAT };
                        stream.lagging += 1;
                        self.lagging.add(key, &watcher.range);
                        continue;
                    }
                    touched.push(key);
                }
                let bytes = event.bytes(watcher.wants.prev_kv, history)?;
                stream.reserve(bytes.len());
                watcher.events.push(bytes);
            }
        }
        self.matched = matched;
        let main = changes[0].revision.main;
        for key in touched {
            let watcher = self.members.watchers.get_mut(key).expect("a matched watcher exists");
            let events = std::mem::take(&mut watcher.events);
            self.members.push_events(key, main, events);
        }
        Ok(())
    }

    /// Goes to a revision without looking at what is between: who wants any of that lags.
    fn fall_behind(&mut self, to: u64) {
        let from = self.at + 1;
        let Members { streams, watchers, .. } = &mut self.members;
        for (key, watcher) in watchers.iter_mut() {
            if let Phase::Synced { start } = watcher.phase
                && start <= to
            {
                watcher.phase = Phase::Lagging { next: start.max(from), seat: NO_SEAT };
                streams.get_mut(watcher.stream.0).expect("a watcher's stream is open").lagging += 1;
                self.lagging.add(key, &watcher.range);
            }
        }
        self.at = to;
    }

    /// Tells each stream whose time has come of its progress.
    fn tick(&mut self, now: Millis) {
        while let Some((at, id)) = self.ticks.first().copied().filter(|(at, _)| *at <= now) {
            self.ticks.remove(&(at, id));
            let stream = self.members.stream(id);
            stream.tick = now + stream.period_millis;
            self.ticks.insert((stream.tick, id));
            if stream.progress_watchers == 0 {
                continue;
            }
            let keys: Vec<Key> = stream.watchers.values().copied().collect();
            for key in keys {
                let watcher = self.members.watchers.get_mut(key).expect("a stream's watcher exists");
                let silent = std::mem::replace(&mut watcher.silent, true);
                if !(watcher.wants.progress_notify && silent && watcher.is_at(self.at)) {
                    continue;
                }
                let message = Message { watch_id: watcher.watch_id, revision: self.at, body: Body::Progress };
                // What a full queue would tell is soon out of date.
                if !self.is_full(id) {
                    self.members.push(id, message);
                }
            }
        }
    }

    /// Takes a watcher out of everything but its stream's list.
    pub(super) fn unmatch(&mut self, key: Key) {
        let watcher = self.members.watchers.get_mut(key).expect("a stream's watcher exists");
        let before = std::mem::replace(&mut watcher.phase, Phase::Ended);
        let id = watcher.stream;
        if let Some(place) = watcher.place.take()
            && let Some(moved) = self.matcher.remove(&watcher.range, place)
        {
            self.members.watchers.get_mut(moved).expect("a matched watcher exists").place = Some(place);
        }
        if let Phase::Lagging { .. } = before {
            self.lagging.left();
            // A stream that is being closed is gone already.
            if let Some(stream) = self.members.streams.get_mut(id.0) {
                stream.lagging -= 1;
            }
        }
    }

    /// SplitMix64: spreads the ticks of streams that were opened together.
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Watcher {
    /// Whether it has been handed all that it wants up to the hub's position, and wants what comes next.
    fn is_at(&self, position: u64) -> bool {
        matches!(self.phase, Phase::Synced { start } if start <= position)
    }
}
