//! The window: effects that are applied, and not yet in the store's files.
//!
//!   apply thread ──append──▶ chunk ▸ chunk ▸ chunk ──take──▶ store thread ──▶ frame ──▶ release: the chunk goes
//!                               ▲ get by revision
//!                             readers
//!
//! One writer appends, one drain takes from the front, any number of readers look revisions up, and none waits for
//! another: a slot is written once, and the list of chunks is swapped whole, once a chunk.
//!
//! What holds: effects lie in log order without a gap. A record is found by subtraction: its `main` less the chunk's first
//! gives the effect, `sub` the record in it. A chunk goes only when all in it is in the files, which readers then find
//! there: they look here first. `published` never passes what can be read.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use ferrite_raft::{Index, Term};
use parking_lot::{Condvar, Mutex};

use crate::store::effect_bytes;
use crate::{Effect, Record, Revision};

/// Slots of a chunk. A full chunk is closed, and the next effect opens another.
const CHUNK_EFFECTS: usize = 1024;

/// A chunk is closed, too, when it holds this part of the window's bound, so that room is given back in small pieces.
const CHUNKS_IN_BOUND: u64 = 64;

/// No effect in the chunk has this `main` yet.
const NO_SLOT: u32 = u32::MAX;

/// What the writer, the drain and the readers share.
#[derive(Debug)]
pub(crate) struct Window {
    directory: ArcSwap<Directory>,
    /// The last `main` that readers may be told of.
    published: AtomicU64,
    /// What all effects that were ever appended add to the store's files.
    appended_bytes: Arc<AtomicU64>,
    room: Room,
}

/// How full the window is.
#[derive(Debug)]
struct Room {
    /// Full means: the apply thread waits, and nothing else does. One effect of any size enters below the bound.
    bound_bytes: u64,
    bytes: AtomicU64,
    /// False once the store thread has let go.
    has_drain: AtomicBool,
    /// The member closes: nobody waits for room any more.
    is_closing: AtomicBool,
    /// The apply thread sleeps until something changes.
    is_waited_for: Mutex<bool>,
    changed: Condvar,
}

/// The chunks from oldest to newest, each with its first `main`.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    chunks: Vec<(u64, Arc<Chunk>)>,
}

#[derive(Debug)]
struct Chunk {
    /// Counts chunks; the next one is found by it.
    number: u64,
    first_main: u64,
    effects: Box<[OnceLock<Effect>]>,
    /// For each `main` from the first, the slot of its effect.
    slot_of_main: Box<[AtomicU32]>,
    bytes: AtomicU64,
    /// How many effects it will ever hold, once that is known: no later than the last of them can be seen.
    end: AtomicU32,
}

impl Window {
    pub(crate) fn new(bound_bytes: u64, published: u64) -> Arc<Window> {
        let room = Room {
            bound_bytes,
            bytes: AtomicU64::new(0),
            has_drain: AtomicBool::new(true),
            is_closing: AtomicBool::new(false),
            is_waited_for: Mutex::new(false),
            changed: Condvar::new(),
        };
        Arc::new(Window {
            directory: ArcSwap::default(),
            published: AtomicU64::new(published),
            appended_bytes: Arc::default(),
            room,
        })
    }

    /// The record of a revision, if it is here.
    pub(crate) fn get<T>(&self, revision: Revision, read: impl FnOnce(&Record) -> T) -> Option<T> {
        self.directory.load().get(revision).map(read)
    }

    /// The chunks as they are now; holding them keeps their memory.
    pub(crate) fn chunks(&self) -> Arc<Directory> {
        self.directory.load_full()
    }

    pub(crate) fn published_main(&self) -> u64 {
        self.published.load(Acquire)
    }

    /// Counts what is appended, in bytes of the store's files.
    pub(crate) fn appended_bytes(&self) -> Arc<AtomicU64> {
        self.appended_bytes.clone()
    }

    /// What all chunks take up in memory.
    pub(crate) fn bytes(&self) -> u64 {
        self.room.bytes.load(Relaxed)
    }
}

impl Directory {
    /// The record of a revision, if it is in one of these chunks.
    pub(crate) fn get(&self, revision: Revision) -> Option<&Record> {
        let behind = self.chunks.partition_point(|(first_main, _)| *first_main <= revision.main);
        let (first_main, chunk) = self.chunks.get(behind.checked_sub(1)?)?;
        let slot = chunk.slot_of_main.get(usize::try_from(revision.main - first_main).ok()?)?.load(Acquire);
        let effect = chunk.effects.get(slot as usize)?.get()?;
        effect.records.get(usize::try_from(revision.sub).ok()?)
    }

    /// The first record at or behind a revision.
    pub(crate) fn at_or_after(&self, revision: Revision) -> Option<&Record> {
        if let Some(record) = self.get(revision) {
            return Some(record);
        }
        // Behind the last `sub`, or in a gap, or before the first chunk: the next `main` there is.
        let main = if revision.sub == 0 { revision.main } else { revision.main + 1 };
        let behind = self.chunks.partition_point(|(first_main, _)| *first_main <= main);
        self.chunks[behind.saturating_sub(1)..].iter().find_map(|(first_main, chunk)| {
            let skip = usize::try_from(main.saturating_sub(*first_main)).ok()?;
            let slot = chunk.slot_of_main.get(skip)?.load(Acquire);
            chunk.effects.get(slot as usize)?.get()?.records.first()
        })
    }
}

impl Chunk {
    fn new(number: u64, first_main: u64) -> Chunk {
        Chunk {
            number,
            first_main,
            effects: (0..CHUNK_EFFECTS).map(|_| OnceLock::new()).collect(),
            slot_of_main: (0..CHUNK_EFFECTS).map(|_| AtomicU32::new(NO_SLOT)).collect(),
            bytes: AtomicU64::new(0),
            end: AtomicU32::new(NO_SLOT),
        }
    }

    /// Whether no effect will ever be in this slot, nor behind it.
    fn ends_at(&self, slot: usize) -> bool {
        self.end.load(Acquire) as usize == slot
    }
}

/// The apply thread's end.
#[derive(Debug)]
pub struct WindowWriter {
    window: Arc<Window>,
    open: Option<OpenChunk>,
    chunks: u64,
    last_index: Index,
    last_term: Term,
    last_main: u64,
}

#[derive(Debug)]
struct OpenChunk {
    chunk: Arc<Chunk>,
    used: usize,
}

impl WindowWriter {
    /// A writer that goes on behind what the store holds.
    pub(crate) fn new(window: Arc<Window>, last_index: Index, last_term: Term) -> WindowWriter {
        let last_main = window.published_main();
        WindowWriter { window, open: None, chunks: 0, last_index, last_term, last_main }
    }

    /// Adds the effect of the next entry of the log. Its records can be read at once by who knows their revision.
    ///
    /// # Panics
    /// If the effect is not the next: a gap here would be a hole in the store.
    pub fn append(&mut self, effect: Effect) {
        assert_eq!(effect.index, self.last_index.next(), "gap in the effects");
        assert!(effect.term >= self.last_term, "term went backwards at index {}", effect.index);
        let main = effect.main();
        if let Some(main) = main {
            assert!(main > self.last_main, "revision {main} does not come after {}", self.last_main);
            for (sub, record) in effect.records.iter().enumerate() {
                assert_eq!(record.revision, Revision { main, sub: sub as u64 }, "gap in a revision");
            }
        }
        let next_main = main.unwrap_or(self.last_main + 1);
        let (index, term, bytes) = (effect.index, effect.term, effect.bytes());

        // A chunk's records are found by subtraction, so a gap between revisions opens another.
        let gap = next_main != self.last_main + 1;
        let open = match self.open.take() {
            Some(open) if !gap => open,
            before => {
                // Nothing follows in the chunk before. The drain sees that when it takes from this one.
                before.inspect(|open| open.chunk.end.store(open.used as u32, Release));
                self.open_chunk(next_main)
            }
        };
        let chunk = &open.chunk;
        let held = chunk.bytes.load(Relaxed) + bytes;
        chunk.bytes.store(held, Relaxed);
        self.window.room.bytes.fetch_add(bytes, Relaxed);
        // Before the effect can be taken: what was taken is among what was appended.
        self.window.appended_bytes.fetch_add(effect_bytes(&effect) as u64, Relaxed);
        let full = open.used + 1 == CHUNK_EFFECTS || held >= self.window.room.bound_bytes / CHUNKS_IN_BOUND;
        if full {
            chunk.end.store(open.used as u32 + 1, Release);
        }
        chunk.effects[open.used].set(effect).expect("the slot is free");
        if let Some(main) = main {
            chunk.slot_of_main[(main - chunk.first_main) as usize].store(open.used as u32, Release);
            self.last_main = main;
        }
        (self.last_index, self.last_term) = (index, term);
        if !full {
            self.open = Some(OpenChunk { used: open.used + 1, ..open });
        }
    }

    fn open_chunk(&mut self, first_main: u64) -> OpenChunk {
        let chunk = Arc::new(Chunk::new(self.chunks, first_main));
        self.chunks += 1;
        self.window.directory.rcu(|directory| Directory {
            chunks: directory.chunks.iter().cloned().chain([(first_main, chunk.clone())]).collect(),
        });
        OpenChunk { chunk, used: 0 }
    }

    /// Lets readers know of all revisions appended so far. Call it when everything that they will look at is in place.
    pub fn publish(&mut self) {
        self.window.published.store(self.last_main, Release);
    }

    /// The entry whose effect was appended last.
    pub fn last_index(&self) -> Index {
        self.last_index
    }

    /// What the window takes up in memory.
    pub fn bytes(&self) -> u64 {
        self.window.bytes()
    }

    /// Whether an effect may enter; then one of any size may.
    pub fn has_room(&self) -> bool {
        self.window.room.is_free()
    }

    /// Whether at least half of it is free.
    pub fn has_much_room(&self) -> bool {
        self.window.bytes() <= self.window.room.bound_bytes / 2
    }

    /// Waits until an effect may enter, or there is no reason to wait any longer.
    pub fn wait_for_room(&self) -> Waited {
        let room = &self.window.room;
        if room.is_free() {
            return Waited::Room;
        }
        let mut is_waited_for = room.is_waited_for.lock();
        loop {
            if room.is_free() {
                return Waited::Room;
            }
            if room.is_closing.load(Acquire) {
                return Waited::Closing;
            }
            if !room.has_drain.load(Acquire) {
                return Waited::StoreGone;
            }
            *is_waited_for = true;
            room.changed.wait(&mut is_waited_for);
            *is_waited_for = false;
        }
    }

    /// What ends the waiting in this window.
    pub fn wait_end(&self) -> WaitEnd {
        WaitEnd { window: self.window.clone() }
    }
}

/// What came of waiting for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Waited {
    /// An effect may enter.
    Room,
    /// There is none, and the member closes: on a full disk there may never be any.
    Closing,
    /// There is none, and nobody will make any.
    StoreGone,
}

/// Ends the waiting for room in a window, from any thread.
#[derive(Debug)]
pub struct WaitEnd {
    window: Arc<Window>,
}

impl WaitEnd {
    /// From now on nobody waits for room in this window.
    pub fn close(&self) {
        self.window.room.is_closing.store(true, Release);
        self.window.room.wake();
    }
}

impl Room {
    fn is_free(&self) -> bool {
        self.bytes.load(Relaxed) < self.bound_bytes
    }

    fn wake(&self) {
        // Taking the lock orders this behind a waiter's look at the room.
        if *self.is_waited_for.lock() {
            self.changed.notify_all();
        }
    }
}

/// Says that readers have been shown the files with all that was taken from the window.
#[derive(Debug)]
pub(crate) struct Shown;

/// The store thread's end: takes effects in order, and gives their memory back once they are in the files.
#[derive(Debug)]
pub(crate) struct Drain {
    window: Arc<Window>,
    /// Where the next effect to be taken lies.
    chunk: Option<Arc<Chunk>>,
    number: u64,
    slot: usize,
}

impl Drain {
    pub(crate) fn new(window: Arc<Window>) -> Drain {
        Drain { window, chunk: None, number: 0, slot: 0 }
    }

    /// Shows the effects at the front, in order, until `take` wants no more or there are no more. Those it wanted are
    /// taken; they can still be read here until `release`.
    pub(crate) fn take(&mut self, mut take: impl FnMut(&Effect) -> bool) {
        loop {
            if self.chunk.is_none() {
                let directory = self.window.directory.load();
                self.chunk = directory.chunks.iter().map(|(_, c)| c).find(|c| c.number == self.number).cloned();
            }
            let Some(chunk) = &self.chunk else { return };
            match chunk.effects.get(self.slot).and_then(OnceLock::get) {
                Some(effect) if !take(effect) => return,
                Some(_) => self.slot += 1,
                None if chunk.ends_at(self.slot) => self.next_chunk(),
                None => return,
            }
        }
    }

    fn next_chunk(&mut self) {
        self.chunk = None;
        self.number += 1;
        self.slot = 0;
    }

    /// Gives back the memory of what has been taken, now that readers find it in the files.
    pub(crate) fn release(&mut self, _shown: Shown) {
        // The chunk at whose end we stand goes at once: its writer may wait for the room.
        if self.chunk.as_ref().is_some_and(|chunk| chunk.ends_at(self.slot)) {
            self.next_chunk();
        }
        let gone = |directory: &Directory| directory.chunks.partition_point(|(_, chunk)| chunk.number < self.number);
        let directory = self.window.directory.load();
        let count = gone(&directory);
        if count == 0 {
            return;
        }
        let bytes: u64 = directory.chunks[..count].iter().map(|(_, chunk)| chunk.bytes.load(Relaxed)).sum();
        drop(directory);
        self.window.directory.rcu(|directory| Directory { chunks: directory.chunks[gone(directory)..].to_vec() });
        self.window.room.bytes.fetch_sub(bytes, Relaxed);
        self.window.room.wake();
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        self.window.room.has_drain.store(false, Release);
        self.window.room.wake();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::RowChange;

    const BOUND: u64 = 1 << 16;

    fn effect(index: u64, main: u64, records: u64) -> Effect {
        let record = |sub| Record::new(Revision { main, sub }, false, Bytes::from(format!("{main}/{sub}")));
        let records = (0..records).map(record).collect();
        Effect { index: Index(index), term: Term(1), records, rows: Vec::new() }
    }

    fn window() -> (WindowWriter, Drain) {
        let window = Window::new(BOUND, 1);
        (WindowWriter::new(window.clone(), Index(0), Term(0)), Drain::new(window))
    }

    fn read(window: &Window, main: u64, sub: u64) -> Option<String> {
        window.get(Revision { main, sub }, |record| String::from_utf8(record.key_value.to_vec()).unwrap())
    }

    #[test]
    fn revisions_are_found_over_chunks_gaps_and_entries_without_records() {
        let (mut writer, mut drain) = window();
        let window = drain.window.clone();
        // index, main, records; 0 records: the entry changed no key
        let mut appended = Vec::new();
        let mut index = 0;
        for main in (2..900).chain([1000, 1001]).chain(5000..8000) {
            for count in [0, 1 + main % 3].into_iter().take(1 + (main % 5 != 0) as usize) {
                index += 1;
                writer.append(effect(index, main, count));
                if count > 0 {
                    appended.push((main, count));
                }
            }
        }
        for main in 0..9000 {
            let count = appended.iter().find(|(m, _)| *m == main).map_or(0, |(_, count)| *count);
            for sub in 0..4 {
                let expected = (sub < count).then(|| format!("{main}/{sub}"));
                assert_eq!(read(&window, main, sub), expected, "{main}/{sub}");
            }
        }
        // The same, in order, from every place.
        let all: Vec<_> = appended.iter().flat_map(|&(main, count)| (0..count).map(move |sub| (main, sub))).collect();
        let chunks = window.chunks();
        for main in 0..9000 {
            for sub in 0..3 {
                let found = chunks.at_or_after(Revision { main, sub }).map(|r| (r.revision.main, r.revision.sub));
                let expected = all.get(all.partition_point(|place| *place < (main, sub))).copied();
                assert_eq!(found, expected, "from {main}/{sub}");
            }
        }
        // Taking shows all of it once, and releasing leaves nothing, and gives all room back.
        let mut taken = 0;
        drain.take(|effect| {
            taken += 1;
            effect.index == Index(taken)
        });
        assert_eq!(taken, index);
        drain.release(Shown);
        assert_eq!(read(&window, 2, 0), None);
        assert!(all.iter().filter(|&&(main, sub)| read(&window, main, sub).is_some()).count() < CHUNK_EFFECTS * 3);
        assert!(window.bytes() < BOUND / CHUNKS_IN_BOUND);
    }

    #[test]
    fn any_one_effect_enters_below_the_bound_and_its_room_comes_back() {
        let (mut writer, mut drain) = window();
        let mut large = effect(1, 2, 1);
        large.rows = vec![RowChange {
            table: crate::Table::Meta,
            key: Bytes::new(),
            value: Some(Bytes::from(vec![0; 2 * BOUND as usize])),
        }];
        assert!(writer.has_room());
        writer.append(large);
        assert!(!writer.has_room());
        drain.take(|_| true);
        drain.release(Shown);
        assert_eq!(writer.wait_for_room(), Waited::Room);
        assert_eq!(writer.bytes(), 0);
    }

    #[test]
    fn what_is_not_taken_stays() {
        let (mut writer, mut drain) = window();
        for i in 1..=3000 {
            writer.append(effect(i, i + 1, 1));
        }
        let mut left = 1500;
        drain.take(|_| {
            left -= 1;
            left >= 0
        });
        drain.release(Shown);
        for main in 1502..=3001 {
            assert!(read(&drain.window, main, 0).is_some(), "{main}");
        }
        let mut next = Vec::new();
        drain.take(|effect| {
            next.push(effect.index.0);
            true
        });
        assert!(next.into_iter().eq(1501..=3000));
    }

    #[test]
    fn a_full_window_waits_for_the_store_and_no_longer_when_it_is_gone() {
        let (mut writer, mut drain) = window();
        let window = drain.window.clone();
        const EFFECTS: u64 = 20_000;
        let reader = std::thread::spawn(move || {
            // A published revision is there until it is taken, and what is there is whole.
            while window.published_main() < EFFECTS + 1 {
                let main = window.published_main();
                if let Some(value) = read(&window, main, 0) {
                    assert_eq!(value, format!("{main}/0"));
                }
            }
        });
        let storer = std::thread::spawn(move || {
            let mut taken = 0;
            while taken < EFFECTS {
                drain.take(|effect| {
                    taken += 1;
                    assert_eq!(effect.index, Index(taken));
                    true
                });
                drain.release(Shown);
            }
        });
        let mut most = 0;
        for i in 1..=EFFECTS {
            assert_eq!(writer.wait_for_room(), Waited::Room);
            writer.append(effect(i, i + 1, 1));
            writer.publish();
            most = most.max(writer.bytes());
        }
        storer.join().unwrap();
        reader.join().unwrap();
        assert!(most < BOUND + 1024, "{most} bytes");
        for i in 1.. {
            if !writer.has_room() {
                break;
            }
            writer.append(effect(EFFECTS + i, EFFECTS + i + 1, 1));
        }
        assert_eq!(writer.wait_for_room(), Waited::StoreGone);
    }

    #[test]
    fn who_waits_for_room_is_let_go_when_the_member_closes() {
        let (mut writer, mut drain) = window();
        let window = drain.window.clone();
        let mut index = 0;
        while writer.has_room() {
            index += 1;
            writer.append(effect(index, index + 1, 1));
        }
        let end = writer.wait_end();
        let waiting = std::thread::spawn(move || (writer.wait_for_room(), writer));
        // Seen under the lock, which is given up only in sleep.
        while !*window.room.is_waited_for.lock() {
            std::thread::yield_now();
        }
        end.close();
        let (waited, writer) = waiting.join().unwrap();
        assert_eq!((waited, writer.wait_for_room()), (Waited::Closing, Waited::Closing));
        drain.take(|_| true);
        drain.release(Shown);
        assert_eq!(writer.wait_for_room(), Waited::Room, "what there is room for still enters");
    }

    #[test]
    #[should_panic(expected = "gap in the effects")]
    fn a_gap_between_entries_is_refused() {
        let (mut writer, _drain) = window();
        writer.append(effect(2, 2, 1));
    }
}
