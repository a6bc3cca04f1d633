//! A disk in memory that keeps no promise it has not made: what a crash, a bad cable or a full disk can do, at will.
//!
//!   operations ──▶ LyingDisk ──▶ history() ──▶ step() to any operation ──▶ crash(Survival) ──▶ another LyingDisk
//!
//! Every operation that changes something is recorded, so a test runs its work once and then crashes behind each
//! operation, as often as it likes, without running the work again. What a crash leaves is a `LyingDisk` too, with a
//! history of its own: recovery can be crashed in the same way.
//!
//! It is the strictest file system that the contract of [`Vfs`](super::Vfs) allows: unsynced sectors survive each in
//! a state of its own, the length apart from them, the last write torn at any byte; names survive apart from what is
//! in the files, and their changes in any order. What is synced stays.

mod content;
mod dice;
mod faults;
mod image;
mod names;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

pub use content::SECTOR;
pub use dice::Dice;

use super::{Error, File, Lock, Mapping, Mode, Result, Vfs};
use faults::Faults;
use image::Image;
use names::{DirId, FileId, Node};

/// What of the unsynced survives a crash.
#[derive(Clone, Copy, Debug)]
pub enum Survival {
    Nothing,
    Everything,
    /// Some of it, as this seed says.
    Seeded(u64),
}

/// One recorded change.
#[derive(Clone, Debug)]
pub enum Operation {
    Create {
        dir: DirId,
        name: String,
    },
    MakeDir {
        dir: DirId,
        name: String,
    },
    Rename {
        from: (DirId, String),
        to: (DirId, String),
    },
    Unlink {
        dir: DirId,
        name: String,
    },
    Write {
        file: FileId,
        offset: u64,
        data: Bytes,
    },
    SetLen {
        file: FileId,
        length: u64,
    },
    Allocate {
        file: FileId,
        end: u64,
    },
    Sync {
        file: FileId,
    },
    /// A sync that failed, and what it wrote all the same.
    FailSync {
        file: FileId,
        seed: u64,
    },
    SyncDir {
        dir: DirId,
    },
}

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct LyingDisk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    image: Image,
    /// `image` as it was before the first operation of `journal`.
    base: Image,
    journal: Vec<Operation>,
    faults: Faults,
    failures: u64,
    /// The directory whose files are never synced.
    ignored: Option<PathBuf>,
    /// The directory whose names are never synced.
    ignored_names: Option<PathBuf>,
    handles: u64,
    locks: Vec<(FileId, Lock, u64)>,
}

/// A walk through what a disk has been through.
#[derive(Debug)]
pub struct History {
    image: Image,
    journal: std::vec::IntoIter<Operation>,
    position: usize,
}

impl History {
    /// How many operations have been gone through.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Goes through one more operation; `None` behind the last.
    pub fn step(&mut self) -> Option<Operation> {
        let operation = self.journal.next()?;
        self.image.apply(&operation);
        self.position += 1;
        Some(operation)
    }

    /// The disk after a crash at this point.
    pub fn crash(&self, survival: Survival) -> LyingDisk {
        LyingDisk::from_image(self.image.crashed(survival))
    }

    /// The disk after the end of the process at this point: all that was done is seen, and what was not synced is still not
    /// durable.
    pub fn kill(&self) -> LyingDisk {
        LyingDisk::from_image(self.image.clone())
    }
}

impl LyingDisk {
    /// An empty disk with an unlimited capacity.
    pub fn new() -> LyingDisk {
        LyingDisk::default()
    }

    fn from_image(image: Image) -> LyingDisk {
        let state = State { base: image.clone(), image, ..State::default() };
        LyingDisk(Arc::new(Mutex::new(state)))
    }

    /// How many operations have been recorded.
    pub fn operations(&self) -> usize {
        self.0.lock().journal.len()
    }

    /// All that was recorded, to be gone through from the beginning.
    pub fn history(&self) -> History {
        let state = self.0.lock();
        History { image: state.base.clone(), journal: state.journal.clone().into_iter(), position: 0 }
    }

    /// Drops the record, so that it does not grow for ever: history begins now.
    pub fn forget_history(&self) {
        let mut state = self.0.lock();
        state.base = state.image.clone();
        state.journal.clear();
    }

    /// The disk after a crash now. This one goes on as if nothing had happened.
    pub fn crash(&self, survival: Survival) -> LyingDisk {
        LyingDisk::from_image(self.0.lock().image.crashed(survival))
    }

    /// A copy of the disk with nothing unsynced.
    pub fn copy(&self) -> LyingDisk {
        self.crash(Survival::Everything)
    }

    /// Flips one bit of a file, unnoticed.
    pub fn flip(&self, path: &Path, offset: u64, bit: u8) {
        let mut state = self.0.lock();
        let file = state.image.file(path).expect("a file to damage");
        state.image.content_mut(file).flip(offset, bit);
    }

    /// From now on all files together may take this much space.
    pub fn set_capacity(&self, bytes: u64) {
        self.0.lock().faults.capacity = Some(bytes);
    }

    pub fn remove_capacity(&self) {
        self.0.lock().faults.capacity = None;
    }

    /// Nothing fails any more, and there is space.
    pub fn mend(&self) {
        self.0.lock().faults = Faults::default();
    }

    /// Space taken by all files that have a name.
    pub fn used(&self) -> u64 {
        self.0.lock().image.used()
    }

    /// The sync of file content that comes after `count` more fails, having written what `seed` says.
    pub fn fail_sync_after(&self, count: u64, seed: u64) {
        self.0.lock().faults.sync = Some((count, seed));
    }

    /// The write that comes after `count` more fails, and writes nothing.
    pub fn fail_write_after(&self, count: u64) {
        self.0.lock().faults.write = Some(count);
    }

    /// The wait for what is being written that comes after `count` more is told that it could not be. The next sync knows
    /// nothing of it.
    pub fn fail_writeback_after(&self, count: u64) {
        self.0.lock().faults.writeback = Some(count);
    }

    /// How many operations have failed for another reason than want of space.
    pub fn failures(&self) -> u64 {
        self.0.lock().failures
    }

    /// Syncs of files below this directory say that they have worked, and do nothing.
    pub fn ignore_syncs(&self, below: &Path) {
        self.0.lock().ignored = Some(below.into());
    }

    /// Syncs of this directory say that they have worked, and do nothing.
    pub fn ignore_name_syncs(&self, dir: &Path) {
        self.0.lock().ignored_names = Some(dir.into());
    }

    /// Once this many operations have been recorded, every further one fails. Then [`Self::crash`] says what a loss of
    /// power leaves, and [`Self::resume`] what the end of a process does.
    pub fn stop_at(&self, operations: usize) {
        self.0.lock().faults.stop_at = Some(operations);
    }

    /// Operations work again. All that was done is seen, and what was not synced is still not durable.
    pub fn resume(&self) {
        self.0.lock().faults.stop_at = None;
    }
}

impl State {
    /// Does and records one operation, unless a fault says otherwise.
    fn perform(&mut self, operation: Operation) -> std::io::Result<()> {
        self.faults.check_stopped(self.journal.len())?;
        let (operation, result) = self.faults.bend(operation, &self.image);
        if let Some(operation) = operation {
            self.image.apply(&operation);
            self.journal.push(operation);
        }
        let is_broken = result.as_ref().is_err_and(|error| error.kind() != std::io::ErrorKind::StorageFull);
        self.failures += u64::from(is_broken);
        result
    }

    fn unlink_all(&mut self, dir: DirId, name: &str) -> std::io::Result<()> {
        if let Some(Node::Dir(inner)) = self.image.names().get(dir, name) {
            for name in self.image.names().list(inner) {
                self.unlink_all(inner, &name)?;
            }
        }
        self.perform(Operation::Unlink { dir, name: name.to_owned() })
    }
}

fn not_found() -> std::io::Error {
    std::io::ErrorKind::NotFound.into()
}

impl Vfs for LyingDisk {
    type File = LyingFile;

    fn open(&self, path: &Path, mode: Mode) -> Result<LyingFile> {
        let mut state = self.0.lock();
        let mut open = || {
            let (dir, name) = state.image.names().slot(path).ok_or_else(not_found)?;
            let found = match state.image.names().get(dir, &name) {
                Some(Node::File(_)) if mode == Mode::CreateNew => return Err(std::io::ErrorKind::AlreadyExists.into()),
                Some(Node::File(file)) => Some(file),
                Some(Node::Dir(_)) => return Err(std::io::ErrorKind::IsADirectory.into()),
                None => None,
            };
            match found {
                Some(file) => Ok(file),
                None if matches!(mode, Mode::Create | Mode::CreateNew) => {
                    state.perform(Operation::Create { dir, name })?;
                    state.image.file(path).ok_or_else(not_found)
                }
                None => Err(not_found()),
            }
        };
        let file = open().map_err(|error| Error::new("open", path, error))?;
        state.handles += 1;
        let handle = state.handles;
        Ok(LyingFile { disk: self.clone(), file, handle, path: path.into(), writable: mode != Mode::Read })
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let mut state = self.0.lock();
        let mut rename = || {
            let names = state.image.names();
            let (from, to) = (names.slot(from).ok_or_else(not_found)?, names.slot(to).ok_or_else(not_found)?);
            let node = names.get(from.0, &from.1).ok_or_else(not_found)?;
            match (node, names.get(to.0, &to.1)) {
                (Node::File(_), Some(Node::Dir(_))) => return Err(std::io::ErrorKind::IsADirectory.into()),
                (Node::Dir(_), Some(Node::File(_))) => return Err(std::io::ErrorKind::NotADirectory.into()),
                (Node::Dir(_), Some(Node::Dir(dir))) if !names.list(dir).is_empty() => {
                    return Err(std::io::ErrorKind::DirectoryNotEmpty.into());
                }
                _ => {}
            }
            state.perform(Operation::Rename { from, to })
        };
        rename().map_err(|error| Error::new("rename", from, error))
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        let mut state = self.0.lock();
        let mut remove = || {
            let (dir, name) = state.image.names().slot(path).ok_or_else(not_found)?;
            match state.image.names().get(dir, &name) {
                Some(Node::File(_)) => state.perform(Operation::Unlink { dir, name }),
                Some(Node::Dir(_)) => Err(std::io::ErrorKind::IsADirectory.into()),
                None => Err(not_found()),
            }
        };
        remove().map_err(|error| Error::new("remove", path, error))
    }

    fn remove_dir_all(&self, path: &Path) -> Result<()> {
        let mut state = self.0.lock();
        let Some((dir, name)) = state.image.names().slot(path) else { return Ok(()) };
        match state.image.names().get(dir, &name) {
            Some(_) => state.unlink_all(dir, &name).map_err(|error| Error::new("remove directory", path, error)),
            None => Ok(()),
        }
    }

    fn create_dir_all(&self, path: &Path) -> Result<()> {
        let mut state = self.0.lock();
        let mut create = || {
            let mut dir = DirId::ROOT;
            for name in names::components(path) {
                dir = match state.image.names().get(dir, &name) {
                    Some(Node::Dir(inner)) => inner,
                    Some(Node::File(_)) => return Err(std::io::ErrorKind::NotADirectory.into()),
                    None => {
                        state.perform(Operation::MakeDir { dir, name: name.clone() })?;
                        state.perform(Operation::SyncDir { dir })?;
                        match state.image.names().get(dir, &name) {
                            Some(Node::Dir(inner)) => inner,
                            _ => return Err(not_found()),
                        }
                    }
                };
            }
            Ok(())
        };
        create().map_err(|error| Error::new("create directory", path, error))
    }

    fn read_dir(&self, path: &Path) -> Result<Vec<String>> {
        let state = self.0.lock();
        let dir = state.image.names().dir(path).ok_or_else(|| Error::new("list directory", path, not_found()))?;
        Ok(state.image.names().list(dir))
    }

    fn exists(&self, path: &Path) -> Result<bool> {
        Ok(self.0.lock().image.names().find(path).is_some())
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        let mut state = self.0.lock();
        if state.ignored_names.as_deref() == Some(path) {
            return Ok(());
        }
        let mut sync = || {
            let dir = state.image.names().dir(path).ok_or_else(not_found)?;
            state.perform(Operation::SyncDir { dir })
        };
        sync().map_err(|error| Error::new("sync directory", path, error))
    }
}

/// An open file of a [`LyingDisk`].
#[derive(Debug)]
pub struct LyingFile {
    disk: LyingDisk,
    file: FileId,
    handle: u64,
    path: std::path::PathBuf,
    writable: bool,
}

impl LyingFile {
    fn perform(&self, action: &'static str, operation: Operation) -> Result<()> {
        let denied = || std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let result = if self.writable { self.disk.0.lock().perform(operation) } else { Err(denied()) };
        result.map_err(|error| Error::new(action, &self.path, error))
    }
}

impl Drop for LyingFile {
    fn drop(&mut self) {
        self.disk.0.lock().locks.retain(|(_, _, handle)| *handle != self.handle);
    }
}

impl File for LyingFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        Ok(self.disk.0.lock().image.content(self.file).read_at(buffer, offset))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        let data = Bytes::copy_from_slice(bytes);
        self.perform("write", Operation::Write { file: self.file, offset, data })
    }

    fn len(&self) -> Result<u64> {
        Ok(self.disk.0.lock().image.content(self.file).len())
    }

    fn set_len(&self, length: u64) -> Result<()> {
        self.perform("set the length of", Operation::SetLen { file: self.file, length })
    }

    fn sync_data(&self) -> Result<()> {
        if self.disk.0.lock().ignored.as_ref().is_some_and(|below| self.path.starts_with(below)) {
            return Ok(());
        }
        self.perform("sync", Operation::Sync { file: self.file })
    }

    fn allocate(&self, offset: u64, length: u64) -> Result<()> {
        self.perform("allocate space for", Operation::Allocate { file: self.file, end: offset + length })
    }

    fn try_lock(&self, lock: Lock) -> Result<bool> {
        let mut state = self.disk.0.lock();
        let holder = state.locks.iter().find(|(file, kind, _)| *file == self.file && *kind == lock);
        let free = holder.is_none_or(|(_, _, handle)| *handle == self.handle);
        if free && holder.is_none() {
            state.locks.push((self.file, lock, self.handle));
        }
        Ok(free)
    }

    fn start_writeback(&self, _offset: u64, _length: u64) {}

    fn wait_writeback(&self, _offset: u64, _length: u64) -> Result<()> {
        self.disk.0.lock().faults.writeback().map_err(|error| Error::new("write", &self.path, error))
    }

    fn map(&self) -> Result<Mapping> {
        Ok(Mapping::held(self.disk.0.lock().image.content(self.file).visible()))
    }
}

#[cfg(test)]
mod tests;
