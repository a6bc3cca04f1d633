//! How many files the process may open, and what that leaves for connections.
//!
//!   soft limit ──raised──▶ hard limit ──less SPARE_FILES──▶ peers, clients
//!
//! The soft limit is there for programs that keep descriptors in a `select`; we do not, and etcd goes by the hard one, too,
//! because Go raises it for every program.
//!
//! What holds: clients and peers together leave [`SPARE_FILES`], over however many listeners they come. A log or a store
//! that cannot open its next file stops the member, so nobody may be able to bring that about by connecting; and clients
//! leave the peers theirs.

use std::sync::Arc;

use ferrite_observe::log;
use ferrite_observe::log::{Logger, lines};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
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
    let limit = raised_limit();
    let Some((clients, peers)) = shares(limit) else {
        log!(logger, lines::FILE_DESCRIPTORS_TOO_FEW, limit, SPARE_FILES);
        return Err(format!("only {limit} files may be open, more than {SPARE_FILES} are needed: see ulimit -Hn"));
    };
    let semaphore = |connections: u64| {
        let permits = usize::try_from(connections).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Arc::new(Semaphore::new(permits))
    };
    Ok(Connections { clients: semaphore(clients), peers: semaphore(peers) })
}

/// How many files may be open, now that it is as many as anybody may ask for.
fn raised_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        // One that cannot be raised is no reason not to start: what counts is what it is then.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
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
    fn the_hard_limit_counts() {
        let limits = getrlimit(Resource::Nofile);
        let maximum = limits.maximum.expect("Linux has a greatest one");
        // Low enough to tell them apart, and no hindrance to what runs beside this.
        setrlimit(Resource::Nofile, Rlimit { current: Some(maximum - 2), ..limits }).unwrap();
        let Connections { clients, peers } = connections(&Logger::silent()).unwrap();
        let (of_clients, of_peers) = shares(maximum).unwrap();
        assert_eq!((clients.available_permits() as u64, peers.available_permits() as u64), (of_clients, of_peers));
        assert_eq!(getrlimit(Resource::Nofile).current, Some(maximum));
    }

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
