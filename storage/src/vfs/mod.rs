//! The one trait through which files are touched.
//!
//!   wal, snap, store ──▶ Vfs, File ──▶ Disk        the real files
//!                                  └─▶ LyingDisk   in memory: loses, tears, flips, fails to sync, fills up
//!
//! What holds of every implementation, and no more than this may be relied on:
//! * what was written is durable when `sync_data` of that file has returned, its length included;
//! * a name that was created, renamed or removed is durable when `sync_dir` of its directory has returned;
//! * before that any part of it may survive a crash, and any part may not;
//! * after a failed `sync_data` nothing is known of what was written since the last one that worked, and a later
//!   one that works says nothing about it.

mod disk;
mod error;
pub mod lying;
mod mapping;
mod optional_sync;
mod sys;

use std::fmt::Debug;
use std::path::Path;

pub use disk::{Disk, DiskFile};
pub use error::{Error, Result};
pub use lying::LyingDisk;
pub use mapping::Mapping;
pub use optional_sync::{OptionalSync, OptionalSyncFile};

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// For reading; it must exist.
    Read,
    /// For reading and writing; it must exist.
    ReadWrite,
    /// For reading and writing; it is created if missing, and keeps its content if not.
    Create,
    /// For reading and writing; it must not exist.
    CreateNew,
}

/// The two kinds of locks that etcd takes. They do not see each other, so a file keeps to one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// The open file description's write lock on the whole file (`F_OFD_SETLK`), as on segments of the log.
    OpenFile,
    /// `flock`, as on the backend's file.
    Flock,
}

/// A file system. Cheap to clone; all clones are the same one.
pub trait Vfs: Clone + Debug + Send + Sync + 'static {
    type File: File;

    fn open(&self, path: &Path, mode: Mode) -> Result<Self::File>;
    /// Replaces `to` if it is a file, or an empty directory when `from` is one.
    fn rename(&self, from: &Path, to: &Path) -> Result<()>;
    fn remove_file(&self, path: &Path) -> Result<()>;
    /// Removes a directory with all in it. None there is no error.
    fn remove_dir_all(&self, path: &Path) -> Result<()>;
    /// Creates a directory and those above it, durably. All there already is no error.
    fn create_dir_all(&self, path: &Path) -> Result<()>;
    /// The names in a directory, sorted. A name that is not UTF-8 comes with replacement characters.
    fn read_dir(&self, path: &Path) -> Result<Vec<String>>;
    fn exists(&self, path: &Path) -> Result<bool>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, path: &Path) -> Result<()>;

    /// All of a file.
    fn read(&self, path: &Path) -> Result<Vec<u8>> {
        self.open(path, Mode::Read)?.read_all()
    }
}

/// An open file. There is no position: every access says where.
pub trait File: Debug + Send + Sync + 'static {
    /// Fills `buffer` from `offset` on. Fewer bytes than asked for mean the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize>;
    /// Writes all of `bytes`. It may have written a part when it fails.
    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()>;
    fn len(&self) -> Result<u64>;
    fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }
    /// All of the file. Space that was taken and never written is not read, where the file system knows of it.
    fn read_all(&self) -> Result<Vec<u8>> {
        // Zeros that were never touched take no memory: most of a log's last segment is such.
        let mut bytes = vec![0; self.len()? as usize];
        let written = self.written_end()?.min(bytes.len() as u64) as usize;
        let filled = self.read_at(&mut bytes[..written], 0)?;
        if filled < written {
            bytes.truncate(filled);
        }
        Ok(bytes)
    }
    /// From where on the file is certainly zeros, found without reading it. Its length, if nothing is known.
    fn written_end(&self) -> Result<u64> {
        self.len()
    }
    /// Cuts the file, or lengthens it with zeros that take no space yet.
    fn set_len(&self, length: u64) -> Result<()>;
    /// Makes content and length durable (`fdatasync`).
    fn sync_data(&self) -> Result<()>;
    /// Takes space for a range, lengthening the file with zeros if the range ends behind it. Where there is none left
    /// the error [is full](Error::is_full), and the file may have become longer by a part.
    fn allocate(&self, offset: u64, length: u64) -> Result<()>;
    /// Whether the lock was free, or ours already. It ends with this handle.
    fn try_lock(&self, lock: Lock) -> Result<bool>;
    /// Asks that a range be written out soon, so that a later sync finds little to do. Promises nothing, never waits
    /// for the device, and is no error where it is not possible.
    fn start_writeback(&self, offset: u64, length: u64);
    /// Waits until what was [started](File::start_writeback) in a range has left for the device, so that no more than is
    /// wanted is on its way: a sync of another file waits behind it. Makes nothing durable, and does not wait where that
    /// is not possible.
    fn wait_writeback(&self, offset: u64, length: u64) -> Result<()>;
    /// The whole file as memory. Only for files that nobody will write to or cut again.
    fn map(&self) -> Result<Mapping>;
}
