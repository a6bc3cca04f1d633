//! The owner of the log files: writes what the member wants saved, all that waited in one write and one sync.
//!
//!   Save, Save, … ──▶ append ▸ write ▸ sync ──▶ Saved(last), before anything else is done
//!   Save of a snapshot ──▶ .snap file ▸ record ▸ hard state ▸ sync ▸ release ──▶ Saved
//!   Checkpoint ──▶ .snap file ▸ hard state ▸ snapshot record ▸ sync ▸ release ──▶ Checkpointed
//!
//! Any error ends the member: after a failed write or sync nothing is known of what is on disk.

use std::time::{Duration, Instant};

use bytes::Bytes;
use ferrite_raft::{ConfState, HardState, Index, Snapshot, SnapshotMeta};
use ferrite_storage::snap::{SnapError, SnapshotFiles};
use ferrite_storage::vfs::Vfs;
use ferrite_storage::wal;

use crate::member::{Save, SaveNumber};
use crate::timing::LogTiming;

/// Work for the log writer.
#[derive(Debug)]
pub enum LogJob {
    Save(Save),
    /// The store is whole up to `meta.index`: say so in the log, and give up what lies before.
    Checkpoint(LogCheckpoint),
    /// The last thing that is written: a commit index, to save the next start some work.
    Close(Option<HardState>),
}

/// What a checkpoint writes.
#[derive(Debug)]
pub struct LogCheckpoint {
    /// Commits `meta.index`.
    pub hard_state: HardState,
    pub meta: SnapshotMeta,
    /// The members as etcd before 3.7 reads them from the `.snap` file.
    pub members: Bytes,
}

/// What has been done.
#[derive(Debug, Default)]
pub struct LogDone {
    pub checkpointed: Option<(Index, ConfState)>,
    /// There was no room for the next segment.
    pub is_short_of_space: bool,
    /// How often the log was synced.
    pub syncs: u32,
    /// How long the last write and sync took that was slow, or a checkpoint, which consists of such.
    pub slow_sync: Option<Duration>,
    pub is_closed: bool,
}

/// What can go wrong here. The member stops.
#[derive(Debug, thiserror::Error)]
pub enum LogWriterError {
    #[error(transparent)]
    Wal(#[from] wal::WalError),
    #[error(transparent)]
    Snapshots(#[from] SnapError),
}

/// How many old files are kept (`--max-wals`, `--max-snapshots`; `usize::MAX` keeps all).
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    pub segments: usize,
    pub snapshots: usize,
}

/// The owner of the log.
#[derive(Debug)]
pub struct LogWriter<V: Vfs> {
    wal: wal::Wal<V>,
    snapshots: SnapshotFiles<V>,
    keep: Keep,
    /// A checkpoint for whose `.snap` file there was no room.
    postponed: Option<LogCheckpoint>,
    /// Where the last snapshot from a leader stands: a checkpoint of the store before that is none any more.
    installed: Index,
    timing: LogTiming,
}

impl<V: Vfs> LogWriter<V> {
    pub fn new(wal: wal::Wal<V>, snapshots: SnapshotFiles<V>, keep: Keep, timing: LogTiming) -> LogWriter<V> {
        LogWriter { wal, snapshots, keep, postponed: None, installed: Index(0), timing }
    }

    /// Does all that waits. `told` hears at once that all saves up to this one are durable: clients wait for that, and a
    /// checkpoint takes several syncs.
    pub fn step(
        &mut self,
        jobs: &mut Vec<LogJob>,
        told: &mut dyn FnMut(SaveNumber),
    ) -> Result<LogDone, LogWriterError> {
        let mut done = LogDone::default();
        let (mut closed_with, mut saved) = (None, None);
        let before = self.installed;
        for job in jobs.drain(..) {
            match job {
                LogJob::Save(save) => {
                    if let Some(snapshot) = &save.snapshot {
                        self.save_snapshot(snapshot)?;
                    }
                    self.wal.append(save.hard_state.as_ref(), &save.entries)?;
                    saved = Some(save.number);
                }
                LogJob::Checkpoint(wanted) => {
                    self.postponed = Some(wanted).filter(|one| one.meta.index > self.installed)
                }
                LogJob::Close(hard_state) => closed_with = Some(hard_state),
            }
        }
        if let Some(saved) = saved {
            let installed = self.installed;
            done.slow_sync = self.sync()?;
            done.syncs += 1;
            told(saved);
            if installed > before {
                self.give_up_log(installed)?;
            }
        }
        let begun = Instant::now();
        done.checkpointed = self.checkpoint()?;
        done.slow_sync = self.if_slow(begun).or(done.slow_sync);
        if let Some(hard_state) = closed_with {
            self.wal.append(hard_state.as_ref(), &[])?;
            done.slow_sync = self.sync()?.or(done.slow_sync);
            self.wal.mark()?;
            done.is_closed = true;
        }
        done.is_short_of_space = self.is_short_of_space();
        Ok(done)
    }

    /// Nothing waits: say on disk that all is synced, and try again to take space if there was none.
    pub fn idle(&mut self) -> Result<LogDone, LogWriterError> {
        self.wal.mark()?;
        let begun = Instant::now();
        let checkpointed = self.checkpoint()?;
        let slow_sync = self.if_slow(begun);
        self.wal.take_space()?;
        Ok(LogDone { checkpointed, slow_sync, is_short_of_space: self.is_short_of_space(), ..LogDone::default() })
    }

    /// Says how long it took if that was long.
    fn sync(&mut self) -> Result<Option<Duration>, LogWriterError> {
        let before = self.wal.bytes();
        let begun = Instant::now();
        self.wal.write()?;
        let written = Instant::now();
        self.timing.bytes.add(self.wal.bytes().saturating_sub(before) as f64);
        self.wal.sync()?;
        self.timing.write.observe_seconds(written - begun);
        self.timing.sync.observe_seconds(written.elapsed());
        Ok(self.if_slow(begun))
    }

    /// How long it has taken since then, if that is long.
    fn if_slow(&self, begun: Instant) -> Option<Duration> {
        Some(begun.elapsed()).filter(|took| *took > self.timing.slow_after)
    }

    fn is_short_of_space(&self) -> bool {
        self.wal.space() == wal::Space::Short || self.postponed.is_some()
    }

    /// Bytes of log that have not been given up.
    pub fn bytes(&self) -> u64 {
        self.wal.bytes()
    }

    /// Makes the checkpoint that is wanted, if there is room for it.
    fn checkpoint(&mut self) -> Result<Option<(Index, ConfState)>, LogWriterError> {
        let Some(LogCheckpoint { hard_state, meta, members }) = self.postponed.take() else { return Ok(None) };
        let snapshot = Snapshot { meta, data: members };
        let begun = Instant::now();
        match self.snapshots.save(&snapshot) {
            Err(SnapError::Io(error)) if error.is_full() => {
                // The log only stays longer than it need be.
                let Snapshot { meta, data: members } = snapshot;
                self.postponed = Some(LogCheckpoint { hard_state, meta, members });
                return Ok(None);
            }
            saved => saved?,
        }
        self.timing.snapshot.observe_seconds(begun.elapsed());
        self.timing.snapshot_sync.observe_seconds(begun.elapsed());
        // A term or a vote that was saved since this one was read stands.
        let last = self.wal.hard_state();
        let hard_state = HardState { commit: last.commit.max(hard_state.commit), ..last };
        self.wal.append(Some(&hard_state), &[])?;
        self.wal.save_snapshot(&snapshot.meta)?;
        self.give_up_log(snapshot.meta.index)?;
        Ok(Some((snapshot.meta.index, snapshot.meta.conf)))
    }

    /// A snapshot from a leader, whose store is durable. The record comes before the hard state that commits it: an entry
    /// that is said to be committed must not be missing. Without that hard state, the record says it.
    fn save_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), LogWriterError> {
        self.snapshots.save(snapshot)?;
        self.wal.save_snapshot(&snapshot.meta)?;
        self.installed = snapshot.meta.index;
        self.postponed = None;
        Ok(())
    }

    fn give_up_log(&mut self, index: Index) -> Result<(), LogWriterError> {
        self.wal.release(index);
        self.wal.purge(self.keep.segments)?;
        self.snapshots.purge(self.keep.snapshots)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ferrite_observe::metrics::Registry;
    use ferrite_raft::{Entry, NodeId, Term};
    use ferrite_storage::vfs::LyingDisk;

    use super::*;

    fn writer(disk: &LyingDisk, slow_after: Duration) -> LogWriter<LyingDisk> {
        let wal = wal::Wal::create(disk.clone(), Path::new("/wal"), Bytes::new(), wal::Options::default()).unwrap();
        let snapshots = SnapshotFiles::open(disk.clone(), Path::new("/snap")).unwrap();
        let timing = LogTiming::new(&Registry::new(), slow_after);
        LogWriter::new(wal, snapshots, Keep { segments: 1, snapshots: 1 }, timing)
    }

    fn step(writer: &mut LogWriter<LyingDisk>, mut jobs: Vec<LogJob>) -> LogDone {
        writer.step(&mut jobs, &mut |_| {}).unwrap()
    }

    fn meta(index: u64) -> SnapshotMeta {
        SnapshotMeta { index: Index(index), term: Term(2), ..SnapshotMeta::default() }
    }

    #[test]
    fn a_checkpoint_from_before_a_snapshot_is_none_any_more() {
        let disk = LyingDisk::new();
        let mut writer = writer(&disk, Duration::MAX);
        let hard_state = HardState { term: Term(2), vote: None, commit: Index(10) };
        let snapshot = Some(Snapshot { meta: meta(10), data: Bytes::from_static(b"{}") });
        let save = Save { number: SaveNumber(1), hard_state: Some(hard_state), entries: Vec::new(), snapshot };
        let late = |index| LogCheckpoint { hard_state, meta: meta(index), members: Bytes::from_static(b"{}") };
        let done = step(&mut writer, vec![LogJob::Save(save), LogJob::Checkpoint(late(7))]);
        assert_eq!(done.checkpointed, None);
        assert!(step(&mut writer, vec![LogJob::Checkpoint(late(10))]).checkpointed.is_none());
        let survey = wal::survey(&disk, Path::new("/wal")).unwrap();
        assert_eq!((survey.snapshots.last(), survey.received), (Some(&meta(10)), None));
        assert!(step(&mut writer, vec![LogJob::Checkpoint(late(11))]).checkpointed.is_some());
    }

    #[test]
    fn what_is_durable_is_told_before_a_checkpoint_is_made() {
        let disk = LyingDisk::new();
        let mut writer = writer(&disk, Duration::MAX);
        let hard_state = HardState { term: Term(2), vote: None, commit: Index(1) };
        let entry = Entry { term: Term(2), index: Index(1), ..Entry::default() };
        let save = Save { number: SaveNumber(7), hard_state: Some(hard_state), entries: vec![entry], snapshot: None };
        let checkpoint = LogCheckpoint { hard_state, meta: meta(1), members: Bytes::new() };
        let mut heard = None;
        let snapshots = || disk.read_dir(Path::new("/snap")).unwrap().len();
        let mut told = |number| heard = Some((number, snapshots()));
        let done = writer.step(&mut vec![LogJob::Save(save), LogJob::Checkpoint(checkpoint)], &mut told).unwrap();
        assert!(done.checkpointed.is_some() && snapshots() == 1);
        assert_eq!(heard, Some((SaveNumber(7), 0)));
    }

    #[test]
    fn a_sync_that_takes_long_is_told() {
        for (slow_after, is_told) in [(Duration::ZERO, true), (Duration::MAX, false)] {
            let mut writer = writer(&LyingDisk::new(), slow_after);
            let save = Save { number: SaveNumber(1), hard_state: None, entries: Vec::new(), snapshot: None };
            assert_eq!(step(&mut writer, vec![LogJob::Save(save)]).slow_sync.is_some(), is_told);
            assert_eq!(step(&mut writer, vec![LogJob::Close(None)]).slow_sync.is_some(), is_told);
        }
    }

    #[test]
    fn a_checkpoint_takes_no_vote_back() {
        let disk = LyingDisk::new();
        let mut writer = writer(&disk, Duration::MAX);
        let old = HardState { term: Term(1), vote: None, commit: Index(0) };
        let voted = HardState { term: Term(2), vote: Some(NodeId(7)), commit: Index(0) };
        let save = Save { number: SaveNumber(1), hard_state: Some(voted), entries: Vec::new(), snapshot: None };
        let checkpoint = LogCheckpoint { hard_state: old, meta: SnapshotMeta::default(), members: Bytes::new() };
        step(&mut writer, vec![LogJob::Save(save), LogJob::Checkpoint(checkpoint)]);
        drop(writer);
        let replay = wal::replay(&disk, Path::new("/wal"), wal::Start::default()).unwrap();
        assert_eq!(replay.hard_state, voted);
    }
}
