//! The history that watchers are cursors over, as far as they need to know it.

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
    /// The last revision that may be told to clients; all up to it can be read.
    fn published(&self) -> u64;

    /// The compacted revision: who asks for less is told so.
    fn compacted(&self) -> u64;

    /// From this revision on nothing is missing yet. It is not above `compacted`, and reaches it some time after.
    fn trimmed(&self) -> u64;

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
