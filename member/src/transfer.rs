//! A snapshot on its way to another member: Raft says to whom, the store what.
//!
//!   message of Raft ──┐
//!   cut of the store ─┴──▶ message that stands where the cut was made, and the database to send behind it
//!
//! Raft's own message stands at the last checkpoint. What is sent is newer: all that was applied when it was cut.

use ferrite_raft::{Body, Message, Snapshot, SnapshotMeta};
use ferrite_state::cluster::{Cluster, RowError};
use ferrite_storage::store::{Plan, StoreSnapshot, TableRows};

use crate::v2_snapshot;

/// The message to send, and the database behind it, which has to be laid out.
pub fn transfer(message: &Message, cut: StoreSnapshot) -> Result<(Message, Plan), RowError> {
    let cluster = cluster_of(&cut.rows)?;
    let meta = SnapshotMeta { index: cut.applied, term: cut.term, conf: cluster.conf_state().clone() };
    let data = v2_snapshot::render(&cluster, cut.applied);
    let message = Message { body: Body::Snapshot(Box::new(Snapshot { meta, data })), ..message.clone() };
    Ok((message, Plan::new(cut)))
}

/// The members as rows say.
pub(crate) fn cluster_of(rows: &TableRows) -> Result<Cluster, RowError> {
    let mut cluster = Cluster::new(usize::MAX);
    // There may be many of other tables.
    for table in Cluster::TABLES {
        for (key, value) in rows.of(table) {
            cluster.load_row(table, key, value)?;
        }
    }
    Ok(cluster)
}
