//! Cleaning: what is alive in the deadest segment is copied to another, and the old file goes.
//!
//!   choose ──▶ copy, a bounded step at a time ──▶ sync ──▶ manifest ──▶ readers see the copy ──▶ old files go
//!
//! What holds: only segments below the last dump of rows are copied, so their rows are dead. Until the manifest names the
//! copy it is no part of the store, and a crash or a full disk just loses it. Before it does, all entries that made
//! something dead are synced, and the manifest says so: records go for good only when their death is for good. If a
//! tombstone goes, all that is dead elsewhere is buried: what it made dead may be in a segment that is not worth copying. A
//! record is checked before it is copied: damage does not get a new checksum. What dies during the copy is dead in the copy.

use std::ops::Range;
use std::sync::Arc;

use ferrite_raft::Index;

use super::buried::{Bits, Buried};
use super::error::StoreError;
use super::format::{FileHeader, FileKind, HEADER_BYTES};
use super::frame::{FrameBuilder, Span};
use super::manifest::{BuriedEntry, SealedEntry, dead_name, segment_name};
use super::places::{Place, Segment};
use super::segment::{Liveness, Sealed};
use super::{Sizes, Store};
use crate::vfs::{File, Vfs};

/// Files may exceed what is alive by this factor, in tenths.
const ALLOWED_TENTHS: u64 = 14;

/// A segment is copied only if that gives back one part in this many.
pub(super) const WORTH: u64 = 8;

/// A copy's frames are about this long.
const FRAME_BYTES: usize = 256 << 10;

/// How long a copy of so many bytes of records is.
pub(super) fn copy_bytes(alive_bytes: u64) -> u64 {
    let frames = alive_bytes / FRAME_BYTES as u64 + 1;
    if alive_bytes == 0 { 0 } else { alive_bytes + (1 + frames) * HEADER_BYTES as u64 }
}

/// How a step of cleaning ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleaned {
    /// There is nothing to be gained.
    Nothing,
    /// There may be more to do.
    Step,
    /// There is no space for a copy; it was given up.
    NoSpace,
}

/// A copy in the making.
#[derive(Debug)]
pub(super) struct Cleaning<V: Vfs> {
    /// The segments that are copied, by their position among the sealed.
    sources: Range<usize>,
    /// Where in which of them the next record comes from.
    source: usize,
    at: usize,
    span: Span,
    /// None if nothing is alive.
    output: Option<Output<V>>,
}

#[derive(Debug)]
struct Output<V: Vfs> {
    id: u64,
    file: V::File,
    position: u64,
    places: Vec<Place>,
    frame: FrameBuilder,
}

impl<V: Vfs> Store<V> {
    /// Goes on with cleaning, if there is need: copies about this many bytes. Repeat it, at the rate that cleaning may
    /// have, while it answers [`Cleaned::Step`].
    pub fn clean(&mut self, budget_bytes: u64) -> Result<Cleaned, StoreError> {
        match self.change(|store| store.clean_step(budget_bytes)) {
            Err(StoreError::Full { .. }) => {
                self.is_defragmenting = false;
                self.change(Store::give_up_cleaning)?;
                Ok(Cleaned::NoSpace)
            }
            result => result,
        }
    }

    fn clean_step(&mut self, budget_bytes: u64) -> Result<Cleaned, StoreError> {
        if self.cleaning.is_none() {
            let Some(sources) = self.choose_segments()? else {
                self.is_defragmenting = false;
                return Ok(Cleaned::Nothing);
            };
            self.cleaning = Some(self.begin_cleaning(sources)?);
        }
        let cleaning = self.cleaning.as_mut().expect("it has begun");
        if cleaning.copy(&self.segments.sealed, budget_bytes)? {
            self.finish_cleaning()?;
        }
        Ok(Cleaned::Step)
    }

    /// The deadest segment, with its neighbours if they have become small, if copying them is due.
    fn choose_segments(&mut self) -> Result<Option<Range<usize>>, StoreError> {
        let Sizes { bytes_written, bytes_alive } = self.sizes();
        if !self.is_defragmenting && bytes_written * 10 <= bytes_alive * ALLOWED_TENTHS {
            return Ok(None);
        }
        let Some(mut deadest) = self.deadest(Index(u64::MAX)) else { return Ok(None) };
        let sealed = &self.segments.sealed;
        if sealed[deadest].entry.span.last > self.dumped() {
            // A dump makes all of them ready for copying, so it need not be worth it for one.
            let behind = sealed.iter().filter(|sealed| sealed.entry.span.last > self.dumped());
            if self.rows.alive_bytes < behind.map(Sealed::reclaimable).sum() {
                self.dump_rows()?;
            } else {
                let Some(below) = self.deadest(self.dumped()) else { return Ok(None) };
                deadest = below;
            }
        }
        Ok(Some(self.with_small_neighbours(deadest)))
    }

    /// Up to this entry changes of rows are dead.
    fn dumped(&self) -> Index {
        self.manifest.rows.map_or(Index(0), |rows| rows.index)
    }

    fn deadest(&self, up_to: Index) -> Option<usize> {
        let share = |sealed: &Sealed| (u128::from(sealed.reclaimable()) << 64) / u128::from(sealed.entry.bytes);
        let worth =
            |sealed: &Sealed| sealed.entry.span.last <= up_to && sealed.reclaimable() * WORTH > sealed.entry.bytes;
        let candidates = self.segments.sealed.iter().enumerate().filter(|(_, sealed)| worth(sealed));
        candidates.max_by_key(|(_, sealed)| share(sealed)).map(|(position, _)| position)
    }

    fn with_small_neighbours(&self, deadest: usize) -> Range<usize> {
        let sealed = &self.segments.sealed;
        let mut range = deadest..deadest + 1;
        let mut alive = sealed[deadest].liveness.alive_bytes;
        let mut joins = |position: usize| {
            let Some(sealed) = sealed.get(position) else { return false };
            let (own, limit) = (sealed.liveness.alive_bytes, self.options.segment_bytes);
            let joins = self.may_join(deadest, position)
                && sealed.entry.span.last <= self.dumped()
                && own < limit / 8
                && alive + own <= limit / 2;
            alive += if joins { own } else { 0 };
            joins
        };
        while joins(range.end) {
            range.end += 1;
        }
        while range.start > 0 && joins(range.start - 1) {
            range.start -= 1;
        }
        range
    }

    /// Segments of an import all stand for the same entries: one of them that stood for others besides would overlap those
    /// that are left.
    fn may_join(&self, one: usize, other: usize) -> bool {
        let span = |position: usize| self.segments.sealed.get(position).map(|sealed| sealed.entry.span);
        let is_one_of_many =
            |position: usize| [position.wrapping_sub(1), position + 1].map(span).contains(&span(position));
        span(one) == span(other) || !(is_one_of_many(one) || is_one_of_many(other))
    }

    fn begin_cleaning(&mut self, sources: Range<usize>) -> Result<Cleaning<V>, StoreError> {
        let sealed = &self.segments.sealed[sources.clone()];
        let (first, last) = (sealed[0].entry.span, sealed[sealed.len() - 1].entry.span);
        let alive: u64 = sealed.iter().map(|sealed| sealed.liveness.alive_bytes).sum();
        let output = if alive > 0 { Some(self.begin_output(first.first, alive)?) } else { None };
        Ok(Cleaning { source: sources.start, sources, at: 0, span: Span { first: first.first, ..last }, output })
    }

    fn begin_output(&mut self, first: Index, alive_bytes: u64) -> Result<Output<V>, StoreError> {
        let id = self.next_id();
        let file = self.home.create(&segment_name(id), copy_bytes(alive_bytes))?;
        let head = FileHeader { kind: FileKind::Segment, id, index: first.0, body_bytes: 0, body_crc: 0 };
        file.write_at(&head.encode(), 0)?;
        Ok(Output { id, file, position: HEADER_BYTES as u64, places: Vec::new(), frame: FrameBuilder::default() })
    }

    /// Puts the copy in the place of its sources.
    fn finish_cleaning(&mut self) -> Result<(), StoreError> {
        let reservation = self.home.reserve_manifest(self.manifest.sealed.len())?;
        let sources = self.cleaning.as_ref().expect("it is at its end").sources.clone();
        let loses_tombstone = self.segments.sealed[sources].iter().any(Sealed::loses_tombstone);
        let burial = if loses_tombstone { Some(self.begin_burial()?) } else { None };
        // What has died must not come alive again because a crash takes back the entry that killed it: then the log would
        // be applied to a state that lacks it.
        self.segments.tail.sync()?;
        self.manifest.cleaned_at = self.last.index;
        let Cleaning { sources, span, output, .. } = self.cleaning.take().expect("it is at its end");
        let copy = match output {
            Some(output) if output.places.is_empty() => {
                // All of it died meanwhile.
                self.home.vfs.remove_file(&self.home.path(&segment_name(output.id)))?;
                None
            }
            Some(output) => Some(output.seal(span, &self.segments.sealed[sources.clone()])?),
            None => None,
        };
        self.manifest.sealed.splice(sources.clone(), copy.as_ref().map(|copy| copy.entry));
        let gone: Vec<Sealed> = self.segments.sealed.splice(sources, copy).collect();
        let buried_before = self.manifest.buried;
        if let Some((id, file)) = burial {
            self.manifest.buried = self.bury(id, &file)?;
        }
        self.home.vfs.sync_dir(&self.home.dir)?;
        self.home.commit(&self.manifest, reservation)?;
        self.show_sealed();
        // Readers that hold a mapping keep the content until they drop it.
        for sealed in gone {
            self.home.vfs.remove_file(&self.home.path(&sealed.segment.name))?;
        }
        if let Some(before) = buried_before.filter(|_| loses_tombstone) {
            self.home.vfs.remove_file(&self.home.path(&dead_name(before.id)))?;
        }
        Ok(())
    }

    /// Takes space for the file of what is buried. A copy has no more records than its sources.
    fn begin_burial(&mut self) -> Result<(u64, V::File), StoreError> {
        let bytes = Buried::most_bytes(self.segments.sealed.iter().map(Sealed::records));
        let id = self.next_id();
        Ok((id, self.home.create(&dead_name(id), bytes)?))
    }

    /// Buries all that is dead in the sealed segments.
    fn bury(&self, id: u64, file: &V::File) -> Result<Option<BuriedEntry>, StoreError> {
        let buried = Buried::of(self.segments.sealed.iter());
        if buried.is_empty() {
            self.home.vfs.remove_file(&self.home.path(&dead_name(id)))?;
            return Ok(None);
        }
        let bytes = buried.encode(id);
        file.write_at(&bytes, 0)?;
        file.set_len(bytes.len() as u64)?;
        file.sync_data()?;
        Ok(Some(BuriedEntry { id, bytes: bytes.len() as u64 }))
    }

    fn give_up_cleaning(&mut self) -> Result<(), StoreError> {
        if let Some(output) = self.cleaning.take().and_then(|cleaning| cleaning.output) {
            self.home.vfs.remove_file(&self.home.path(&segment_name(output.id)))?;
        }
        Ok(())
    }
}

impl<V: Vfs> Cleaning<V> {
    /// Copies about this many bytes. True: that was the last of it.
    fn copy(&mut self, sealed: &[Sealed], budget_bytes: u64) -> Result<bool, StoreError> {
        let Some(output) = &mut self.output else { return Ok(true) };
        let mut copied = 0;
        while self.source < self.sources.end {
            let Sealed { segment, liveness, .. } = &sealed[self.source];
            while let Some(place) = segment.places.get(self.at) {
                if copied >= budget_bytes {
                    return Ok(false);
                }
                if !liveness.is_dead(self.at) {
                    let bytes = segment.read(place)?;
                    output.frame.push_record(place.revision(), place.tombstone(), place.checksum(), &bytes);
                    copied += place.footprint();
                }
                self.at += 1;
                if output.frame.len() >= FRAME_BYTES {
                    output.flush(self.span)?;
                }
            }
            (self.source, self.at) = (self.source + 1, 0);
        }
        if output.frame.len() > HEADER_BYTES {
            output.flush(self.span)?;
        }
        Ok(true)
    }
}

impl<V: Vfs> Output<V> {
    fn flush(&mut self, span: Span) -> Result<(), StoreError> {
        let (bytes, places, _) = self.frame.finish(self.position, Some(span));
        self.file.write_at(bytes, self.position)?;
        self.file.start_writeback(self.position, bytes.len() as u64);
        self.position += bytes.len() as u64;
        self.places.extend(places);
        self.frame.clear();
        Ok(())
    }

    /// Makes the copy durable. What has died in its sources since it was copied is dead in it.
    fn seal(self, span: Span, sources: &[Sealed]) -> Result<Sealed, StoreError> {
        self.file.set_len(self.position)?;
        self.file.sync_data()?;
        let mut liveness = Liveness::of(&self.places);
        let mut copies = self.places.iter().enumerate().peekable();
        for source in sources {
            for (at, place) in source.segment.places.iter().enumerate() {
                let same = |(_, copy): &(usize, &Place)| copy.revision() == place.revision();
                if let Some((position, copy)) = copies.next_if(same)
                    && source.liveness.is_dead(at)
                {
                    liveness.mark(position, copy);
                }
            }
        }
        assert!(copies.next().is_none(), "a copy has records that its sources do not have");
        let entry = SealedEntry { id: self.id, span, bytes: self.position };
        let data = self.file.map()?;
        let segment = Segment { name: segment_name(self.id), data, places: self.places.into() };
        Ok(Sealed { entry, segment: Arc::new(segment), liveness, buried: Bits::default() })
    }
}
