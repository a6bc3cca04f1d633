//! The keyspace as the history of watchers.

use std::sync::Arc;

use bytes::Bytes;
use ferrite_storage::{ReadError, Revision};

use super::history::{Change, History, Step};
use crate::mvcc::Keyspace;

/// Holds up trimming in the keyspace that it was taken from.
#[derive(Debug)]
pub struct HistoryPin {
    keyspace: Arc<Keyspace>,
    from: u64,
}

impl Drop for HistoryPin {
    fn drop(&mut self) {
        self.keyspace.unpin(self.from);
    }
}

impl History for Arc<Keyspace> {
    type Pin = HistoryPin;

    fn published(&self) -> u64 {
        self.revision()
    }

    fn compacted(&self) -> u64 {
        // -1 before the first compaction.
        Keyspace::compacted(self).try_into().unwrap_or(0)
    }

    fn pin(&self, from: u64) -> Option<HistoryPin> {
        Keyspace::pin(self, from).ok()?;
        Some(HistoryPin { keyspace: self.clone(), from })
    }

    fn is_kept_by(&self, pin: &HistoryPin) -> bool {
        Arc::ptr_eq(self, &pin.keyspace)
    }

    fn read(&self, from: u64, until: u64, step: Step, changes: &mut Vec<Change>) -> Result<u64, ReadError> {
        let mut room = Room::new(step);
        for record in self.revisions().scan(Revision { main: from, sub: 0 }, until) {
            let record = record?;
            if !room.takes(record.revision.main, record.key_value.len()) {
                return Ok(record.revision.main - 1);
            }
            changes.push(Change {
                revision: record.revision,
                tombstone: record.tombstone,
                key_value: record.key_value.into(),
            });
        }
        Ok(until)
    }

    fn read_key(
        &self,
        key: &[u8],
        from: u64,
        until: u64,
        step: Step,
        changes: &mut Vec<Change>,
    ) -> Result<u64, ReadError> {
        // One more than the step, to see whether there is more.
        let revisions = self.changes_of(key, from, until, step.changes + 1);
        let mut room = Room::new(step);
        for (revision, tombstone) in revisions {
            let Some(key_value) = self.revisions().get(revision)? else {
                // It was compacted since we looked, and the caller will find that out.
                continue;
            };
            if !room.takes(revision.main, key_value.len()) {
                return Ok(revision.main - 1);
            }
            changes.push(Change { revision, tombstone, key_value: key_value.into() });
        }
        Ok(until)
    }

    fn value_at(&self, key: &[u8], revision: u64) -> Result<Option<Bytes>, ReadError> {
        self.key_value_at(key, revision)
    }
}

/// What is left of a step.
struct Room {
    changes: usize,
    bytes: usize,
    last: u64,
}

impl Room {
    fn new(step: Step) -> Room {
        Room { changes: step.changes, bytes: step.bytes, last: 0 }
    }

    /// Whether a change still belongs to the step: it does if its revision has begun in it.
    fn takes(&mut self, main: u64, bytes: usize) -> bool {
        if main != self.last {
            let is_first = self.last == 0;
            if !is_first && (self.changes == 0 || self.bytes == 0) {
                return false;
            }
            self.last = main;
        }
        self.changes = self.changes.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
        true
    }
}
