//! Handing leadership over.

use std::time::Instant;

use ferrite_observe::log;
use ferrite_observe::log::{Id, lines};
use ferrite_raft::NodeId;

use super::{ChangeError, LOOK, own};
use crate::handle::Handle;

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
    handle.transfer_leader(to)?;
    while handle.leader() != to.0 {
        tokio::time::sleep(LOOK).await;
    }
    log!(logger, lines::TRANSFER_FINISHED, own(handle), Id(leader), Id(to.0), begun.elapsed());
    Ok(())
}
