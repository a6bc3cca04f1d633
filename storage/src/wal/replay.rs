//! From the bytes of segments to what the log says.
//!
//!   bytes of a segment ──▶ frames ──▶ CRC chain ──▶ Contents: entries, hard state, snapshots, metadata
//!
//! What holds at the end: entries follow one another from behind the start without a gap, terms do not go back, an
//! entry that is committed was not replaced, and all segments belong to one log.

use bytes::Bytes;
use ferrite_raft::{Entry, HardState, Index, SnapshotMeta, Term};

use super::payload::{parse_entry, parse_snapshot, parse_state};
use super::record::{Frame, Kind, NoFrame, Record, frame_at};

/// Where reading begins: behind a snapshot that the log has a record of. Zero is the beginning of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Start {
    pub index: Index,
    pub term: Term,
}

impl From<&SnapshotMeta> for Start {
    fn from(meta: &SnapshotMeta) -> Start {
        Start { index: meta.index, term: meta.term }
    }
}

/// Which entries are kept.
#[derive(Clone, Copy, Debug)]
pub(super) enum Keep {
    Behind(Start),
    /// None: only snapshots and the hard state are asked for.
    Nothing,
}

/// What has been read so far.
#[derive(Debug)]
pub(super) struct Contents {
    keep: Keep,
    pub metadata: Option<Bytes>,
    pub hard_state: HardState,
    pub entries: Vec<Entry>,
    pub snapshots: Vec<SnapshotMeta>,
    /// The last entry or snapshot written, as the next segment's name needs it.
    pub last_index: Index,
    /// Whether the record of the start's snapshot was there.
    pub start_seen: bool,
    /// The term of the entry at the start, if it is in what was read.
    term_at_start: Option<Term>,
    /// Unknown before the first record.
    crc: Option<u32>,
}

/// The end of a segment.
#[derive(Debug)]
pub(super) struct SegmentEnd {
    /// Behind the last good record.
    pub offset: usize,
    /// Where the last marker begins, or the segment: all before was synced, but the marker itself need not be.
    pub marked: usize,
    /// What is wrong there, unless the file ends or zeros begin.
    pub defect: Option<Defect>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Defect {
    /// The bytes are not a record. Could be the trace of an unfinished write.
    Form(&'static str),
    /// A record in good form that contradicts what was before it. No unfinished write leaves that.
    Content(String),
    /// The segment itself begins well, but not where the one before it ends.
    Before,
}

impl Contents {
    pub(super) fn new(keep: Keep) -> Contents {
        Contents {
            keep,
            metadata: None,
            hard_state: HardState::default(),
            entries: Vec::new(),
            snapshots: Vec::new(),
            last_index: Index(0),
            start_seen: false,
            term_at_start: None,
            crc: None,
        }
    }

    pub(super) fn crc(&self) -> u32 {
        self.crc.unwrap_or_default()
    }

    /// Takes in the bytes of the next segment.
    pub(super) fn read_segment(&mut self, bytes: &[u8]) -> SegmentEnd {
        let (mut offset, mut marked) = (0, 0);
        for number in 0.. {
            let defect = match frame_at(bytes, offset) {
                Ok(frame) if number == 0 && self.is_cut_off_from(bytes, &frame) => Some(Defect::Before),
                Ok(frame) => match self.read(&frame, number) {
                    Ok(()) => {
                        if frame.record.kind == Kind::Crc {
                            marked = offset;
                        }
                        offset = frame.end;
                        continue;
                    }
                    Err(defect) => Some(defect),
                },
                Err(NoFrame::End) if number < 2 => Some(Defect::Content("the head of the segment is missing".into())),
                Err(NoFrame::End) => None,
                Err(no_frame) => Some(Defect::Form(no_frame.what())),
            };
            return SegmentEnd { offset, marked, defect };
        }
        unreachable!("records are numbered without an end")
    }

    /// Whether a segment's head, in itself good, does not go on from what was read: then that is what ends too early.
    fn is_cut_off_from(&self, bytes: &[u8], head: &Frame<'_>) -> bool {
        let follows =
            |record: Record<'_>| record.crc == crc32c::crc32c_append(head.record.crc, record.data.unwrap_or_default());
        head.record.kind == Kind::Crc
            && self.crc.is_some_and(|running| running != head.record.crc)
            && frame_at(bytes, head.end).is_ok_and(|frame| follows(frame.record))
    }

    /// Takes in a record, which is the `number`th of its segment.
    fn read(&mut self, frame: &Frame<'_>, number: u64) -> Result<(), Defect> {
        let Record { kind, crc, data } = frame.record;
        match (number, kind) {
            (0, Kind::Crc) | (1, Kind::Metadata) => {}
            (0 | 1, _) => return Err(Defect::Content("the head of the segment is missing".into())),
            _ => {}
        }
        let expected = match (kind, self.crc) {
            (Kind::Crc, None) => crc,
            (Kind::Crc, Some(running)) => running,
            _ => crc32c::crc32c_append(self.crc(), data.unwrap_or_default()),
        };
        if crc != expected {
            return Err(match number {
                0 => Defect::Content("the segment does not follow from the one before it: its checksum differs".into()),
                _ => Defect::Form("the checksum of a record does not match"),
            });
        }
        match kind {
            Kind::Crc => Ok(()),
            Kind::Metadata => self.read_metadata(data.unwrap_or_default()),
            Kind::Entry => {
                parse_entry(data.unwrap_or_default()).map_err(String::from).and_then(|entry| self.read_entry(entry))
            }
            Kind::State => {
                parse_state(data.unwrap_or_default()).map_err(String::from).and_then(|state| self.read_state(state))
            }
            Kind::Snapshot => parse_snapshot(data).map_err(String::from).and_then(|meta| self.read_snapshot(meta)),
        }
        .map_err(Defect::Content)?;
        self.crc = Some(crc);
        Ok(())
    }

    fn read_metadata(&mut self, data: &[u8]) -> Result<(), String> {
        match &self.metadata {
            None => self.metadata = Some(Bytes::copy_from_slice(data)),
            Some(first) if first == data => {}
            Some(_) => return Err("the metadata is that of another log".into()),
        }
        Ok(())
    }

    fn read_entry(&mut self, entry: Entry) -> Result<(), String> {
        self.last_index = entry.index;
        let Keep::Behind(start) = self.keep else { return Ok(()) };
        let Some(position) = entry.index.0.checked_sub(start.index.0 + 1) else {
            // It replaces all that were behind it.
            self.entries.clear();
            self.term_at_start = (entry.index == start.index).then_some(entry.term);
            return Ok(());
        };
        let position = position as usize;
        if position > self.entries.len() {
            let last = start.index.0 + self.entries.len() as u64;
            return Err(format!("entry {} follows entry {last}", entry.index));
        }
        // The one at the start itself may yet be replaced, or come with a snapshot.
        let before = position.checked_sub(1).map(|before| &self.entries[before]);
        if let Some(before) = before.filter(|before| before.term > entry.term) {
            return Err(format!("entry {} has term {}, the one before it {}", entry.index, entry.term, before.term));
        }
        if let Some(replaced) = self.entries.get(position)
            && entry.index <= self.hard_state.commit
            && *replaced != entry
        {
            return Err(format!("entry {} is committed, and is replaced by another one", entry.index));
        }
        // A later entry replaces an earlier one of its index and all behind it (Raft thesis, figure 3.6).
        self.entries.truncate(position);
        self.entries.push(entry);
        Ok(())
    }

    fn read_state(&mut self, state: HardState) -> Result<(), String> {
        if state.term < self.hard_state.term {
            return Err(format!("the term goes back from {} to {}", self.hard_state.term, state.term));
        }
        self.hard_state = state;
        Ok(())
    }

    fn read_snapshot(&mut self, meta: SnapshotMeta) -> Result<(), String> {
        self.last_index = self.last_index.max(meta.index);
        if let Keep::Behind(start) = self.keep
            && start.index == meta.index
        {
            if start.term != meta.term {
                return Err(format!("the snapshot at {} has term {}, not {}", meta.index, meta.term, start.term));
            }
            self.start_seen = true;
            // A snapshot that came from a leader, because the log did not have its entry, took the place of the whole log.
            if self.term_at_start != Some(meta.term) {
                self.entries.clear();
            }
        }
        self.snapshots.push(meta);
        Ok(())
    }
}
