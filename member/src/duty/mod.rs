//! What a member does without being asked: it makes itself known, and while it leads it sets the cluster's version,
//! ends leases and compacts. When its disk is full it says so.
//!
//! A duty is told the time and looks at what has been applied; it says what to propose. It never waits for an answer:
//! it sees what came of its proposal, and proposes again if nothing did.

mod compaction;
mod facts;
mod leases;
mod publish;
mod space;
mod version;

pub use compaction::{AutoCompaction, Retention};
pub use leases::{Checkpointing, Leases};
pub use publish::Publish;
pub use space::Room;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ferrite_proto::etcdserverpb as pb;
use ferrite_raft::Term;
use ferrite_state::command::{Caller, Kind, encode};
use ferrite_state::lease::UNSEEN_MILLIS;
use ferrite_state::{RequestId, Shared, cluster::ClusterVersion};

use crate::progress::Progress;
use crate::request_ids::RequestIds;
use crate::timing::ByKind;
use facts::Facts;
use space::Space;
use version::Version;

/// A proposal that nothing came of is made again after this time.
const RETRY: Duration = Duration::from_secs(7);

/// The duties of one member.
#[derive(Debug)]
pub struct Duties {
    facts: Facts,
    progress: Arc<Progress>,
    ids: Arc<RequestIds>,
    publish: Publish,
    space: Space,
    room: Arc<Room>,
    version: Version,
    leases: Leases,
    compaction: Option<AutoCompaction>,
    timing: Timing,
    /// The term in which this member leads.
    leads: Option<Term>,
    /// Of how many others it was known at the last tick that they run Ferrite.
    known_others: usize,
}

impl Duties {
    /// The duties of a member of version `own_version`, whose disk has `room`.
    #[expect(clippy::too_many_arguments)]
    pub fn new(
        state: Shared,
        progress: Arc<Progress>,
        ids: Arc<RequestIds>,
        publish: Publish,
        room: Arc<Room>,
        own_version: ClusterVersion,
        leases: Leases,
        compaction: Option<AutoCompaction>,
        requests: Arc<ByKind>,
    ) -> Duties {
        let version = Version::new(publish.member(), own_version);
        let space = Space::new(publish.member());
        Duties {
            facts: Facts(state),
            progress,
            ids,
            publish,
            space,
            room,
            version,
            leases,
            compaction,
            timing: Timing::new(requests),
            leads: None,
            known_others: 0,
        }
    }

    /// Whether this member has published itself in this life.
    pub(crate) fn is_published(&self) -> bool {
        self.publish.is_done()
    }

    /// An id that no request had, not even in an earlier life.
    pub(crate) fn next_id(&self) -> RequestId {
        self.ids.take()
    }

    /// What the members have been asked for: see [`crate::Input::LowestVersion`].
    pub(crate) fn lowest_version(&mut self, lowest: Option<ClusterVersion>) {
        self.version.told(lowest);
    }

    /// This member leads in `term`, or does not.
    pub(crate) fn role_changed(&mut self, leads: bool, term: Term) {
        let before = std::mem::replace(&mut self.leads, leads.then_some(term));
        self.version.forget();
        if self.leads != before {
            self.leases.demote();
        }
    }

    /// Whether this member leads, and does what a leader does.
    pub(crate) fn is_primary(&self) -> bool {
        self.leases.is_primary()
    }

    /// Whether a duty wants to be asked again as soon as more has been applied.
    pub(crate) fn wait_for_apply(&self) -> bool {
        self.leads.is_some() && !self.leases.is_primary()
    }

    /// A member has been sent a snapshot: it knows of no lease how long its rest has been in the log.
    pub(crate) fn tell_again(&self) {
        self.leases.tell_again();
    }

    /// A heartbeat has gone by, whoever leads.
    pub(crate) fn tick(&mut self, now: Duration) {
        self.leases.tick(now);
        if let Some(compaction) = &mut self.compaction {
            compaction.sample(now, self.facts.revision());
        }
        let own = self.publish.member();
        // A member that has just made itself known may have its state from one that runs etcd, which says of nobody that
        // it runs Ferrite.
        let others = self.facts.ferrites_besides(own);
        if others > self.known_others || !self.facts.is_known_as_ferrite(own) {
            self.publish.again(now);
        }
        self.known_others = others;
    }

    /// The entry that a duty proposed under `id` has been applied.
    pub(crate) fn answered(&mut self, id: RequestId, now: Duration) {
        self.timing.answered(id, now);
        self.publish.answered(id);
        self.leases.answered(id);
    }

    /// What a duty proposed under `id` is not taken. Leases cannot wait until it is seen that nothing came of it.
    pub(crate) fn refused(&mut self, id: RequestId, now: Duration) {
        self.leases.refused(id, now);
    }

    /// What to propose now. `outage`: for how long nobody has been heard of who leads, if this member does not yet.
    pub(crate) fn proposals(
        &mut self,
        now: Duration,
        outage: Duration,
        election_timeout: Duration,
    ) -> Vec<(RequestId, Bytes)> {
        let mut proposals = Vec::new();
        let caller = Caller::default();
        let timing = &mut self.timing;
        timing.forget(now);
        let mut propose = |request| {
            let id = self.ids.take();
            timing.proposed(id, Kind::of(&request), now);
            proposals.push((id, encode(id, &caller, request)));
            id
        };
        if let Some(request) = self.publish.request(now) {
            let id = propose(request);
            self.publish.proposed(id);
        }
        if let Some(request) = self.space.request(now, &self.room, self.facts.has_no_space(self.publish.member())) {
            propose(request);
        }
        // A new leader may not look at what it has not applied yet: all that was committed before its term.
        if self.leads.is_none_or(|term| self.progress.applied_term() < term) {
            return proposals;
        }
        if let Some(request) = self.version.request(now, &self.facts) {
            propose(request);
        }
        self.leases.expire(now);
        if !self.leases.is_primary() {
            // A leader that runs etcd renews until it sees itself that it is cut off.
            let is_brief = self.facts.are_all_ferrite();
            let unseen = if is_brief { Duration::from_millis(UNSEEN_MILLIS) } else { election_timeout };
            self.leases.promote(now, outage, unseen);
        }
        let expired = self.leases.expired(now);
        // A disk without room keeps what it has for what makes room. Then leases are late if the leader changes.
        // What must be taken back must even so.
        let checkpoints = self.leases.checkpoints(now, self.room.is_short(), || self.facts.are_all_ferrite());
        for what in expired.into_iter().chain(checkpoints) {
            let id = propose(what.request());
            self.leases.proposed(id, what, now);
        }
        if let Some(request) = compaction(self.compaction.as_mut(), now, &self.facts) {
            propose(request);
        }
        proposals
    }
}

/// How long the duties' own requests take.
#[derive(Debug)]
struct Timing {
    requests: Arc<ByKind>,
    /// In the order of proposing, as ids count up; those that nothing comes of leave after a while.
    unanswered: BTreeMap<RequestId, (Kind, Duration)>,
}

impl Timing {
    fn new(requests: Arc<ByKind>) -> Timing {
        Timing { requests, unanswered: BTreeMap::new() }
    }

    fn proposed(&mut self, id: RequestId, kind: Kind, now: Duration) {
        self.unanswered.insert(id, (kind, now));
    }

    fn answered(&mut self, id: RequestId, now: Duration) {
        if let Some((kind, since)) = self.unanswered.remove(&id) {
            self.requests.observe(kind, true, now.saturating_sub(since));
        }
    }

    fn forget(&mut self, now: Duration) {
        while let Some(oldest) = self.unanswered.first_entry()
            && now.saturating_sub(oldest.get().1) >= RETRY
        {
            let (kind, since) = oldest.remove();
            self.requests.observe(kind, false, now.saturating_sub(since));
        }
    }
}

fn compaction(duty: Option<&mut AutoCompaction>, now: Duration, facts: &Facts) -> Option<pb::InternalRaftRequest> {
    let compacted = u64::try_from(facts.compacted()).unwrap_or(0);
    let revision = duty?.look(now, facts.revision(), compacted)?;
    let request = pb::CompactionRequest { revision: revision as i64, physical: false };
    Some(pb::InternalRaftRequest { compaction: Some(request), ..Default::default() })
}

#[cfg(test)]
mod tests {
    use ferrite_observe::metrics::Registry;
    use ferrite_raft::{Index, NodeId};
    use ferrite_state::lease::{Lessor, SharedLessor};
    use ferrite_state::{Settings, State};
    use ferrite_storage::{Table, in_memory};
    use prost::Message;

    use super::*;

    const PERIOD: Duration = Duration::from_secs(600);

    /// The duties of a member that has applied entries of term 1, with compaction of a period.
    fn duties() -> Duties {
        duties_with(&[])
    }

    /// The same, with these rows of the table `cluster`.
    fn duties_with(rows: &[(&str, &str)]) -> Duties {
        let rows = rows.iter().map(|(key, value)| (Table::Cluster, key, value));
        let (state, _) = State::load(rows, in_memory().1, Settings::default()).expect("a state");
        let registry = Arc::new(Registry::new());
        let lessor = Arc::new(SharedLessor::new(Lessor::new(1)));
        Duties::new(
            state.shared().clone(),
            Arc::new(Progress::new(Index(1), Term(1))),
            Arc::new(RequestIds::new(NodeId(1), 1)),
            Publish::new(1, "one".into(), vec![]),
            Arc::new(Room::default()),
            ClusterVersion::new(3, 7),
            Leases::new(lessor, Checkpointing::Never, &registry),
            Some(AutoCompaction::new(Retention::Period(PERIOD), Duration::ZERO)),
            Arc::new(ByKind::requests(&registry)),
        )
    }

    /// The revisions that it wants compacted.
    fn compactions(duties: &mut Duties, now: Duration) -> Vec<i64> {
        let proposals = duties.proposals(now, Duration::ZERO, Duration::from_secs(1));
        let requests = proposals.into_iter().map(|(_, data)| pb::InternalRaftRequest::decode(data).expect("a request"));
        requests.filter_map(|request| Some(request.compaction?.revision)).collect()
    }

    #[test]
    fn a_version_that_somebody_lowers_is_not_raised_again() {
        let enabled = r#"{"target-version":"3.6.0","enabled":true}"#;
        let over = r#"{"target-version":"","enabled":false}"#;
        for (downgrade, raises) in [(enabled, false), (over, true)] {
            let mut leader = duties_with(&[("clusterVersion", "3.6.0"), ("downgrade", downgrade)]);
            leader.role_changed(true, Term(1));
            let proposals = leader.proposals(PERIOD, Duration::ZERO, Duration::from_secs(1));
            let mut requests = proposals.into_iter().map(|(_, data)| pb::InternalRaftRequest::decode(data).unwrap());
            assert_eq!(requests.any(|request| request.cluster_version_set.is_some()), raises, "{downgrade}");
        }
    }

    #[test]
    fn a_follower_samples_and_does_not_compact() {
        let mut follower = duties();
        for now in [Duration::ZERO, PERIOD / 2, PERIOD, 2 * PERIOD] {
            follower.tick(now);
            assert!(compactions(&mut follower, now).is_empty());
        }
        follower.tick(3 * PERIOD);
        follower.role_changed(true, Term(1));
        assert_eq!(compactions(&mut follower, 3 * PERIOD), [1]);
    }
}
