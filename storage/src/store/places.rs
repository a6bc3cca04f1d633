//! Places: where in the files each revision lies, and the list of files that readers hold.
//!
//! What holds: the places of a segment are sorted by revision, and so are the segments, without overlap. A list never
//! changes: whoever writes, seals or cleans puts another in its place, and what a reader holds stays readable.

use std::sync::Arc;

use bytes::Bytes;

use super::frame::{self, TOMBSTONE};
use crate::revisions::{ReadError, RecordBytes, ScannedRecord};
use crate::vfs::{File, Mapping};
use crate::{Checksum, Revision};

/// Where one record lies. 24 bytes, because there are as many as revisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    main: u64,
    sub: u32,
    /// Where the `KeyValue` begins, in units of 8 bytes.
    offset: u32,
    /// Its length, with the tombstone's bit.
    length: u32,
    checksum: u32,
}

const _: () = assert!(size_of::<Place>() == 24);

impl Place {
    pub(super) fn new(revision: Revision, offset: u64, length: u32, checksum: u32) -> Place {
        let sub = u32::try_from(revision.sub).expect("a record holds sub in 32 bits");
        Place { main: revision.main, sub, offset: units(offset), length, checksum }
    }

    /// Turns an offset within a frame into one within the file.
    pub(super) fn shift(&mut self, by: u64) {
        self.offset = units(self.offset() + by);
    }

    pub(crate) fn revision(&self) -> Revision {
        Revision { main: self.main, sub: self.sub.into() }
    }

    pub(crate) fn tombstone(&self) -> bool {
        self.length & TOMBSTONE != 0
    }

    pub(crate) fn checksum(&self) -> u32 {
        self.checksum
    }

    pub(crate) fn hashed(&self) -> Checksum {
        crate::effect::hashed(self.checksum, self.tombstone(), self.length())
    }

    pub(crate) fn offset(&self) -> u64 {
        u64::from(self.offset) * 8
    }

    pub(crate) fn length(&self) -> usize {
        (self.length & !TOMBSTONE) as usize
    }

    /// What the record takes up in the file.
    pub(super) fn footprint(&self) -> u64 {
        frame::record_bytes(self.length()) as u64
    }
}

fn units(offset: u64) -> u32 {
    debug_assert_eq!(offset % 8, 0);
    u32::try_from(offset / 8).expect("a segment is shorter than 32 GiB")
}

/// The position of the first place at or behind a revision.
///
/// Revisions lie nearly evenly unless much is dead, so it begins with a guess and goes on from there in doubling steps:
/// mostly two or three places are looked at instead of twenty.
fn position(places: &[Place], revision: Revision) -> usize {
    let is_before = |position: usize| places[position].revision() < revision;
    let (Some(first), Some(last)) = (places.first(), places.last()) else { return 0 };
    if revision <= first.revision() {
        return 0;
    }
    if last.revision() < revision {
        return places.len();
    }
    // From here on the place at `low` is before the revision, and the one at `high` is not.
    let (mut low, mut high) = (0, places.len() - 1);
    let (part, whole) = (u128::from(revision.main - first.main), u128::from(last.main - first.main));
    let guess = (part * high as u128).checked_div(whole).unwrap_or(0) as usize;
    let mut step = 1;
    if is_before(guess) {
        low = guess;
        while low + step < high {
            if !is_before(low + step) {
                high = low + step;
                break;
            }
            low += step;
            step *= 2;
        }
    } else {
        high = guess;
        while low + step < high {
            if is_before(high - step) {
                low = high - step;
                break;
            }
            high -= step;
            step *= 2;
        }
    }
    low + 1 + places[low + 1..high].partition_point(|place| place.revision() < revision)
}

fn find(places: &[Place], revision: Revision) -> Option<usize> {
    let position = position(places, revision);
    (places.get(position)?.revision() == revision).then_some(position)
}

/// A sealed segment: read-only, and mapped.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(super) name: String,
    pub(super) data: Mapping,
    pub(super) places: Box<[Place]>,
}

impl Segment {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.data
    }

    /// Where in `places` a revision is.
    pub(super) fn find(&self, revision: Revision) -> Option<usize> {
        find(&self.places, revision)
    }

    pub(super) fn last(&self) -> Option<Revision> {
        self.places.last().map(Place::revision)
    }

    /// The record's bytes, which match its checksum.
    pub(super) fn read(self: &Arc<Segment>, place: &Place) -> Result<RecordBytes, ReadError> {
        let start = place.offset() as usize;
        let bytes = self.data.get(start..start + place.length());
        if !bytes.is_some_and(|bytes| frame::matches(place, bytes)) {
            return Err(damaged(&self.name, place));
        }
        Ok(RecordBytes::mapped(self.clone(), start, place.length()))
    }
}

/// The segment that is being written, as far as its frames have been written.
#[derive(Clone, Debug)]
pub(crate) struct Tail {
    name: Arc<str>,
    file: Arc<dyn File>,
    runs: Runs,
}

/// Places in order, in a few runs of which each is longer than the one behind it: adding frame by frame, and handing
/// out the list after each, costs a copy of each place a handful of times.
#[derive(Clone, Debug, Default)]
pub(super) struct Runs(Vec<Arc<[Place]>>);

impl Runs {
    /// Adds the places of a frame.
    pub(super) fn push(&mut self, places: Vec<Place>) {
        if places.is_empty() {
            return;
        }
        let mut total = places.len();
        let keep = self.0.iter().rposition(|run| {
            let stays = run.len() > 2 * total;
            total += if stays { 0 } else { run.len() };
            stays
        });
        let merge = self.0.split_off(keep.map_or(0, |position| position + 1));
        let mut run = Vec::with_capacity(total);
        merge.iter().for_each(|before| run.extend_from_slice(before));
        run.extend(places);
        self.0.push(run.into());
    }

    pub(super) fn all(&self) -> Box<[Place]> {
        self.0.concat().into()
    }

    /// How many there are, and where a revision is among them.
    pub(super) fn find(&self, revision: Revision) -> Option<(usize, Place)> {
        let mut before = 0;
        for run in &self.0 {
            if run.last().is_some_and(|last| last.revision() >= revision) {
                let position = find(run, revision)?;
                return Some((before + position, run[position]));
            }
            before += run.len();
        }
        None
    }
}

impl Tail {
    pub(super) fn new(name: &str, file: Arc<dyn File>, runs: Runs) -> Tail {
        Tail { name: name.into(), file, runs }
    }

    fn read(&self, place: &Place) -> Result<RecordBytes, ReadError> {
        let bytes = self.read_range(place.offset(), place.length())?;
        self.check(place, bytes)
    }

    fn check(&self, place: &Place, bytes: Bytes) -> Result<RecordBytes, ReadError> {
        if frame::matches(place, &bytes) { Ok(bytes.into()) } else { Err(damaged(&self.name, place)) }
    }

    fn read_range(&self, offset: u64, length: usize) -> Result<Bytes, ReadError> {
        let mut bytes = vec![0; length];
        let filled = self.file.read_at(&mut bytes, offset).map_err(ReadError::Io)?;
        bytes.truncate(filled);
        Ok(bytes.into())
    }
}

fn damaged(file: &str, place: &Place) -> ReadError {
    ReadError::Damaged { file: file.to_owned(), offset: place.offset(), revision: place.revision() }
}

/// All files that hold records.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    /// Those sealed segments that hold any, each with its last revision.
    pub(super) sealed: Arc<[(Revision, Arc<Segment>)]>,
    pub(super) tail: Tail,
}

/// What reads a record: a place, and the file it lies in.
enum Found<'a> {
    Sealed(&'a Arc<Segment>, Place),
    Tail(&'a Tail, Place),
}

impl Files {
    fn find(&self, revision: Revision) -> Option<Found<'_>> {
        if let Some((_, place)) = self.tail.runs.find(revision) {
            return Some(Found::Tail(&self.tail, place));
        }
        let (_, segment) = self.sealed.get(self.sealed.partition_point(|(last, _)| *last < revision))?;
        Some(Found::Sealed(segment, segment.places[segment.find(revision)?]))
    }

    pub(crate) fn get(&self, revision: Revision) -> Result<Option<RecordBytes>, ReadError> {
        match self.find(revision) {
            Some(Found::Sealed(segment, place)) => segment.read(&place).map(Some),
            Some(Found::Tail(tail, place)) => tail.read(&place).map(Some),
            None => Ok(None),
        }
    }

    pub(crate) fn checksum(&self, revision: Revision) -> Option<Checksum> {
        let (Found::Sealed(_, place) | Found::Tail(_, place)) = self.find(revision)?;
        Some(place.hashed())
    }

    /// The places at or behind a revision, in order: of one segment, or of a part of the tail.
    pub(crate) fn stretch(&self, from: Revision) -> Option<Stretch> {
        let sealed = self.sealed.partition_point(|(last, _)| *last < from);
        if let Some((_, segment)) = self.sealed.get(sealed) {
            let at = position(&segment.places, from);
            return Some(Stretch { at, source: Source::Sealed(segment.clone()) });
        }
        let run = self.tail.runs.0.iter().find(|run| run.last().is_some_and(|last| last.revision() >= from))?;
        let (at, run) = (position(run, from), run.clone());
        let ahead = Ahead { offset: 0, bytes: Bytes::new() };
        Some(Stretch { at, source: Source::Tail { tail: self.tail.clone(), run, ahead } })
    }
}

/// Some places in a row, to be gone through.
#[derive(Debug)]
pub(crate) struct Stretch {
    at: usize,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Sealed(Arc<Segment>),
    Tail { tail: Tail, run: Arc<[Place]>, ahead: Ahead },
}

/// A part of the tail that has been read at once: neighbours in revision are neighbours in the file.
#[derive(Debug)]
struct Ahead {
    offset: u64,
    bytes: Bytes,
}

/// How much of the tail is read at once.
const AHEAD_BYTES: u64 = 256 << 10;

impl Stretch {
    /// All of a segment.
    pub(super) fn of_segment(segment: Arc<Segment>) -> Stretch {
        Stretch { at: 0, source: Source::Sealed(segment) }
    }

    /// One run of the tail's places, if there are so many.
    pub(super) fn of_tail(tail: &Tail, run: usize) -> Option<Stretch> {
        let run = tail.runs.0.get(run)?.clone();
        let ahead = Ahead { offset: 0, bytes: Bytes::new() };
        Some(Stretch { at: 0, source: Source::Tail { tail: tail.clone(), run, ahead } })
    }

    pub(crate) fn peek(&self) -> Option<&Place> {
        self.places().get(self.at)
    }

    pub(crate) fn skip(&mut self) {
        self.at += 1;
        if let Source::Sealed(segment) = &self.source
            && self.at == segment.places.len()
        {
            // Whoever goes through a whole segment will not be back soon, and its memory is of better use elsewhere.
            segment.data.release();
        }
    }

    fn places(&self) -> &[Place] {
        match &self.source {
            Source::Sealed(segment) => &segment.places,
            Source::Tail { run, .. } => run,
        }
    }

    /// The record at which it stands.
    pub(crate) fn read_record(&mut self) -> Option<Result<ScannedRecord, ReadError>> {
        let place = *self.peek()?;
        Some(self.read().map(|key_value| ScannedRecord {
            revision: place.revision(),
            tombstone: place.tombstone(),
            checksum: place.checksum(),
            key_value,
        }))
    }

    /// The bytes of the place at which it stands.
    fn read(&mut self) -> Result<RecordBytes, ReadError> {
        match &mut self.source {
            Source::Sealed(segment) => segment.read(&segment.places[self.at]),
            Source::Tail { tail, run, ahead } => {
                let place = &run[self.at];
                let end = place.offset() + place.length() as u64;
                if place.offset() < ahead.offset || end > ahead.offset + ahead.bytes.len() as u64 {
                    let limit = place.offset() + AHEAD_BYTES;
                    let many = &run[self.at..];
                    let behind = many.partition_point(|next| next.offset() + next.length() as u64 <= limit);
                    let last = &many[behind.saturating_sub(1)];
                    let end = last.offset() + last.length() as u64;
                    ahead.offset = place.offset();
                    ahead.bytes = tail.read_range(place.offset(), (end - place.offset()) as usize)?;
                }
                let start = (place.offset() - ahead.offset) as usize;
                let end = ahead.bytes.len().min(start + place.length());
                tail.check(place, ahead.bytes.slice(start.min(end)..end))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::lying::Dice;

    fn place(main: u64) -> Place {
        Place::new(Revision { main, sub: 0 }, 8 * main, 1, 0)
    }

    #[test]
    fn a_revision_is_found_however_unevenly_they_lie() {
        let mut dice = Dice::new(1);
        for round in 0..200 {
            let mut revision = Revision { main: 2, sub: 0 };
            let places: Vec<Place> = (0..dice.below(60))
                .map(|_| {
                    match dice.below(if round % 2 == 0 { 2 } else { 4 }) {
                        0 => revision.sub += 1 + dice.below(2),
                        1 => revision = Revision { main: revision.main + 1, sub: 0 },
                        2 => revision = Revision { main: revision.main + dice.below(1 << 40), sub: revision.sub + 1 },
                        _ => revision = Revision { main: revision.main + 7, sub: dice.below(3) },
                    }
                    Place::new(revision, 0, 0, 0)
                })
                .collect();
            let near = |place: &Place| {
                let Revision { main, sub } = place.revision();
                [(main - 1, sub), (main, sub.saturating_sub(1)), (main, sub), (main, sub + 1), (main + 1, 0)]
            };
            for (main, sub) in places.iter().flat_map(near).chain([(0, 0), (u64::MAX, 9)]) {
                let revision = Revision { main, sub };
                let expected = places.iter().position(|place| place.revision() >= revision).unwrap_or(places.len());
                assert_eq!(position(&places, revision), expected, "{revision:?} in {places:?}");
            }
        }
    }

    #[test]
    fn runs_keep_all_places_in_order_in_few_pieces() {
        let mut runs = Runs::default();
        let mut next = 0;
        for frame in 0..1000 {
            let count = 1 + frame * frame % 7;
            runs.push((next..next + count).map(place).collect());
            next += count;
            assert!(runs.0.len() <= 12, "{} runs", runs.0.len());
        }
        assert!(runs.all().iter().eq((0..next).map(place).collect::<Vec<_>>().iter()));
        for main in 0..next {
            assert_eq!(runs.find(Revision { main, sub: 0 }), Some((main as usize, place(main))));
        }
        assert_eq!(runs.find(Revision { main: next, sub: 0 }), None);
        assert_eq!(runs.find(Revision { main: 3, sub: 1 }), None);
    }
}
