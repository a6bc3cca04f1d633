//! Opening a log for writing: read it, mend its end, and make sure that what was read is on disk.

use std::path::Path;

use ferrite_raft::Index;

use super::pipeline::Pipeline;
use super::read::{self, FoundTail, OpenSegment, Replay};
use super::replay::{Keep, Start};
use super::segment::{self, SegmentName};
use super::tail::used;
use super::writer::{Position, Writer};
use super::{Options, Wal, WalError};
use crate::vfs::{File, Mode, Vfs};

impl<V: Vfs> Wal<V> {
    /// Opens the log in `dir` to be read from behind `start`, and to be written to. `store_applied` is the last index
    /// whose effect is in the store: a log that ends before it is damaged.
    ///
    /// An unfinished write at the end is cut off, with a warning in the answer and a copy in `<segment>.broken`.
    pub fn open(
        vfs: V,
        dir: &Path,
        start: Start,
        store_applied: Index,
        options: Options,
    ) -> Result<(Wal<V>, Replay), WalError> {
        let names = segment::list(&vfs, dir)?;
        let chosen = segment::from_index(&names, start.index, dir)?;
        let older = names.len() - chosen.len();
        let mut reading = read::read(&vfs, dir, chosen, Keep::Behind(start), Mode::ReadWrite)?;
        let mut replay = reading.replay(dir, start, store_applied)?;

        let last = reading.segments.last().expect("a log has a segment");
        if reading.tail.torn {
            replay.warnings.extend(keep_copy(&vfs, last, &reading.tail)?);
        }
        make_durable(last, &reading.tail)?;
        // The last segment, or the directory, may have got its name without that having been synced.
        vfs.sync_dir(dir)?;
        if let Some(parent) = dir.parent() {
            vfs.sync_dir(parent)?;
        }

        let writer = Writer::new(reading.contents.crc(), replay.hard_state, reading.contents.last_index);
        // What is there behind the records may be a hole: its space is taken again.
        let position = Position::synced(last.used, last.used);
        Pipeline::clear(&vfs, dir)?;
        let released = names[..older].iter().copied().collect();
        let mut wal = Wal::assemble(vfs, dir, replay.metadata.clone(), options, released, reading.segments);
        wal.writer = writer;
        wal.position = position;
        wal.take_space()?;
        Ok((wal, replay))
    }
}

/// Copies a torn segment before it is cut. A full disk is no reason not to start.
fn keep_copy<V: Vfs>(vfs: &V, last: &OpenSegment<V::File>, tail: &FoundTail) -> Result<Option<String>, WalError> {
    let path = last.path.with_extension("wal.broken");
    let copy = || {
        let file = vfs.open(&path, Mode::Create)?;
        file.set_len(0)?;
        file.write_at(&tail.bytes[..used(&tail.bytes)], 0)?;
        file.sync_data()
    };
    match copy() {
        Ok(()) => Ok(None),
        Err(error) if error.is_full() => Ok(Some(format!("what was cut off could not be kept: {error}"))),
        Err(error) => Err(error.into()),
    }
}

/// Leaves zeros behind the last record, and all before them on disk.
fn make_durable<F: File>(last: &OpenSegment<F>, tail: &FoundTail) -> Result<(), WalError> {
    if tail.torn {
        last.file.set_len(last.used)?;
    }
    // What was read may be in memory only: the process before this one may have ended between a write and its sync, or
    // because a sync failed, and then no later sync would write it. So it is written again.
    let unmarked = &tail.bytes[tail.marked..last.used as usize];
    if !unmarked.is_empty() {
        last.file.write_at(unmarked, tail.marked as u64)?;
    }
    // Before anything is written behind it: bytes of a torn end must never follow a later record.
    last.file.sync_data()?;
    Ok(())
}

/// Whether there is a log in `dir`.
pub fn exists<V: Vfs>(vfs: &V, dir: &Path) -> Result<bool, WalError> {
    Ok(!segment::list(vfs, dir)?.is_empty())
}

/// The first index that the segment behind `name` may begin with.
pub(super) fn next_name(name: SegmentName, last_index: Index) -> SegmentName {
    SegmentName { sequence: name.sequence + 1, index: last_index.next() }
}
