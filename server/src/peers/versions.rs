//! Which version each member runs: the leader sets the cluster's to the lowest.

use std::time::Duration;

use ferrite_member::Input;
use ferrite_observe::log;
use ferrite_observe::log::{Id, Logger, lines};
use ferrite_peer::Asker;
use ferrite_state::cluster::{ClusterVersion, Member};
use serde::Deserialize;
use tokio::time::{MissedTickBehavior, interval};

use crate::handle::Handle;

/// How often the leader asks (etcd's interval), beside once when it is elected.
const PERIOD: Duration = Duration::from_secs(4);

/// What a member says at `/version`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Said {
    #[serde(rename = "etcdserver")]
    pub server: String,
    #[serde(rename = "etcdcluster", default)]
    pub cluster: String,
}

/// Asks a member, at one URL after the other.
pub(super) async fn ask(asker: &Asker, urls: &[String], limit: Duration) -> Option<Said> {
    for url in urls {
        if let Ok(answer) = asker.get(url, "/version", limit).await
            && let Ok(said) = serde_json::from_slice(&answer.body)
        {
            return Some(said);
        }
    }
    None
}

/// Whether a member says that its cluster is on its way to an older version.
pub(super) async fn downgrades(asker: &Asker, urls: &[String], limit: Duration) -> bool {
    for url in urls {
        if let Ok(answer) = asker.get(url, "/downgrade/enabled", limit).await {
            return answer.status.is_success() && answer.body.trim_ascii() == b"true";
        }
    }
    false
}

/// While this member leads, tells it the lowest version that a member runs.
pub(super) async fn watch(handle: Handle, logger: Logger) {
    let mut leader = handle.signals().leadership.subscribe();
    let mut periods = interval(PERIOD);
    periods.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = periods.tick() => {}
            changed = leader.changed() => if changed.is_err() { return },
        }
        if *leader.borrow_and_update() != handle.ids().member.0 {
            continue;
        }
        let members: Vec<Member> = handle.state().tables().cluster.members().cloned().collect();
        if members.len() < 2 {
            continue;
        }
        let lowest = lowest(&handle, &members, &logger).await;
        if handle.tell(Input::LowestVersion(lowest)).is_err() {
            return;
        }
    }
}

async fn lowest(handle: &Handle, members: &[Member], logger: &Logger) -> Option<ClusterVersion> {
    let own: ClusterVersion = crate::version::ETCD.parse().expect("our version is one");
    let mut lowest = Some(own.clone());
    for member in members.iter().filter(|member| member.id != handle.ids().member) {
        let said = ask(&handle.peers().asker, &member.peer_urls, handle.timeout()).await;
        let version: Option<ClusterVersion> = said.and_then(|said| said.server.parse().ok());
        match &version {
            None => log!(logger, lines::NO_VERSION, Id(member.id.0)),
            Some(version) if version.without_patch() > own.without_patch() => {
                log!(logger, lines::HIGHER_VERSION, Id(member.id.0), &version.to_string(), &own.to_string());
            }
            Some(_) => {}
        }
        lowest = lowest.zip(version).map(|(lowest, version)| lowest.min(version));
    }
    lowest
}
