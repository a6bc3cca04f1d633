//! A store made from a database of etcd, in a directory of its own: from a file, or from one whose pages stand in order while
//! it arrives.
//!
//!   file ──Store::import──┐         ┌─ rows ──▶ *.rows
//!   pieces ──Import::take─┴─ pairs ─┴─ key  ──▶ frames ──full──▶ sealed segment, … ──all synced──▶ MANIFEST: now it is a store
//!
//! The disk may be shared with a log, and what is on its way to the device is in the way of each sync of that log. So
//! little of it is at a time.
//!
//! What holds: records and rows are taken over byte for byte, and a directory without a MANIFEST is no store, so that a
//! crash leaves one as a whole or none. What entry did what is not known: all segments stand for all entries up to the
//! one that the database is whole up to, and are marked as rewritten.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use ferrite_raft::{Index, Term};

use super::error::StoreError;
use super::export::{Bucket, CONSISTENT_INDEX, RECORDS, TERM};
use super::format::{FileHeader, FileKind, HEADER_BYTES};
use super::frame::{FrameBuilder, Span, record_bytes};
use super::manifest::{Home, Manifest, RowsEntry, SealedEntry, TailEntry, rows_name, segment_name};
use super::rows::Rows;
use super::segment::Spare;
use super::{Identity, Options, Store};
use crate::bbolt::{Database, DatabaseError, InOrder};
use crate::effect::checksum_of;
use crate::vfs::{File, Mode, Vfs};
use crate::{Revision, RowChange, Table};

/// Frames are about this long, or a part of a segment that is small itself.
const FRAME_BYTES: usize = 256 << 10;

/// A value has fewer bytes: one bit of its length says tombstone.
const MAX_VALUE_BYTES: usize = (1 << 31) - 1;

/// Why no store can be made from a database.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{}: bucket {bucket}, key {key:?}: {what}: use another copy of this database", file.display())]
    Content { file: PathBuf, bucket: &'static str, key: Bytes, what: &'static str },
    #[error("{}: it does not say up to which entry of the log it is whole: this is no database of etcd", file.display())]
    NoIndex { file: PathBuf },
}

/// What a store was made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The last entry whose effect is in it, and its term.
    pub applied: Index,
    pub term: Term,
}

impl<V: Vfs> Store<V> {
    /// Makes a store from a database. Whatever is in the directory goes. When this returns the store is durable.
    pub fn import(
        vfs: &V,
        database: &Path,
        dir: &Path,
        identity: Identity,
        options: Options,
    ) -> Result<Imported, ImportError> {
        let source = Database::open(vfs, database)?;
        let mut said = Said::default();
        for pair in source.pairs(Table::Meta.name())? {
            let (key, value) = pair?;
            said.hear(&key, &value).map_err(|what| content(database, Table::Meta.name(), &key, what))?;
        }
        let mut taking = Taking::new(vfs, dir, database, said.imported(database)?, options)?;
        for bucket in Bucket::all() {
            for pair in source.pairs(bucket.name())? {
                let (key, value) = pair?;
                taking.put(bucket, &key, &value)?;
            }
        }
        taking.finish(identity)
    }
}

/// A store that is made of a database while that arrives.
#[derive(Debug)]
pub struct Import<V: Vfs> {
    source: InOrder,
    taking: Taking<V>,
    identity: Identity,
}

impl<V: Vfs> Import<V> {
    /// Bytes that have to be there before it can be told whether a database can be taken like this.
    pub const FIRST_BYTES: usize = InOrder::FIRST_BYTES;

    /// Begins a store of a database that begins with these bytes and is said to be whole up to an entry; `None` if the
    /// database has to be in a file first. Whatever is in the directory goes. None of the bytes counts as taken.
    pub fn begin(
        vfs: &V,
        first: &[u8],
        dir: &Path,
        expected: Imported,
        identity: Identity,
        options: Options,
    ) -> Result<Option<Import<V>>, ImportError> {
        let name = Path::new("the database that arrives");
        let Some(source) = InOrder::begin(first, name) else { return Ok(None) };
        let taking = Taking::new(vfs, dir, name, expected, options)?;
        Ok(Some(Import { source, taking, identity }))
    }

    /// Takes the next bytes.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(), ImportError> {
        let Import { source, taking, .. } = self;
        source.take(bytes, &mut |name, key, value| match Bucket::named(name) {
            Some(bucket) => taking.put(bucket, key, value),
            // As in a file: nobody looks for it.
            None => Ok(()),
        })
    }

    /// All has arrived. When this returns the store is durable. Without it there is none.
    pub fn finish(self) -> Result<Imported, ImportError> {
        self.source.finish()?;
        self.taking.finish(self.identity)
    }
}

/// What a database says of itself.
#[derive(Clone, Copy, Debug, Default)]
struct Said {
    index: Option<u64>,
    term: u64,
}

impl Said {
    /// Whether a row of `meta` says something.
    fn hear(&mut self, key: &[u8], value: &[u8]) -> Result<bool, &'static str> {
        if key != CONSISTENT_INDEX && key != TERM {
            return Ok(false);
        }
        let number = <[u8; 8]>::try_from(value).map(u64::from_be_bytes).map_err(|_| "the value is no number")?;
        match key == TERM {
            true => self.term = number,
            false => self.index = Some(number),
        }
        Ok(true)
    }

    fn imported(&self, file: &Path) -> Result<Imported, ImportError> {
        let index = self.index.filter(|index| (1..u64::MAX).contains(index));
        let index = index.ok_or_else(|| ImportError::NoIndex { file: file.to_path_buf() })?;
        Ok(Imported { applied: Index(index), term: Term(self.term) })
    }
}

fn content(file: &Path, bucket: &'static str, key: &[u8], what: &'static str) -> ImportError {
    ImportError::Content { file: file.to_path_buf(), bucket, key: Bytes::copy_from_slice(key), what }
}

/// Pairs on their way into a store.
#[derive(Debug)]
struct Taking<V: Vfs> {
    home: Home<V>,
    options: Options,
    /// What errors call the database.
    file: PathBuf,
    said: Said,
    rows: Rows,
    segments: SegmentWriter<V>,
    before: Revision,
}

impl<V: Vfs> Taking<V> {
    fn new(vfs: &V, dir: &Path, file: &Path, expected: Imported, options: Options) -> Result<Taking<V>, ImportError> {
        vfs.remove_dir_all(dir).map_err(StoreError::from)?;
        vfs.create_dir_all(dir).map_err(StoreError::from)?;
        let home = || Home { vfs: vfs.clone(), dir: dir.to_path_buf() };
        let span = Span { first: Index(1), last: expected.applied, term: expected.term };
        Ok(Taking {
            home: home(),
            options,
            file: file.to_path_buf(),
            said: Said::default(),
            rows: Rows::default(),
            segments: SegmentWriter::new(home(), span, options.segment_bytes),
            before: Revision::default(),
        })
    }

    fn put(&mut self, bucket: Bucket, key: &[u8], value: &[u8]) -> Result<(), ImportError> {
        let Bucket::Rows(table) = bucket else { return self.put_record(key, value) };
        let content = |what| content(&self.file, table.name(), key, what);
        if table == Table::Meta && self.said.hear(key, value).map_err(content)? {
            return Ok(());
        }
        // A row is a part of a page, which need not be held for it.
        let copy = Bytes::copy_from_slice;
        self.rows.apply(RowChange { table, key: copy(key), value: Some(copy(value)) });
        Ok(())
    }

    fn put_record(&mut self, key: &[u8], value: &[u8]) -> Result<(), ImportError> {
        let content = |what| content(&self.file, RECORDS, key, what);
        let (revision, tombstone) = parse_revision(key).ok_or_else(|| content("the key is no revision"))?;
        if revision <= self.before {
            return Err(content("the revision is there twice"));
        }
        if value.len() > MAX_VALUE_BYTES {
            return Err(content("the value is longer than 2 GiB"));
        }
        self.before = revision;
        Ok(self.segments.push(revision, tombstone, value)?)
    }

    fn finish(self, identity: Identity) -> Result<Imported, ImportError> {
        let Taking { home, options, file, said, rows, segments, .. } = self;
        let imported = said.imported(&file)?;
        let (sealed, next_id) = segments.finish()?;
        write_the_rest(&home, identity, &rows, sealed, next_id, imported, options)?;
        if let Some(parent) = home.dir.parent() {
            home.vfs.sync_dir(parent).map_err(StoreError::from)?;
        }
        Ok(imported)
    }
}

/// A revision as etcd stores it, and whether it is a tombstone's. `None` if it is none, or none that any etcd has written.
fn parse_revision(key: &[u8]) -> Option<(Revision, bool)> {
    let tombstone = match key.len() {
        17 => false,
        18 if key[17] == b't' => true,
        _ => return None,
    };
    let number = |at: usize| Some(u64::from_be_bytes(*key.get(at..)?.first_chunk()?));
    let (main, sub) = (number(0)?, number(9)?);
    let possible = key[8] == b'_' && i64::try_from(main).is_ok() && u32::try_from(sub).is_ok();
    possible.then_some((Revision { main, sub }, tombstone))
}

/// Writes records into segments, each durable when it is full.
#[derive(Debug)]
struct SegmentWriter<V: Vfs> {
    home: Home<V>,
    span: Span,
    segment_bytes: u64,
    frame_bytes: usize,
    next_id: u64,
    sealed: Vec<SealedEntry>,
    /// The segment that is being written.
    open: Option<OpenSegment<V>>,
    frame: FrameBuilder,
}

#[derive(Debug)]
struct OpenSegment<V: Vfs> {
    id: u64,
    file: V::File,
    /// Where the last frame begins, which is on its way to the device, and where it ends.
    last: u64,
    position: u64,
}

impl<V: Vfs> SegmentWriter<V> {
    fn new(home: Home<V>, span: Span, segment_bytes: u64) -> SegmentWriter<V> {
        SegmentWriter {
            home,
            span,
            segment_bytes,
            frame_bytes: FRAME_BYTES.min(segment_bytes as usize / 8),
            next_id: 1,
            sealed: Vec::new(),
            open: None,
            frame: FrameBuilder::default(),
        }
    }

    fn push(&mut self, revision: Revision, tombstone: bool, value: &[u8]) -> Result<(), StoreError> {
        let length = record_bytes(value.len());
        if self.frame.len() > HEADER_BYTES && self.frame.len() + length > self.frame_bytes {
            self.flush()?;
        }
        self.frame.push_record(revision, tombstone, checksum_of(revision, tombstone, value), value);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        let length = self.frame.len() as u64;
        if self.open.as_ref().is_some_and(|open| open.position + length > self.segment_bytes) {
            self.seal()?;
        }
        let open = match &mut self.open {
            Some(open) => open,
            None => {
                let id = self.next_id;
                self.next_id += 1;
                // Without taking space for it first: what is too much would have to be given back.
                let path = self.home.path(&segment_name(id));
                let file = self.home.vfs.open(&path, Mode::CreateNew).map_err(|error| self.home.full_or(error))?;
                let header =
                    FileHeader { kind: FileKind::Segment, id, index: self.span.first.0, body_bytes: 0, body_crc: 0 };
                file.write_at(&header.encode(), 0).map_err(|error| self.home.full_or(error))?;
                self.open.insert(OpenSegment { id, file, last: 0, position: HEADER_BYTES as u64 })
            }
        };
        let (bytes, ..) = self.frame.finish(open.position, Some(self.span));
        open.file.write_at(bytes, open.position).map_err(|error| self.home.full_or(error))?;
        open.file.start_writeback(open.position, bytes.len() as u64);
        // The one before it must have left: this one goes while the next is made.
        open.file.wait_writeback(open.last, open.position - open.last)?;
        (open.last, open.position) = (open.position, open.position + length);
        self.frame.clear();
        Ok(())
    }

    fn seal(&mut self) -> Result<(), StoreError> {
        if let Some(OpenSegment { id, file, last, position }) = self.open.take() {
            file.wait_writeback(last, position - last)?;
            file.sync_data()?;
            self.sealed.push(SealedEntry { id, span: self.span, bytes: position });
        }
        Ok(())
    }

    /// The segments, and the number of the next file.
    fn finish(mut self) -> Result<(Vec<SealedEntry>, u64), StoreError> {
        if self.frame.len() > HEADER_BYTES {
            self.flush()?;
        }
        self.seal()?;
        Ok((self.sealed, self.next_id))
    }
}

/// The rows, an empty tail, and the manifest that makes a store of it all.
fn write_the_rest<V: Vfs>(
    home: &Home<V>,
    identity: Identity,
    rows: &Rows,
    sealed: Vec<SealedEntry>,
    next_id: u64,
    imported: Imported,
    options: Options,
) -> Result<(), StoreError> {
    let (rows_id, tail_id, index) = (next_id, next_id + 1, imported.applied);
    let bytes = rows.encode(rows_id, index);
    let file = home.create(&rows_name(rows_id), bytes.len() as u64)?;
    file.write_at(&bytes, 0)?;
    file.sync_data()?;
    Spare::create(home, tail_id, options.segment_bytes)?.begin(index.next())?;
    let manifest = Manifest {
        identity,
        next_id: tail_id + 1,
        rows: Some(RowsEntry { id: rows_id, index }),
        buried: None,
        tail: TailEntry { id: tail_id, first: index.next(), term_before: imported.term },
        // No log could bring the store to where it begins.
        cleaned_at: index,
        sealed,
    };
    let reservation = home.reserve_manifest(manifest.sealed.len())?;
    home.commit(&manifest, reservation)
}
