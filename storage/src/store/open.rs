//! Opening: everything is read once and checked, and a torn end is cut off.
//!
//!   manifest ──▶ rows as dumped ──▶ sealed segments ──▶ tail ──▶ rows now, places, position
//!
//! What holds: nothing is taken over unless it matches its checksums and stands where it must: frames in the order of
//! entries without a gap, records in the order of revisions. What the manifest says was synced, and so was all up to the
//! last entry the log vouches for: there nothing is excused. Behind that a bad frame is a write that a crash has torn; it
//! and what follows is set to zero, durably, before anything else is written there. What is seen may be in memory only: an
//! earlier process may have ended before a sync, or because one failed, and then no later sync would write it. So names are
//! synced first, and what nobody vouches for is written again.

use std::path::Path;
use std::sync::Arc;

use ferrite_raft::Index;

use super::buried::{Bits, Burial, Buried};
use super::error::StoreError;
use super::format::{Bad, FileHeader, FileKind, HEADER_BYTES};
use super::frame::{Frame, FrameBuilder, NoFrame};
use super::manifest::{Home, Manifest, SealedEntry, dead_name, is_ours, rows_name, segment_name};
use super::places::{Place, Runs, Segment};
use super::rows::Rows;
use super::segment::{Liveness, Sealed, Segments, TailSegment};
use super::{Identity, Opened, Options, Position, Shared, SharedSizes, Store};
use crate::vfs::{File, Mode, Vfs};
use crate::window::{Drain, Window};
use crate::{Revisions, WindowWriter};

/// Zeros are written in pieces of this length.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

pub(super) fn open<V: Vfs>(
    home: Home<V>,
    lock: V::File,
    identity: Identity,
    whole_up_to: Index,
    options: Options,
) -> Result<(Store<V>, Opened), StoreError> {
    home.vfs.sync_dir(&home.dir)?;
    let manifest = home.read_manifest()?;
    if manifest.identity != identity {
        return Err(StoreError::Foreign { file: home.manifest_path(), expected: identity, found: manifest.identity });
    }
    let mut warnings = Vec::new();
    remove_strangers(&home, &manifest)?;

    let mut reading = Reading::default();
    if let Some(entry) = manifest.rows {
        let path = home.path(&rows_name(entry.id));
        reading.rows =
            Rows::decode(&read(&home, &path)?, entry.id, entry.index).map_err(|bad| StoreError::bad(&path, bad))?;
        reading.dumped = entry.index;
    }
    let mut buried = match manifest.buried {
        Some(entry) => {
            let path = home.path(&dead_name(entry.id));
            Buried::decode(&read(&home, &path)?, entry.id).map_err(|bad| StoreError::bad(&path, bad))?
        }
        None => Buried::default(),
    };
    let mut sealed = Vec::with_capacity(manifest.sealed.len());
    let mut before = None;
    for entry in &manifest.sealed {
        // An import does not know what entry did what: all its segments stand for all entries.
        let goes_on = before == Some(entry.span);
        sealed.push(read_sealed(&home, *entry, goes_on, buried.take(entry.id), &mut reading)?);
        before = Some(entry.span);
    }
    let before = Index(manifest.tail.first.0.saturating_sub(1));
    if reading.last.index > before {
        return Err(StoreError::damaged(&home.manifest_path(), 0, "the tail begins before the sealed segments end"));
    }
    (reading.last.index, reading.last.term) = (before, manifest.tail.term_before);
    let whole = whole_up_to.max(reading.dumped).max(before).max(manifest.cleaned_at);
    let tail = read_tail(&home, manifest.tail.id, whole, options.segment_bytes, &mut reading, &mut warnings)?;

    let Reading { last, rows, .. } = reading;
    let window = Window::new(options.window_bytes, last.revision.main.max(1));
    let shared =
        Shared { files: Arc::default(), sizes: SharedSizes::new(window.appended_bytes()), sealed: Arc::new([]) };
    let opened = Opened {
        applied: last.index,
        term: last.term,
        rows: rows.list(),
        revisions: Revisions::new(window.clone(), shared.files.clone()),
        window: WindowWriter::new(window.clone(), last.index, last.term),
        warnings,
    };
    let mut store = Store {
        home,
        _lock: lock,
        options,
        manifest,
        segments: Segments { sealed, tail, spare: None },
        rows,
        drain: Drain::new(window),
        frame: FrameBuilder::default(),
        last,
        taken_bytes: 0,
        dying: Vec::new(),
        cleaning: None,
        is_defragmenting: false,
        shared,
        is_poisoned: false,
    };
    store.show_sealed();
    store.show_sizes();
    Ok((store, opened))
}

/// Removes the store's files that the manifest does not name: the spare segment, and what a crash left unfinished or
/// done with.
fn remove_strangers<V: Vfs>(home: &Home<V>, manifest: &Manifest) -> Result<(), StoreError> {
    let segments = manifest.sealed.iter().map(|entry| entry.id).chain([manifest.tail.id]).map(segment_name);
    let buried = manifest.buried.map(|buried| dead_name(buried.id));
    let known: Vec<String> = segments.chain(manifest.rows.map(|rows| rows_name(rows.id))).chain(buried).collect();
    for name in home.vfs.read_dir(&home.dir)? {
        if is_ours(&name) && !known.contains(&name) {
            home.vfs.remove_file(&home.path(&name))?;
        }
    }
    Ok(())
}

/// What has been read so far.
#[derive(Debug, Default)]
struct Reading {
    last: Position,
    rows: Rows,
    /// The rows were dumped at this entry, so changes up to it are in already.
    dumped: Index,
}

impl Reading {
    /// Takes in a frame, and says what is wrong with it, if anything is; then nothing of it has been taken in.
    fn take_in(&mut self, frame: &Frame, places: &mut Vec<Place>) -> Result<(), &'static str> {
        let (span, known) = (frame.span(), places.len());
        let mut changes = Vec::new();
        let mut revision = self.last.revision;
        let walked = frame.walk(
            |place| {
                if place.revision() <= revision {
                    return Err("a revision is not above the one before it");
                }
                revision = place.revision();
                places.push(place);
                Ok(())
            },
            |row| changes.push(row),
        );
        let order = match (frame.has_rows(), span.first <= self.dumped, span.last <= self.dumped) {
            (true, true, false) => Err("a frame goes over the entry at which the rows were dumped"),
            _ => Ok(()),
        };
        if let Err(what) = walked.and(order) {
            places.truncate(known);
            return Err(what);
        }
        if span.last > self.dumped {
            changes.into_iter().for_each(|change| self.rows.apply(change));
        }
        self.last = Position { index: span.last, term: span.term, revision };
        Ok(())
    }

    /// Whether a frame of the log's order comes next.
    fn follows(&self, frame: &Frame, expected: Index) -> Result<(), &'static str> {
        let span = frame.span();
        if frame.is_rewritten() {
            Err("a rewritten frame is among others")
        } else if span.first != expected || span.last < span.first {
            Err("a frame does not begin with the entry that comes next")
        } else if span.term < self.last.term {
            Err("a frame's term is below the one before it")
        } else {
            Ok(())
        }
    }
}

fn read<V: Vfs>(home: &Home<V>, path: &Path) -> Result<Vec<u8>, StoreError> {
    match home.vfs.read(path) {
        Err(error) if error.is_not_found() => Err(missing(path)),
        result => Ok(result?),
    }
}

fn missing(path: &Path) -> StoreError {
    StoreError::damaged(path, 0, "the file is missing, though the MANIFEST names it")
}

fn open_named<V: Vfs>(home: &Home<V>, path: &Path, mode: Mode) -> Result<V::File, StoreError> {
    match home.vfs.open(path, mode) {
        Err(error) if error.is_not_found() => Err(missing(path)),
        result => Ok(result?),
    }
}

fn check_header(bytes: &[u8], id: u64, first: Index) -> Result<(), Bad> {
    let header = FileHeader::decode(FileKind::Segment, bytes)?;
    if header.id != id || header.index != first.0 {
        return Err(Bad::Damaged(0, "this is another file than the MANIFEST means"));
    }
    Ok(())
}

/// Reads a segment, which may go on with the range of entries of the one before it if both are rewritten.
fn read_sealed<V: Vfs>(
    home: &Home<V>,
    entry: SealedEntry,
    goes_on: bool,
    burial: Option<Burial>,
    reading: &mut Reading,
) -> Result<Sealed, StoreError> {
    let name = segment_name(entry.id);
    let path = home.path(&name);
    let file = open_named(home, &path, Mode::Read)?;
    let length = file.len()?;
    if length != entry.bytes {
        let what = format!("the file has {length} bytes, not {} as the MANIFEST says", entry.bytes);
        return Err(StoreError::damaged(&path, length.min(entry.bytes), what));
    }
    let data = file.map()?;
    check_header(&data, entry.id, entry.span.first).map_err(|bad| StoreError::bad(&path, bad))?;
    if !goes_on && entry.span.first <= reading.last.index {
        return Err(StoreError::damaged(&path, 0, "the segment begins before the one before it ends"));
    }
    let mut places = Vec::new();
    let mut position = HEADER_BYTES as u64;
    let mut expected = entry.span.first;
    while position < length {
        let damaged = |what: &str| StoreError::damaged(&path, position, what);
        let frame = Frame::read(&data, position).map_err(|no| match no {
            NoFrame::End => damaged("frames are missing"),
            NoFrame::Bad(what) => damaged(what),
        })?;
        // A rewritten segment's frames all stand for the whole of it; their number is held by its length.
        let order = match frame.is_rewritten() {
            true if frame.span() == entry.span && !frame.has_rows() => Ok(()),
            true => Err("a rewritten frame is not of this segment"),
            false if goes_on => Err("a segment goes on with the range of another, and is not rewritten"),
            false => reading.follows(&frame, expected),
        };
        order.and_then(|()| reading.take_in(&frame, &mut places)).map_err(damaged)?;
        expected = frame.span().last.next();
        position = frame.end();
    }
    if reading.last.index != entry.span.last || reading.last.term != entry.span.term {
        return Err(StoreError::damaged(&path, length, "the segment ends with another entry than the MANIFEST says"));
    }
    data.release();
    let buried = match burial {
        Some(Burial { records, dead }) if records == places.len() => dead,
        None => Bits::default(),
        Some(Burial { records, .. }) => {
            let what = format!("the segment has {} records, not {records} as the *.dead file says", places.len());
            return Err(StoreError::damaged(&path, length, what));
        }
    };
    let mut at = 0;
    places.retain(|_| {
        at += 1;
        !buried.get(at - 1)
    });
    let liveness = Liveness::of(&places);
    Ok(Sealed { entry, segment: Arc::new(Segment { name, data, places: places.into() }), liveness, buried })
}

fn read_tail<V: Vfs>(
    home: &Home<V>,
    id: u64,
    whole: Index,
    segment_bytes: u64,
    reading: &mut Reading,
    warnings: &mut Vec<String>,
) -> Result<TailSegment<V>, StoreError> {
    let path = home.path(&segment_name(id));
    let file = open_named(home, &path, Mode::ReadWrite)?;
    let bytes = file.read_all()?;
    check_header(&bytes, id, reading.last.index.next()).map_err(|bad| StoreError::bad(&path, bad))?;

    let mut places = Vec::new();
    let mut position = HEADER_BYTES as u64;
    let mut vouched_for = position;
    let wrong = loop {
        let frame = match Frame::read(&bytes, position) {
            Ok(frame) => frame,
            Err(NoFrame::End) => break None,
            Err(NoFrame::Bad(what)) => break Some(what),
        };
        let order = reading.follows(&frame, reading.last.index.next());
        if let Err(what) = order.and_then(|()| reading.take_in(&frame, &mut places)) {
            break Some(what);
        }
        position = frame.end();
        if frame.span().last <= whole {
            vouched_for = position;
        }
    };
    let written = position + written_bytes(&bytes[position as usize..]);
    let wrong = wrong.or((written > position).then_some("something stands behind the last frame"));
    if reading.last.index < whole {
        let what = format!(
            "{}; entries up to {whole} were made durable, and those behind {} are gone",
            wrong.unwrap_or("frames are missing"),
            reading.last.index
        );
        return Err(StoreError::damaged(&path, position, what));
    }
    if let Some(what) = wrong {
        let torn = written - position;
        warnings.push(format!(
            "{}: cut off {torn} bytes at offset {position}, behind entry {}: {what}",
            path.display(),
            reading.last.index
        ));
        erase(&file, position, written)?;
    }
    if vouched_for < position {
        file.write_at(&bytes[vouched_for as usize..position as usize], vouched_for)?;
    }
    // What was reserved before still is, so this needs space only where a crash has lost it.
    let reserved = match home.allocate(&file, segment_bytes.max(bytes.len() as u64)) {
        Ok(()) => segment_bytes.max(bytes.len() as u64),
        Err(StoreError::Full { .. }) => position,
        Err(error) => return Err(error),
    };
    let liveness = Liveness::of(&places);
    let mut runs = Runs::default();
    runs.push(places);
    Ok(TailSegment {
        id,
        file: Arc::new(file),
        position,
        reserved,
        writeback: position,
        is_synced: false,
        runs,
        liveness,
    })
}

/// The length without the zeros at the end, in whole pieces.
fn written_bytes(bytes: &[u8]) -> u64 {
    let last = bytes.chunks(ZEROS.len()).rposition(|piece| piece != &ZEROS[..piece.len()]);
    last.map_or(0, |last| bytes.len().min((last + 1) * ZEROS.len()) as u64)
}

/// Sets a torn end to zero, durably, so that nothing of it can ever follow what is written in its place.
fn erase(file: &impl File, from: u64, to: u64) -> Result<(), StoreError> {
    let mut at = from;
    while at < to {
        let length = (to - at).min(ZEROS.len() as u64);
        file.write_at(&ZEROS[..length as usize], at)?;
        at += length;
    }
    Ok(file.sync_data()?)
}
