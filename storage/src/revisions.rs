//! Revisions: how readers find what was stored under a revision, wherever it lies by now.
//!
//!   get ─▶ window ─miss─▶ files
//!
//! What holds: the window is asked first. The store shows a record in the files before it takes it out of the window, so
//! a reader who misses it in the window finds it in the files. What comes from a file is checked against its checksum
//! before anyone sees it. No look-up waits for the writer.

use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;
use ferrite_raft::{Index, Term};

use crate::window::Window;
use crate::{Checksum, Revision, WindowWriter};

/// A revision cannot be read, though it exists. Our disk is wrong: the member stops.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error(
        "{file}: revision {revision:?} at offset {offset} does not match its checksum; restore this member from a snapshot, or remove it and add it again"
    )]
    Damaged { file: String, offset: u64, revision: Revision },
    #[error("{file}: cannot read: {error}")]
    Io { file: String, error: std::io::Error },
}

/// An encoded `KeyValue`, held in memory or in a mapped file for as long as this lives.
#[derive(Clone, Debug)]
pub struct RecordBytes(Bytes);

impl Deref for RecordBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl From<RecordBytes> for Bytes {
    fn from(bytes: RecordBytes) -> Bytes {
        bytes.0
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

/// All revisions of a store: what readers hold. Clones see the same.
#[derive(Clone, Debug)]
pub struct Revisions {
    window: Arc<Window>,
}

/// Revisions that live in memory only, for tests of what stands on a store.
pub fn in_memory() -> (WindowWriter, Revisions) {
    let window = Window::new(u64::MAX, 1);
    (WindowWriter::new(window.clone(), Index(0), Term(0)), Revisions { window })
}

impl Revisions {
    /// The `KeyValue` stored under a revision. `None` if there is none, or no more.
    pub fn get(&self, revision: Revision) -> Result<Option<RecordBytes>, ReadError> {
        Ok(self.window.get(revision, |record| RecordBytes(record.key_value.clone())))
    }

    /// The checksum of a revision, without reading its value.
    pub fn checksum(&self, revision: Revision) -> Option<Checksum> {
        self.window.get(revision, |record| record.hashed())
    }

    /// The last `main` that readers may be told of.
    pub fn published_main(&self) -> u64 {
        self.window.published_main()
    }

    /// Records in revision order, from one revision up to the last of `until_main` or of what is published now. A scan
    /// keeps files and memory from going away: take bounded steps. Revisions that compaction has taken out may still come.
    pub fn scan(&self, from: Revision, until_main: u64) -> Scan {
        Scan { window: self.window.chunks(), next: Some(from), until_main: until_main.min(self.published_main()) }
    }
}

/// Records in revision order.
#[derive(Debug)]
pub struct Scan {
    window: Arc<crate::window::Directory>,
    next: Option<Revision>,
    until_main: u64,
}

impl Iterator for Scan {
    type Item = Result<ScannedRecord, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = self.window.at_or_after(self.next?)?;
        if record.revision.main > self.until_main {
            return None;
        }
        self.next = Some(Revision { sub: record.revision.sub + 1, ..record.revision });
        Some(Ok(ScannedRecord {
            revision: record.revision,
            tombstone: record.tombstone,
            checksum: record.checksum,
            key_value: RecordBytes(record.key_value.clone()),
        }))
    }
}
