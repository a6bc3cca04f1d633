//! Strict reconfiguration: changes that would leave the cluster without a quorum, or near to it, are refused.
//!
//! A member has started when it has published its name. One that was added and has not come yet counts among the voters,
//! not among those who vote.

use ferrite_raft::NodeId;
use ferrite_state::cluster::{Cluster, Member};

use super::ChangeError;

/// Whether one more member may be added, of whom nobody knows whether it will come.
pub fn may_add(cluster: &Cluster, is_learner: bool, is_healthy: impl Fn(NodeId) -> bool) -> Result<(), ChangeError> {
    let voters = voters(cluster).count();
    let started = voters_started(cluster, None);
    // One that is alone may have been restored from a backup: it could never grow otherwise.
    let is_alone = started == 1 && voters == 1;
    if !is_learner && !is_alone && started < quorum(voters + 1) {
        return Err(ChangeError::NotEnoughStarted);
    }
    if voters != 1 && healthy(cluster, is_healthy) < quorum(voters + 1) {
        return Err(ChangeError::Unhealthy);
    }
    Ok(())
}

/// Whether a member may be removed. One that is not active is no loss to the quorum.
pub fn may_remove(
    cluster: &Cluster,
    id: NodeId,
    is_active: bool,
    is_healthy: impl Fn(NodeId) -> bool,
) -> Result<(), ChangeError> {
    if cluster.member(id).is_some_and(|member| member.is_learner) {
        return Ok(());
    }
    let staying = voters(cluster).filter(|member| member.id != id).count();
    if voters_started(cluster, Some(id)) < quorum(staying) {
        return Err(ChangeError::NotEnoughStarted);
    }
    let voters = voters(cluster).count();
    if is_active && healthy(cluster, is_healthy) < quorum(voters.saturating_sub(1)) + 1 {
        return Err(ChangeError::Unhealthy);
    }
    Ok(())
}

/// Whether there may be one more voter, who has started.
pub fn may_promote(cluster: &Cluster) -> Result<(), ChangeError> {
    match voters_started(cluster, None) + 1 < quorum(voters(cluster).count() + 1) {
        true => Err(ChangeError::NotEnoughStarted),
        false => Ok(()),
    }
}

fn quorum(voters: usize) -> usize {
    voters / 2 + 1
}

fn voters(cluster: &Cluster) -> impl Iterator<Item = &Member> {
    cluster.members().filter(|member| !member.is_learner)
}

fn voters_started(cluster: &Cluster, but: Option<NodeId>) -> usize {
    voters(cluster).filter(|member| Some(member.id) != but && !member.name.is_empty()).count()
}

fn healthy(cluster: &Cluster, is_healthy: impl Fn(NodeId) -> bool) -> usize {
    voters(cluster).filter(|member| is_healthy(member.id)).count()
}

#[cfg(test)]
mod tests {
    use ferrite_proto::membershippb;
    use ferrite_state::command::{ConfChange, MemberChange};

    use super::*;

    const OK: Result<(), ChangeError> = Ok(());
    const NOT_STARTED: Result<(), ChangeError> = Err(ChangeError::NotEnoughStarted);
    const UNHEALTHY: Result<(), ChangeError> = Err(ChangeError::Unhealthy);

    /// Members 1, 2, …: a letter each. `h` is healthy, `a` active, `d` down, `n` has not started, `l` is a learner.
    fn cluster(members: &str) -> Cluster {
        let mut cluster = Cluster::new(9);
        let mut rows = Vec::new();
        for (id, kind) in (1..).zip(members.chars()) {
            let node = NodeId(id);
            let is_learner = kind == 'l';
            let member =
                Member { id: node, peer_urls: vec![format!("http://m:{id}")], is_learner, ..Member::default() };
            let change = MemberChange::Add { member, as_voter: !is_learner };
            cluster.change(&ConfChange { node, change }, &mut rows).expect("a new member");
            if kind != 'n' {
                let attributes =
                    membershippb::Attributes { name: id.to_string(), client_urls: Vec::new(), ferrite: false };
                let member_attributes = Some(attributes);
                let set = membershippb::ClusterMemberAttrSetRequest { member_id: id, member_attributes };
                cluster.set_attributes(&set, &mut rows);
            }
        }
        cluster
    }

    fn is(members: &str, kinds: &str, id: NodeId) -> bool {
        members.chars().nth(id.0 as usize - 1).is_some_and(|kind| kinds.contains(kind))
    }

    #[test]
    fn who_may_be_added() {
        let check = |members: &str, voter, learner| {
            let cluster = cluster(members);
            let add = |is_learner| may_add(&cluster, is_learner, |id| is(members, "h", id));
            assert_eq!((add(false), add(true)), (voter, learner), "{members}");
        };
        check("h", OK, OK);
        check("hn", NOT_STARTED, UNHEALTHY);
        check("hh", OK, OK);
        check("hd", UNHEALTHY, UNHEALTHY);
        check("ha", UNHEALTHY, UNHEALTHY);
        check("hhh", OK, OK);
        check("hhd", UNHEALTHY, UNHEALTHY);
        check("hhn", NOT_STARTED, UNHEALTHY);
        check("hhhd", OK, OK);
        check("hhhhd", OK, OK);
        check("hhhn", OK, OK);
        check("hhhln", OK, OK);
        check("hl", OK, OK);
    }

    #[test]
    fn who_may_be_removed() {
        let check = |members: &str, id, expected| {
            let (cluster, id) = (cluster(members), NodeId(id));
            let is_active = is(members, "ha", id);
            assert_eq!(may_remove(&cluster, id, is_active, |id| is(members, "h", id)), expected, "{id} of {members}");
        };
        check("h", 1, NOT_STARTED);
        check("h", 9, OK);
        check("hh", 1, OK);
        check("hh", 2, OK);
        check("hd", 1, UNHEALTHY);
        check("hd", 2, OK);
        check("hn", 1, NOT_STARTED);
        check("hn", 2, OK);
        check("hhh", 3, OK);
        check("hhd", 3, OK);
        check("hhd", 2, UNHEALTHY);
        check("hha", 3, UNHEALTHY);
        check("hhn", 2, NOT_STARTED);
        check("hhhd", 1, OK);
        check("hhdd", 1, UNHEALTHY);
        check("hhhhd", 1, OK);
        check("hddl", 4, OK);
    }

    #[test]
    fn who_may_be_promoted() {
        let check = |members: &str, expected| assert_eq!(may_promote(&cluster(members)), expected, "{members}");
        check("hl", OK);
        check("hnl", OK);
        check("hnnl", NOT_STARTED);
        check("hdl", OK);
    }
}
