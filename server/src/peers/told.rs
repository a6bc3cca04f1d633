//! What the log says of the cluster's members: who was there at the start, and what has changed since.

use std::collections::BTreeMap;

use ferrite_member::bootstrap::Ids;
use ferrite_observe::log;
use ferrite_observe::log::{Id, Logger, lines};
use ferrite_raft::NodeId;
use ferrite_state::cluster::{Cluster, Member};

/// The members that the log has told of.
#[derive(Debug)]
pub struct Told {
    ids: Ids,
    logger: Logger,
    members: BTreeMap<NodeId, Member>,
}

impl Told {
    /// Tells of the members that the store knows.
    pub fn recovered(ids: Ids, cluster: &Cluster, logger: &Logger) -> Told {
        let members: BTreeMap<NodeId, Member> = cluster.members().map(|member| (member.id, member.clone())).collect();
        for Member { id, peer_urls, is_learner, .. } in members.values() {
            let (whole, own) = (Id(ids.cluster), Id(ids.member.0));
            log!(logger, lines::RECOVERED_MEMBER, whole, own, Id(id.0), peer_urls, *is_learner);
        }
        Told { ids, logger: logger.clone(), members }
    }

    /// Tells what has changed.
    pub fn follow(&mut self, cluster: &Cluster) {
        let Told { ids, logger, members } = self;
        let (whole, own) = (Id(ids.cluster), Id(ids.member.0));
        for member in cluster.members() {
            let Member { id, peer_urls, is_learner, .. } = member;
            let told = members.insert(*id, member.clone());
            match &told {
                None => log!(logger, lines::ADDED_MEMBER, whole, own, Id(id.0), peer_urls, *is_learner),
                Some(told) => {
                    if told.peer_urls != *peer_urls {
                        log!(logger, lines::UPDATED_MEMBER, whole, own, Id(id.0), peer_urls, *is_learner);
                    }
                    if told.is_learner && !is_learner {
                        log!(logger, lines::PROMOTED_MEMBER, whole, own, Id(id.0));
                    }
                }
            }
        }
        members.retain(|id, Member { peer_urls, is_learner, .. }| {
            let stays = cluster.member(*id).is_some();
            if !stays {
                log!(logger, lines::REMOVED_MEMBER, whole, own, Id(id.0), &*peer_urls, *is_learner);
            }
            stays
        });
    }
}

#[cfg(test)]
mod tests {
    use ferrite_observe::log::Level;
    use ferrite_state::command::{ConfChange, MemberChange};

    use super::*;

    #[test]
    fn every_change_is_told_once() {
        let member = |id, url: &str, is_learner| Member {
            id: NodeId(id),
            peer_urls: vec![url.to_owned()],
            is_learner,
            ..Member::default()
        };
        let mut cluster = Cluster::new(1);
        let change = |cluster: &mut Cluster, id, change| {
            cluster.change(&ConfChange { node: NodeId(id), change }, &mut Vec::new()).unwrap();
        };
        let add =
            |id, is_learner| MemberChange::Add { member: member(id, "http://a:1", is_learner), as_voter: !is_learner };
        change(&mut cluster, 1, add(1, false));
        let (logger, text) = Logger::to_memory(Level::Info);
        let mut told = Told::recovered(Ids { member: NodeId(1), cluster: 0xc }, &cluster, &logger);
        change(&mut cluster, 2, MemberChange::Add { member: member(2, "http://b:1", true), as_voter: false });
        told.follow(&cluster);
        told.follow(&cluster);
        change(&mut cluster, 2, MemberChange::Promote);
        told.follow(&cluster);
        change(&mut cluster, 2, MemberChange::Update { member: member(2, "http://b:2", false) });
        told.follow(&cluster);
        change(&mut cluster, 2, MemberChange::Remove);
        told.follow(&cluster);
        told.follow(&cluster);
        let text = text.lock().unwrap().clone();
        let parts = [
            r#""msg":"recovered/added member from store","cluster-id":"c","local-member-id":"1","recovered-remote-peer-id":"1","recovered-remote-peer-urls":["http://a:1"],"recovered-remote-peer-is-learner":false"#,
            r#""msg":"added member","cluster-id":"c","local-member-id":"1","added-peer-id":"2","added-peer-peer-urls":["http://b:1"],"added-peer-is-learner":true"#,
            r#""msg":"promote member","cluster-id":"c","local-member-id":"1","promoted-member-id":"2""#,
            r#""msg":"updated member","cluster-id":"c","local-member-id":"1","updated-remote-peer-id":"2","updated-remote-peer-urls":["http://b:2"],"updated-remote-peer-is-learner":false"#,
            r#""msg":"removed member","cluster-id":"c","local-member-id":"1","removed-remote-peer-id":"2","removed-remote-peer-urls":["http://b:2"],"removed-remote-peer-is-learner":false"#,
        ];
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), parts.len(), "{text}");
        for (line, part) in lines.iter().zip(parts) {
            assert!(line.contains(part), "{part} in {line}");
        }
    }
}
