//! What is to be written next, and how far the last segment has been written, synced and marked.

use ferrite_proto::raft::record;
use ferrite_raft::{Entry, HardState, Index, SnapshotMeta};

use super::record::{Encoder, Kind};

/// A buffer that has grown beyond this is given back once it has been written.
const BUFFER_KEPT_BYTES: usize = 4 << 20;

/// Encodes records into one buffer, which is written as a whole.
#[derive(Debug, Default)]
pub(super) struct Writer {
    encoder: Encoder,
    buffer: Vec<u8>,
    entry_head: Vec<u8>,
    /// The last one written, or to be written with the buffer.
    pub hard_state: HardState,
    /// The last entry or snapshot.
    pub last_index: Index,
}

impl Writer {
    pub(super) fn new(crc: u32, hard_state: HardState, last_index: Index) -> Writer {
        Writer { encoder: Encoder::new(crc), hard_state, last_index, ..Writer::default() }
    }

    pub(super) fn pending(&self) -> &[u8] {
        &self.buffer
    }

    pub(super) fn clear(&mut self) {
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_KEPT_BYTES);
    }

    pub(super) fn put_marker(&mut self) {
        self.encoder.put_crc(&mut self.buffer);
    }

    pub(super) fn put_entry(&mut self, entry: &Entry) {
        let data = record::write_entry(entry, &mut self.entry_head);
        self.encoder.put(&mut self.buffer, Kind::Entry, &self.entry_head, &data);
        self.last_index = entry.index;
    }

    pub(super) fn put_state(&mut self, state: &HardState) {
        self.encoder.put(&mut self.buffer, Kind::State, &record::write_hard_state(*state), &[]);
        self.hard_state = *state;
    }

    pub(super) fn put_snapshot(&mut self, meta: &SnapshotMeta) {
        self.encoder.put(&mut self.buffer, Kind::Snapshot, &record::write_snapshot(meta), &[]);
        self.last_index = self.last_index.max(meta.index);
    }

    /// What every segment begins with: the running CRC, whose log it is, and the hard state if there is one.
    pub(super) fn put_head(&mut self, metadata: &[u8]) {
        self.encoder.put_crc(&mut self.buffer);
        self.encoder.put(&mut self.buffer, Kind::Metadata, metadata, &[]);
        if self.hard_state != HardState::default() {
            let state = self.hard_state;
            self.put_state(&state);
        }
    }
}

/// How far the last segment has been written and synced.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Position {
    pub written: u64,
    pub synced: u64,
    /// The length of the file: space up to here has been taken.
    pub allocated: u64,
    /// Records have been synced since the last marker.
    pub unmarked: bool,
    /// Records, not only a marker, have been written since the last sync.
    pub unsynced: bool,
}

impl Position {
    /// A segment whose records are on disk up to `used`.
    pub(super) fn synced(used: u64, allocated: u64) -> Position {
        Position { written: used, synced: used, allocated, unmarked: true, unsynced: false }
    }

    /// Whether a marker written here would be true and say something new.
    pub(super) fn wants_marker(&self) -> bool {
        self.unmarked && self.written == self.synced
    }
}
