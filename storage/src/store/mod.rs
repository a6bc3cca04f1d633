//! The store: all that was applied, in files. Only the store thread writes it.
//!
//!   window ──write──▶ frame ▸ tail ──full──▶ sealed segment ──mostly dead──▶ clean: its rest, in another segment
//!                       │ rows
//!                       ▼                                             └── what is dead elsewhere ──▶ *.dead
//!                     tables ──dump──▶ *.rows
//!
//! What holds: the store is a prefix of whole effects. `sync` makes it durable up to the last effect written; before that
//! a crash may cut frames off at the end, and the write-ahead log has them. A file is part of the store once the manifest
//! names it, which it does only when the file is durable. Readers hold a list of files that never changes; another takes
//! its place. Once a write or a sync has failed, nothing is known of what is on disk: every later call is refused.

mod buried;
mod clean;
mod error;
mod export;
mod format;
mod frame;
mod import;
mod install;
mod manifest;
mod open;
pub(crate) mod places;
mod rows;
mod segment;
mod sizes;
mod snapshot;
mod table_rows;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use ferrite_raft::{Index, Term};

use crate::vfs::{File, Lock, Mode, Vfs};
use crate::window::{Drain, Shown};
use crate::{Revision, Revisions, Table, WindowWriter};
use buried::Bits;
use clean::Cleaning;
use format::HEADER_BYTES;
use frame::{FrameBuilder, Span};
use manifest::{Home, Manifest, RowsEntry, SealedEntry, TailEntry, rows_name, segment_name};
use places::{Files, Segment};
use rows::Rows;
use segment::{Sealed, Segments, Spare};

pub use clean::Cleaned;
pub use error::StoreError;
pub use export::{Export, Plan};
pub(crate) use frame::effect_bytes;
pub use import::{Import, ImportError, Imported};
pub use install::{is_unsettled, received_dir, settle};
pub use sizes::{SharedSizes, Sizes};
pub use snapshot::StoreSnapshot;
pub use table_rows::TableRows;

/// Whose store this is; the log's metadata must say the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    pub node_id: u64,
    pub cluster_id: u64,
}

/// The sizes of things. The default is meant for production, other values for tests.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Space taken for a segment at once. One that must hold a larger frame is larger.
    pub segment_bytes: u64,
    /// A window that holds as much makes the apply thread wait.
    pub window_bytes: u64,
    /// Rows are dumped when as many bytes of them have changed, and as many as the last dump had.
    pub dump_bytes: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options { segment_bytes: 64 << 20, window_bytes: 64 << 20, dump_bytes: 1 << 20 }
    }
}

/// What opening found.
#[derive(Debug)]
pub struct Opened {
    /// The last entry whose effect is in the store, and its term. 0 in a new store.
    pub applied: Index,
    pub term: Term,
    /// All rows of the tables, by table and key.
    pub rows: Vec<(Table, Bytes, Bytes)>,
    /// What readers look revisions up in.
    pub revisions: Revisions,
    /// Where the effects of the entries behind `applied` go.
    pub window: WindowWriter,
    /// What was not as after a clean stop, for the log.
    pub warnings: Vec<String>,
}

/// What a call of [`Store::write`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// How many effects went into a frame; 0 if the window was empty.
    pub effects: usize,
    /// The last entry that is in the store's files.
    pub applied: Index,
    pub space: Space,
}

/// Whether there is space for what comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    Reserved,
    /// No space could be taken for the next segment: raise NOSPACE. What has been taken can still be written.
    Short,
}

/// The store thread's store.
#[derive(Debug)]
pub struct Store<V: Vfs> {
    home: Home<V>,
    _lock: V::File,
    options: Options,
    manifest: Manifest,
    segments: Segments<V>,
    rows: Rows,
    drain: Drain,
    frame: FrameBuilder,
    last: Position,
    /// What all effects that came from the window have added to frames.
    taken_bytes: u64,
    /// Dead revisions whose records are still in the window.
    dying: Vec<Revision>,
    cleaning: Option<Cleaning<V>>,
    /// Copy whatever gives anything back, until nothing does: somebody asked for it.
    is_defragmenting: bool,
    shared: Shared,
    is_poisoned: bool,
}

/// The last entry and the last revision in the files.
#[derive(Clone, Copy, Debug, Default)]
struct Position {
    index: Index,
    term: Term,
    revision: Revision,
}

/// What other threads look at.
#[derive(Debug)]
struct Shared {
    files: Arc<ArcSwapOption<Files>>,
    /// The sealed part of `files`.
    sealed: Arc<[(Revision, Arc<Segment>)]>,
    sizes: SharedSizes,
}

impl<V: Vfs> Store<V> {
    /// Makes a new, empty store in a directory. What a crash left of an earlier attempt is no obstacle.
    pub fn create(vfs: V, dir: &Path, identity: Identity, options: Options) -> Result<(Store<V>, Opened), StoreError> {
        vfs.create_dir_all(dir)?;
        let home = Home { vfs: vfs.clone(), dir: dir.to_path_buf() };
        let lock = lock(&home)?;
        let first = segment_name(1);
        for name in vfs.read_dir(dir)? {
            // A manifest, or a segment that no attempt can have left: this is a store that has lost its manifest.
            let holds_frames = || match vfs.read(&home.path(&name)) {
                Ok(bytes) => bytes.iter().skip(HEADER_BYTES).any(|byte| *byte != 0),
                Err(_) => true,
            };
            if manifest::is_ours(&name) && name.ends_with(".seg") && (name != first || holds_frames()) {
                return Err(StoreError::NoManifest { dir: dir.to_path_buf() });
            }
            if manifest::is_ours(&name) {
                vfs.remove_file(&home.path(&name))?;
            }
        }
        if let Some(parent) = dir.parent() {
            vfs.sync_dir(parent)?;
        }
        let spare = Spare::create(&home, 1, options.segment_bytes)?;
        spare.begin(Index(1))?;
        let tail = TailEntry { id: 1, first: Index(1), term_before: Term(0) };
        let manifest =
            Manifest { identity, next_id: 2, rows: None, buried: None, sealed: Vec::new(), tail, cleaned_at: Index(0) };
        home.commit(&manifest, home.reserve_manifest(0)?)?;
        drop(lock);
        Store::open(vfs, dir, identity, Index(0), options)
    }

    /// Opens a store. The log says that it was synced up to the entry `whole_up_to`: what is bad before that is damage, and
    /// is refused; what is bad behind it is a torn write, and is cut off, for the log to be replayed from there.
    pub fn open(
        vfs: V,
        dir: &Path,
        identity: Identity,
        whole_up_to: Index,
        options: Options,
    ) -> Result<(Store<V>, Opened), StoreError> {
        let home = Home { vfs, dir: dir.to_path_buf() };
        if !home.vfs.exists(&home.manifest_path())? {
            return Err(StoreError::Missing { dir: home.dir });
        }
        let lock = lock(&home)?;
        open::open(home, lock, identity, whole_up_to, options)
    }

    /// Writes effects from the window's front, whole ones and at most `max_bytes` of them, but at least one. They can be
    /// read from the files then, and are not yet durable.
    pub fn write(&mut self, max_bytes: u64) -> Result<Written, StoreError> {
        self.change(|store| store.write_frame(max_bytes))
    }

    /// Makes durable what was written, and says up to which entry the store is whole now.
    pub fn sync(&mut self) -> Result<Index, StoreError> {
        self.change(|store| {
            store.segments.tail.sync()?;
            Ok(store.last.index)
        })
    }

    /// Marks revisions dead: a compaction took them out of the index. Those that are not there are dead already; those
    /// that are still in the window are marked when they have been written.
    pub fn trim(&mut self, dead: &[Revision]) {
        let last = self.last.revision;
        self.dying.extend(dead.iter().filter(|revision| **revision > last));
        let Segments { sealed, tail, .. } = &mut self.segments;
        let mut holding: Vec<&mut Sealed> = sealed.iter_mut().filter(|one| !one.segment.places.is_empty()).collect();
        for revision in dead {
            if let Some((position, place)) = tail.runs.find(*revision) {
                tail.liveness.mark(position, &place);
                continue;
            }
            let at = holding.partition_point(|sealed| sealed.segment.last() < Some(*revision));
            if let Some(sealed) = holding.get_mut(at)
                && let Some(position) = sealed.segment.find(*revision)
            {
                sealed.liveness.mark(position, &sealed.segment.places[position]);
            }
        }
        self.show_sizes();
    }

    /// Writes all rows to a file, if their changes outweigh the last one; older changes are dead then. False: not due, or
    /// there is no space for it.
    pub fn dump_if_due(&mut self) -> Result<bool, StoreError> {
        let due = self.rows.changed_bytes > self.rows.dump_bytes.max(self.options.dump_bytes);
        if due { self.dump() } else { Ok(false) }
    }

    /// Writes all rows to a file. False: there is no space for it.
    pub fn dump(&mut self) -> Result<bool, StoreError> {
        match self.change(Store::dump_rows) {
            Err(StoreError::Full { .. }) => Ok(false),
            result => result.map(|()| true),
        }
    }

    /// Asks that all be given back that is not alive. [`Store::clean`] does it, step by step.
    pub fn defragment(&mut self) -> Result<(), StoreError> {
        self.dump()?;
        let tail = &self.segments.tail;
        let waste = tail.position.saturating_sub(HEADER_BYTES as u64 + tail.liveness.alive_bytes);
        if tail.has_frames() && waste * clean::WORTH > tail.position {
            match self.change(|store| store.rotate(0)) {
                Err(StoreError::Full { .. }) => {}
                result => result?,
            }
        }
        self.is_defragmenting = true;
        Ok(())
    }

    /// What is in the files.
    pub fn sizes(&self) -> Sizes {
        let Segments { sealed, tail, .. } = &self.segments;
        let written: u64 = sealed.iter().map(|sealed| sealed.entry.bytes).sum();
        let alive: u64 = sealed.iter().map(|sealed| sealed.liveness.alive_bytes).sum();
        let buried = self.manifest.buried.map_or(0, |buried| buried.bytes);
        Sizes {
            bytes_written: written + tail.position + self.rows.dump_bytes + buried,
            bytes_alive: alive + tail.liveness.alive_bytes + self.rows.alive_bytes,
        }
    }

    /// The sizes for other threads, as they change, with what is on its way into the files.
    pub fn shared_sizes(&self) -> SharedSizes {
        self.shared.sizes.clone()
    }

    /// The last entry that is in the files.
    pub fn applied(&self) -> Index {
        self.last.index
    }

    /// The term of the last entry that is in the files.
    pub fn term(&self) -> Term {
        self.last.term
    }

    /// All rows after the last entry that is in the files.
    pub fn rows(&self) -> &TableRows {
        &self.rows.rows
    }

    /// Whose store this is.
    pub fn identity(&self) -> Identity {
        self.manifest.identity
    }

    /// Every change goes through here: after a failure nothing is known of the disk, and no other is tried.
    fn change<T>(&mut self, change: impl FnOnce(&mut Store<V>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        if self.is_poisoned {
            return Err(StoreError::Poisoned);
        }
        let result = change(self);
        self.is_poisoned = !matches!(result, Ok(_) | Err(StoreError::Full { .. }));
        self.show_sizes();
        result
    }

    fn write_frame(&mut self, max_bytes: u64) -> Result<Written, StoreError> {
        let mut effects = 0;
        let mut missing = None;
        loop {
            let room = self.segments.tail.room();
            let (frame, last) = (&mut self.frame, &mut self.last);
            let rows = &mut self.rows;
            self.drain.take(|effect| {
                let added = frame::effect_bytes(effect);
                let length = (frame.len() + added) as u64;
                if effects > 0 && length > max_bytes.min(room) {
                    return false;
                }
                if length > room {
                    missing = Some(length);
                    return false;
                }
                assert_eq!(effect.index, last.index.next(), "gap in the effects");
                frame.push(effect);
                effect.rows.iter().for_each(|row| rows.apply(row.clone()));
                let revision = effect.records.last().map_or(last.revision, |record| record.revision);
                *last = Position { index: effect.index, term: effect.term, revision };
                self.taken_bytes += added as u64;
                effects += 1;
                true
            });
            match missing.take() {
                Some(length) => self.rotate(length)?,
                None => break,
            }
        }
        if effects > 0 {
            let (bytes, places, span) = self.frame.finish(self.segments.tail.position, None);
            assert_eq!(span.last, self.last.index);
            self.segments.tail.append(bytes, places)?;
            self.frame.clear();
            // Readers find it in the files before it goes from the window.
            let shown = self.show_tail();
            self.drain.release(shown);
            if !self.dying.is_empty() {
                let dying = std::mem::take(&mut self.dying);
                self.trim(&dying);
            }
        }
        Ok(Written { effects, applied: self.last.index, space: self.prepare_spare()? })
    }

    /// Takes the space for the next segment once half of this one is used, so that it is there when it is needed.
    fn prepare_spare(&mut self) -> Result<Space, StoreError> {
        let tail = &self.segments.tail;
        if self.segments.spare.is_some() || tail.room() > self.options.segment_bytes / 2 {
            return Ok(Space::Reserved);
        }
        match self.create_spare(self.options.segment_bytes) {
            Ok(()) => Ok(Space::Reserved),
            Err(StoreError::Full { .. }) => Ok(Space::Short),
            Err(error) => Err(error),
        }
    }

    fn create_spare(&mut self, bytes: u64) -> Result<(), StoreError> {
        let id = self.next_id();
        self.segments.spare = Some(Spare::create(&self.home, id, bytes)?);
        Ok(())
    }

    fn next_id(&mut self) -> u64 {
        self.manifest.next_id += 1;
        self.manifest.next_id - 1
    }

    /// Seals the tail, and goes on with another that has room for a frame of this length.
    fn rotate(&mut self, frame_bytes: u64) -> Result<(), StoreError> {
        let wanted = self.options.segment_bytes.max(HEADER_BYTES as u64 + frame_bytes);
        if !self.segments.tail.has_frames() {
            // Nothing to seal; it has to become longer.
            self.home.allocate(&self.segments.tail.file, wanted)?;
            self.segments.tail.reserved = wanted;
            return Ok(());
        }
        // All that needs space comes first: a full disk must leave the tail as it is.
        match &mut self.segments.spare {
            Some(spare) => spare.reserve(&self.home, wanted)?,
            None => self.create_spare(wanted)?,
        }
        let reservation = self.home.reserve_manifest(self.manifest.sealed.len() + 1)?;

        let spare = self.segments.spare.take().expect("there is one by now");
        let next = spare.begin(self.last.index.next())?;
        let tail = &self.segments.tail;
        tail.file.set_len(tail.position)?;
        tail.file.sync_data()?;
        let segment = Segment { name: segment_name(tail.id), data: tail.file.map()?, places: tail.runs.all() };
        let span = Span { first: self.manifest.tail.first, last: self.last.index, term: self.last.term };
        let entry = SealedEntry { id: tail.id, span, bytes: tail.position };
        self.manifest.sealed.push(entry);
        self.manifest.tail = TailEntry { id: next.id, first: self.last.index.next(), term_before: self.last.term };
        self.home.commit(&self.manifest, reservation)?;

        let tail = std::mem::replace(&mut self.segments.tail, next);
        self.segments.sealed.push(Sealed {
            entry,
            segment: Arc::new(segment),
            liveness: tail.liveness,
            buried: Bits::default(),
        });
        self.show_sealed();
        Ok(())
    }

    fn dump_rows(&mut self) -> Result<(), StoreError> {
        if self.manifest.rows.is_some_and(|rows| rows.index == self.last.index) {
            return Ok(());
        }
        // Rows must not be ahead of records, so these have to be durable first.
        self.segments.tail.sync()?;
        let id = self.next_id();
        let bytes = self.rows.encode(id, self.last.index);
        let file = self.home.create(&rows_name(id), bytes.len() as u64)?;
        let reservation = match self.home.reserve_manifest(self.manifest.sealed.len()) {
            Ok(reservation) => reservation,
            Err(error) => {
                self.home.vfs.remove_file(&self.home.path(&rows_name(id)))?;
                return Err(error);
            }
        };
        file.write_at(&bytes, 0)?;
        file.sync_data()?;
        self.home.vfs.sync_dir(&self.home.dir)?;
        let before = self.manifest.rows.replace(RowsEntry { id, index: self.last.index });
        self.home.commit(&self.manifest, reservation)?;
        (self.rows.changed_bytes, self.rows.dump_bytes) = (0, bytes.len() as u64);
        if let Some(before) = before {
            self.home.vfs.remove_file(&self.home.path(&rows_name(before.id)))?;
        }
        Ok(())
    }

    /// Lets readers see the sealed segments as they are now.
    fn show_sealed(&mut self) {
        let segments = self.segments.sealed.iter().map(|sealed| &sealed.segment);
        self.shared.sealed = segments.filter_map(|segment| Some((segment.last()?, segment.clone()))).collect();
        self.show_tail();
    }

    /// Lets readers see the tail as it is now.
    fn show_tail(&self) -> Shown {
        let files = Files { sealed: self.shared.sealed.clone(), tail: self.segments.tail.view() };
        self.shared.files.store(Some(Arc::new(files)));
        Shown
    }

    fn show_sizes(&self) {
        self.shared.sizes.set(self.sizes(), self.taken_bytes);
    }
}

fn lock<V: Vfs>(home: &Home<V>) -> Result<V::File, StoreError> {
    let file = home.path("LOCK");
    let lock = home.vfs.open(&file, Mode::Create)?;
    if lock.try_lock(Lock::Flock)? { Ok(lock) } else { Err(StoreError::Locked { file }) }
}
