//! A new log: made in a directory of its own, which gets its name when it is whole and on disk.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use ferrite_raft::{Entry, HardState, SnapshotMeta};

use super::read::OpenSegment;
use super::segment::{self, SegmentName};
use super::writer::{Position, Writer};
use super::{Options, Wal, WalError};
use crate::vfs::{File, Lock, Mode, Vfs};

impl<V: Vfs> Wal<V> {
    /// Creates a log in `dir`, whose parent must be there, durably. `metadata` says whose log it is.
    ///
    /// When this returns, the log is there after any crash; before that, it is there as a whole or not at all.
    pub fn create(vfs: V, dir: &Path, metadata: Bytes, options: Options) -> Result<Wal<V>, WalError> {
        Wal::create_with(vfs, dir, metadata, &HardState::default(), &[], options)
    }

    /// Creates a log that has entries from the beginning: whoever finds the log finds them.
    pub fn create_with(
        vfs: V,
        dir: &Path,
        metadata: Bytes,
        hard_state: &HardState,
        entries: &[Entry],
        options: Options,
    ) -> Result<Wal<V>, WalError> {
        if !segment::list(&vfs, dir)?.is_empty() {
            return Err(WalError::AlreadyExists { dir: dir.to_path_buf() });
        }
        let temporary = temporary_dir(dir);
        vfs.remove_dir_all(&temporary)?;
        vfs.create_dir_all(&temporary)?;

        let mut writer = Writer::default();
        writer.put_head(&metadata);
        writer.put_snapshot(&SnapshotMeta::default());
        entries.iter().for_each(|entry| writer.put_entry(entry));
        if *hard_state != HardState::default() {
            writer.put_state(hard_state);
        }
        let file = open_locked(&vfs, &SegmentName::FIRST.path(&temporary), Mode::CreateNew)?;
        file.allocate(0, options.segment_bytes)?;
        file.write_at(writer.pending(), 0)?;
        file.sync_data()?;
        vfs.sync_dir(&temporary)?;
        let used = writer.pending().len() as u64;
        writer.clear();
        drop(file);

        vfs.remove_dir_all(dir)?;
        vfs.rename(&temporary, dir)?;
        if let Some(parent) = dir.parent() {
            vfs.sync_dir(parent)?;
        }

        let path = SegmentName::FIRST.path(dir);
        let file = open_locked(&vfs, &path, Mode::ReadWrite)?;
        let first = OpenSegment { name: SegmentName::FIRST, file, path, used };
        let mut wal = Wal::assemble(vfs, dir, metadata, options, VecDeque::new(), vec![first]);
        wal.writer = writer;
        wal.position = Position::synced(used, options.segment_bytes.max(used));
        wal.take_space()?;
        Ok(wal)
    }
}

fn temporary_dir(dir: &Path) -> PathBuf {
    let mut name = dir.as_os_str().to_owned();
    name.push(".tmp");
    name.into()
}

/// Opens a segment of ours and locks it.
pub(super) fn open_locked<V: Vfs>(vfs: &V, path: &Path, mode: Mode) -> Result<V::File, WalError> {
    let file = vfs.open(path, mode)?;
    if !file.try_lock(Lock::OpenFile)? {
        return Err(WalError::Locked { file: path.to_path_buf() });
    }
    Ok(file)
}
