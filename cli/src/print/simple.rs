//! The simple format: keys and values as they are, one a line, and sentences.

use ferrite_client::WatchResponse;
use ferrite_client::prefix_end;
use ferrite_client::proto::authpb::Permission;
use ferrite_client::proto::etcdserverpb::response_op::Response;
use ferrite_client::proto::etcdserverpb::*;
use ferrite_client::proto::mvccpb::KeyValue;
use ferrite_client::proto::mvccpb::event::EventType;

use super::{Answer, may_read, may_write};

/// `answer` in the simple format; `hex` shows keys and values as `\x66\x6f`.
pub fn render(answer: &Answer, hex: bool) -> Vec<u8> {
    let mut out = Text { bytes: Vec::new(), hex };
    match answer {
        Answer::Get { response, values_only } => out.pairs(&response.kvs, *values_only),
        Answer::Put(response) => out.put(response),
        Answer::Delete(response) => out.delete(response),
        Answer::Txn(response) => out.txn(response),
        Answer::Watch(response) => out.watch(response),
        Answer::LeaseGrant(r) => out.line(format!("lease {:016x} granted with TTL({}s)", r.id, r.ttl)),
        Answer::LeaseKeepAlive(r) => out.line(format!("lease {:016x} keepalived with TTL({})", r.id, r.ttl)),
        Answer::LeaseTimeToLive { response, keys } => out.time_to_live(response, *keys),
        Answer::Leases(response) => {
            out.line(format!("found {} leases", response.leases.len()));
            response.leases.iter().for_each(|lease| out.line(format!("{:016x}", lease.id)));
        }
        Answer::MemberList(response) => member_rows(response).iter().for_each(|row| out.line(row.join(", "))),
        Answer::MemberChange { text, .. }
        | Answer::MoveLeader { text, .. }
        | Answer::Downgrade { text, .. }
        | Answer::Done { text, .. } => out.line(text),
        // Unhealthy ones are told to standard error, by the command.
        Answer::EndpointHealth(all) => all.iter().filter(|health| health.error.is_none()).for_each(|health| {
            let took = health.took.unwrap_or_default();
            out.line(format!("{} is healthy: successfully committed proposal: took = {took}", health.endpoint));
        }),
        Answer::EndpointStatus(all) => status_rows(all).iter().for_each(|row| out.line(row.join(", "))),
        Answer::EndpointHashKv(all) => hash_rows(all).iter().for_each(|row| out.line(row.join(", "))),
        Answer::Alarm(response) => response
            .alarms
            .iter()
            .for_each(|alarm| out.line(format!("memberID:{} alarm:{}", alarm.member_id, alarm.alarm().as_str_name()))),
        Answer::RoleGet { name, response } => out.role(name, &response.perm),
        Answer::RoleList(response) => response.roles.iter().for_each(|role| out.line(role)),
        Answer::UserGet { name, response } => {
            out.line(format!("User: {name}"));
            let roles: String = response.roles.iter().map(|role| format!(" {role}")).collect();
            out.line(format!("Roles:{roles}"));
        }
        Answer::UserList(response) => response.users.iter().for_each(|user| out.line(user)),
        Answer::AuthStatus(response) => {
            out.line(format!("Authentication Status: {}", response.enabled));
            out.line(format!("AuthRevision: {}", response.auth_revision));
        }
    }
    out.bytes
}

struct Text {
    bytes: Vec<u8>,
    hex: bool,
}

impl Text {
    fn line(&mut self, text: impl AsRef<[u8]>) {
        self.bytes.extend_from_slice(text.as_ref());
        self.bytes.push(b'\n');
    }

    /// A key or a value.
    fn data(&mut self, data: &[u8]) {
        if self.hex {
            self.line(data.iter().map(|byte| format!("\\x{byte:02x}")).collect::<String>());
        } else {
            self.line(data);
        }
    }

    fn pair(&mut self, kv: &KeyValue) {
        self.data(&kv.key);
        self.data(&kv.value);
    }

    fn pairs(&mut self, kvs: &[KeyValue], values_only: bool) {
        for kv in kvs {
            match values_only {
                true => self.data(&kv.value),
                false => self.pair(kv),
            }
        }
    }

    fn put(&mut self, response: &PutResponse) {
        self.line("OK");
        response.prev_kv.iter().for_each(|kv| self.pair(kv));
    }

    fn delete(&mut self, response: &DeleteRangeResponse) {
        self.line(response.deleted.to_string());
        self.pairs(&response.prev_kvs, false);
    }

    fn txn(&mut self, response: &TxnResponse) {
        self.line(if response.succeeded { "SUCCESS" } else { "FAILURE" });
        for op in &response.responses {
            self.line("");
            match &op.response {
                Some(Response::ResponseRange(response)) => self.pairs(&response.kvs, false),
                Some(Response::ResponsePut(response)) => self.put(response),
                Some(Response::ResponseDeleteRange(response)) => self.delete(response),
                Some(Response::ResponseTxn(response)) => self.txn(response),
                None => self.line("unexpected response: the server sent an operation's result without a result"),
            }
        }
    }

    fn watch(&mut self, response: &WatchResponse) {
        for event in &response.events {
            self.line(if event.r#type() == EventType::Put { "PUT" } else { "DELETE" });
            event.prev_kv.iter().for_each(|kv| self.pair(kv));
            event.kv.iter().for_each(|kv| self.pair(kv));
        }
    }

    fn time_to_live(&mut self, response: &LeaseTimeToLiveResponse, keys: bool) {
        if response.granted_ttl == 0 && response.ttl == -1 {
            return self.line(format!("lease {:016x} already expired", response.id));
        }
        let (id, granted, left) = (response.id, response.granted_ttl, response.ttl);
        let mut text = format!("lease {id:016x} granted with TTL({granted}s), remaining({left}s)").into_bytes();
        if keys {
            text.extend(b", attached keys([");
            text.extend(response.keys.join(&b' '));
            text.extend(b"])");
        }
        self.line(text);
    }

    fn role(&mut self, name: &str, permissions: &[Permission]) {
        self.line(format!("Role {name}"));
        for (title, may) in [("KV Read:", may_read as fn(&Permission) -> bool), ("KV Write:", may_write)] {
            self.line(title);
            permissions.iter().filter(|permission| may(permission)).for_each(|permission| self.permission(permission));
        }
    }

    fn permission(&mut self, Permission { key, range_end, .. }: &Permission) {
        let mut text = vec![b'\t'];
        match &range_end[..] {
            [] => text.extend_from_slice(key),
            // The bracket is not closed in etcd either.
            [0] => text.extend([b"[", &key[..], b", <open ended>"].concat()),
            end => {
                text.extend([b"[", &key[..], b", ", end, b")"].concat());
                if !key.is_empty() && prefix_end(key) == end {
                    text.extend([b" (prefix ", &key[..], b")"].concat());
                }
            }
        }
        self.line(text);
    }
}

/// The members, a row each.
pub(super) fn member_rows(response: &MemberListResponse) -> Vec<Vec<String>> {
    let row = |member: &Member| {
        vec![
            format!("{:x}", member.id),
            if member.name.is_empty() { "unstarted" } else { "started" }.to_string(),
            member.name.clone(),
            member.peer_ur_ls.join(","),
            member.client_ur_ls.join(","),
            member.is_learner.to_string(),
        ]
    };
    response.members.iter().map(row).collect()
}

/// What members say of themselves, a row each.
pub(super) fn status_rows(all: &[(String, StatusResponse)]) -> Vec<Vec<String>> {
    let row = |(endpoint, status): &(String, StatusResponse)| {
        let member = status.header.unwrap_or_default().member_id;
        let downgrade = status.downgrade_info.clone().unwrap_or_default();
        vec![
            endpoint.clone(),
            format!("{member:x}"),
            status.version.clone(),
            status.storage_version.clone(),
            size(status.db_size),
            size(status.db_size_in_use),
            percent_unused(status.db_size_in_use, status.db_size),
            size(status.db_size_quota),
            (status.leader == member).to_string(),
            status.is_learner.to_string(),
            status.raft_term.to_string(),
            status.raft_index.to_string(),
            status.raft_applied_index.to_string(),
            status.errors.join(", "),
            downgrade.target_version,
            downgrade.enabled.to_string(),
        ]
    };
    all.iter().map(row).collect()
}

/// Hashes, a row each.
pub(super) fn hash_rows(all: &[(String, HashKvResponse)]) -> Vec<Vec<String>> {
    let row = |(endpoint, response): &(String, HashKvResponse)| {
        vec![endpoint.clone(), response.hash.to_string(), response.hash_revision.to_string()]
    };
    all.iter().map(row).collect()
}

/// Bytes for people: `33 kB`.
pub fn size(bytes: i64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let bytes = bytes.max(0) as u64;
    if bytes < 10 {
        return format!("{bytes} B");
    }
    let power = (bytes.ilog10() / 3) as usize;
    // One decimal, rounded, computed as etcd does.
    let value = (bytes as f64 / 1000f64.powi(power as i32) * 10.0 + 0.5).floor() / 10.0;
    if value < 10.0 { format!("{value:.1} {}", UNITS[power]) } else { format!("{value:.0} {}", UNITS[power]) }
}

fn percent_unused(used: i64, size: i64) -> String {
    let used = if size > 0 { (used as f64 / size as f64 * 100.0) as i64 } else { 100 };
    format!("{}%", 100 - used)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_for_people() {
        for (bytes, text) in [
            (0, "0 B"),
            (9, "9 B"),
            (10, "10 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (20_480, "20 kB"),
            (24_576, "25 kB"),
            (999_999, "1000 kB"),
            (2_147_483_648, "2.1 GB"),
        ] {
            assert_eq!(size(bytes), text, "{bytes}");
        }
        assert_eq!(percent_unused(20_480, 32_768), "38%");
    }

    #[test]
    fn ranges_of_permissions() {
        for (key, end, text) in [
            ("k", "", "\tk\n"),
            ("k", "\0", "\t[k, <open ended>\n"),
            ("k", "l", "\t[k, l) (prefix k)\n"),
            ("k", "m", "\t[k, m)\n"),
        ] {
            let mut out = Text { bytes: Vec::new(), hex: false };
            out.permission(&Permission { key: key.into(), range_end: end.into(), ..Permission::default() });
            assert_eq!(String::from_utf8(out.bytes).unwrap(), text);
        }
    }
}
