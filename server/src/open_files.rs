//! How many files the process may open, and what that leaves for connections.
//!
//! What holds: clients and peers together leave [`SPARE_FILES`], over however many listeners they come. A log or a store
//! that cannot open its next file stops the member, so nobody may be able to bring that about by connecting; and clients
//! leave the peers theirs.

use std::sync::Arc;

use ferrite_observe::log;
use ferrite_observe::log::{Logger, lines};
use rustix::process::{Resource, getrlimit};
use tokio::sync::Semaphore;

/// What the process needs for its files, and for the connections that it makes.
const SPARE_FILES: u64 = 150;

/// Connections of peers, where there is no lack: each member has a few.
const PEER_CONNECTIONS: u64 = 1024;

/// Connections that may be open at once.
#[derive(Clone, Debug)]
pub struct Connections {
    pub clients: Arc<Semaphore>,
    pub peers: Arc<Semaphore>,
}

/// A server that may open hardly any file would stop in the middle of its work: too low a limit is refused.
pub fn connections(logger: &Logger) -> Result<Connections, String> {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let Some((clients, peers)) = shares(limit) else {
        log!(logger, lines::FILE_DESCRIPTORS_TOO_FEW, limit, SPARE_FILES);
        return Err(format!("only {limit} files may be open, more than {SPARE_FILES} are needed: see ulimit -n"));
    };
    let semaphore = |connections: u64| {
        let permits = usize::try_from(connections).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Arc::new(Semaphore::new(permits))
    };
    Ok(Connections { clients: semaphore(clients), peers: semaphore(peers) })
}

/// How many clients may have, and how many peers.
fn shares(limit: u64) -> Option<(u64, u64)> {
    let all = limit.checked_sub(SPARE_FILES).filter(|all| *all > 0)?;
    let peers = (all / 4).clamp(1, PEER_CONNECTIONS);
    Some(((all - peers).max(1), peers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_and_peers_together_leave_enough_for_files() {
        for (limit, expected) in [
            (0, None),
            (150, None),
            (151, Some((1, 1))),
            (250, Some((75, 25))),
            (1024, Some((656, 218))),
            (65_536, Some((64_362, 1024))),
            (u64::MAX, Some((u64::MAX - 150 - 1024, 1024))),
        ] {
            assert_eq!(shares(limit), expected, "{limit}");
        }
    }
}
