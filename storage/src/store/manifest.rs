//! The manifest: whose store this is, and which files are its own. What it does not name is not part of the store.
//!
//! What holds: it is replaced as a whole, and names a file only when that file's content and name are durable. What it
//! says of sealed segments and rows was synced, so damage there is never a torn write.

use std::path::PathBuf;

use ferrite_raft::{Index, Term};

use super::Identity;
use super::error::StoreError;
use super::format::{Bad, FileHeader, FileKind, HEADER_BYTES, u16_at, u64_at};
use super::frame::Span;
use crate::vfs::{self, File, Mode, Vfs};

pub(super) const MANIFEST: &str = "MANIFEST";
const NEW_NAME: &str = "MANIFEST.tmp";

/// Lengths of the fixed part of its body, and of what it says of a sealed segment.
const FIXED_BYTES: usize = 88;
const SEALED_BYTES: usize = 40;
/// The fixed part in format 1, which knew of no buried records.
const FIXED_BYTES_1: usize = 72;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manifest {
    pub identity: Identity,
    /// No file has this number or a higher one.
    pub next_id: u64,
    pub rows: Option<RowsEntry>,
    pub buried: Option<BuriedEntry>,
    /// From oldest to newest.
    pub sealed: Vec<SealedEntry>,
    pub tail: TailEntry,
    /// What was dead at this entry has been cleaned away, so nothing up to it may be cut off: the log could not bring it
    /// back to what is left.
    pub cleaned_at: Index,
}

/// The file that holds all rows as they were at an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RowsEntry {
    pub id: u64,
    pub index: Index,
}

/// The file that says which records of sealed segments are buried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BuriedEntry {
    pub id: u64,
    pub bytes: u64,
}

/// A segment that is complete and synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SealedEntry {
    pub id: u64,
    pub span: Span,
    pub bytes: u64,
}

/// The segment that is being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TailEntry {
    pub id: u64,
    /// The entry its first frame begins with, and the term of the entry before that.
    pub first: Index,
    pub term_before: Term,
}

impl Manifest {
    pub(super) fn encode(&self) -> Vec<u8> {
        let rows = self.rows.unwrap_or(RowsEntry { id: 0, index: Index(0) });
        let buried = self.buried.unwrap_or(BuriedEntry { id: 0, bytes: 0 });
        let fixed = [
            self.identity.node_id,
            self.identity.cluster_id,
            self.next_id,
            rows.id,
            rows.index.0,
            self.tail.id,
            self.tail.first.0,
            self.tail.term_before.0,
            self.sealed.len() as u64,
            buried.id,
            buried.bytes,
        ];
        let sealed = (self.sealed.iter())
            .flat_map(|entry| [entry.id, entry.span.first.0, entry.span.last.0, entry.span.term.0, entry.bytes]);
        let body: Vec<u8> = fixed.into_iter().chain(sealed).flat_map(u64::to_le_bytes).collect();
        FileHeader::seal(FileKind::Manifest, 0, self.cleaned_at.0, &body)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Manifest, Bad> {
        let (header, body) = FileHeader::open(FileKind::Manifest, bytes)?;
        let wrong = |what| Bad::Damaged(HEADER_BYTES as u64, what);
        let is_1 = u16_at(bytes, 8) == 1;
        let fixed = if is_1 { FIXED_BYTES_1 } else { FIXED_BYTES };
        if body.len() < fixed || !(body.len() - fixed).is_multiple_of(SEALED_BYTES) {
            return Err(wrong("the list of files is cut off"));
        }
        let number = |place: usize| u64_at(body, 8 * place);
        let sealed: Vec<SealedEntry> = (body[fixed..].chunks(SEALED_BYTES))
            .map(|entry| SealedEntry {
                id: u64_at(entry, 0),
                span: Span {
                    first: Index(u64_at(entry, 8)),
                    last: Index(u64_at(entry, 16)),
                    term: Term(u64_at(entry, 24)),
                },
                bytes: u64_at(entry, 32),
            })
            .collect();
        if sealed.len() as u64 != number(8) {
            return Err(wrong("the list of files has another length than it says"));
        }
        Ok(Manifest {
            identity: Identity { node_id: number(0), cluster_id: number(1) },
            next_id: number(2),
            rows: (number(3) != 0).then(|| RowsEntry { id: number(3), index: Index(number(4)) }),
            buried: (!is_1 && number(9) != 0).then(|| BuriedEntry { id: number(9), bytes: number(10) }),
            sealed,
            tail: TailEntry { id: number(5), first: Index(number(6)), term_before: Term(number(7)) },
            cleaned_at: Index(header.index),
        })
    }
}

/// The store's directory.
#[derive(Debug)]
pub(super) struct Home<V: Vfs> {
    pub vfs: V,
    pub dir: PathBuf,
}

/// Space for a manifest, taken before anything is changed that only it can complete.
#[derive(Debug)]
pub(super) struct Reservation<V: Vfs>(V::File);

impl<V: Vfs> Home<V> {
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(super) fn manifest_path(&self) -> PathBuf {
        self.path(MANIFEST)
    }

    pub(super) fn read_manifest(&self) -> Result<Manifest, StoreError> {
        let path = self.manifest_path();
        match self.vfs.read(&path) {
            Ok(bytes) => Manifest::decode(&bytes).map_err(|bad| StoreError::bad(&path, bad)),
            Err(error) if error.is_not_found() => Err(StoreError::Missing { dir: self.dir.clone() }),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes the space that a manifest of so many sealed segments needs.
    pub(super) fn reserve_manifest(&self, sealed: usize) -> Result<Reservation<V>, StoreError> {
        let bytes = HEADER_BYTES + FIXED_BYTES + sealed * SEALED_BYTES;
        let path = self.path(NEW_NAME);
        let file = self.vfs.open(&path, Mode::Create).map_err(|error| self.full_or(error))?;
        file.set_len(0)?;
        self.allocate(&file, bytes as u64).map(|()| Reservation(file))
    }

    /// Puts a manifest in the place of the one there is. It is in force, durably, when this returns.
    pub(super) fn commit(&self, manifest: &Manifest, reservation: Reservation<V>) -> Result<(), StoreError> {
        let Reservation(file) = reservation;
        let bytes = manifest.encode();
        file.write_at(&bytes, 0)?;
        file.set_len(bytes.len() as u64)?;
        file.sync_data()?;
        self.vfs.rename(&self.path(NEW_NAME), &self.manifest_path())?;
        Ok(self.vfs.sync_dir(&self.dir)?)
    }

    /// Makes a file of so many zeros, or none if there is no space for it.
    pub(super) fn create(&self, name: &str, bytes: u64) -> Result<V::File, StoreError> {
        let path = self.path(name);
        let file = self.vfs.open(&path, Mode::CreateNew).map_err(|error| self.full_or(error))?;
        if let Err(error) = self.allocate(&file, bytes) {
            self.vfs.remove_file(&path)?;
            return Err(error);
        }
        Ok(file)
    }

    /// Takes space from the beginning of a file on.
    pub(super) fn allocate(&self, file: &V::File, bytes: u64) -> Result<(), StoreError> {
        file.allocate(0, bytes).map_err(|error| self.full_or(error))
    }

    pub(super) fn full_or(&self, error: vfs::Error) -> StoreError {
        if error.is_full() { StoreError::Full { dir: self.dir.clone() } } else { error.into() }
    }
}

pub(super) fn segment_name(id: u64) -> String {
    format!("{id:016x}.seg")
}

pub(super) fn rows_name(id: u64) -> String {
    format!("{id:016x}.rows")
}

pub(super) fn dead_name(id: u64) -> String {
    format!("{id:016x}.dead")
}

/// Whether a file of this name is the store's, so that it goes if the manifest does not name it.
pub(super) fn is_ours(name: &str) -> bool {
    let stem = [".seg", ".rows", ".dead"].into_iter().find_map(|suffix| name.strip_suffix(suffix));
    name == NEW_NAME || stem.is_some_and(|stem| stem.len() == 16 && u64::from_str_radix(stem, 16).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::format::header_crc;

    fn manifest(sealed: u64) -> Manifest {
        let span = |id| Span { first: Index(100 * id), last: Index(100 * id + 9), term: Term(id) };
        Manifest {
            identity: Identity { node_id: 1, cluster_id: u64::MAX },
            next_id: 99,
            rows: Some(RowsEntry { id: 7, index: Index(70) }),
            buried: (sealed > 1).then_some(BuriedEntry { id: 97, bytes: 700 }),
            sealed: (1..=sealed).map(|id| SealedEntry { id, span: span(id), bytes: 1000 + id }).collect(),
            tail: TailEntry { id: 98, first: Index(500), term_before: Term(4) },
            cleaned_at: Index(3 * sealed),
        }
    }

    #[test]
    fn reads_what_was_written_and_no_flipped_bit() {
        for sealed in [0, 1, 3] {
            for rows in [None, manifest(0).rows] {
                let manifest = Manifest { rows, ..manifest(sealed) };
                let bytes = manifest.encode();
                assert_eq!(Manifest::decode(&bytes), Ok(manifest));
                for bit in 0..bytes.len() * 8 {
                    let mut bytes = bytes.clone();
                    bytes[bit / 8] ^= 1 << (bit % 8);
                    Manifest::decode(&bytes).unwrap_err();
                }
                for length in 0..bytes.len() {
                    Manifest::decode(&bytes[..length]).unwrap_err();
                }
            }
        }
    }

    #[test]
    fn a_manifest_of_format_1_is_one_without_buried_records() {
        let bytes = Manifest { buried: None, ..manifest(2) }.encode();
        let (fixed, sealed) = bytes[HEADER_BYTES..].split_at(FIXED_BYTES);
        let body = [&fixed[..FIXED_BYTES_1], sealed].concat();
        let mut bytes = FileHeader::seal(FileKind::Manifest, 0, manifest(2).cleaned_at.0, &body);
        Manifest::decode(&bytes).unwrap_err();
        bytes[8] = 1;
        let crc = header_crc(&bytes, 12);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Manifest::decode(&bytes), Ok(Manifest { buried: None, ..manifest(2) }));
    }

    #[test]
    fn only_names_of_the_store_are_its_own() {
        for (name, ours) in [
            ("0000000000000001.seg", true),
            ("00000000000000ff.rows", true),
            ("0000000000000003.dead", true),
            ("MANIFEST.tmp", true),
            ("MANIFEST", false),
            ("LOCK", false),
            ("1.seg", false),
            ("000000000000000g.seg", false),
            ("notes.txt", false),
        ] {
            assert_eq!(is_ours(name), ours, "{name}");
        }
    }
}
