//! A member makes its name and client URLs known through the log, and that it runs Ferrite: only then is it ready to serve.
//! Then it has applied all that was committed before it came.

use std::time::Duration;

use ferrite_proto::{etcdserverpb as pb, membershippb};
use ferrite_state::RequestId;

/// It was lost on the way to a leader that is one no more: a new one is found within this time.
const RETRY: Duration = Duration::from_secs(1);

/// The duty to publish oneself, once after each start.
#[derive(Debug)]
pub struct Publish {
    member: u64,
    attributes: membershippb::Attributes,
    proposed: Vec<RequestId>,
    /// When to propose again; nothing once it is known to have been applied.
    next_try: Option<Duration>,
    /// It has been applied, once.
    is_done: bool,
}

impl Publish {
    /// Publishes `name` and `client_urls` of `member`.
    pub fn new(member: u64, name: String, client_urls: Vec<String>) -> Publish {
        let attributes = membershippb::Attributes { name, client_urls, ferrite: true };
        Publish { member, attributes, proposed: Vec::new(), next_try: Some(Duration::ZERO), is_done: false }
    }

    /// Who publishes itself.
    pub(super) fn member(&self) -> u64 {
        self.member
    }

    pub(super) fn is_done(&self) -> bool {
        self.is_done
    }

    pub(super) fn request(&mut self, now: Duration) -> Option<pb::InternalRaftRequest> {
        if now < self.next_try? {
            return None;
        }
        self.next_try = Some(now + RETRY);
        let request = membershippb::ClusterMemberAttrSetRequest {
            member_id: self.member,
            member_attributes: Some(self.attributes.clone()),
        };
        Some(pb::InternalRaftRequest { cluster_member_attr_set: Some(request), ..Default::default() })
    }

    /// What was published may not be in the state of everybody any more: it came with a snapshot from a member that does
    /// not keep all of it.
    pub(super) fn again(&mut self, now: Duration) {
        self.next_try.get_or_insert(now);
    }

    /// The request is on its way under this id.
    pub(super) fn proposed(&mut self, id: RequestId) {
        // Without a quorum there are many tries, and whoever is answered is one of the last.
        const REMEMBERED: usize = 16;
        if self.proposed.len() == REMEMBERED {
            self.proposed.remove(0);
        }
        self.proposed.push(id);
    }

    /// The entry with this id has been applied.
    pub(super) fn answered(&mut self, id: RequestId) {
        if self.proposed.contains(&id) {
            (self.next_try, self.is_done) = (None, true);
            self.proposed = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_lost_is_published_again_once() {
        let at = Duration::from_secs;
        let mut publish = Publish::new(1, "one".into(), vec![]);
        assert!(publish.request(at(0)).is_some());
        publish.proposed(RequestId(5));
        publish.again(at(0));
        assert!(publish.request(at(0)).is_none(), "it is on its way");
        publish.answered(RequestId(5));
        assert!(publish.is_done() && publish.request(at(9)).is_none());
        publish.again(at(9));
        assert!(publish.is_done() && publish.request(at(9)).is_some());
        publish.again(at(9));
        assert!(publish.request(at(9)).is_none());
    }
}
