//! JSON as etcdctl writes it: one document a line, numbers as numbers, bytes in base64, zero values left out unless they are always there.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ferrite_client::WatchResponse;
use ferrite_client::proto::authpb::Permission;
use ferrite_client::proto::etcdserverpb::response_op::Response;
use ferrite_client::proto::etcdserverpb::*;
use ferrite_client::proto::mvccpb::{Event, KeyValue};

use super::{Answer, Health};

/// `answer` as a line; `hex` turns the ids of members into texts.
pub fn render(answer: &Answer, hex: bool) -> String {
    let mut line = match answer {
        Answer::Get { response, .. } => range(response),
        Answer::Put(response) => put(response),
        Answer::Delete(response) => delete(response),
        Answer::Txn(response) => txn(response),
        Answer::Watch(response) => watch(response),
        Answer::LeaseGrant(r) => {
            flat(&r.header).always("ID", r.id).always("TTL", r.ttl).always_text("Error", &r.error).end()
        }
        Answer::LeaseKeepAlive(r) => flat(&r.header).always("ID", r.id).always("TTL", r.ttl).end(),
        Answer::LeaseTimeToLive { response: r, .. } => {
            let object = flat(&r.header).always("id", r.id).always("ttl", r.ttl).always("granted-ttl", r.granted_ttl);
            let keys = r.keys.iter().map(|key| format!("\"{}\"", STANDARD.encode(key)));
            object.raw("keys", if r.keys.is_empty() { "null".into() } else { list(keys) }).end()
        }
        Answer::Leases(r) => {
            let leases = r.leases.iter().map(|lease| Object::new().always("id", lease.id).end());
            flat(&r.header).raw("leases", list(leases)).end()
        }
        Answer::MemberList(r) => members(&r.header, None, &r.members, hex),
        Answer::MemberChange { header, added, members: all, .. } => members(header, added.as_ref(), all, hex),
        Answer::EndpointHealth(all) => list_or_null(all.iter().map(health)),
        Answer::EndpointStatus(all) => list_or_null(
            all.iter().map(|(endpoint, r)| Object::new().text("Endpoint", endpoint).raw("Status", status(r)).end()),
        ),
        Answer::EndpointHashKv(all) => list_or_null(
            all.iter().map(|(endpoint, r)| Object::new().text("Endpoint", endpoint).raw("HashKV", hash_kv(r)).end()),
        ),
        Answer::Alarm(r) => {
            let alarm = |a: &AlarmMember| Object::new().number("memberID", a.member_id).number("alarm", a.alarm).end();
            Object::new().header(&r.header).list("alarms", r.alarms.iter().map(alarm)).end()
        }
        Answer::MoveLeader { .. } => "{}".into(),
        Answer::Downgrade { response: r, .. } => Object::new().header(&r.header).text("version", &r.version).end(),
        Answer::RoleGet { response: r, .. } => {
            Object::new().header(&r.header).list("perm", r.perm.iter().map(permission)).end()
        }
        Answer::RoleList(r) => Object::new().header(&r.header).texts("roles", &r.roles).end(),
        Answer::UserGet { response: r, .. } => Object::new().header(&r.header).texts("roles", &r.roles).end(),
        Answer::UserList(r) => Object::new().header(&r.header).texts("users", &r.users).end(),
        Answer::AuthStatus(r) => {
            let object = Object::new().header(&r.header).flag("enabled", r.enabled);
            object.number("authRevision", r.auth_revision).end()
        }
        Answer::Done { header, .. } => Object::new().header(header).end(),
    };
    line.push('\n');
    line
}

fn range(r: &RangeResponse) -> String {
    let kvs = r.kvs.iter().map(key_value);
    Object::new().header(&r.header).list("kvs", kvs).flag("more", r.more).number("count", r.count).end()
}

fn put(r: &PutResponse) -> String {
    Object::new().header(&r.header).maybe("prev_kv", r.prev_kv.as_ref().map(key_value)).end()
}

fn delete(r: &DeleteRangeResponse) -> String {
    let prev_kvs = r.prev_kvs.iter().map(key_value);
    Object::new().header(&r.header).number("deleted", r.deleted).list("prev_kvs", prev_kvs).end()
}

fn txn(r: &TxnResponse) -> String {
    let op = |op: &ResponseOp| {
        let (name, response) = match &op.response {
            Some(Response::ResponseRange(r)) => ("response_range", range(r)),
            Some(Response::ResponsePut(r)) => ("response_put", put(r)),
            Some(Response::ResponseDeleteRange(r)) => ("response_delete_range", delete(r)),
            Some(Response::ResponseTxn(r)) => ("response_txn", txn(r)),
            None => return r#"{"Response":null}"#.to_string(),
        };
        Object::new().raw("Response", Object::new().raw(name, response).end()).end()
    };
    let object = Object::new().header(&r.header).flag("succeeded", r.succeeded);
    object.list("responses", r.responses.iter().map(op)).end()
}

fn watch(r: &WatchResponse) -> String {
    let event = |event: &Event| {
        let object = Object::new().number("type", event.r#type).maybe("kv", event.kv.as_ref().map(key_value));
        object.maybe("prev_kv", event.prev_kv.as_ref().map(key_value)).end()
    };
    Object::new()
        .raw("Header", header(&r.header))
        .raw("Events", list_or_null(r.events.iter().map(event)))
        .always("CompactRevision", r.compact_revision)
        .raw("Canceled", r.error.is_some().to_string())
        .raw("Created", "false".into())
        .raw("CancelReason", "\"\"".into())
        .end()
}

fn key_value(kv: &KeyValue) -> String {
    Object::new()
        .data("key", &kv.key)
        .number("create_revision", kv.create_revision)
        .number("mod_revision", kv.mod_revision)
        .number("version", kv.version)
        .data("value", &kv.value)
        .number("lease", kv.lease)
        .end()
}

fn header(h: &ResponseHeader) -> String {
    header_fields(Object::new(), h).end()
}

fn header_fields(object: Object, h: &ResponseHeader) -> Object {
    object
        .number("cluster_id", h.cluster_id)
        .number("member_id", h.member_id)
        .number("revision", h.revision)
        .number("raft_term", h.raft_term)
}

/// An object that starts with the fields of the header rather than with the header.
fn flat(h: &Option<ResponseHeader>) -> Object {
    header_fields(Object::new(), &h.unwrap_or_default())
}

fn members(h: &Option<ResponseHeader>, added: Option<&Member>, all: &[Member], hex: bool) -> String {
    let one = |member: &Member| {
        let object = match hex {
            true => Object::new().always_text("ID", &format!("{:x}", member.id)),
            false => Object::new().number("ID", member.id),
        };
        object
            .text("name", &member.name)
            .texts("peerURLs", &member.peer_ur_ls)
            .texts("clientURLs", &member.client_ur_ls)
            .flag("isLearner", member.is_learner)
            .end()
    };
    if !hex {
        let object = Object::new().header(h).maybe("member", added.map(one));
        return object.list("members", all.iter().map(one)).end();
    }
    let h = h.unwrap_or_default();
    let header = Object::new()
        .always_text("cluster_id", &format!("{:x}", h.cluster_id))
        .always_text("member_id", &format!("{:x}", h.member_id))
        .number("revision", h.revision)
        .number("raft_term", h.raft_term);
    let object = Object::new().raw("header", header.end()).maybe("member", added.map(one));
    object.raw("members", list(all.iter().map(one))).end()
}

fn health(health: &Health) -> String {
    Object::new()
        .always_text("endpoint", &health.endpoint)
        .raw("health", health.error.is_none().to_string())
        .always_text("took", &health.took.map(|took| took.to_string()).unwrap_or_default())
        .text("error", health.error.as_deref().unwrap_or_default())
        .end()
}

fn status(r: &StatusResponse) -> String {
    let downgrade = r
        .downgrade_info
        .as_ref()
        .map(|info| Object::new().flag("enabled", info.enabled).text("targetVersion", &info.target_version).end());
    Object::new()
        .header(&r.header)
        .text("version", &r.version)
        .number("dbSize", r.db_size)
        .number("leader", r.leader)
        .number("raftIndex", r.raft_index)
        .number("raftTerm", r.raft_term)
        .number("raftAppliedIndex", r.raft_applied_index)
        .texts("errors", &r.errors)
        .number("dbSizeInUse", r.db_size_in_use)
        .flag("isLearner", r.is_learner)
        .text("storageVersion", &r.storage_version)
        .number("dbSizeQuota", r.db_size_quota)
        .maybe("downgradeInfo", downgrade)
        .end()
}

fn hash_kv(r: &HashKvResponse) -> String {
    Object::new()
        .header(&r.header)
        .number("hash", r.hash)
        .number("compact_revision", r.compact_revision)
        .number("hash_revision", r.hash_revision)
        .end()
}

fn permission(p: &Permission) -> String {
    Object::new().number("permType", p.perm_type).data("key", &p.key).data("range_end", &p.range_end).end()
}

/// An object under construction. Fields that are zero are left out, except by the methods that say otherwise.
struct Object(String);

impl Object {
    fn new() -> Object {
        Object("{".into())
    }

    fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }

    /// A field that is there, as JSON.
    fn raw(mut self, name: &str, value: String) -> Object {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        push_text(&mut self.0, name);
        self.0.push(':');
        self.0.push_str(&value);
        self
    }

    fn maybe(self, name: &str, value: Option<String>) -> Object {
        match value {
            Some(value) => self.raw(name, value),
            None => self,
        }
    }

    fn header(self, h: &Option<ResponseHeader>) -> Object {
        self.maybe("header", h.as_ref().map(header))
    }

    fn always(self, name: &str, value: impl Into<i128>) -> Object {
        self.raw(name, value.into().to_string())
    }

    fn number(self, name: &str, value: impl Into<i128>) -> Object {
        let value = value.into();
        if value == 0 { self } else { self.raw(name, value.to_string()) }
    }

    fn flag(self, name: &str, value: bool) -> Object {
        if value { self.raw(name, "true".into()) } else { self }
    }

    fn always_text(self, name: &str, value: &str) -> Object {
        let mut text = String::new();
        push_text(&mut text, value);
        self.raw(name, text)
    }

    fn text(self, name: &str, value: &str) -> Object {
        if value.is_empty() { self } else { self.always_text(name, value) }
    }

    fn texts(self, name: &str, values: &[String]) -> Object {
        let text = |value: &String| {
            let mut text = String::new();
            push_text(&mut text, value);
            text
        };
        self.list(name, values.iter().map(text))
    }

    fn data(self, name: &str, value: &[u8]) -> Object {
        if value.is_empty() { self } else { self.raw(name, format!("\"{}\"", STANDARD.encode(value))) }
    }

    fn list(self, name: &str, values: impl Iterator<Item = String>) -> Object {
        let values = list(values);
        if values == "[]" { self } else { self.raw(name, values) }
    }
}

fn list(values: impl Iterator<Item = String>) -> String {
    format!("[{}]", values.collect::<Vec<_>>().join(","))
}

/// Go's nil list.
fn list_or_null(values: impl Iterator<Item = String>) -> String {
    let values = list(values);
    if values == "[]" { "null".into() } else { values }
}

/// A text in quotes, escaped as Go's encoder does by default.
pub fn push_text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\x1f' => {
                out.push_str(&format!("\\u{:04x}", c as u32));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped_as_go_does() {
        let mut out = String::new();
        push_text(&mut out, "a\"\\<&>\u{2028}\n\x01ü");
        assert_eq!(out, r#""a\"\\\u003c\u0026\u003e\u2028\n\u0001ü""#);
    }

    #[test]
    fn zero_is_left_out_and_ids_are_numbers() {
        let header = Some(ResponseHeader { cluster_id: u64::MAX, member_id: 0, revision: 3, raft_term: 2 });
        let kv = KeyValue { key: "foo".into(), create_revision: 2, mod_revision: 3, version: 2, ..KeyValue::default() };
        let response = RangeResponse { header, kvs: vec![kv], more: false, count: 1 };
        let expected = "{\"header\":{\"cluster_id\":18446744073709551615,\"revision\":3,\"raft_term\":2},\
                        \"kvs\":[{\"key\":\"Zm9v\",\"create_revision\":2,\"mod_revision\":3,\"version\":2}],\"count\":1}\n";
        assert_eq!(render(&Answer::Get { response, values_only: false }, false), expected);
    }

    #[test]
    fn a_watch_shows_all_its_fields() {
        let expected = "{\"Header\":{},\"Events\":null,\"CompactRevision\":0,\"Canceled\":false,\"Created\":false,\
                        \"CancelReason\":\"\"}\n";
        assert_eq!(render(&Answer::Watch(WatchResponse::default()), false), expected);
    }
}
