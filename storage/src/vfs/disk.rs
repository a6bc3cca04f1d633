//! The real file system.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, FlockOperation, SeekFrom};

use super::{Error, File, Lock, Mapping, Mode, Result, Vfs, sys};

/// Mode of files, and of directories: what a member writes is its owner's only.
const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;

/// The operating system's files.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

/// A file of the operating system, with the path it was opened by.
#[derive(Debug)]
pub struct DiskFile {
    file: fs::File,
    path: PathBuf,
}

impl Vfs for Disk {
    type File = DiskFile;

    fn open(&self, path: &Path, mode: Mode) -> Result<DiskFile> {
        let mut options = fs::OpenOptions::new();
        options.read(true).mode(FILE_MODE);
        match mode {
            Mode::Read => {}
            Mode::ReadWrite => _ = options.write(true),
            Mode::Create => _ = options.write(true).create(true),
            Mode::CreateNew => _ = options.write(true).create_new(true),
        }
        let file = options.open(path).map_err(|error| Error::new("open", path, error))?;
        Ok(DiskFile { file, path: path.to_path_buf() })
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        fs::rename(from, to).map_err(|error| Error::new("rename", from, error))
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        fs::remove_file(path).map_err(|error| Error::new("remove", path, error))
    }

    fn remove_dir_all(&self, path: &Path) -> Result<()> {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::new("remove directory", path, error)),
            _ => Ok(()),
        }
    }

    fn create_dir_all(&self, path: &Path) -> Result<()> {
        let missing = path.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists()).count();
        let created = fs::DirBuilder::new().recursive(true).mode(DIR_MODE).create(path);
        created.map_err(|error| Error::new("create directory", path, error))?;
        for parent in path.ancestors().skip(1).take(missing) {
            self.sync_dir(parent)?;
        }
        Ok(())
    }

    fn read_dir(&self, path: &Path) -> Result<Vec<String>> {
        let error = |error| Error::new("list directory", path, error);
        let mut names = Vec::new();
        for entry in fs::read_dir(path).map_err(error)? {
            names.push(entry.map_err(error)?.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn exists(&self, path: &Path) -> Result<bool> {
        path.try_exists().map_err(|error| Error::new("look for", path, error))
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        // The parent of a relative path of one name is the working directory.
        let dir = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let sync = || fs::File::open(dir)?.sync_all();
        sync().map_err(|error| Error::new("sync directory", path, error))
    }
}

impl DiskFile {
    fn failed<E: Into<io::Error>>(&self, action: &'static str) -> impl FnOnce(E) -> Error {
        move |error| Error::new(action, &self.path, error)
    }
}

impl File for DiskFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.file.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(length) => filled += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::new("read", &self.path, error)),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.file.write_all_at(bytes, offset).map_err(self.failed("write"))
    }

    fn len(&self) -> Result<u64> {
        self.file.metadata().map(|metadata| metadata.len()).map_err(self.failed("examine"))
    }

    fn written_end(&self) -> Result<u64> {
        let mut end = 0;
        loop {
            let hole = rustix::fs::seek(&self.file, SeekFrom::Data(end))
                .and_then(|data| rustix::fs::seek(&self.file, SeekFrom::Hole(data)));
            match hole {
                Ok(hole) => end = hole,
                Err(rustix::io::Errno::NXIO) => return Ok(end),
                Err(rustix::io::Errno::INVAL) => return self.len(),
                Err(error) => return Err(self.failed("look for the data of")(error)),
            }
        }
    }

    fn set_len(&self, length: u64) -> Result<()> {
        self.file.set_len(length).map_err(self.failed("set the length of"))
    }

    fn sync_data(&self) -> Result<()> {
        // Not repeated when interrupted or failed: what a failed sync has dropped, a second one does not write.
        rustix::fs::fdatasync(&self.file).map_err(self.failed("sync"))
    }

    fn allocate(&self, offset: u64, length: u64) -> Result<()> {
        loop {
            match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), offset, length) {
                Err(rustix::io::Errno::INTR) => {}
                // A file system that cannot take space ahead of need still gets the length, as in etcd.
                Err(rustix::io::Errno::NOTSUP) if self.len()? < offset + length => {
                    return self.set_len(offset + length);
                }
                Err(rustix::io::Errno::NOTSUP) => return Ok(()),
                result => return result.map_err(self.failed("allocate space for")),
            }
        }
    }

    fn try_lock(&self, lock: Lock) -> Result<bool> {
        match lock {
            Lock::OpenFile => match sys::try_lock_open_file(&self.file) {
                // A kernel without this kind of lock: etcd takes the other kind then.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => self.try_lock(Lock::Flock),
                result => result.map_err(self.failed("lock")),
            },
            Lock::Flock => match rustix::fs::flock(&self.file, FlockOperation::NonBlockingLockExclusive) {
                Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
                result => result.map(|()| true).map_err(self.failed("lock")),
            },
        }
    }

    fn start_writeback(&self, offset: u64, length: u64) {
        sys::start_writeback(&self.file, offset, length);
    }

    fn wait_writeback(&self, offset: u64, length: u64) -> Result<()> {
        sys::wait_writeback(&self.file, offset, length).map_err(self.failed("write"))
    }

    fn map(&self) -> Result<Mapping> {
        sys::map(&self.file).map(Mapping::mapped).map_err(self.failed("map"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn does_what_the_trait_says() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("a/b");
        Disk.create_dir_all(&dir).unwrap();
        Disk.create_dir_all(&dir).unwrap();
        let path = dir.join("f");
        assert!(Disk.open(&path, Mode::ReadWrite).unwrap_err().is_not_found());
        let file = Disk.open(&path, Mode::CreateNew).unwrap();
        assert_eq!(Disk.open(&path, Mode::CreateNew).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        file.write_at(b"456", 3).unwrap();
        file.start_writeback(0, 6);
        file.wait_writeback(0, 6).unwrap();
        file.wait_writeback(6, 1 << 40).unwrap();
        file.allocate(0, 10).unwrap();
        file.sync_data().unwrap();
        let mut buffer = [9; 20];
        assert_eq!(file.read_at(&mut buffer, 1).unwrap(), 9);
        assert_eq!(&buffer[..9], b"\0\x00456\0\0\0\0");
        file.set_len(6).unwrap();
        let mapping = file.map().unwrap();
        assert_eq!(&*mapping, b"\0\0\x00456");
        mapping.release();
        assert_eq!(&*mapping, b"\0\0\x00456");
        assert_eq!(Disk.read(&path).unwrap(), b"\0\0\x00456");

        let to = dir.join("e");
        Disk.rename(&path, &to).unwrap();
        Disk.sync_dir(&dir).unwrap();
        Disk.sync_dir(Path::new("")).unwrap();
        Disk.open(&path, Mode::Create).unwrap();
        assert_eq!(Disk.read_dir(&dir).unwrap(), ["e", "f"]);
        Disk.remove_file(&to).unwrap();
        assert!(!Disk.exists(&to).unwrap() && Disk.exists(&path).unwrap());
        Disk.remove_dir_all(home.path()).unwrap();
        Disk.remove_dir_all(home.path()).unwrap();
    }

    #[test]
    fn space_that_was_only_taken_is_known_to_be_zeros() {
        let home = tempfile::tempdir().unwrap();
        // Each in a file of its own: what was read once is in memory, and no longer told from data.
        for (number, places) in [&[][..], &[10], &[3 << 20], &[10, 3 << 20], &[(8 << 20) - 1]].iter().enumerate() {
            let file = Disk.open(&home.path().join(number.to_string()), Mode::CreateNew).unwrap();
            file.allocate(0, 8 << 20).unwrap();
            for (count, place) in places.iter().enumerate() {
                file.write_at(b"x", *place).unwrap();
                if count == 0 {
                    file.sync_data().unwrap();
                }
            }
            let written = places.last().map_or(0, |last| last + 1);
            assert!((written..=8 << 20).contains(&file.written_end().unwrap()));
            let mut whole = vec![7; 8 << 20];
            assert_eq!(file.read_all().unwrap().len(), file.read_at(&mut whole, 0).unwrap());
            assert!(file.read_all().unwrap() == whole);
            file.set_len(written).unwrap();
            assert_eq!(file.read_all().unwrap().len() as u64, written);
        }
    }

    #[test]
    fn locks_exclude_other_handles_until_dropped() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("f");
        for lock in [Lock::OpenFile, Lock::Flock] {
            let [one, two] = [(); 2].map(|()| Disk.open(&path, Mode::Create).unwrap());
            assert!(one.try_lock(lock).unwrap() && one.try_lock(lock).unwrap());
            assert!(!two.try_lock(lock).unwrap());
            drop(one);
            assert!(two.try_lock(lock).unwrap());
        }
    }

    #[test]
    fn errors_name_the_file_and_what_was_wrong() {
        let error = Disk.open(Path::new("/no/such/file"), Mode::Read).unwrap_err();
        assert_eq!(error.to_string(), "cannot open /no/such/file: No such file or directory (os error 2)");
    }
}
