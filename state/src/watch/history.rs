//! The history that watchers are cursors over, as far as they need to know it.

use std::fmt::Debug;

use bytes::Bytes;
use ferrite_storage::{ReadError, Revision};

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub revision: Revision,
    /// Whether the key was deleted; then `key_value` holds the key only.
    pub tombstone: bool,
    /// The encoded `KeyValue`, shared with the history and not copied.
    pub key_value: Bytes,
}

/// How much may be read at once. A step ends between two revisions (`main`) and takes at least one.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub changes: usize,
    pub bytes: usize,
}

/// All that was ever changed, from the compacted revision on. Revisions are named by their `main`.
pub trait History {
    /// Keeps what is compacted from being taken out, for as long as it lives.
    type Pin: Debug;

    /// The last revision that may be told to clients; all up to it can be read.
    fn published(&self) -> u64;

    /// The compacted revision: who asks for less is told so.
    fn compacted(&self) -> u64;

    /// Keeps all from a revision on, which may be the next one. `None` if it is compacted already.
    fn pin(&self, from: u64) -> Option<Self::Pin>;

    /// Whether a pin is one of this history, and not of another whose place it has taken (a snapshot was installed).
    fn is_kept_by(&self, pin: &Self::Pin) -> bool;

    /// Appends the changes from revision `from` up to `until` at most, in order. Returns up to which revision all are there;
    /// `until` if there is nothing left.
    fn read(&self, from: u64, until: u64, step: Step, changes: &mut Vec<Change>) -> Result<u64, ReadError>;

    /// The same for the changes of a single key, without reading others'.
    fn read_key(
        &self,
        key: &[u8],
        from: u64,
        until: u64,
        step: Step,
        changes: &mut Vec<Change>,
    ) -> Result<u64, ReadError>;

    /// The encoded `KeyValue` that a key had at a revision, if it had one that is not compacted.
    fn value_at(&self, key: &[u8], revision: u64) -> Result<Option<Bytes>, ReadError>;
}
