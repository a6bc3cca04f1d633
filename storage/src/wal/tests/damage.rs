//! Damage: every place of a log of several segments, one at a time. Either it is refused, naming the file and a place in
//! it that makes sense, or what is read is right; only what lies behind the last marker and the store may be missing.

use super::model::{Ledger, State, seeds};
use super::*;
use crate::vfs::lying::Dice;

const SEGMENT_BYTES: u64 = 1200;

/// A log that was stopped, and what it said.
struct Stopped {
    disk: LyingDisk,
    ledger: Ledger,
    start: Start,
    /// The state that the last marker vouches for.
    marked: usize,
}

/// How a member ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// With a marker for all, and the store as far as the log.
    Clean,
    /// Without a marker for the last batch, and with a store that is a little behind.
    Killed,
}

fn stopped(seed: u64, end: End) -> Stopped {
    let mut dice = Dice::new(seed);
    let disk = disk();
    let mut wal = create(&disk, small(SEGMENT_BYTES));
    let mut ledger = Ledger::begin(State::default(), disk.operations());
    ledger.live(&disk, &mut wal, &mut dice, 45);
    wal.mark().unwrap();
    let marked = ledger.states.len() - 1;
    if end == End::Killed {
        let last = ledger.states[marked].clone();
        let mut state = last.clone();
        let term = last.hard_state.term.0.max(last.entries.last().map_or(1, |entry| entry.term.0));
        let new = [1, 2].map(|next| entry(term, last.last_index().0 + next, "unmarked"));
        for entry in &new {
            state.entries.push(entry.clone());
            ledger.states.push(state.clone());
        }
        state.hard_state = HardState { term: Term(term), ..state.hard_state };
        state.hard_state.commit = last.last_index();
        ledger.states.push(state.clone());
        wal.save(Some(&state.hard_state), &new).unwrap();
        wal.sync().unwrap();
    }
    drop(wal);
    let start = Start::from(valid_snapshots(&disk, dir()).unwrap().last().unwrap());
    Stopped { disk, ledger, start, marked }
}

impl Stopped {
    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let read = |path: PathBuf| (path.clone(), self.disk.read(&path).unwrap());
        segments(&self.disk).into_iter().map(read).collect()
    }

    /// The state that is durable when it ends.
    fn last(&self) -> &State {
        self.ledger.states.last().unwrap()
    }

    /// Opens the damaged log, and answers whether it was refused. `place` is what was damaged; `vouched` the first state that may be read.
    fn check(&self, damaged: &LyingDisk, store: Index, vouched: usize, place: (&Path, usize), what: &str) -> bool {
        let (path, most) = (place.0, place.1 as u64);
        let opened = Wal::open(damaged.clone(), dir(), self.start, store, small(SEGMENT_BYTES));
        let place = || format!("{what} of {} at {}", place.0.display(), place.1);
        match opened {
            Err(WalError::Corrupt { file, offset, .. }) => {
                let length = self.disk.read(&file).unwrap().len() as u64;
                assert!(file == path && offset <= length.min(most + 8), "{}: refused {file:?} at {offset}", place());
                true
            }
            Err(WalError::SnapshotNotFound { .. }) if vouched == 0 => true,
            Err(error) => panic!("{}: {error}", place()),
            Ok((_, replay)) => {
                let found = self.ledger.states.iter().rposition(|state| state.is_read_as(&replay, self.start));
                let found = found.unwrap_or_else(|| panic!("{}: a wrong value: {replay:?}", place()));
                let is_last = found + 1 == self.ledger.states.len();
                assert!(is_last || found >= vouched, "{}: state {found} of {}", place(), self.ledger.states.len());
                assert!(self.ledger.states[found].last_index() >= store, "{}", place());
                if vouched > 0 {
                    assert!(is_last || !replay.warnings.is_empty(), "{}: lost without a warning", place());
                }
                false
            }
        }
    }

    /// Whether a segment is read at all when the log is opened.
    fn is_read(&self, path: &Path) -> bool {
        let names = segment::list(&self.disk, dir()).unwrap();
        let chosen = segment::from_index(&names, self.start.index, dir()).unwrap();
        chosen.iter().any(|name| name.path(dir()) == path)
    }
}

fn used(bytes: &[u8]) -> usize {
    tail::used(bytes).next_multiple_of(8)
}

/// Every bit of what the checksums do not cover, and of the zeros behind the last record; of the data one in each byte.
fn bits_to_flip(bytes: &[u8]) -> Vec<usize> {
    let head = 40;
    let mut bits = Vec::new();
    let mut offset = 0;
    while let Ok(frame) = record::frame_at(bytes, offset) {
        let end_of_head = frame.end.min(offset + head);
        bits.extend(8 * offset..8 * end_of_head);
        bits.extend((end_of_head..frame.end).map(|byte| 8 * byte + byte % 8));
        offset = frame.end;
    }
    bits.extend(8 * offset..8 * (offset + head).min(bytes.len()));
    bits
}

fn logs() -> impl Iterator<Item = (End, Stopped)> {
    seeds(1).flat_map(|seed| [(End::Clean, stopped(seed, End::Clean)), (End::Killed, stopped(seed, End::Killed))])
}

#[test]
fn a_flipped_bit_is_refused_or_does_no_harm() {
    for (end, log) in logs() {
        let mut refused = 0;
        let stores = match end {
            End::Clean => vec![log.last().last_index()],
            End::Killed => vec![log.ledger.states[log.marked].hard_state.commit, log.last().hard_state.commit],
        };
        for (path, bytes) in log.files() {
            for bit in bits_to_flip(&bytes) {
                let damaged = log.disk.copy();
                damaged.flip(&path, (bit / 8) as u64, (bit % 8) as u8);
                let store = stores[bit % stores.len()];
                refused += usize::from(log.check(&damaged, store, log.marked, (&path, bit / 8), "flipped bit"));
            }
        }
        // Nearly all of them are seen: those in padding do no harm, and are not.
        assert!(refused > 1000, "{refused}");
    }
}

#[test]
fn a_cut_or_zeroed_end_is_refused_or_was_not_needed() {
    for (_, log) in logs() {
        let files = log.files();
        let store = log.last().hard_state.commit;
        for (number, (path, bytes)) in files.iter().enumerate() {
            let is_last = number + 1 == files.len();
            for place in 0..used(bytes) {
                for zero in [false, true] {
                    let damaged = log.disk.copy();
                    let file = damaged.open(path, Mode::ReadWrite).unwrap();
                    match zero {
                        true => file.write_at(&vec![0; bytes.len() - place], place as u64).unwrap(),
                        false => file.set_len(place as u64).unwrap(),
                    }
                    drop(file);
                    // No marker is left to say how far the last segment went; the store is.
                    let vouched = if is_last || !log.is_read(path) { 0 } else { log.ledger.states.len() - 1 };
                    log.check(&damaged, store, vouched, (path, place), if zero { "zeroed end" } else { "cut end" });
                }
            }
        }
    }
}

#[test]
fn missing_sectors_and_garbage_are_refused() {
    for (_, log) in logs() {
        let mut dice = Dice::new(7);
        let store = log.last().hard_state.commit;
        let last = segments(&log.disk).pop();
        for (path, bytes) in log.files() {
            let marker = (0..used(&bytes)).step_by(8).rfind(|place| record::is_marker(&bytes, *place)).unwrap();
            for place in (0..used(&bytes)).step_by(8) {
                for length in [8, 64, 512] {
                    let length = length.min(bytes.len() - place);
                    let garbage: Vec<u8> = (0..length).map(|_| dice.roll() as u8).collect();
                    for what in [vec![0; length], garbage] {
                        let damaged = log.disk.copy();
                        damaged.open(&path, Mode::ReadWrite).unwrap().write_at(&what, place as u64).unwrap();
                        // Where the last marker itself is gone, only the store is left to say how far the log went.
                        let is_gone = Some(&path) == last.as_ref() && place + length > marker;
                        let vouched = if is_gone { 0 } else { log.marked };
                        log.check(&damaged, store, vouched, (&path, place), "overwritten part");
                    }
                }
            }
        }
    }
}
