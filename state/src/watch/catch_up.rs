//! Lagging watchers: how they are carried to where the hub is.
//!
//! Those of ranges share one scan. Each pass reads a bounded piece of history from the first cursor at or behind the sweep, and
//! carries all whose cursor lies in that piece; then the sweep moves on behind the piece, to those who are further ahead, and
//! comes back to the first when nobody is left. So cursors that meet go on together, and nobody waits for who began further
//! back. Watchers of single keys are looked up in the index, a few in each pass. A watcher whose queue has no room is left where
//! it is. All of it happens between two steps of the hub, so who arrives at its position is synced, and has missed nothing.

use std::collections::VecDeque;

use bytes::Bytes;
use ferrite_storage::ReadError;

use super::event::Event;
use super::history::{Change, History, Step};
use super::hub::{Hub, Members, Phase};
use super::message::{Body, Message};
use super::request::{KeyRange, RangeEnd};
use super::slab::Key;

/// Revisions in one message of history.
const MAX_REVISIONS: usize = 1000;

/// Changes read in one pass, for one watcher; fewer, the more watchers there are, down to the smaller number. A pass is a
/// fraction of a millisecond, and so is sending what it found: others of the thread wait for that long, again and again.
const PASS_CHANGES: std::ops::RangeInclusive<usize> = 16..=400;

/// What a pass may hand out: changes times watchers.
const PASS_EVENTS: usize = 1 << 16;

/// Bytes read in one pass.
const PASS_BYTES: usize = 1 << 20;

/// Watchers of single keys carried in one pass.
const PASS_SINGLES: usize = 64;

/// Up to so many watchers are asked one by one whether they watch a key.
const FEW: usize = 16;

/// It takes no part in this pass.
pub const NO_SEAT: usize = usize::MAX;

/// Who lags. Watchers that have gone are found to be gone when their turn comes.
#[derive(Debug, Default)]
pub struct Lagging {
    ranges: Vec<Key>,
    singles: VecDeque<Key>,
    /// The next pass begins at the first cursor from here on.
    sweep: u64,
    count: usize,
}

impl Lagging {
    pub fn add(&mut self, key: Key, range: &KeyRange) {
        match range.end {
            RangeEnd::Single => self.singles.push_back(key),
            RangeEnd::Before(_) | RangeEnd::Unbounded => self.ranges.push(key),
        }
        self.count += 1;
    }

    pub fn left(&mut self) {
        self.count -= 1;
    }

    pub fn len(&self) -> usize {
        self.count
    }
}

/// A watcher in a pass.
#[derive(Debug)]
struct Seat {
    key: Key,
    next: u64,
    events: Vec<Bytes>,
    revisions: usize,
    /// The last revision it was handed.
    last: u64,
    /// The first that it could not be handed: it goes on from there another time.
    stopped: Option<u64>,
}

impl Seat {
    fn new(key: Key, next: u64) -> Seat {
        Seat { key, next, events: Vec::new(), revisions: 0, last: 0, stopped: None }
    }
}

impl<H: History> Hub<H> {
    /// One bounded step for all who lag and have room. True: somebody could be carried further.
    pub(super) fn catch_up(&mut self, history: &H) -> Result<bool, ReadError> {
        if self.lagging.len() == 0 {
            self.lagging = Lagging::default();
            return Ok(false);
        }
        let singles = self.carry_singles(history)?;
        let ranges = self.carry_ranges(history)?;
        Ok(singles || ranges)
    }

    /// The cursor of a watcher that lags, unless it is gone or has just been told that what it wants is compacted.
    fn cursor(&mut self, key: Key, compacted: u64) -> Option<u64> {
        match self.members.watchers.get(key)?.phase {
            Phase::Lagging { next, .. } if next < compacted => {
                self.end_compacted(key, compacted);
                None
            }
            Phase::Lagging { next, .. } => Some(next),
            Phase::Synced { .. } | Phase::Ended => None,
        }
    }

    fn end_compacted(&mut self, key: Key, compacted: u64) {
        self.unmatch(key);
        let watcher = self.members.watchers.get(key).expect("a watcher that lags exists");
        let message = Message { watch_id: watcher.watch_id, revision: 0, body: Body::Compacted { compacted } };
        self.members.push(watcher.stream, message);
    }

    fn can_be_carried(&self, key: Key) -> bool {
        let Members { streams, watchers, .. } = &self.members;
        let stream = watchers.get(key).and_then(|watcher| streams.get(watcher.stream.0));
        stream.is_some_and(|stream| self.has_room(stream))
    }

    fn carry_ranges(&mut self, history: &H) -> Result<bool, ReadError> {
        let compacted = history.compacted();
        let mut lagging = std::mem::take(&mut self.lagging.ranges);
        let mut waiting: Vec<Seat> = Vec::new();
        lagging.retain(|key| {
            let next = self.cursor(*key, compacted);
            waiting.extend(next.filter(|_| self.can_be_carried(*key)).map(|next| Seat::new(*key, next)));
            next.is_some()
        });
        self.lagging.ranges = lagging;

        let first = |from: u64| waiting.iter().map(|seat| seat.next).filter(|next| *next >= from).min();
        let Some(from) = first(self.lagging.sweep).or_else(|| first(0)) else {
            return Ok(false);
        };
        let changes_at_once = (PASS_EVENTS / waiting.len()).clamp(*PASS_CHANGES.start(), *PASS_CHANGES.end());
        let mut changes = Vec::new();
        let covered =
            history.read(from, self.at, Step { changes: changes_at_once, bytes: PASS_BYTES }, &mut changes)?;
        self.lagging.sweep = covered + 2;
        waiting.retain(|seat| (from..=covered).contains(&seat.next));
        self.carry(waiting, &changes, covered, history)?;

        let mut lagging = std::mem::take(&mut self.lagging.ranges);
        lagging.retain(|key| self.cursor(*key, 0).is_some());
        let more = lagging.iter().any(|key| self.can_be_carried(*key));
        self.lagging.ranges = lagging;
        Ok(more)
    }

    fn carry_singles(&mut self, history: &H) -> Result<bool, ReadError> {
        let mut changes = Vec::new();
        for _ in 0..self.lagging.singles.len().min(PASS_SINGLES) {
            let Some(key) = self.lagging.singles.pop_front() else { break };
            let Some(next) = self.cursor(key, history.compacted()) else { continue };
            if self.can_be_carried(key) {
                changes.clear();
                let watched = self.members.watchers.get(key).expect("it has a cursor").range.start.clone();
                let step = Step { changes: MAX_REVISIONS, bytes: PASS_BYTES };
                let covered = history.read_key(&watched, next, self.at, step, &mut changes)?;
                self.carry(vec![Seat::new(key, next)], &changes, covered, history)?;
            }
            if self.cursor(key, 0).is_some() {
                self.lagging.singles.push_back(key);
            }
        }
        Ok(self.lagging.singles.iter().any(|key| self.can_be_carried(*key)))
    }

    /// Hands a piece of history, whole up to `covered`, to watchers whose cursors lie in it.
    fn carry(&mut self, mut seats: Vec<Seat>, changes: &[Change], covered: u64, history: &H) -> Result<(), ReadError> {
        // Whatever was compacted while we read may have been missing from it already.
        let compacted = history.compacted();
        seats.retain(|seat| self.cursor(seat.key, compacted).is_some());
        for (place, seat) in seats.iter().enumerate() {
            self.sit(seat.key, seat.next, place);
        }
        self.pass += 1;
        let mut matched = Vec::new();
        for change in changes {
            let mut event = Event::new(change);
            if seats.len() <= FEW {
                for seat in &mut seats {
                    let watcher = self.members.watchers.get(seat.key).expect("who has a seat exists");
                    if watcher.range.contains(event.key()) {
                        self.offer(seat, &mut event, history)?;
                    }
                }
                continue;
            }
            matched.clear();
            self.matcher.find(event.key(), &mut matched);
            for key in &matched {
                if let Some(Phase::Lagging { seat, .. }) = self.members.watchers.get(*key).map(|watcher| watcher.phase)
                    && seat != NO_SEAT
                {
                    self.offer(&mut seats[seat], &mut event, history)?;
                }
            }
        }
        for seat in seats {
            self.leave(seat, covered);
        }
        Ok(())
    }

    fn sit(&mut self, key: Key, next: u64, seat: usize) {
        self.members.watchers.get_mut(key).expect("who has a seat exists").phase = Phase::Lagging { next, seat };
    }

    /// Hands a watcher an event of its range, if it wants it and there is room.
    fn offer(&mut self, seat: &mut Seat, event: &mut Event<'_>, history: &H) -> Result<(), ReadError> {
        let queue_bytes = self.queue_bytes();
        let watcher = self.members.watchers.get(seat.key).expect("who has a seat exists");
        let main = event.main();
        if main < seat.next || seat.stopped.is_some() || !watcher.wants(event.change) {
            return Ok(());
        }
        let stream = self.members.streams.get_mut(watcher.stream.0).expect("a watcher's stream is open");
        if seat.last != main {
            if seat.revisions == MAX_REVISIONS || !stream.admits(self.pass, main, queue_bytes) {
                seat.stopped = Some(main);
                return Ok(());
            }
            seat.revisions += 1;
            seat.last = main;
        }
        let bytes = event.bytes(watcher.wants.prev_kv, history)?;
        stream.reserve(bytes.len());
        seat.events.push(bytes);
        Ok(())
    }

    /// Ends a watcher's part in a pass: its events go to its queue, and its cursor moves.
    fn leave(&mut self, seat: Seat, covered: u64) {
        let next = seat.stopped.unwrap_or(covered + 1);
        assert!(next > seat.next || seat.stopped.is_some(), "a cursor does not move back");
        if !seat.events.is_empty() {
            self.members.push_events(seat.key, self.at, seat.events);
        }
        if next <= self.at {
            return self.sit(seat.key, next, NO_SEAT);
        }
        let watcher = self.members.watchers.get_mut(seat.key).expect("who has a seat exists");
        watcher.phase = Phase::Synced { start: 0 };
        let id = watcher.stream;
        self.members.streams.get_mut(id.0).expect("a watcher's stream is open").lagging -= 1;
        self.lagging.left();
    }
}
