//! The next segment, ready before it is needed: its space is taken while there is still room in the current one.

use std::path::{Path, PathBuf};

use super::{Space, WalError};
use crate::vfs::{self, File, Lock, Mode, Vfs};

/// A file that can become the next segment.
#[derive(Debug)]
pub(super) struct Ready<F> {
    pub file: F,
    pub path: PathBuf,
}

/// Keeps one file ready.
#[derive(Debug)]
pub(super) struct Pipeline<F> {
    ready: Option<Ready<F>>,
    /// How many have been prepared; names alternate, as in etcd.
    count: u64,
}

impl<F: File> Pipeline<F> {
    pub(super) fn new() -> Pipeline<F> {
        Pipeline { ready: None, count: 0 }
    }

    /// Removes what an earlier process has left.
    pub(super) fn clear<V: Vfs<File = F>>(vfs: &V, dir: &Path) -> Result<(), WalError> {
        for number in 0..2 {
            let path = Self::path(dir, number);
            if vfs.exists(&path)? {
                vfs.remove_file(&path)?;
            }
        }
        Ok(())
    }

    fn path(dir: &Path, number: u64) -> PathBuf {
        dir.join(format!("{}.tmp", number % 2))
    }

    /// Takes the file that is ready.
    pub(super) fn take(&mut self) -> Option<Ready<F>> {
        self.ready.take()
    }

    /// Sees to it that a file is ready, if the disk has room.
    pub(super) fn prepare<V: Vfs<File = F>>(&mut self, vfs: &V, dir: &Path, bytes: u64) -> Result<Space, WalError> {
        if self.ready.is_some() {
            return Ok(Space::Ready);
        }
        let path = Self::path(dir, self.count);
        let prepare = || {
            let file = vfs.open(&path, Mode::Create)?;
            // What a crash has left in a file of this name must not follow the records of the new segment.
            file.set_len(0)?;
            file.allocate(0, bytes)?;
            Ok(file)
        };
        match prepare() {
            Ok(file) => {
                if !file.try_lock(Lock::OpenFile)? {
                    return Err(WalError::Locked { file: path });
                }
                self.ready = Some(Ready { file, path });
                self.count += 1;
                Ok(Space::Ready)
            }
            Err(error) if vfs::Error::is_full(&error) => {
                // Whatever space it did get is worth more elsewhere.
                match vfs.remove_file(&path) {
                    Err(error) if !error.is_not_found() => Err(error.into()),
                    _ => Ok(Space::Short),
                }
            }
            Err(error) => Err(error.into()),
        }
    }
}
