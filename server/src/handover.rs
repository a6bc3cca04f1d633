//! A leader that is about to stop hands over first, so that nobody has to wait for an election.

use std::time::{Duration, Instant};

use ferrite_member::Input;
use ferrite_observe::log;
use ferrite_observe::log::{Id, Logger, lines};
use ferrite_raft::NodeId;

use crate::handle::Door;

/// Hands leadership over, if this member has it and there is somebody to take it.
pub async fn hand_over(door: &Door, heartbeat: Duration, logger: &Logger) {
    let own = door.ids.member;
    let leader = *door.signals.leadership.borrow();
    let voters = door.state.tables().cluster.conf_state().voters.clone();
    if leader != own.0 {
        log!(logger, lines::SKIPPED_TRANSFER_NOT_LEADER, Id(own.0), Id(leader));
        return;
    }
    if voters.len() <= 1 {
        log!(logger, lines::SKIPPED_LEADERSHIP_TRANSFER, Id(own.0), Id(leader));
        return;
    }
    let Some(heir) = longest_connected(door, &voters) else {
        log!(logger, lines::TRANSFER_FAILED, Id(own.0), "no voter is connected");
        return;
    };
    log!(logger, lines::TRANSFER_STARTING, Id(own.0), Id(own.0), Id(heir.0));
    let begun = Instant::now();
    match to(door, heir, heartbeat).await {
        Ok(leader) => {
            log!(logger, lines::TRANSFER_FINISHED, Id(own.0), Id(own.0), Id(leader), begun.elapsed());
        }
        Err(Unfinished) => log!(logger, lines::TRANSFER_FAILED, Id(own.0), "it did not come about in time"),
    }
}

/// Nobody else led in time.
#[derive(Clone, Copy, Debug)]
pub struct Unfinished;

/// Asks for `heir` to lead, and waits until it does, no longer than a request may take. Raft itself gives the transfer up
/// after an election timeout: then it is asked for again.
pub async fn to(door: &Door, heir: NodeId, heartbeat: Duration) -> Result<u64, Unfinished> {
    let mut leadership = door.signals.leadership.subscribe();
    let wait = async {
        loop {
            let _ = door.outlets.member.push(Input::TransferLeader(heir));
            let changed = leadership.wait_for(|leader| *leader == heir.0);
            match tokio::time::timeout(heartbeat * 10, changed).await {
                Ok(Ok(leader)) => return Ok(*leader),
                // The member has gone.
                Ok(Err(_)) => return Err(Unfinished),
                // The heir has gone, or we do not lead any more: it is not ours to hand over.
                Err(_) if *door.signals.leadership.borrow() != door.ids.member.0 => return Err(Unfinished),
                Err(_) if door.peers.transport.active_since(heir).is_none() => return Err(Unfinished),
                Err(_) => {}
            }
        }
    };
    tokio::time::timeout(door.limits.timeout, wait).await.unwrap_or(Err(Unfinished))
}

/// The voter whose connection has stood for longest: it is the most likely to have everything.
fn longest_connected(door: &Door, voters: &[NodeId]) -> Option<NodeId> {
    let others = voters.iter().filter(|voter| **voter != door.ids.member);
    let since = others.filter_map(|voter| Some((door.peers.transport.active_since(*voter)?, *voter)));
    since.min_by_key(|(since, _)| *since).map(|(_, voter)| voter)
}
