//! Revisions: how readers find what was stored under a revision, wherever it lies by now.
//!
//!   get ─▶ window ─miss─▶ files
//!
//! What holds: the window is asked first. The store shows a record in the files before it takes it out of the window, so
//! a reader who misses it in the window finds it in the files. What comes from a file is checked against its checksum
//! before anyone sees it. No look-up waits for a writer, and none that finds memory or a mapped file allocates.

use std::ops::Deref;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use ferrite_raft::{Index, Term};

use crate::store::places::{Files, Segment, Stretch};
use crate::window::{Directory, Window};
use crate::{Checksum, Record, Revision, WindowWriter, vfs};

/// A revision cannot be read, though it exists. Our disk is wrong: the member stops.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error(
        "{file}: revision {}/{} at offset {offset} does not match its checksum: \
         restore the member from a snapshot, or remove it from the cluster and add it again",
        revision.main, revision.sub
    )]
    Damaged { file: String, offset: u64, revision: Revision },
    #[error(transparent)]
    Io(vfs::Error),
}

/// An encoded `KeyValue`, held in memory or in a mapped file for as long as this lives.
#[derive(Clone)]
pub struct RecordBytes(Held);

#[derive(Clone)]
enum Held {
    Memory(Bytes),
    Mapped { segment: Arc<Segment>, start: usize, length: usize },
}

impl RecordBytes {
    pub(crate) fn mapped(segment: Arc<Segment>, start: usize, length: usize) -> RecordBytes {
        RecordBytes(Held::Mapped { segment, start, length })
    }
}

impl From<Bytes> for RecordBytes {
    fn from(bytes: Bytes) -> RecordBytes {
        RecordBytes(Held::Memory(bytes))
    }
}

impl Deref for RecordBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Held::Memory(bytes) => bytes,
            Held::Mapped { segment, start, length } => &segment.bytes()[*start..*start + *length],
        }
    }
}

impl AsRef<[u8]> for RecordBytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl std::fmt::Debug for RecordBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Bytes::copy_from_slice(self).fmt(f)
    }
}

/// Copies nothing; a mapped file stays mapped for as long as the bytes live.
impl From<RecordBytes> for Bytes {
    fn from(bytes: RecordBytes) -> Bytes {
        match bytes.0 {
            Held::Memory(bytes) => bytes,
            Held::Mapped { .. } => Bytes::from_owner(bytes),
        }
    }
}

/// A record as a scan meets it.
#[derive(Clone, Debug)]
pub struct ScannedRecord {
    pub revision: Revision,
    pub tombstone: bool,
    /// CRC-32C of the encoded revision and the `KeyValue`, as HashKV hashes them.
    pub checksum: u32,
    pub key_value: RecordBytes,
}

/// A record's checksum as a scan meets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScannedChecksum {
    pub revision: Revision,
    pub tombstone: bool,
    pub checksum: Checksum,
}

/// All revisions of a store: what readers hold. Clones see the same.
#[derive(Clone, Debug)]
pub struct Revisions {
    window: Arc<Window>,
    /// None if all there is lies in memory.
    files: Arc<ArcSwapOption<Files>>,
}

/// Revisions that live in memory only, for tests of what stands on a store.
pub fn in_memory() -> (WindowWriter, Revisions) {
    let window = Window::new(u64::MAX, 1);
    (WindowWriter::new(window.clone(), Index(0), Term(0)), Revisions { window, files: Arc::default() })
}

impl Revisions {
    pub(crate) fn new(window: Arc<Window>, files: Arc<ArcSwapOption<Files>>) -> Revisions {
        Revisions { window, files }
    }

    /// The `KeyValue` stored under a revision. `None` if there is none, or no more.
    pub fn get(&self, revision: Revision) -> Result<Option<RecordBytes>, ReadError> {
        if let Some(bytes) = self.window.get(revision, |record| record.key_value.clone()) {
            return Ok(Some(bytes.into()));
        }
        self.files.load().as_ref().map_or(Ok(None), |files| files.get(revision))
    }

    /// The checksum of a revision, without reading its value.
    pub fn checksum(&self, revision: Revision) -> Option<Checksum> {
        let window = self.window.get(revision, Record::hashed);
        window.or_else(|| self.files.load().as_ref()?.checksum(revision))
    }

    /// The last `main` that readers may be told of.
    pub fn published_main(&self) -> u64 {
        self.window.published_main()
    }

    /// Records in revision order, from one revision up to the last of `until_main` or of what is published now. A scan
    /// keeps files and memory from going away: take bounded steps. Revisions that compaction has taken out may still
    /// come.
    pub fn scan(&self, from: Revision, until_main: u64) -> Scan {
        Scan(self.steps(from, until_main))
    }

    /// The same without the values, which are not read.
    pub fn checksums(&self, from: Revision, until_main: u64) -> impl Iterator<Item = ScannedChecksum> + use<> {
        let mut steps = self.steps(from, until_main);
        std::iter::from_fn(move || {
            steps.next(
                |record| ScannedChecksum {
                    revision: record.revision,
                    tombstone: record.tombstone,
                    checksum: record.hashed(),
                },
                |stretch| {
                    stretch.peek().map(|place| ScannedChecksum {
                        revision: place.revision(),
                        tombstone: place.tombstone(),
                        checksum: place.hashed(),
                    })
                },
            )
        })
    }

    fn steps(&self, from: Revision, until_main: u64) -> Steps {
        let until_main = until_main.min(self.published_main());
        // In this order: what leaves the window meanwhile is in the files by the time they are looked at.
        let window = self.window.chunks();
        let files = self.files.load_full();
        let stretch = files.as_ref().and_then(|files| files.stretch(from));
        Steps { window, files, stretch, next: from, until_main }
    }
}

/// A way through the files, then the window.
#[derive(Debug)]
struct Steps {
    window: Arc<Directory>,
    files: Option<Arc<Files>>,
    /// Where in the files it stands; none once it is through with them.
    stretch: Option<Stretch>,
    next: Revision,
    until_main: u64,
}

impl Steps {
    /// The next record, read in the one way or the other.
    fn next<T>(
        &mut self,
        in_window: impl FnOnce(&Record) -> T,
        in_files: impl FnOnce(&mut Stretch) -> Option<T>,
    ) -> Option<T> {
        loop {
            let Some(stretch) = &mut self.stretch else {
                self.files = None;
                let record = self.window.at_or_after(self.next)?;
                if record.revision.main > self.until_main {
                    return None;
                }
                self.next = behind(record.revision);
                return Some(in_window(record));
            };
            match stretch.peek() {
                Some(place) if place.revision().main > self.until_main => return None,
                Some(place) => {
                    self.next = behind(place.revision());
                    let found = in_files(stretch);
                    stretch.skip();
                    return found;
                }
                None => self.stretch = self.files.as_ref().and_then(|files| files.stretch(self.next)),
            }
        }
    }
}

fn behind(revision: Revision) -> Revision {
    Revision { sub: revision.sub + 1, ..revision }
}

/// Records in revision order.
#[derive(Debug)]
pub struct Scan(Steps);

impl Iterator for Scan {
    type Item = Result<ScannedRecord, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next(
            |record| {
                Ok(ScannedRecord {
                    revision: record.revision,
                    tombstone: record.tombstone,
                    checksum: record.checksum,
                    key_value: record.key_value.clone().into(),
                })
            },
            Stretch::read_record,
        )
    }
}
