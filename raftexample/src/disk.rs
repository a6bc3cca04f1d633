//! What a member must not forget: the write-ahead log, and the snapshots that stand for its beginning.
//!
//! The order is all: a snapshot's file, then its record in the log, then what the record makes superfluous goes.

use std::path::Path;

use bytes::Bytes;
use ferrite_raft::{Entry, HardState, Index, MemoryLog, NodeId, Snapshot};
use ferrite_storage::snap::{SnapError, SnapshotFiles};
use ferrite_storage::vfs::{self, Disk as Files, Vfs};
use ferrite_storage::wal::{self, Start, Wal, WalError};

/// How many old segments and snapshots are kept, for whoever has to look into them.
const KEPT_FILES: usize = 5;

#[derive(Debug)]
pub struct Disk {
    log: Wal<Files>,
    snapshots: SnapshotFiles<Files>,
}

/// After any of these the member stops: nobody knows what is on the disk.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    #[error(transparent)]
    Files(#[from] vfs::Error),
    #[error(transparent)]
    Log(#[from] WalError),
    #[error(transparent)]
    Snapshots(#[from] SnapError),
}

impl Disk {
    /// Opens what an earlier life of this member has left in `dir`, or begins anew: the log is empty then.
    pub fn open(dir: &Path, id: NodeId, options: wal::Options) -> Result<(Disk, MemoryLog), DiskError> {
        let (log_dir, snapshot_dir) =
            (dir.join(format!("raftexample-{id}")), dir.join(format!("raftexample-{id}-snap")));
        if !wal::exists(&Files, &log_dir)? {
            Files.create_dir_all(dir)?;
            Wal::create(Files, &log_dir, Bytes::new(), options)?;
        }
        let snapshots = SnapshotFiles::open(Files, &snapshot_dir)?;
        let loaded = snapshots.newest_of(&wal::valid_snapshots(&Files, &log_dir)?)?;
        let snapshot = loaded.snapshot.unwrap_or_default();
        let start = Start::from(&snapshot.meta);
        let (log, replay) = Wal::open(Files, &log_dir, start, snapshot.meta.index, options)?;
        for warning in loaded.warnings.iter().chain(&replay.warnings) {
            eprintln!("{warning}");
        }
        Ok((Disk { log, snapshots }, MemoryLog::restore(replay.hard_state, snapshot, replay.entries)))
    }

    /// Saves what a `Ready` asks for. When this returns it is durable, if it has to be.
    pub fn save(
        &mut self,
        snapshot: Option<&Snapshot>,
        entries: &[Entry],
        hard_state: Option<&HardState>,
    ) -> Result<(), DiskError> {
        if let Some(snapshot) = snapshot {
            self.save_snapshot(snapshot)?;
        }
        // Behind the snapshot: a hard state that commits what is not there could not be started from.
        if self.log.save(hard_state, entries)? || snapshot.is_some() {
            self.log.sync()?;
        }
        Ok(())
    }

    /// Saves a snapshot of what was applied and committed, durably, and gives up the log before it.
    pub fn save_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), DiskError> {
        self.snapshots.save(snapshot)?;
        self.log.save_snapshot(&snapshot.meta)?;
        Ok(())
    }

    /// Removes files that are not needed to start from a snapshot at `index`.
    pub fn purge(&mut self, index: Index) -> Result<(), DiskError> {
        self.log.release(index);
        self.log.purge(KEPT_FILES)?;
        self.snapshots.purge(KEPT_FILES)?;
        Ok(())
    }
}
