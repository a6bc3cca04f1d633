//! A member makes its name and client URLs known through the log: only then is it ready to serve.

use std::time::Duration;

use ferrite_proto::{etcdserverpb as pb, membershippb};

use super::RETRY;
use super::facts::Facts;

/// The duty to publish oneself, once after each start.
#[derive(Debug)]
pub struct Publish {
    member: u64,
    attributes: membershippb::Attributes,
    /// When to propose again; nothing once it is known to have been applied.
    next_try: Option<Duration>,
}

impl Publish {
    /// Publishes `name` and `client_urls` of `member`.
    pub fn new(member: u64, name: String, client_urls: Vec<String>) -> Publish {
        let attributes = membershippb::Attributes { name, client_urls };
        Publish { member, attributes, next_try: Some(Duration::ZERO) }
    }

    /// Who publishes itself.
    pub(super) fn member(&self) -> u64 {
        self.member
    }

    pub(super) fn request(&mut self, now: Duration, facts: &Facts) -> Option<pb::InternalRaftRequest> {
        let due = self.next_try?;
        let proposed_before = due > Duration::ZERO;
        if proposed_before && facts.attributes(self.member).as_ref() == Some(&self.attributes) {
            self.next_try = None;
            return None;
        }
        if now < due {
            return None;
        }
        self.next_try = Some(now + RETRY);
        let request = membershippb::ClusterMemberAttrSetRequest {
            member_id: self.member,
            member_attributes: Some(self.attributes.clone()),
        };
        Some(pb::InternalRaftRequest { cluster_member_attr_set: Some(request), ..Default::default() })
    }
}
