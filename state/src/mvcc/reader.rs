//! Reading at one revision: for a view, and for the one entry that is being applied, which sees its own changes.

use std::ops::ControlFlow;

use bytes::Bytes;
use ferrite_storage::{self as storage, Record, Revision};

use super::index::{Found, KeyRange};
use super::{Keyspace, STEP_KEYS};

/// Reads at `main`. What is pinned, or that nothing trims meanwhile, is for its maker to see to.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    keyspace: &'a Keyspace,
    main: u64,
    /// What headers tell.
    current: u64,
    /// Records of the revision that is being written.
    pending: &'a [Record],
}

impl<'a> Reader<'a> {
    pub fn new(keyspace: &'a Keyspace, main: u64, current: u64, pending: &'a [Record]) -> Reader<'a> {
        Reader { keyspace, main, current, pending }
    }

    pub fn current(&self) -> u64 {
        self.current
    }

    /// The same at another revision.
    pub fn at(self, main: u64) -> Reader<'a> {
        Reader { main, ..self }
    }

    pub fn find(&self, key: &[u8]) -> Option<Found> {
        self.keyspace.index.read().get(key, self.main)
    }

    /// Visits the keys of a range in order, until `visit` breaks. The lock is given back every few hundred keys.
    pub fn visit(&self, range: &KeyRange, mut visit: impl FnMut(&[u8], Found) -> ControlFlow<()>) {
        let mut rest = Some(range.clone());
        while let Some(range) = rest {
            let position = self.keyspace.index.read().visible(&range, self.main, STEP_KEYS, &mut visit);
            rest = position.map(|position| position.rest_of(&range));
        }
    }

    pub fn count(&self, range: &KeyRange) -> u64 {
        let mut total = 0;
        let mut rest = Some(range.clone());
        while let Some(range) = rest {
            let (count, position) = self.keyspace.index.read().count(&range, self.main, STEP_KEYS);
            total += count;
            rest = position.map(|position| position.rest_of(&range));
        }
        total
    }

    /// The stored `KeyValue` of a revision that the index told.
    pub fn key_value(&self, revision: Revision) -> Result<Bytes, storage::ReadError> {
        if let Some(record) = self.pending.first()
            && record.revision.main == revision.main
        {
            return Ok(self.pending[revision.sub as usize].key_value.clone());
        }
        let stored = self.keyspace.revisions.get(revision)?;
        Ok(stored.unwrap_or_else(|| panic!("{revision:?} is in the index, but not in the store")).into())
    }
}
