//! Segments as the store thread sees them: the tail it writes, the spare that follows, and the sealed ones with what is
//! dead in them.

use std::sync::Arc;

use ferrite_raft::Index;

use super::buried::{Bits, Burial};
use super::clean::copy_bytes;
use super::error::StoreError;
use super::format::{FileHeader, FileKind, HEADER_BYTES};
use super::manifest::{Home, SealedEntry, segment_name};
use super::places::{Place, Runs, Segment, Tail};
use crate::vfs::{File, Vfs};

/// The kernel is asked to write when so much has been added, so that a sync never finds more.
const WRITEBACK_BYTES: u64 = 1 << 20;
const PAGE_BYTES: u64 = 4096;

/// All segments, from oldest to newest.
#[derive(Debug)]
pub(super) struct Segments<V: Vfs> {
    pub sealed: Vec<Sealed>,
    pub tail: TailSegment<V>,
    pub spare: Option<Spare<V>>,
}

/// Which records are dead, by their position among the places, and what the others take up.
#[derive(Clone, Debug, Default)]
pub(super) struct Liveness {
    dead: Bits,
    pub alive_bytes: u64,
}

impl Liveness {
    pub(super) fn of(places: &[Place]) -> Liveness {
        Liveness { dead: Bits::default(), alive_bytes: places.iter().map(Place::footprint).sum() }
    }

    pub(super) fn is_dead(&self, position: usize) -> bool {
        self.dead.get(position)
    }

    pub(super) fn mark(&mut self, position: usize, place: &Place) {
        if !self.dead.get(position) {
            self.dead.set(position);
            self.alive_bytes -= place.footprint();
        }
    }
}

#[derive(Debug)]
pub(super) struct Sealed {
    pub entry: SealedEntry,
    pub segment: Arc<Segment>,
    pub liveness: Liveness,
    /// Which of the file's records were buried when it was read: they are not among the places.
    pub buried: Bits,
}

impl Sealed {
    /// How many records the file has.
    pub(super) fn records(&self) -> usize {
        self.segment.places.len() + self.buried.count()
    }

    /// All that is dead in the file.
    pub(super) fn burial(&self) -> Burial {
        let records = self.records();
        if self.buried.is_empty() {
            return Burial { records, dead: self.liveness.dead.clone() };
        }
        let mut dead = self.buried.clone();
        let there = (0..records).filter(|at| !self.buried.get(*at));
        for (position, at) in there.enumerate() {
            if self.liveness.is_dead(position) {
                dead.set(at);
            }
        }
        Burial { records, dead }
    }

    /// Whether a tombstone goes when only what is alive is copied.
    pub(super) fn loses_tombstone(&self) -> bool {
        let mut places = self.segment.places.iter().enumerate();
        places.any(|(position, place)| place.tombstone() && self.liveness.is_dead(position))
    }

    /// What copying the segment would give back.
    pub(super) fn reclaimable(&self) -> u64 {
        self.entry.bytes.saturating_sub(copy_bytes(self.liveness.alive_bytes))
    }
}

/// The segment that is being written.
#[derive(Debug)]
pub(super) struct TailSegment<V: Vfs> {
    pub id: u64,
    pub file: Arc<V::File>,
    /// Where the next frame goes.
    pub position: u64,
    /// Up to here space has been taken.
    pub reserved: u64,
    /// Up to here the kernel has been asked to write.
    pub writeback: u64,
    pub is_synced: bool,
    pub runs: Runs,
    pub liveness: Liveness,
}

impl<V: Vfs> TailSegment<V> {
    /// Room for frames.
    pub(super) fn room(&self) -> u64 {
        self.reserved.saturating_sub(self.position)
    }

    pub(super) fn has_frames(&self) -> bool {
        self.position > HEADER_BYTES as u64
    }

    /// Writes a frame behind the others.
    pub(super) fn append(&mut self, frame: &[u8], places: Vec<Place>) -> Result<(), StoreError> {
        assert!(frame.len() as u64 <= self.room(), "a frame goes where space has been taken");
        self.is_synced = false;
        self.file.write_at(frame, self.position)?;
        self.position += frame.len() as u64;
        // Not frame by frame: a page that is written out early is written again when the next frame comes.
        if self.position - self.writeback >= WRITEBACK_BYTES {
            let end = self.position / PAGE_BYTES * PAGE_BYTES;
            self.file.start_writeback(self.writeback, end - self.writeback);
            self.writeback = end;
        }
        self.liveness.alive_bytes += places.iter().map(Place::footprint).sum::<u64>();
        self.runs.push(places);
        Ok(())
    }

    pub(super) fn sync(&mut self) -> Result<(), StoreError> {
        if !self.is_synced {
            self.file.sync_data()?;
            self.is_synced = true;
        }
        Ok(())
    }

    /// As readers see it.
    pub(super) fn view(&self) -> Tail {
        Tail::new(&segment_name(self.id), self.file.clone(), self.runs.clone())
    }
}

/// A segment whose space is taken, and nothing else.
#[derive(Debug)]
pub(super) struct Spare<V: Vfs> {
    pub id: u64,
    file: V::File,
    reserved: u64,
}

impl<V: Vfs> Spare<V> {
    /// Takes the space, and makes the name durable, so that little is left to do when the tail is full.
    pub(super) fn create(home: &Home<V>, id: u64, bytes: u64) -> Result<Spare<V>, StoreError> {
        let file = home.create(&segment_name(id), bytes)?;
        home.vfs.sync_dir(&home.dir)?;
        Ok(Spare { id, file, reserved: bytes })
    }

    /// Takes more space if it would not hold this much.
    pub(super) fn reserve(&mut self, home: &Home<V>, bytes: u64) -> Result<(), StoreError> {
        if self.reserved < bytes {
            home.allocate(&self.file, bytes)?;
            self.reserved = bytes;
        }
        Ok(())
    }

    /// Makes it the tail, whose first frame will begin with an entry. Durable when this returns.
    pub(super) fn begin(self, first: Index) -> Result<TailSegment<V>, StoreError> {
        let header = FileHeader { kind: FileKind::Segment, id: self.id, index: first.0, body_bytes: 0, body_crc: 0 };
        self.file.write_at(&header.encode(), 0)?;
        self.file.sync_data()?;
        Ok(TailSegment {
            id: self.id,
            file: Arc::new(self.file),
            position: HEADER_BYTES as u64,
            reserved: self.reserved,
            writeback: 0,
            is_synced: true,
            runs: Runs::default(),
            liveness: Liveness::default(),
        })
    }
}
