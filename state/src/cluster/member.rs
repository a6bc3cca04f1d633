//! One member, and its JSON: as etcd's rows, conf changes and `/members` have it.

use ferrite_raft::NodeId;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A member of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    #[serde(with = "node_id")]
    pub id: NodeId,
    #[serde(rename = "peerURLs", default, with = "urls")]
    pub peer_urls: Vec<String>,
    #[serde(rename = "isLearner", default, skip_serializing_if = "std::ops::Not::not")]
    pub is_learner: bool,
    /// Empty until the member has started and published itself.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(rename = "clientURLs", default, with = "urls", skip_serializing_if = "Vec::is_empty")]
    pub client_urls: Vec<String>,
    /// It said that it runs Ferrite when it published itself. etcd passes over this, and does not keep it.
    #[serde(rename = "ferrite", default, skip_serializing_if = "std::ops::Not::not")]
    pub is_ferrite: bool,
}

/// What stands in a conf change: a member, and whether it is a promotion.
#[derive(Deserialize)]
struct Context {
    #[serde(flatten)]
    member: Member,
    #[serde(rename = "isPromote", default)]
    is_promote: bool,
}

impl Member {
    /// The JSON of its row.
    pub fn to_json(&self) -> String {
        go_escaped(serde_json::to_string(self).expect("a member has no keys but strings"))
    }

    pub fn from_json(json: &[u8]) -> Result<Member, String> {
        serde_json::from_slice(json).map_err(|error| error.to_string())
    }

    pub(crate) fn parse_context(json: &[u8]) -> Result<(Member, bool), String> {
        let context: Context = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        Ok((context.member, context.is_promote))
    }

    /// What a promotion says of the member.
    pub(crate) fn promotion(id: NodeId) -> String {
        format!(r#"{{"id":{id},"peerURLs":null,"isPromote":true}}"#)
    }
}

/// Go writes these characters escaped, so that JSON may stand in HTML.
pub(super) fn go_escaped(json: String) -> String {
    let special = |c: char| matches!(c, '<' | '>' | '&' | '\u{2028}' | '\u{2029}');
    if !json.contains(special) {
        return json;
    }
    let mut escaped = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        match special(c) {
            true => escaped.push_str(&format!("\\u{:04x}", c as u32)),
            false => escaped.push(c),
        }
    }
    escaped
}

mod node_id {
    use super::*;

    pub fn serialize<S: Serializer>(id: &NodeId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(id.0)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NodeId, D::Error> {
        u64::deserialize(deserializer).map(NodeId)
    }
}

/// Go writes an absent list as `null`.
mod urls {
    use super::*;

    pub fn serialize<S: Serializer>(urls: &[String], serializer: S) -> Result<S::Ok, S::Error> {
        match urls {
            [] => serializer.serialize_none(),
            urls => urls.serialize(serializer),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
        Option::deserialize(deserializer).map(Option::unwrap_or_default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_that_of_etcd() {
        let started = Member {
            id: NodeId(0x8e9e_05c5_2164_694d),
            peer_urls: vec!["http://localhost:2380".into()],
            name: "default".into(),
            client_urls: vec!["http://localhost:2379".into()],
            is_learner: false,
            is_ferrite: false,
        };
        let cases = [
            (
                started,
                r#"{"id":10276657743932975437,"peerURLs":["http://localhost:2380"],"name":"default","clientURLs":["http://localhost:2379"]}"#,
            ),
            (
                Member { id: NodeId(1), peer_urls: vec!["u".into()], is_learner: true, ..Default::default() },
                r#"{"id":1,"peerURLs":["u"],"isLearner":true}"#,
            ),
            (
                Member { id: NodeId(3), peer_urls: vec!["u".into()], is_ferrite: true, ..Default::default() },
                r#"{"id":3,"peerURLs":["u"],"ferrite":true}"#,
            ),
            (
                Member { id: NodeId(2), name: "<a>&\u{2028}".into(), ..Default::default() },
                r#"{"id":2,"peerURLs":null,"name":"\u003ca\u003e\u0026\u2028"}"#,
            ),
        ];
        for (member, json) in cases {
            assert_eq!(member.to_json(), json);
            assert_eq!(Member::from_json(json.as_bytes()), Ok(member));
        }
    }

    #[test]
    fn a_context_may_be_a_promotion() {
        let id = NodeId(u64::MAX);
        let parsed = Member::parse_context(Member::promotion(id).as_bytes());
        assert_eq!(parsed, Ok((Member { id, ..Default::default() }, true)));
        let parsed = Member::parse_context(br#"{"id":3,"peerURLs":["u"],"isPromote":false,"later":1}"#);
        assert_eq!(parsed, Ok((Member { id: NodeId(3), peer_urls: vec!["u".into()], ..Default::default() }, false)));
        assert!(Member::parse_context(b"").is_err());
    }
}
