//! The system calls that no safe library offers, and the one that is not safe by nature. The only `unsafe` of `vfs`.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Takes the open file description's write lock on the whole file, without waiting. False: somebody else has it.
pub(super) fn try_lock_open_file(file: &File) -> io::Result<bool> {
    let range = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0, // the kernel demands it of this kind of lock
    };
    // SAFETY: the descriptor is open while `file` is borrowed, and `range` outlives the call, which only reads it.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const range) };
    if result != -1 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::EACCES) => Ok(false),
        _ => Err(error),
    }
}

/// Starts writing out the dirty pages of a range.
pub(super) fn start_writeback(file: &File, offset: u64, length: u64) {
    let (Ok(offset), Ok(length)) = (offset.try_into(), length.try_into()) else { return };
    // SAFETY: the descriptor is open while `file` is borrowed; no memory is passed. A failure (a file system that
    // cannot do it) is of no concern: the call is a hint.
    unsafe { libc::sync_file_range(file.as_raw_fd(), offset, length, libc::SYNC_FILE_RANGE_WRITE) };
}

/// Waits for the pages of a range that are being written out. A page that could not be written is told of here, and then
/// not by the next sync any more: this error counts as much as that of a sync.
pub(super) fn wait_writeback(file: &File, offset: u64, length: u64) -> io::Result<()> {
    let (Ok(offset), Ok(length)) = (offset.try_into(), length.try_into()) else { return Ok(()) };
    // SAFETY: the descriptor is open while `file` is borrowed; no memory is passed.
    let result = unsafe { libc::sync_file_range(file.as_raw_fd(), offset, length, libc::SYNC_FILE_RANGE_WAIT_BEFORE) };
    if result == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        // Not possible here, or not allowed.
        Some(libc::ENOSYS | libc::EINVAL | libc::ESPIPE | libc::EPERM) => Ok(()),
        _ => Err(error),
    }
}

/// Lets go of the memory pages that a mapping has touched. They come back from the file when they are touched again.
pub(super) fn release(map: &memmap2::Mmap) {
    // SAFETY: the mapping is shared and read-only, so its pages hold nothing that the file does not; what reads them
    // meanwhile or later sees the same bytes.
    let released = unsafe { map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
    // Only a hint: where it is not possible the memory goes when the kernel wants it.
    drop(released);
}

/// Maps a whole file for reading.
pub(super) fn map(file: &File) -> io::Result<memmap2::Mmap> {
    // SAFETY: the mapping must not change under a reader, and the file must not become shorter. `File::map` is for
    // files that nobody writes to any more; the data directory is ours alone (its lock is held), mode 0700, and a
    // sealed file is only ever unlinked, which leaves the mapping whole.
    unsafe { memmap2::Mmap::map(file) }
}
