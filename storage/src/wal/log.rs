//! An open log: saving, syncing, marking, cutting, releasing.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use ferrite_raft::{Entry, HardState, Index, SnapshotMeta};

use super::WalError;
use super::create::open_locked;
use super::open::next_name;
use super::pipeline::Pipeline;
use super::read::OpenSegment;
use super::segment::SegmentName;
use super::writer::{Position, Writer};
use crate::vfs::{File, Mode, Vfs};

/// What can be set.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// A segment that is this long is the last one no more. The write that makes it so may go beyond.
    pub segment_bytes: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options { segment_bytes: 64_000_000 }
    }
}

/// More than a record takes besides the data of an entry, with a marker before it.
const RECORD_BYTES: u64 = 96;

/// Whether there is space for what comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// The next segment is ready.
    Ready,
    /// There was no room for the next segment. What is left in this one is the reserve.
    Short,
}

/// A log that is open for writing.
#[derive(Debug)]
pub struct Wal<V: Vfs> {
    home: Home<V>,
    /// Segments before these, oldest first: not needed any more, and not yet removed.
    released: VecDeque<SegmentName>,
    /// Oldest first; written to is the last. Each is locked.
    segments: VecDeque<OpenSegment<V::File>>,
    pipeline: Pipeline<V::File>,
    pub(super) writer: Writer,
    pub(super) position: Position,
    space: Space,
    /// What failed first.
    failure: Option<String>,
}

#[derive(Debug)]
struct Home<V> {
    vfs: V,
    dir: PathBuf,
    metadata: Bytes,
    options: Options,
}

impl<V: Vfs> Wal<V> {
    pub(super) fn assemble(
        vfs: V,
        dir: &Path,
        metadata: Bytes,
        options: Options,
        released: VecDeque<SegmentName>,
        segments: Vec<OpenSegment<V::File>>,
    ) -> Wal<V> {
        Wal {
            home: Home { vfs, dir: dir.to_path_buf(), metadata, options },
            released,
            segments: segments.into(),
            pipeline: Pipeline::new(),
            writer: Writer::default(),
            position: Position::default(),
            space: Space::Ready,
            failure: None,
        }
    }

    /// Adds records to what the next [`write`](Self::write) will write: several calls, one write. Answers whether these
    /// need a sync before anybody may rely on them; a commit index alone does not.
    pub fn append(&mut self, hard_state: Option<&HardState>, entries: &[Entry]) -> Result<bool, WalError> {
        self.check()?;
        let hard_state = hard_state.filter(|state| **state != HardState::default());
        if hard_state.is_none() && entries.is_empty() {
            return Ok(false);
        }
        self.make_room(
            RECORD_BYTES + entries.iter().map(|entry| RECORD_BYTES + entry.payload.encoded_len()).sum::<u64>(),
        )?;
        self.put_due_marker();
        self.position.unsynced = true;
        let before = self.writer.hard_state;
        for entry in entries {
            assert!(entry.term.0 > 0 && entry.index.0 > 0, "an entry without a place in the log");
            self.writer.put_entry(entry);
        }
        if let Some(state) = hard_state {
            assert!(state.term >= before.term, "the term goes back from {} to {}", before.term, state.term);
            self.writer.put_state(state);
        }
        let after = self.writer.hard_state;
        Ok(!entries.is_empty() || after.term != before.term || after.vote != before.vote)
    }

    /// Writes all that was appended, in one piece.
    pub fn write(&mut self) -> Result<(), WalError> {
        self.guarded(Self::write_pending)
    }

    /// Appends and writes. A sync that is due is the caller's to ask for.
    pub fn save(&mut self, hard_state: Option<&HardState>, entries: &[Entry]) -> Result<bool, WalError> {
        let must_sync = self.append(hard_state, entries)?;
        self.write()?;
        Ok(must_sync)
    }

    /// Writes what was appended, and makes all that was written durable. When the segment is full, begins the next one.
    pub fn sync(&mut self) -> Result<(), WalError> {
        self.guarded(|wal| {
            wal.write_pending()?;
            if wal.position.written >= wal.home.options.segment_bytes {
                wal.take_space()?;
                if let Some(ready) = wal.pipeline.take() {
                    return wal.cut(ready.file, &ready.path);
                }
                // No room for another one: this one grows, while there is room for that.
            }
            wal.sync_tail()
        })
    }

    /// Says on disk that all so far was synced, if that is so and was not said. To be called when nothing else waits;
    /// otherwise the next batch says it.
    pub fn mark(&mut self) -> Result<(), WalError> {
        self.guarded(|wal| {
            wal.put_due_marker();
            wal.write_pending()
        })
    }

    /// Records a snapshot, durably. Its file must be on disk already.
    pub fn save_snapshot(&mut self, meta: &SnapshotMeta) -> Result<(), WalError> {
        let members = meta.conf.voters.len() + meta.conf.learners.len() + meta.conf.voters_outgoing.len();
        self.make_room(RECORD_BYTES * (1 + (members + meta.conf.learners_next.len()) as u64))?;
        self.guarded(|wal| {
            wal.put_due_marker();
            wal.writer.put_snapshot(meta);
            wal.position.unsynced = true;
            wal.write_pending()?;
            wal.sync_tail()
        })
    }

    /// Gives up the segments before the one that contains `index`.
    pub fn release(&mut self, index: Index) {
        let later = self.segments.iter().position(|segment| segment.name.index >= index);
        let kept_from = later.unwrap_or(self.segments.len()).saturating_sub(1);
        self.released.extend(self.segments.drain(..kept_from).map(|segment| segment.name));
    }

    /// Removes the oldest of the segments given up, until at most `keep` segments are left. Answers how many went.
    pub fn purge(&mut self, keep: usize) -> Result<usize, WalError> {
        self.guarded(|wal| {
            let mut count = 0;
            while wal.released.len() + wal.segments.len() > keep
                && let Some(name) = wal.released.front()
            {
                wal.home.vfs.remove_file(&name.path(&wal.home.dir))?;
                // One by one: a crash must not keep an older one than those that went, or etcd sees a gap.
                wal.home.vfs.sync_dir(&wal.home.dir)?;
                wal.released.pop_front();
                count += 1;
            }
            Ok(count)
        })
    }

    /// Whether the next segment's space is taken. When it is short, this is the time to refuse what makes the log
    /// longer; [`take_space`](Self::take_space) tries again.
    pub fn space(&self) -> Space {
        self.space
    }

    /// Takes the space that will be needed next: for the rest of this segment, and for another one.
    pub fn take_space(&mut self) -> Result<Space, WalError> {
        self.guarded(|wal| {
            let (home, bytes) = (&wal.home, wal.home.options.segment_bytes);
            let allocated = wal.position.allocated;
            let rest = match allocated < bytes {
                true => wal.tail().file.allocate(allocated, bytes - allocated),
                false => Ok(()),
            };
            wal.space = match rest {
                Ok(()) => {
                    wal.position.allocated = allocated.max(bytes);
                    wal.pipeline.prepare(&home.vfs, &home.dir, bytes)?
                }
                Err(error) if error.is_full() => Space::Short,
                Err(error) => return Err(error.into()),
            };
            Ok(wal.space)
        })
    }

    /// The last entry or snapshot saved.
    pub fn last_index(&self) -> Index {
        self.writer.last_index
    }

    /// The last hard state saved.
    pub fn hard_state(&self) -> HardState {
        self.writer.hard_state
    }

    /// Length of the log that is not given up.
    pub fn bytes(&self) -> u64 {
        let sealed = self.segments.iter().rev().skip(1).map(|segment| segment.used).sum::<u64>();
        sealed + self.position.written
    }

    /// Sees to it that `bytes` more fit into space that is ours: on a full disk, the space of the next segment.
    fn make_room(&mut self, bytes: u64) -> Result<(), WalError> {
        let end = self.position.written + self.writer.pending().len() as u64 + bytes;
        if end <= self.position.allocated {
            return Ok(());
        }
        self.guarded(|wal| {
            let allocated = wal.position.allocated;
            match wal.tail().file.allocate(allocated, end - allocated) {
                Ok(()) => wal.position.allocated = end,
                Err(error) if error.is_full() => {
                    wal.space = Space::Short;
                    wal.write_pending()?;
                    if let Some(ready) = wal.pipeline.take() {
                        wal.cut(ready.file, &ready.path)?;
                    }
                    // With none ready, the write will say what is wrong.
                }
                Err(error) => return Err(error.into()),
            }
            Ok(())
        })
    }

    fn tail(&self) -> &OpenSegment<V::File> {
        self.segments.back().expect("a log has a segment")
    }

    fn put_due_marker(&mut self) {
        if self.writer.pending().is_empty() && self.position.wants_marker() {
            self.writer.put_marker();
            self.position.unmarked = false;
        }
    }

    fn write_pending(&mut self) -> Result<(), WalError> {
        let bytes = self.writer.pending();
        if bytes.is_empty() {
            return Ok(());
        }
        self.tail().file.write_at(bytes, self.position.written)?;
        self.position.written += bytes.len() as u64;
        self.position.allocated = self.position.allocated.max(self.position.written);
        self.writer.clear();
        Ok(())
    }

    fn sync_tail(&mut self) -> Result<(), WalError> {
        if self.position.unsynced {
            self.tail().file.sync_data()?;
            self.position =
                Position { synced: self.position.written, unmarked: true, unsynced: false, ..self.position };
        }
        Ok(())
    }

    /// Ends the segment and begins the next one in `file`. All that was written is durable then.
    fn cut(&mut self, file: V::File, path: &Path) -> Result<(), WalError> {
        let old = self.tail();
        old.file.set_len(self.position.written)?;
        old.file.sync_data()?;
        let name = next_name(old.name, self.writer.last_index);
        self.segments.back_mut().expect("a log has a segment").used = self.position.written;

        self.writer.put_head(&self.home.metadata);
        let used = self.writer.pending().len() as u64;
        file.write_at(self.writer.pending(), 0)?;
        file.sync_data()?;
        self.writer.clear();
        let final_path = name.path(&self.home.dir);
        self.home.vfs.rename(path, &final_path)?;
        self.home.vfs.sync_dir(&self.home.dir)?;

        // By its new name, which errors are to give.
        drop(file);
        let file = open_locked(&self.home.vfs, &final_path, Mode::ReadWrite)?;
        self.position = Position::synced(used, file.len()?);
        self.segments.push_back(OpenSegment { name, file, path: final_path, used });
        self.take_space()?;
        Ok(())
    }

    fn check(&self) -> Result<(), WalError> {
        match &self.failure {
            Some(first) => Err(WalError::Failed { first: first.clone() }),
            None => Ok(()),
        }
    }

    /// Does something after which, if it fails, nothing more may be done.
    fn guarded<T>(&mut self, action: impl FnOnce(&mut Self) -> Result<T, WalError>) -> Result<T, WalError> {
        self.check()?;
        let result = action(self);
        if let Err(error) = &result {
            self.failure.get_or_insert_with(|| error.to_string());
        }
        result
    }
}
