//! The members, and what an entry of the log does to them.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ferrite_proto::membershippb;
use ferrite_raft::{ConfState, NodeId};
use ferrite_storage::{RowChange, Table};
use serde::{Deserialize, Serialize};

use super::member::go_escaped;
use super::{ClusterVersion, Member, conf_state};
use crate::ApplyError;
use crate::command::{ConfChange, MemberChange};
use crate::tables::{no_row, row};

/// The cluster as the log decides it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    members: BTreeMap<NodeId, Member>,
    removed: BTreeSet<NodeId>,
    conf: ConfState,
    versions: Versions,
    /// How many learners there may be. A local flag in etcd: members configured alike decide alike.
    max_learners: usize,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Versions {
    cluster: Option<ClusterVersion>,
    storage: Option<ClusterVersion>,
    /// `None` until it is set for the first time.
    downgrade: Option<DowngradeInfo>,
}

/// Whether the cluster is being moved to an older version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DowngradeInfo {
    #[serde(rename = "target-version", default)]
    pub target_version: String,
    #[serde(default)]
    pub enabled: bool,
}

/// A row about the cluster that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("table {table}, row {key:?}: {reason}", table = table.name())]
pub struct RowError {
    pub table: Table,
    pub key: String,
    pub reason: String,
}

/// Keys of rows.
const CLUSTER_VERSION: &str = "clusterVersion";
const DOWNGRADE: &str = "downgrade";
const CONF_STATE: &str = "confState";
const STORAGE_VERSION: &str = "storageVersion";

/// Storage has a version since this one.
const FIRST_STORAGE_VERSION: ClusterVersion = ClusterVersion::new(3, 6);

impl Cluster {
    pub fn new(max_learners: usize) -> Cluster {
        Cluster {
            members: BTreeMap::new(),
            removed: BTreeSet::new(),
            conf: ConfState::default(),
            versions: Versions::default(),
            max_learners,
        }
    }

    /// The tables that tell of the cluster.
    pub const TABLES: [Table; 4] = [Table::Cluster, Table::Members, Table::MembersRemoved, Table::Meta];

    /// Takes in a row of the store; those of other tables are not looked at.
    pub fn load_row(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), RowError> {
        let error = |reason: String| RowError { table, key: String::from_utf8_lossy(key).into_owned(), reason };
        let text = || std::str::from_utf8(value).map_err(|e| error(e.to_string()));
        match (table, std::str::from_utf8(key)) {
            (Table::Members, key) => {
                let id = key.ok().and_then(|key| u64::from_str_radix(key, 16).ok());
                let member = Member::from_json(value).map_err(error)?;
                if id != Some(member.id.0) {
                    return Err(error(format!("it holds member {:x}", member.id.0)));
                }
                self.members.insert(member.id, member);
            }
            (Table::MembersRemoved, key) => {
                let id = key.ok().and_then(|key| u64::from_str_radix(key, 16).ok());
                self.removed.insert(NodeId(id.ok_or_else(|| error("the key is no member id".into()))?));
            }
            (Table::Cluster, Ok(CLUSTER_VERSION)) => {
                self.versions.cluster =
                    Some(text()?.parse().map_err(|e: super::version::NoVersion| error(e.to_string()))?);
            }
            (Table::Cluster, Ok(DOWNGRADE)) => {
                self.versions.downgrade = Some(serde_json::from_slice(value).map_err(|e| error(e.to_string()))?);
            }
            (Table::Meta, Ok(CONF_STATE)) => self.conf = conf_state::from_json(value).map_err(error)?,
            (Table::Meta, Ok(STORAGE_VERSION)) => {
                self.versions.storage =
                    Some(text()?.parse().map_err(|e: super::version::NoVersion| error(e.to_string()))?);
            }
            _ => {}
        }
        Ok(())
    }

    /// All members by id.
    pub fn members(&self) -> impl ExactSizeIterator<Item = &Member> {
        self.members.values()
    }

    pub fn member(&self, id: NodeId) -> Option<&Member> {
        self.members.get(&id)
    }

    pub fn is_removed(&self, id: NodeId) -> bool {
        self.removed.contains(&id)
    }

    /// All members that ever were removed.
    pub fn removed(&self) -> impl ExactSizeIterator<Item = NodeId> {
        self.removed.iter().copied()
    }

    /// Raft's configuration.
    pub fn conf_state(&self) -> &ConfState {
        &self.conf
    }

    /// `None` until the first leader has decided.
    pub fn version(&self) -> Option<&ClusterVersion> {
        self.versions.cluster.as_ref()
    }

    /// Which version's rows the store holds; `None` until the cluster has a version.
    pub fn storage_version(&self) -> Option<&ClusterVersion> {
        self.versions.storage.as_ref()
    }

    pub fn downgrade(&self) -> DowngradeInfo {
        self.versions.downgrade.clone().unwrap_or_default()
    }

    /// All rows about the cluster.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (Table, Bytes, Bytes)> {
        let members = self.members.keys().map(|id| self.member_row(*id));
        let removed = self.removed.iter().map(|id| row(Table::MembersRemoved, member_key(*id), "removed"));
        let changed_ever = !(self.members.is_empty() && self.removed.is_empty());
        let conf = changed_ever.then(|| self.conf_row());
        let versions = &self.versions;
        let cluster =
            versions.cluster.as_ref().map(|version| row(Table::Cluster, CLUSTER_VERSION, version.to_string()));
        let storage = versions.storage.as_ref().map(|version| row(Table::Meta, STORAGE_VERSION, version.to_string()));
        let downgrade = versions.downgrade.as_ref().map(downgrade_row);
        let single = [conf, cluster, storage, downgrade].into_iter().flatten();
        members.chain(removed).chain(single).filter_map(|row| Some((row.table, row.key, row.value?)))
    }

    /// Changes a member, if the change is valid.
    pub fn change(&mut self, change: &ConfChange, rows: &mut Vec<RowChange>) -> Result<(), ApplyError> {
        self.validate(change)?;
        let node = change.node;
        match &change.change {
            MemberChange::Add { member, as_voter } => {
                match as_voter {
                    true => conf_state::add_voter(&mut self.conf, node),
                    false => conf_state::add_learner(&mut self.conf, node),
                }
                self.members.insert(node, member.clone());
                rows.push(self.member_row(node));
            }
            MemberChange::Promote => {
                conf_state::add_voter(&mut self.conf, node);
                self.members.get_mut(&node).expect("validated").is_learner = false;
                rows.push(self.member_row(node));
            }
            MemberChange::Remove => {
                conf_state::remove(&mut self.conf, node);
                self.members.remove(&node);
                self.removed.insert(node);
                rows.push(no_row(Table::Members, member_key(node)));
                rows.push(row(Table::MembersRemoved, member_key(node), "removed"));
            }
            MemberChange::Update { member } => {
                self.members.get_mut(&node).expect("validated").peer_urls.clone_from(&member.peer_urls);
                rows.push(self.member_row(node));
            }
        }
        rows.push(self.conf_row());
        Ok(())
    }

    fn validate(&self, change: &ConfChange) -> Result<(), ApplyError> {
        let node = change.node;
        if self.removed.contains(&node) {
            return Err(ApplyError::MemberRemoved);
        }
        let known = self.members.get(&node);
        let url_in_use = |urls: &[String], but: Option<NodeId>| {
            let others = self.members.values().filter(|member| Some(member.id) != but);
            others.flat_map(|member| &member.peer_urls).any(|url| urls.contains(url))
        };
        match (&change.change, known) {
            (MemberChange::Add { .. }, Some(_)) => Err(ApplyError::MemberExists),
            (MemberChange::Add { member, .. }, None) if url_in_use(&member.peer_urls, None) => {
                Err(ApplyError::PeerUrlExists)
            }
            (MemberChange::Add { member, as_voter: false }, None) if member.is_learner => {
                let learners = self.members.values().filter(|member| member.is_learner).count();
                if learners + 1 > self.max_learners { Err(ApplyError::TooManyLearners) } else { Ok(()) }
            }
            (MemberChange::Add { .. }, None) => Ok(()),
            (_, None) => Err(ApplyError::MemberNotFound),
            (MemberChange::Promote, Some(member)) if !member.is_learner => Err(ApplyError::MemberNotLearner),
            (MemberChange::Update { member }, Some(_)) if url_in_use(&member.peer_urls, Some(node)) => {
                Err(ApplyError::PeerUrlExists)
            }
            // No entry could follow. etcd lets it come to Raft, which ends every member, and again at each start: where it goes
            // on at all it never holds another state than this one.
            (MemberChange::Remove, Some(_)) if self.conf.voters == [node] => Err(ApplyError::LastVoter),
            (MemberChange::Promote | MemberChange::Remove | MemberChange::Update { .. }, Some(_)) => Ok(()),
        }
    }

    fn member_row(&self, id: NodeId) -> RowChange {
        row(Table::Members, member_key(id), self.members[&id].to_json())
    }

    fn conf_row(&self) -> RowChange {
        row(Table::Meta, CONF_STATE, conf_state::to_json(&self.conf))
    }

    /// A member tells its name and where clients reach it. Removed members are not heard.
    ///
    /// # Panics
    /// If the member never was one: the log cannot hold that, so our own state is wrong.
    pub fn set_attributes(&mut self, set: &membershippb::ClusterMemberAttrSetRequest, rows: &mut Vec<RowChange>) {
        let id = NodeId(set.member_id);
        let attributes = set.member_attributes.clone().unwrap_or_default();
        match self.members.get_mut(&id) {
            Some(member) => {
                member.name = attributes.name;
                member.client_urls = attributes.client_urls;
                member.is_ferrite = attributes.ferrite;
                rows.push(self.member_row(id));
            }
            None => assert!(self.removed.contains(&id), "member {:x} publishes itself, but never was a member", id.0),
        }
    }

    /// Sets the version of the cluster; `Err` when the text is none.
    pub fn set_version(&mut self, version: ClusterVersion, rows: &mut Vec<RowChange>) {
        rows.push(row(Table::Cluster, CLUSTER_VERSION, version.to_string()));
        self.versions.cluster = Some(version);
        self.follow_version(rows);
    }

    /// Lets the storage version be that of the cluster. In a snapshot from etcd it may still be the one before: there each
    /// member changes it by itself, seconds later.
    pub(crate) fn follow_version(&mut self, rows: &mut Vec<RowChange>) {
        let Some(storage) = self.versions.cluster.as_ref().map(ClusterVersion::without_patch) else { return };
        if storage >= FIRST_STORAGE_VERSION && self.versions.storage.as_ref() != Some(&storage) {
            rows.push(row(Table::Meta, STORAGE_VERSION, storage.to_string()));
            self.versions.storage = Some(storage);
        }
    }

    pub fn set_downgrade(&mut self, set: &membershippb::DowngradeInfoSetRequest, rows: &mut Vec<RowChange>) {
        let target_version = if set.enabled { set.ver.clone() } else { String::new() };
        let downgrade = DowngradeInfo { target_version, enabled: set.enabled };
        rows.push(downgrade_row(&downgrade));
        self.versions.downgrade = Some(downgrade);
    }
}

fn member_key(id: NodeId) -> String {
    format!("{:x}", id.0)
}

fn downgrade_row(downgrade: &DowngradeInfo) -> RowChange {
    let json = serde_json::to_string(downgrade).expect("text and a flag have a JSON form");
    row(Table::Cluster, DOWNGRADE, go_escaped(json))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64, url: &str, is_learner: bool) -> Member {
        Member { id: NodeId(id), peer_urls: vec![url.into()], is_learner, ..Default::default() }
    }

    fn add(id: u64, url: &str) -> ConfChange {
        ConfChange { node: NodeId(id), change: MemberChange::Add { member: member(id, url, false), as_voter: true } }
    }

    fn add_learner(id: u64, url: &str) -> ConfChange {
        ConfChange { node: NodeId(id), change: MemberChange::Add { member: member(id, url, true), as_voter: false } }
    }

    fn change(id: u64, change: MemberChange) -> ConfChange {
        ConfChange { node: NodeId(id), change }
    }

    fn update(id: u64, url: &str) -> ConfChange {
        change(id, MemberChange::Update { member: member(id, url, false) })
    }

    /// Applies changes in order; after each, the rows it wrote must make an equal cluster when loaded.
    fn check(changes: &[(ConfChange, Result<(), ApplyError>)]) -> Cluster {
        let mut cluster = Cluster::new(1);
        let mut rows: BTreeMap<(Table, Bytes), Bytes> = BTreeMap::new();
        for (change, expected) in changes {
            let before = cluster.clone();
            let mut changed = Vec::new();
            assert_eq!(&cluster.change(change, &mut changed), expected, "{change:?}");
            if expected.is_err() {
                assert_eq!((&cluster, &changed[..]), (&before, &[][..]), "{change:?}");
            }
            for row in changed {
                match row.value {
                    Some(value) => rows.insert((row.table, row.key), value),
                    None => rows.remove(&(row.table, row.key)),
                };
            }
            let mut loaded = Cluster::new(1);
            for ((table, key), value) in &rows {
                loaded.load_row(*table, key, value).unwrap();
            }
            assert_eq!(loaded, cluster, "{change:?}");
        }
        cluster
    }

    #[test]
    fn changes_are_judged_as_in_etcd() {
        use ApplyError::*;
        let cluster = check(&[
            (add(1, "a"), Ok(())),
            (add(1, "b"), Err(MemberExists)),
            (add(2, "a"), Err(PeerUrlExists)),
            (add_learner(2, "b"), Ok(())),
            (add_learner(3, "c"), Err(TooManyLearners)),
            (change(1, MemberChange::Promote), Err(MemberNotLearner)),
            (change(4, MemberChange::Promote), Err(MemberNotFound)),
            (change(2, MemberChange::Promote), Ok(())),
            (change(2, MemberChange::Promote), Err(MemberNotLearner)),
            (add_learner(3, "c"), Ok(())),
            (update(3, "a"), Err(PeerUrlExists)),
            (update(3, "c"), Ok(())),
            (update(3, "d"), Ok(())),
            (update(9, "x"), Err(MemberNotFound)),
            (change(9, MemberChange::Remove), Err(MemberNotFound)),
            (change(2, MemberChange::Remove), Ok(())),
            (change(2, MemberChange::Remove), Err(MemberRemoved)),
            (add(2, "z"), Err(MemberRemoved)),
            (add(5, "b"), Ok(())),
        ]);
        assert_eq!(cluster.members().map(|member| member.id.0).collect::<Vec<_>>(), [1, 3, 5]);
        assert_eq!(cluster.conf_state().voters, [NodeId(1), NodeId(5)]);
        assert_eq!(cluster.conf_state().learners, [NodeId(3)]);
        assert!(cluster.is_removed(NodeId(2)));
    }

    #[test]
    fn the_last_voter_stays() {
        let remove = |id| change(id, MemberChange::Remove);
        let cluster = check(&[
            (add(1, "a"), Ok(())),
            (remove(1), Err(ApplyError::LastVoter)),
            (add_learner(2, "b"), Ok(())),
            (remove(1), Err(ApplyError::LastVoter)),
            (remove(2), Ok(())),
            (add(3, "c"), Ok(())),
            (remove(1), Ok(())),
            (remove(3), Err(ApplyError::LastVoter)),
        ]);
        assert_eq!(cluster.conf_state().voters, [NodeId(3)]);
        assert!(!cluster.is_removed(NodeId(3)));
    }

    #[test]
    fn members_publish_themselves() {
        let mut cluster =
            check(&[(add(0xab, "a"), Ok(())), (add(2, "b"), Ok(())), (change(2, MemberChange::Remove), Ok(()))]);
        let publish = |member_id, name: &str| membershippb::ClusterMemberAttrSetRequest {
            member_id,
            member_attributes: Some(membershippb::Attributes {
                name: name.into(),
                client_urls: vec!["c".into()],
                ferrite: false,
            }),
        };
        let mut rows = Vec::new();
        cluster.set_attributes(&publish(0xab, "one"), &mut rows);
        let json = r#"{"id":171,"peerURLs":["a"],"name":"one","clientURLs":["c"]}"#;
        assert_eq!(rows, [row(Table::Members, "ab", json)]);
        rows.clear();
        let mut ours = publish(0xab, "one");
        ours.member_attributes.as_mut().unwrap().ferrite = true;
        cluster.set_attributes(&ours, &mut rows);
        assert!(cluster.member(NodeId(0xab)).unwrap().is_ferrite);
        cluster.set_attributes(&publish(0xab, "one"), &mut rows);
        assert!(!cluster.member(NodeId(0xab)).unwrap().is_ferrite, "its binary was replaced by one of etcd");
        rows.clear();
        cluster.set_attributes(&publish(2, "two"), &mut rows);
        assert_eq!(rows, []);
    }

    #[test]
    fn versions_have_rows() {
        let mut cluster = Cluster::new(1);
        let mut rows = Vec::new();
        cluster.set_version("3.5.0".parse().unwrap(), &mut rows);
        assert_eq!(rows, [row(Table::Cluster, "clusterVersion", "3.5.0")]);
        rows.clear();
        cluster.set_version("3.7.0".parse().unwrap(), &mut rows);
        assert_eq!(rows, [row(Table::Cluster, "clusterVersion", "3.7.0"), row(Table::Meta, "storageVersion", "3.7.0")]);
        rows.clear();
        let set = |enabled, ver: &str| membershippb::DowngradeInfoSetRequest { enabled, ver: ver.into() };
        cluster.set_downgrade(&set(true, "3.6.0"), &mut rows);
        cluster.set_downgrade(&set(false, "3.6.0"), &mut rows);
        assert_eq!(rows[0], row(Table::Cluster, "downgrade", r#"{"target-version":"3.6.0","enabled":true}"#));
        assert_eq!(rows[1], row(Table::Cluster, "downgrade", r#"{"target-version":"","enabled":false}"#));
    }

    #[test]
    fn a_bad_row_is_named() {
        let mut cluster = Cluster::new(1);
        let cases: &[(Table, &str, &str)] = &[
            (Table::Members, "zz", r#"{"id":1}"#),
            (Table::Members, "2", r#"{"id":1}"#),
            (Table::Members, "1", "{"),
            (Table::MembersRemoved, "-", "removed"),
            (Table::Cluster, CLUSTER_VERSION, "three"),
            (Table::Cluster, DOWNGRADE, "x"),
            (Table::Meta, CONF_STATE, "[]x"),
            (Table::Meta, STORAGE_VERSION, "3"),
        ];
        for (table, key, value) in cases {
            let error = cluster.load_row(*table, key.as_bytes(), value.as_bytes()).unwrap_err();
            assert_eq!((error.table, error.key.as_str()), (*table, *key));
        }
        assert_eq!(cluster, Cluster::new(1));
    }
}
