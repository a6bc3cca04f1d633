//! The cluster's version, which its leader sets: the lowest that a member runs. Features that need all members wait for it.
//!
//! A leader that is alone knows it. With others it has to be told what they run, and decides once for each time it is told.

use std::time::Duration;

use ferrite_proto::{etcdserverpb as pb, membershippb};
use ferrite_state::cluster::ClusterVersion;

use super::RETRY;
use super::facts::Facts;

/// What a cluster is said to be while a member does not answer (etcd's rule): its features are the fewest.
const UNKNOWN: ClusterVersion = ClusterVersion::new(3, 0);

#[derive(Debug)]
pub(super) struct Version {
    member: u64,
    own: ClusterVersion,
    /// What was heard of the others and not acted on.
    told: Option<Option<ClusterVersion>>,
    next_try: Duration,
}

impl Version {
    pub fn new(member: u64, own: ClusterVersion) -> Version {
        Version { member, own, told: None, next_try: Duration::ZERO }
    }

    /// The lowest version that a member runs; nothing if one did not say.
    pub fn told(&mut self, lowest: Option<ClusterVersion>) {
        self.told = Some(lowest);
    }

    /// What was heard before a change of leader may be long ago.
    pub fn forget(&mut self) {
        self.told = None;
    }

    pub fn request(&mut self, now: Duration, facts: &Facts) -> Option<pb::InternalRaftRequest> {
        let current = facts.cluster_version();
        let lowest = if facts.is_alone(self.member) {
            let lowest = self.own.without_patch();
            if now < self.next_try || current.as_ref().is_some_and(|current| *current >= lowest) {
                return None;
            }
            self.next_try = now + RETRY;
            Some(lowest)
        } else {
            self.told.take()?.map(|lowest| lowest.without_patch().min(self.own.without_patch()))
        };
        let wanted = match (current, lowest) {
            (None, lowest) => lowest.unwrap_or(UNKNOWN),
            // A leader that knows how to do that (one of etcd) has let it go down, though all members are newer yet.
            (Some(_), _) if facts.is_downgraded() => return None,
            (Some(current), Some(lowest)) if current < lowest => lowest,
            (Some(_), _) => return None,
        };
        let request = membershippb::ClusterVersionSetRequest { ver: wanted.to_string() };
        Some(pb::InternalRaftRequest { cluster_version_set: Some(request), ..Default::default() })
    }
}
