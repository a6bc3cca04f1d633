//! The members as the tree of JSON that etcd before 3.7 reads from a `.snap` file: its old store's snapshot, with nothing
//! in it but members, removed members and the cluster's version.

use bytes::Bytes;
use ferrite_raft::Index;
use ferrite_state::cluster::Cluster;
use serde_json::{Map, Value, json};

/// The history of events that etcd's old store has room for. Its readers count modulo this number.
const HISTORY: usize = 1000;

/// Renders the members after the entry at `index`.
pub fn render(cluster: &Cluster, index: Index) -> Bytes {
    let mut members = Map::new();
    for member in cluster.members() {
        let id = format!("{:x}", member.id.0);
        let path = format!("/0/members/{id}");
        let mut attributes = Map::new();
        let raft = match member.is_learner {
            true => json!({"peerURLs": member.peer_urls, "isLearner": true}),
            false => json!({"peerURLs": member.peer_urls}),
        };
        attributes.insert("raftAttributes".to_string(), leaf(format!("{path}/raftAttributes"), raft.to_string()));
        if !member.client_urls.is_empty() {
            let published = json!({"name": member.name, "clientURLs": member.client_urls});
            attributes.insert("attributes".to_string(), leaf(format!("{path}/attributes"), published.to_string()));
        }
        members.insert(id, directory(path, attributes));
    }
    let removed = cluster.removed().map(|id| {
        let id = format!("{:x}", id.0);
        let path = format!("/0/removed_members/{id}");
        (id, leaf(path, String::new()))
    });
    let mut zero = Map::new();
    zero.insert("members".to_string(), directory("/0/members", members));
    zero.insert("removed_members".to_string(), directory("/0/removed_members", removed.collect()));
    if let Some(version) = cluster.version() {
        zero.insert("version".to_string(), leaf("/0/version", version.to_string()));
    }
    let mut root = Map::new();
    root.insert("0".to_string(), directory("/0", zero));
    root.insert("1".to_string(), directory("/1", Map::new()));
    let counters = [
        "getsSuccess",
        "getsFail",
        "setsSuccess",
        "setsFail",
        "deleteSuccess",
        "deleteFail",
        "updateSuccess",
        "updateFail",
        "createSuccess",
        "createFail",
        "compareAndSwapSuccess",
        "compareAndSwapFail",
        "compareAndDeleteSuccess",
        "compareAndDeleteFail",
        "expireCount",
        "watchers",
    ];
    let stats: Map<String, Value> = counters.iter().map(|name| (name.to_string(), json!(0))).collect();
    let queue = json!({"Events": vec![Value::Null; HISTORY], "Size": 0, "Front": 0, "Back": 0, "Capacity": HISTORY});
    let tree = json!({
        "Root": directory("/", root),
        "WatcherHub": {"EventHistory": {"Queue": queue, "StartIndex": 0, "LastIndex": 0}},
        "CurrentIndex": index.0,
        "Stats": stats,
        "CurrentVersion": 2,
    });
    Bytes::from(tree.to_string())
}

fn leaf(path: impl Into<String>, value: String) -> Value {
    node(path.into(), value, Value::Null)
}

fn directory(path: impl Into<String>, children: Map<String, Value>) -> Value {
    node(path.into(), String::new(), Value::Object(children))
}

fn node(path: String, value: String, children: Value) -> Value {
    json!({
        "Path": path,
        "CreatedIndex": 0,
        "ModifiedIndex": 0,
        "ExpireTime": "0001-01-01T00:00:00Z",
        "Value": value,
        "Children": children,
    })
}
