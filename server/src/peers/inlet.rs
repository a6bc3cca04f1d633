//! What peers say, on its way to the member.

use std::sync::Arc;

use ferrite_member::{Input, Outlet};
use ferrite_peer::{Database, Delivery, Owner, ReceiveSnapshot};
use ferrite_raft::{Message, NodeId};
use ferrite_state::Shared;
use tokio::sync::watch;

use super::{Lane, TakeSnapshot, Transfers};
use crate::handle::MemberInput;

/// The member, as peers see it.
#[derive(Debug)]
pub struct Inlet {
    pub member: Outlet<MemberInput>,
    pub state: Shared,
    pub lane: Arc<Lane>,
    pub snapshots: Arc<dyn TakeSnapshot>,
    pub transfers: Arc<Transfers>,
    /// Set when a peer says that this member was removed.
    pub removed: watch::Sender<bool>,
}

impl Owner for Inlet {
    fn deliver(&self, message: Message) -> Delivery {
        if !self.lane.admit(&message) {
            return Delivery::Full;
        }
        // A member that has gone takes nothing any more: the process ends.
        let _ = self.member.push(Input::Message(message));
        Delivery::Taken
    }

    fn is_removed(&self, id: NodeId) -> bool {
        self.state.tables().cluster.is_removed(id)
    }

    fn unreachable(&self, id: NodeId) {
        let _ = self.member.push(Input::Unreachable(id));
    }

    fn gone(&self, id: NodeId) {
        let _ = self.member.push(Input::Gone(id));
    }

    fn snapshot_sent(&self, to: NodeId, arrived: bool) {
        self.transfers.sent(to, arrived);
        let _ = self.member.push(Input::SnapshotSent { to, arrived });
    }

    fn removed(&self, _: NodeId) {
        self.removed.send_replace(true);
    }

    fn receive_snapshot(&self, message: Message, database: Database) -> ReceiveSnapshot {
        self.snapshots.clone().take(message, database)
    }
}
