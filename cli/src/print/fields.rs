//! The fields format: `"Name" : value`, one a line.

use std::fmt::Display;

use ferrite_client::WatchResponse;
use ferrite_client::proto::etcdserverpb::response_op::Response;
use ferrite_client::proto::etcdserverpb::*;
use ferrite_client::proto::mvccpb::KeyValue;
use ferrite_client::proto::mvccpb::event::EventType;

use super::Answer;
use crate::go::quote::quote;

/// `answer` in the fields format, if it can be shown like that; `hex` shows ids in hexadecimal.
pub fn render(answer: &Answer, hex: bool) -> Option<String> {
    let mut out = Fields { text: String::new(), hex };
    match answer {
        Answer::Get { response, .. } => out.range(response),
        Answer::Put(response) => out.put(response),
        Answer::Delete(response) => out.delete(response),
        Answer::Txn(response) => out.txn(response),
        Answer::Watch(response) => out.watch(response),
        Answer::LeaseGrant(r) => out.lease(&r.header, r.id, r.ttl),
        Answer::LeaseKeepAlive(r) => out.lease(&r.header, r.id, r.ttl),
        Answer::LeaseTimeToLive { response: r, .. } => {
            out.lease(&r.header, r.id, r.ttl);
            out.field("GrantedTTL", r.granted_ttl);
            r.keys.iter().for_each(|key| out.data("Key", key));
        }
        Answer::Leases(r) => {
            out.header(&r.header);
            r.leases.iter().for_each(|lease| out.lease_id("ID", lease.id));
        }
        Answer::MemberList(response) => out.members(response),
        Answer::EndpointHealth(all) => all.iter().for_each(|health| {
            out.data("Endpoint", health.endpoint.as_bytes());
            out.field("Health", health.error.is_none());
            out.field("Took", health.took.map(|took| took.to_string()).unwrap_or_default());
            out.field("Error", health.error.as_deref().unwrap_or_default());
            out.gap();
        }),
        Answer::EndpointStatus(all) => all.iter().for_each(|(endpoint, status)| out.status(endpoint, status)),
        Answer::EndpointHashKv(all) => all.iter().for_each(|(endpoint, r)| {
            out.header(&r.header);
            out.data("Endpoint", endpoint.as_bytes());
            out.field("Hash", r.hash);
            out.field("HashRevision", r.hash_revision);
            out.gap();
        }),
        Answer::Alarm(response) => {
            out.header(&response.header);
            for alarm in &response.alarms {
                out.id("MemberID", alarm.member_id);
                out.field("AlarmType", alarm.alarm().as_str_name());
                out.gap();
            }
        }
        Answer::RoleGet { response, .. } => {
            out.header(&response.header);
            for permission in &response.perm {
                // Two blanks, as in etcd.
                out.field("PermType", format!(" {}", permission.perm_type().as_str_name()));
                out.data("Key", &permission.key);
                out.data("RangeEnd", &permission.range_end);
            }
        }
        Answer::RoleList(response) => {
            out.header(&response.header);
            let roles: String = response.roles.iter().map(|role| format!(" {}", quote(role.as_bytes()))).collect();
            out.text.push_str(&format!("\"Roles\" :{roles}\n"));
        }
        Answer::Done { header, .. } => out.header(header),
        Answer::MemberChange { .. }
        | Answer::MoveLeader { .. }
        | Answer::Downgrade { .. }
        | Answer::UserGet { .. }
        | Answer::UserList(_)
        | Answer::AuthStatus(_) => return None,
    }
    Some(out.text)
}

struct Fields {
    text: String,
    hex: bool,
}

impl Fields {
    fn field(&mut self, name: &str, value: impl Display) {
        self.text.push_str(&format!("\"{name}\" : {value}\n"));
    }

    fn data(&mut self, name: &str, data: &[u8]) {
        self.field(name, quote(data));
    }

    /// The id of a member or a cluster.
    fn id(&mut self, name: &str, id: u64) {
        match self.hex {
            true => self.field(name, format_args!("{id:x}")),
            false => self.field(name, id),
        }
    }

    fn lease_id(&mut self, name: &str, id: i64) {
        match self.hex {
            true => self.field(name, format_args!("{id:016x}")),
            false => self.field(name, id),
        }
    }

    fn gap(&mut self) {
        self.text.push('\n');
    }

    fn header(&mut self, header: &Option<ResponseHeader>) {
        let header = header.unwrap_or_default();
        self.id("ClusterID", header.cluster_id);
        self.id("MemberID", header.member_id);
        // Some answers are about no revision.
        if header.revision > 0 {
            self.field("Revision", header.revision);
        }
        self.field("RaftTerm", header.raft_term);
    }

    fn pair(&mut self, prefix: &str, kv: &KeyValue) {
        let name = |name: &str| format!("{prefix}{name}");
        self.data(&name("Key"), &kv.key);
        self.field(&name("CreateRevision"), kv.create_revision);
        self.field(&name("ModRevision"), kv.mod_revision);
        self.field(&name("Version"), kv.version);
        self.data(&name("Value"), &kv.value);
        self.lease_id(&name("Lease"), kv.lease);
    }

    fn range(&mut self, response: &RangeResponse) {
        self.header(&response.header);
        response.kvs.iter().for_each(|kv| self.pair("", kv));
        self.field("More", response.more);
        self.field("Count", response.count);
    }

    fn put(&mut self, response: &PutResponse) {
        self.header(&response.header);
        response.prev_kv.iter().for_each(|kv| self.pair("Prev", kv));
    }

    fn delete(&mut self, response: &DeleteRangeResponse) {
        self.header(&response.header);
        self.field("Deleted", response.deleted);
        response.prev_kvs.iter().for_each(|kv| self.pair("Prev", kv));
    }

    fn txn(&mut self, response: &TxnResponse) {
        self.header(&response.header);
        self.field("Succeeded", response.succeeded);
        for op in &response.responses {
            match &op.response {
                Some(Response::ResponseRange(response)) => self.range(response),
                Some(Response::ResponsePut(response)) => self.put(response),
                Some(Response::ResponseDeleteRange(response)) => self.delete(response),
                Some(Response::ResponseTxn(_)) | None => self.data("Unknown", format!("{:?}", op.response).as_bytes()),
            }
        }
    }

    fn watch(&mut self, response: &WatchResponse) {
        self.header(&Some(response.header));
        for event in &response.events {
            self.field("Type", if event.r#type() == EventType::Put { "PUT" } else { "DELETE" });
            event.prev_kv.iter().for_each(|kv| self.pair("Prev", kv));
            event.kv.iter().for_each(|kv| self.pair("", kv));
        }
    }

    fn lease(&mut self, header: &Option<ResponseHeader>, id: i64, ttl: i64) {
        self.header(header);
        self.lease_id("ID", id);
        self.field("TTL", ttl);
    }

    fn members(&mut self, response: &MemberListResponse) {
        self.header(&response.header);
        for member in &response.members {
            self.id("ID", member.id);
            self.data("Name", member.name.as_bytes());
            member.peer_ur_ls.iter().for_each(|url| self.data("PeerURL", url.as_bytes()));
            member.client_ur_ls.iter().for_each(|url| self.data("ClientURL", url.as_bytes()));
            self.field("IsLearner", member.is_learner);
            self.gap();
        }
    }

    fn status(&mut self, endpoint: &str, status: &StatusResponse) {
        let downgrade = status.downgrade_info.clone().unwrap_or_default();
        self.header(&status.header);
        self.data("Version", status.version.as_bytes());
        self.data("StorageVersion", status.storage_version.as_bytes());
        self.field("DBSize", status.db_size);
        self.field("DBSizeInUse", status.db_size_in_use);
        self.field("DBSizeQuota", status.db_size_quota);
        self.field("Leader", status.leader);
        self.field("IsLearner", status.is_learner);
        self.field("RaftIndex", status.raft_index);
        self.field("RaftTerm", status.raft_term);
        self.field("RaftAppliedIndex", status.raft_applied_index);
        self.field("Errors", format_args!("[{}]", status.errors.join(" ")));
        self.data("Endpoint", endpoint.as_bytes());
        self.data("DowngradeTargetVersion", downgrade.target_version.as_bytes());
        self.field("DowngradeEnabled", downgrade.enabled);
        self.gap();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_leases_can_be_shown_in_hexadecimal() {
        let header = Some(ResponseHeader { cluster_id: 255, member_id: 16, revision: 0, raft_term: 2 });
        let answer = Answer::LeaseGrant(LeaseGrantResponse { header, id: 10, ttl: 5, ..LeaseGrantResponse::default() });
        let shown = |hex| render(&answer, hex).unwrap();
        assert_eq!(
            shown(false),
            "\"ClusterID\" : 255\n\"MemberID\" : 16\n\"RaftTerm\" : 2\n\"ID\" : 10\n\"TTL\" : 5\n"
        );
        let hex = "\"ClusterID\" : ff\n\"MemberID\" : 10\n\"RaftTerm\" : 2\n\"ID\" : 000000000000000a\n\"TTL\" : 5\n";
        assert_eq!(shown(true), hex);
    }
}
