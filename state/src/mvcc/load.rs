//! The keyspace of a store that is opened: one scan over its revisions, in order.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use ferrite_proto::wire::Malformed;
use ferrite_storage::{self as storage, Revision, Revisions};

use super::index::{Builder, PutFacts};
use super::{KeyValue, Keyspace};
use crate::lease::LeaseId;

/// What a store holds.
#[derive(Debug)]
pub struct Loaded {
    pub keyspace: Arc<Keyspace>,
    /// Records that are still there although nobody can see them: for the store to forget.
    pub dead: Vec<Revision>,
    /// Which key is attached to which lease, in key order.
    pub leases: BTreeMap<Bytes, LeaseId>,
}

/// Why a store cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Storage(#[from] storage::ReadError),
    #[error("revision {}/{} of the store is no KeyValue: {reason}", revision.main, revision.sub)]
    Malformed { revision: Revision, reason: Malformed },
}

/// Loads all revisions as they are after a compaction at `compacted`, which may not have been finished; -1 is none.
pub fn load(revisions: Revisions, compacted: i64) -> Result<Loaded, LoadError> {
    let oldest = u64::try_from(compacted).unwrap_or(0);
    let mut builder = Builder::new(oldest);
    let mut leases = BTreeMap::new();
    let mut newest = 1;
    for record in revisions.scan(Revision::default(), u64::MAX) {
        let record = record?;
        let revision = record.revision;
        let kv = KeyValue::parse(&record.key_value).map_err(|reason| LoadError::Malformed { revision, reason })?;
        newest = revision.main.max(newest);
        let facts = PutFacts { created: kv.create_revision as u64, version: kv.version as u64 };
        builder.add(kv.key, revision, record.tombstone, facts);
        // The last record of a key decides.
        match LeaseId::new(kv.lease).filter(|_| !record.tombstone) {
            Some(lease) => drop(leases.insert(Bytes::copy_from_slice(kv.key), lease)),
            None => drop(leases.remove(kv.key)),
        }
    }
    let (index, dead) = builder.build();
    // The newest revision may itself be compacted away.
    let current = newest.max(oldest);
    Ok(Loaded { keyspace: Arc::new(Keyspace::new(index, revisions, current, compacted)), dead, leases })
}
