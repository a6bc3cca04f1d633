//! The other side of the crate: whoever has the Raft node.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;

use ferrite_raft::{Message, NodeId};

use crate::snapshot::Database;

/// What became of a message that was handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    Taken,
    /// There was no room. Raft asks again.
    Full,
}

/// Answers when a snapshot is durable and the node knows of it, or says why it could not be taken.
pub type ReceiveSnapshot = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// Takes what peers send, and what is to be known of sending. Called from tasks: but for `receive_snapshot`, nothing
/// here may wait.
pub trait Owner: Debug + Send + Sync + 'static {
    /// A message for this member, of one that was not removed.
    fn deliver(&self, message: Message) -> Delivery;
    /// Whether this member was in the cluster once, and is not any more.
    fn is_removed(&self, id: NodeId) -> bool;
    /// What was sent to `id` was lost, or may have been.
    fn unreachable(&self, id: NodeId);
    /// The process of `id` has ended, or is about to: what it sent has come to an end, and nothing listens where it did. Told
    /// twice, now and then.
    fn gone(&self, id: NodeId);
    /// How sending a snapshot to `id` has ended.
    fn snapshot_sent(&self, id: NodeId, arrived: bool);
    /// `by` says that this member was removed from the cluster.
    fn removed(&self, by: NodeId);
    /// A snapshot arrives: its message, then the database.
    fn receive_snapshot(&self, message: Message, database: Database) -> ReceiveSnapshot;
}
