//! Reading a log from its files, and the rule that says what is damage.
//!
//!   segments from the start's on ──▶ Contents
//!      │ bad record, not the last segment ──▶ refuse
//!      │ bad record, last segment ──▶ judge: clean end, torn, or damaged ──▶ refuse
//!      ▼
//!   a log that ends before the store ──▶ refuse

use std::path::{Path, PathBuf};

use bytes::Bytes;
use ferrite_raft::{Entry, HardState, Index, SnapshotMeta};

use super::WalError;
use super::error::REMEDY;
use super::replay::{Contents, Defect, Keep, Start};
use super::segment::{self, SegmentName};
use super::tail::{Damage, Tail, judge};
use crate::vfs::{File, Lock, Mode, Vfs};

/// A longer file is none of ours or etcd's, which end a segment behind the batch that fills it. It is not read into
/// memory to find that out.
const MAX_SEGMENT_BYTES: u64 = 4 << 30;

/// What a log says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    /// As given to [`create`](super::Wal::create).
    pub metadata: Bytes,
    /// The last one. Its term is at least that of the last entry: if an unfinished write has kept the entry and lost
    /// the hard state, the entry still says that this term has begun.
    pub hard_state: HardState,
    /// From behind the start to the end, without a gap.
    pub entries: Vec<Entry>,
    /// All snapshots of which there is a record in the segments that were read.
    pub snapshots: Vec<SnapshotMeta>,
    /// What was found and mended, for the log.
    pub warnings: Vec<String>,
}

/// A segment that was read, and is kept open.
#[derive(Debug)]
pub(super) struct OpenSegment<F> {
    pub name: SegmentName,
    pub file: F,
    pub path: PathBuf,
    /// Behind its last record.
    pub used: u64,
}

/// The last segment's end, as it was found.
#[derive(Debug)]
pub(super) struct FoundTail {
    /// All bytes of the file.
    pub bytes: Vec<u8>,
    /// Where the last marker begins.
    pub marked: usize,
    pub torn: bool,
}

/// Everything about a log, as read from its files.
#[derive(Debug)]
pub(super) struct Reading<F> {
    pub contents: Contents,
    /// At least one.
    pub segments: Vec<OpenSegment<F>>,
    pub tail: FoundTail,
    pub warnings: Vec<String>,
}

/// Reads `names`, which follow one another. With `Mode::ReadWrite` each segment is locked.
pub(super) fn read<V: Vfs>(
    vfs: &V,
    dir: &Path,
    names: &[SegmentName],
    keep: Keep,
    mode: Mode,
) -> Result<Reading<V::File>, WalError> {
    let mut reading = Reading {
        contents: Contents::new(keep),
        segments: Vec::with_capacity(names.len()),
        tail: FoundTail { bytes: Vec::new(), marked: 0, torn: false },
        warnings: Vec::new(),
    };
    for (number, name) in names.iter().enumerate() {
        let path = name.path(dir);
        let file = vfs.open(&path, mode)?;
        if mode == Mode::ReadWrite && !file.try_lock(Lock::OpenFile)? {
            return Err(WalError::Locked { file: path });
        }
        let length = file.len()?;
        if length > MAX_SEGMENT_BYTES {
            let what = format!("it is {length} bytes long, which no segment is");
            return Err(WalError::Corrupt { file: path, offset: 0, what, remedy: REMEDY });
        }
        reading.tail.bytes = file.read_all()?;
        let bytes = &reading.tail.bytes;

        let end = reading.contents.read_segment(bytes);
        let is_last = number + 1 == names.len();
        let corrupt =
            |what: String| WalError::Corrupt { file: path.clone(), offset: end.offset as u64, what, remedy: REMEDY };
        match &end.defect {
            Some(Defect::Content(what)) => return Err(corrupt(what.clone())),
            Some(Defect::Before) => {
                let before = reading.segments.last().expect("the first segment follows nothing");
                return Err(WalError::Corrupt {
                    file: before.path.clone(),
                    offset: before.used,
                    what: format!("records are missing here: {name} does not go on from it"),
                    remedy: REMEDY,
                });
            }
            Some(Defect::Form(what)) if !is_last => {
                return Err(corrupt(format!("{what}, and there is a later segment")));
            }
            // Zeros before a later segment: its checksum will say whether anything is missing.
            None if !is_last => {}
            defect => {
                let what = match defect {
                    Some(Defect::Form(what)) => what,
                    _ => "there are zeros in place of a record",
                };
                match judge(bytes, end.offset) {
                    Tail::Clean => {}
                    Tail::Torn { bytes, records } => {
                        reading.tail.torn = true;
                        reading.warnings.push(format!(
                            "{} ends in an unfinished write: cut off {bytes} bytes ({records} records) from offset {} on; \
                             the last index in the log is now {}",
                            path.display(),
                            end.offset,
                            reading.contents.last_index,
                        ));
                    }
                    Tail::Damaged(Damage::Synced { marker }) => {
                        return Err(corrupt(format!(
                            "{what}, though the marker at offset {marker} says that it was synced"
                        )));
                    }
                    Tail::Damaged(Damage::NotTorn) => {
                        return Err(corrupt(format!("{what}, and no unfinished write leaves it like that")));
                    }
                }
            }
        }
        reading.tail.marked = end.marked;
        reading.segments.push(OpenSegment { name: *name, file, path, used: end.offset as u64 });
    }
    Ok(reading)
}

impl<F> Reading<F> {
    fn corrupt(&self, what: String) -> WalError {
        let last = self.segments.last().expect("a log has a segment");
        WalError::Corrupt { file: last.path.clone(), offset: last.used, what, remedy: REMEDY }
    }

    /// What the log says, once it is known to reach as far as the store.
    pub(super) fn replay(&mut self, dir: &Path, start: Start, store_applied: Index) -> Result<Replay, WalError> {
        let contents = &self.contents;
        let end = Index(start.index.0 + contents.entries.len() as u64);
        if end < store_applied {
            let last = self.segments.last().expect("a log has a segment");
            return Err(WalError::Corrupt {
                file: last.path.clone(),
                offset: last.used,
                what: format!(
                    "the log ends here at index {end}, and the store holds what index {store_applied} has done"
                ),
                remedy: REMEDY,
            });
        }
        if !contents.start_seen {
            return Err(WalError::SnapshotNotFound { dir: dir.to_path_buf(), index: start.index, term: start.term });
        }
        if let Some(first) = contents.entries.first().filter(|first| first.term < start.term) {
            return Err(self.corrupt(format!("entry {} has a lower term than the snapshot before it", first.index)));
        }
        let mut hard_state = contents.hard_state;
        if let Some(last) = contents.entries.last()
            && last.term > hard_state.term
        {
            hard_state = HardState { term: last.term, vote: None, ..hard_state };
        }
        let contents = &mut self.contents;
        Ok(Replay {
            metadata: contents.metadata.clone().unwrap_or_default(),
            hard_state,
            entries: std::mem::take(&mut contents.entries),
            snapshots: std::mem::take(&mut contents.snapshots),
            warnings: std::mem::take(&mut self.warnings),
        })
    }
}

/// Reads a log without touching it: nothing is locked, a torn end is only reported.
pub fn replay<V: Vfs>(vfs: &V, dir: &Path, start: Start) -> Result<Replay, WalError> {
    let names = segment::list(vfs, dir)?;
    let chosen = segment::from_index(&names, start.index, dir)?;
    read(vfs, dir, chosen, Keep::Behind(start), Mode::Read)?.replay(dir, start, Index(0))
}

/// What a member has to know of its log before it opens its store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// As given to [`create`](super::Wal::create).
    pub metadata: Bytes,
    /// The snapshots that it may start from: those that the log has a record of, and that are committed. In the order of
    /// their records; the first is that of the empty log if its record is still there.
    pub snapshots: Vec<SnapshotMeta>,
    /// The last snapshot whose record is there, if it is ahead of all that is known to be committed: it came from a leader,
    /// and the hard state that was to follow on it was not written any more.
    pub received: Option<SnapshotMeta>,
}

/// Looks through a log without touching it.
pub fn survey<V: Vfs>(vfs: &V, dir: &Path) -> Result<Survey, WalError> {
    let names = segment::list(vfs, dir)?;
    if names.is_empty() {
        return Err(WalError::NotFound { dir: dir.to_path_buf() });
    }
    let reading = read(vfs, dir, segment::behind_gap(&names), Keep::Nothing, Mode::Read)?;
    let Contents { mut snapshots, hard_state, metadata, .. } = reading.contents;
    let received = snapshots.last().filter(|meta| meta.index > hard_state.commit).cloned();
    snapshots.retain(|meta| meta.index <= hard_state.commit);
    Ok(Survey { metadata: metadata.unwrap_or_default(), snapshots, received })
}

/// The snapshots that a member may start from.
pub fn valid_snapshots<V: Vfs>(vfs: &V, dir: &Path) -> Result<Vec<SnapshotMeta>, WalError> {
    survey(vfs, dir).map(|survey| survey.snapshots)
}
