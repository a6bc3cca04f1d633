//! Another file system, with the syncs left out if that is asked for (`--unsafe-no-fsync`).
//!
//! Without them nothing that is called durable is: the power may fail, and what was acknowledged is lost, or is found to be
//! damage. A process that ends loses nothing, for the operating system has what was written.

use std::path::Path;

use super::{File, Lock, Mapping, Mode, Result, Vfs};

/// `vfs`, of which syncs are asked only if they are on.
#[derive(Clone, Debug)]
pub struct OptionalSync<V> {
    vfs: V,
    is_on: bool,
}

/// A file of it.
#[derive(Debug)]
pub struct OptionalSyncFile<F> {
    file: F,
    is_on: bool,
}

impl<V: Vfs> OptionalSync<V> {
    pub fn new(vfs: V, is_on: bool) -> Self {
        Self { vfs, is_on }
    }
}

impl<V: Vfs> Vfs for OptionalSync<V> {
    type File = OptionalSyncFile<V::File>;

    fn open(&self, path: &Path, mode: Mode) -> Result<Self::File> {
        Ok(OptionalSyncFile { file: self.vfs.open(path, mode)?, is_on: self.is_on })
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.vfs.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        self.vfs.remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> Result<()> {
        self.vfs.remove_dir_all(path)
    }

    fn create_dir_all(&self, path: &Path) -> Result<()> {
        self.vfs.create_dir_all(path)
    }

    fn read_dir(&self, path: &Path) -> Result<Vec<String>> {
        self.vfs.read_dir(path)
    }

    fn exists(&self, path: &Path) -> Result<bool> {
        self.vfs.exists(path)
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        if self.is_on { self.vfs.sync_dir(path) } else { Ok(()) }
    }
}

impl<F: File> File for OptionalSyncFile<F> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.file.write_at(bytes, offset)
    }

    fn len(&self) -> Result<u64> {
        self.file.len()
    }

    fn set_len(&self, length: u64) -> Result<()> {
        self.file.set_len(length)
    }

    fn sync_data(&self) -> Result<()> {
        if self.is_on { self.file.sync_data() } else { Ok(()) }
    }

    fn allocate(&self, offset: u64, length: u64) -> Result<()> {
        self.file.allocate(offset, length)
    }

    fn try_lock(&self, lock: Lock) -> Result<bool> {
        self.file.try_lock(lock)
    }

    fn start_writeback(&self, offset: u64, length: u64) {
        self.file.start_writeback(offset, length);
    }

    fn wait_writeback(&self, offset: u64, length: u64) -> Result<()> {
        self.file.wait_writeback(offset, length)
    }

    fn map(&self) -> Result<Mapping> {
        self.file.map()
    }
}

#[cfg(test)]
mod tests {
    use super::super::LyingDisk;
    use super::super::lying::Survival;
    use super::*;

    #[test]
    fn what_was_not_synced_is_gone_after_a_loss_of_power() {
        for is_on in [true, false] {
            let disk = LyingDisk::new();
            let vfs = OptionalSync::new(disk.clone(), is_on);
            let (root, path, later) = (Path::new("/"), Path::new("/f"), Path::new("/g"));
            disk.open(path, Mode::Create).unwrap();
            disk.sync_dir(root).unwrap();
            let file = vfs.open(path, Mode::ReadWrite).unwrap();
            file.write_at(b"x", 0).unwrap();
            file.sync_data().unwrap();
            assert_eq!(vfs.read(path).unwrap(), b"x");
            let left = disk.crash(Survival::Nothing);
            let expected: &[u8] = if is_on { b"x" } else { b"" };
            assert_eq!(left.read(path).unwrap(), expected, "syncs on: {is_on}");
            vfs.open(later, Mode::Create).unwrap();
            vfs.sync_dir(root).unwrap();
            assert_eq!(disk.crash(Survival::Nothing).exists(later).unwrap(), is_on, "syncs on: {is_on}");
        }
    }
}
