//! Handing leadership over.

use std::time::Instant;

use ferrite_member::Input;
use ferrite_observe::log;
use ferrite_observe::log::{Id, lines};
use ferrite_raft::NodeId;

use super::{ChangeError, own};
use crate::handle::{CallError, Handle};

/// Hands leadership over to a voter, and waits until it leads. If it never does, only the caller's patience ends this.
pub async fn move_to(handle: &Handle, to: NodeId) -> Result<(), ChangeError> {
    let leader = handle.leader();
    if leader != handle.ids().member.0 {
        return Err(ChangeError::NotLeader);
    }
    if handle.state().tables().cluster.member(to).is_none_or(|member| member.is_learner) {
        return Err(ChangeError::BadTransferee);
    }
    let logger = &handle.membership().logger;
    let begun = Instant::now();
    log!(logger, lines::TRANSFER_STARTING, own(handle), Id(leader), Id(to.0));
    handle.tell(Input::TransferLeader(to))?;
    let mut leadership = handle.signals().leadership.subscribe();
    leadership.wait_for(|leader| *leader == to.0).await.map_err(|_| CallError::Stopped)?;
    log!(logger, lines::TRANSFER_FINISHED, own(handle), Id(leader), Id(to.0), begun.elapsed());
    Ok(())
}
