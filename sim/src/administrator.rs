//! Whoever runs the cluster: members are added, promoted and removed, leadership is handed over, history is compacted, alarms
//! are disarmed.
//!
//! One change at a time, and as the server would allow it: three voters stay, a learner is promoted when it has caught up, and
//! nobody is removed while others are away. A member that the log has added is started, whoever was told of it.

use std::time::Duration;

use ferrite_member::{Input, MembersProposal};
use ferrite_proto::etcdserverpb as pb;
use ferrite_raft::NodeId;
use ferrite_state::Outcome as Applied;
use ferrite_state::cluster::{self, Cluster as Table, Member};
use ferrite_state::command::{ConfChange, MemberChange};

use crate::cluster::{Cluster, peer_urls};
use crate::finding::Violation;
use crate::node::{Errand, Ticket};

/// More would only be slow.
const MOST_MEMBERS: usize = 5;
/// A cluster of fewer could be stopped by one fault.
const FEWEST_VOTERS: usize = 3;
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(3);
/// As much history is kept at most when the rest is compacted.
const KEPT_REVISIONS: u64 = 150;

/// What has been done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub members: usize,
    pub transfers: usize,
    pub compactions: usize,
}

#[derive(Debug)]
pub(crate) struct Administrator {
    changes_members: bool,
    next: Duration,
    /// The change that is not known to be done, and since when.
    waits: Option<(Ticket, Duration)>,
    is_over: bool,
    pub done: Changes,
}

impl Administrator {
    pub fn new(changes_members: bool) -> Administrator {
        let next = Duration::from_secs(3);
        Administrator { changes_members, next, waits: None, is_over: false, done: Changes::default() }
    }

    pub fn next(&self) -> Duration {
        self.next
    }

    /// No more changes; only alarms are looked after.
    pub fn fall_silent(&mut self) {
        self.is_over = true;
    }

    /// Does what it feels like, if it is time.
    pub fn act(&mut self, cluster: &mut Cluster) {
        if self.next > cluster.now {
            return;
        }
        self.next = cluster.now + Duration::from_millis(300 + cluster.dice.below(4000));
        if let Some((ticket, _)) = self.waits.take_if(|(_, since)| *since + PATIENCE <= cluster.now) {
            ticket.give_up();
        }
        let Some(leader) = cluster.leader() else { return };
        match cluster.dice.below(8) {
            _ if self.is_over => disarm(leader, cluster),
            6 => disarm(leader, cluster),
            0 if self.changes_members => self.transfer(leader, cluster),
            1 | 7 => self.compact(leader, cluster),
            _ if self.changes_members && self.waits.is_none() => self.change(leader, cluster),
            _ => {}
        }
    }

    fn transfer(&mut self, leader: usize, cluster: &mut Cluster) {
        let Some(table) = table_of(leader, cluster) else { return };
        let voters: Vec<NodeId> = table.iter().filter(|member| !member.is_learner).map(|member| member.id).collect();
        let to = voters[cluster.dice.below(voters.len() as u64) as usize];
        let Some(life) = cluster.nodes[leader].life.as_mut() else { return };
        life.engine.bring(Input::TransferLeader(to));
        self.done.transfers += 1;
        cluster.tell(&format_args!("m{} is to hand leadership over to {to:x}", leader + 1));
    }

    fn compact(&mut self, leader: usize, cluster: &mut Cluster) {
        let kept = cluster.dice.below(KEPT_REVISIONS);
        let Some(life) = cluster.life(leader) else { return };
        let Some(revision) = life.engine.shared.keyspace().revision().checked_sub(kept) else { return };
        let physical = cluster.dice.once_in(2);
        let request = pb::CompactionRequest { revision: revision as i64, physical };
        let request = pb::InternalRaftRequest { compaction: Some(request), ..Default::default() };
        cluster.tell(&format_args!("what is older than {revision} is to be compacted"));
        cluster.propose(leader, Ticket::new(Errand::Compact), request);
    }

    fn change(&mut self, leader: usize, cluster: &mut Cluster) {
        let Some(members) = table_of(leader, cluster) else { return };
        let voters = members.iter().filter(|member| !member.is_learner).count();
        let learner = members.iter().find(|member| member.is_learner);
        // A removed member's number and URL are not used again.
        let number = cluster.nodes.len() + 1;
        let change = match (learner, cluster.dice.below(3)) {
            (Some(learner), 0 | 1) if has_caught_up(learner.id, leader, cluster) => {
                ConfChange { node: learner.id, change: MemberChange::Promote }
            }
            (None, 0 | 1) if members.len() < MOST_MEMBERS => add(number, cluster.dice.once_in(2)),
            (_, 2) if voters > FEWEST_VOTERS && all_awake(&members, cluster) => {
                let victim = &members[cluster.dice.below(members.len() as u64) as usize];
                ConfChange { node: victim.id, change: MemberChange::Remove }
            }
            _ => return,
        };
        let ticket = Ticket::new(Errand::Change);
        self.waits = Some((ticket.clone(), cluster.now));
        cluster.tell(&format_args!("members are to be changed: {:?}", change));
        let Some(life) = cluster.nodes[leader].life.as_mut() else { return };
        let change = change.proposed_as(life.engine.next_id());
        life.engine.bring(Input::ChangeMembers(MembersProposal { change, waiter: ticket }));
    }

    /// A change has been applied or refused.
    pub fn applied(&mut self, outcome: &Applied, cluster: &mut Cluster) {
        self.waits = None;
        self.done.members += usize::from(outcome.is_ok());
        match outcome {
            Ok(_) => cluster.tell(&"members have changed"),
            Err(error) => cluster.tell(&format_args!("members do not change: {error}")),
        }
    }

    /// A compaction has been applied or refused.
    pub fn compacted(&mut self, outcome: &Applied) {
        self.done.compactions += usize::from(outcome.is_ok());
    }

    /// A change was not taken.
    pub fn refused(&mut self) {
        self.waits = None;
    }

    /// A member has applied more: others may have been added, and it may have been removed.
    pub fn look(&self, node: usize, cluster: &mut Cluster) -> Result<(), Violation> {
        let Some(life) = cluster.life(node) else { return Ok(()) };
        let tables = life.engine.shared.tables();
        let new: Vec<NodeId> = tables.cluster.members().map(|member| member.id).collect();
        let new = new.into_iter().filter(|id| cluster.number_of(*id).is_none()).collect::<Vec<_>>();
        for id in new {
            cluster.join(id)?;
        }
        // When all ways are open, whoever was removed is told when it calls the others, a learner as well, who says nothing.
        let removed = tables.cluster.removed().filter(|_| self.is_over).filter_map(|id| cluster.number_of(id));
        removed.collect::<Vec<_>>().into_iter().for_each(|number| cluster.retire(number));
        if tables.cluster.is_removed(cluster.nodes[node].id()) {
            cluster.retire(node);
        }
        Ok(())
    }
}

/// Alarms that were raised in an earlier life of a member are left alone by it: somebody has to disarm them.
fn disarm(leader: usize, cluster: &mut Cluster) {
    let Some(life) = cluster.life(leader) else { return };
    for alarm in life.engine.shared.tables().alarms.all().collect::<Vec<_>>() {
        let action = pb::alarm_request::AlarmAction::Deactivate as i32;
        let request = pb::AlarmRequest { action, member_id: alarm.member_id, alarm: alarm.alarm };
        cluster.tell(&format_args!("the alarm of {:x} is disarmed", alarm.member_id));
        let request = pb::InternalRaftRequest { alarm: Some(request), ..Default::default() };
        cluster.propose(leader, Ticket::new(Errand::Disarm), request);
    }
}

/// The members, as a running one knows them.
fn table_of(node: usize, cluster: &Cluster) -> Option<Vec<Member>> {
    let tables = cluster.life(node)?.engine.shared.tables();
    Some(tables.cluster.members().cloned().collect())
}

/// A member that learners would be promoted for, or one that votes from the beginning.
fn add(number: usize, is_learner: bool) -> ConfChange {
    let peer_urls = peer_urls(number);
    let id = cluster::member_id(&peer_urls, &format!("m{number}"));
    let member = Member { id, peer_urls, is_learner, ..Member::default() };
    ConfChange { node: id, change: MemberChange::Add { member, as_voter: !is_learner } }
}

/// Whether a learner has nine tenths of what the leader has, as etcd asks for.
fn has_caught_up(id: NodeId, leader: usize, cluster: &Cluster) -> bool {
    let applied = |node: usize| cluster.life(node).map(|life| life.engine.progress.applied().0);
    let Some(learner) = cluster.number_of(id).and_then(applied) else { return false };
    applied(leader).is_some_and(|leader| learner * 10 >= leader * 9)
}

fn all_awake(members: &[Member], cluster: &Cluster) -> bool {
    let is_awake = |member: &Member| {
        cluster.number_of(member.id).is_some_and(|number| cluster.nodes[number].is_awake(cluster.now))
    };
    members.iter().all(is_awake)
}

/// Whether two members know the same others.
pub(crate) fn are_equal(one: &Table, other: &Table) -> bool {
    one.members().eq(other.members()) && one.conf_state() == other.conf_state() && one.version() == other.version()
}
