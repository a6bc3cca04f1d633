//! Raft's configuration as the log decides it, kept beside the members so that both change in one effect.

use ferrite_raft::{ConfState, NodeId};
use serde::{Deserialize, Serialize};

/// The row `confState`, as Go's JSON has it.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Json {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    voters: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    learners: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    voters_outgoing: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    learners_next: Vec<u64>,
    auto_leave: bool,
}

pub(super) fn to_json(conf: &ConfState) -> String {
    let ids = |nodes: &[NodeId]| nodes.iter().map(|node| node.0).collect();
    let json = Json {
        voters: ids(&conf.voters),
        learners: ids(&conf.learners),
        voters_outgoing: ids(&conf.voters_outgoing),
        learners_next: ids(&conf.learners_next),
        auto_leave: conf.auto_leave,
    };
    serde_json::to_string(&json).expect("numbers and lists have a JSON form")
}

pub(super) fn from_json(json: &[u8]) -> Result<ConfState, String> {
    let json: Json = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    let nodes = |ids: Vec<u64>| {
        let mut nodes: Vec<_> = ids.into_iter().map(NodeId).collect();
        nodes.sort();
        nodes
    };
    Ok(ConfState {
        voters: nodes(json.voters),
        learners: nodes(json.learners),
        voters_outgoing: nodes(json.voters_outgoing),
        learners_next: nodes(json.learners_next),
        auto_leave: json.auto_leave,
    })
}

pub(super) fn add_voter(conf: &mut ConfState, node: NodeId) {
    remove(conf, node);
    insert(&mut conf.voters, node);
}

pub(super) fn add_learner(conf: &mut ConfState, node: NodeId) {
    remove(conf, node);
    insert(&mut conf.learners, node);
}

pub(super) fn remove(conf: &mut ConfState, node: NodeId) {
    conf.voters.retain(|voter| *voter != node);
    conf.learners.retain(|learner| *learner != node);
}

fn insert(nodes: &mut Vec<NodeId>, node: NodeId) {
    let at = nodes.partition_point(|other| *other < node);
    nodes.insert(at, node);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_that_of_etcd() {
        let mut conf = ConfState::default();
        add_voter(&mut conf, NodeId(0x8e9e_05c5_2164_694d));
        assert_eq!(to_json(&conf), r#"{"voters":[10276657743932975437],"auto_leave":false}"#);
        add_learner(&mut conf, NodeId(7));
        add_learner(&mut conf, NodeId(3));
        add_voter(&mut conf, NodeId(7));
        let json = r#"{"voters":[7,10276657743932975437],"learners":[3],"auto_leave":false}"#;
        assert_eq!(to_json(&conf), json);
        assert_eq!(from_json(json.as_bytes()), Ok(conf.clone()));
        remove(&mut conf, NodeId(3));
        remove(&mut conf, NodeId(7));
        assert_eq!(from_json(br#"{"voters":[10276657743932975437]}"#), Ok(conf));
        assert!(from_json(b"{").is_err());
    }
}
