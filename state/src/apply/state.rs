//! The state machine, and its one match.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use ferrite_proto::etcdserverpb::AlarmType;
use ferrite_proto::membershippb;
use ferrite_raft::{ConfState, Index, NodeId, Term};
use ferrite_storage::{self as storage, Effect, Revision, Revisions, RowChange, Table};
use parking_lot::RwLock;

use crate::alarm::Alarms;
use crate::answer::Response;
use crate::cluster::{self, Cluster, ClusterVersion, Member};
use crate::command::{AuthCommand, Command, ConfChange};
use crate::counts::Counts;
use crate::lease::{self, Lessor, SharedLessor};
use crate::mvcc::{self, Keyspace, Trimmed, Trimmer};
use crate::tables::{self, Marks, row};
use crate::{ApplyError, Outcome};

/// What the log decides. One writer owns it; readers hold [`Shared`].
#[derive(Debug)]
pub struct State {
    pub(super) shared: Shared,
    /// The one that readers hold, too.
    pub(super) keyspace: Arc<Keyspace>,
    pub(super) revisions: Progress,
    pub(super) tables: Tables,
    /// Whether the published tables are older than ours.
    pub(super) tables_changed: bool,
    pub(super) trimmer: Trimmer,
    /// Rows that ride in the next effect: nothing is on disk without an index.
    pub(super) rows: Vec<RowChange>,
}

/// How far the keyspace is, published or not.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    pub current: u64,
    /// -1 before the first compaction.
    pub compacted: i64,
}

/// Members, versions and alarms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tables {
    pub cluster: Cluster,
    pub alarms: Alarms,
    pub(super) marks: Marks,
}

/// What readers hold of the state: it goes on while they look.
#[derive(Clone, Debug)]
pub struct Shared {
    keyspace: Arc<ArcSwap<Keyspace>>,
    pub lessor: Arc<SharedLessor>,
    pub counts: Arc<Counts>,
    tables: Arc<RwLock<Arc<Tables>>>,
}

impl Shared {
    /// All keys and revisions. A reader holds on to what it has begun with: a snapshot from a peer puts another in its
    /// place.
    pub fn keyspace(&self) -> Guard<Arc<Keyspace>> {
        self.keyspace.load()
    }

    /// Members, versions and alarms as of the last published entry.
    pub fn tables(&self) -> Arc<Tables> {
        self.tables.read().clone()
    }
}

/// What is decided by flags, not by the log. Members configured alike decide alike.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Shorter leases are raised to this.
    pub min_lease_ttl_seconds: i64,
    /// How many learners there may be.
    pub max_learners: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { min_lease_ttl_seconds: 2, max_learners: 1 }
    }
}

/// Whether somebody waits for the answer here. What has no other effect is skipped when nobody does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    Answer,
    Effect,
}

/// What came of a command.
#[derive(Debug)]
pub struct Applied {
    /// To be put into the window before the next command is applied.
    pub effect: Effect,
    /// What to tell who waits.
    pub outcome: Outcome,
    /// For Raft, after each entry that was to change members.
    pub conf_change: Option<ConfChanged>,
    /// The cluster went to an older version: write a snapshot, so that the log behind it has nothing newer.
    pub wants_snapshot: bool,
}

/// What Raft is to be told of a change of members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfChanged {
    /// `None` was refused: Raft has to know that the change is over.
    pub change: Option<ConfChange>,
    /// The configuration from now on.
    pub conf: ConfState,
}

/// Applying cannot go on: the member stops, before it becomes another than the rest.
#[derive(Debug, thiserror::Error)]
pub enum Halt {
    #[error(transparent)]
    Storage(#[from] storage::ReadError),
    #[error(
        "member {0:x} publishes itself in entry {1}, but never was a member: this member's data is not of this cluster"
    )]
    UnknownMember(u64, Index),
    #[error("entry {index} sets the cluster version to {version:?}, which is no version")]
    NoVersion { index: Index, version: String },
    #[error("entry {index} moves the cluster to version {version}; this member runs {ours}: it has to be upgraded")]
    TooOld { index: Index, version: ClusterVersion, ours: ClusterVersion },
    #[error("entry {0} changes users, roles or whether they are asked for, which are not built yet")]
    Auth(Index),
}

/// A snapshot holds less than this member has applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the snapshot ends at revision {theirs}, and this member holds revision {ours} already: it is not of this cluster"
)]
pub struct Backwards {
    ours: u64,
    theirs: u64,
}

/// Why a store cannot be taken in.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Revisions(#[from] mvcc::LoadError),
    #[error(transparent)]
    Cluster(#[from] cluster::RowError),
    #[error(transparent)]
    Lease(#[from] lease::RowError),
    #[error("table alarm, row {key:02x?}: {reason}")]
    Alarm { key: Vec<u8>, reason: prost::DecodeError },
    #[error("table meta, row {key}: {value:02x?} is no revision")]
    Revision { key: String, value: Vec<u8> },
    /// Everybody could read and write everything here, and what others refuse would be done.
    #[error("this cluster asks for users and passwords, which are not built yet: keep this member out of it")]
    AuthEnabled,
}

/// The version whose log this code applies.
const OUR_VERSION: ClusterVersion = ClusterVersion::new(3, 7);

impl State {
    /// Takes in what a store holds. The revisions returned are still in it although nobody can see them: the store is to
    /// forget them.
    pub fn load<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        rows: impl IntoIterator<Item = (Table, K, V)>,
        revisions: Revisions,
        settings: Settings,
    ) -> Result<(State, Vec<Revision>), LoadError> {
        let cluster = Cluster::new(settings.max_learners);
        let mut tables = Tables { cluster, alarms: Alarms::default(), marks: Marks::default() };
        let mut auth_revision = None;
        let mut leases = Vec::new();
        for (table, key, value) in rows {
            let (key, value) = (key.as_ref(), value.as_ref());
            match (table, key) {
                (Table::Alarm, key) => {
                    tables.alarms.load_row(key).map_err(|reason| LoadError::Alarm { key: key.to_vec(), reason })?;
                }
                (Table::Lease, key) => leases.push((key.to_vec(), value.to_vec())),
                (Table::Auth, tables::AUTH_REVISION) => auth_revision = Some(()),
                (Table::Meta, tables::SCHEDULED_COMPACTION) => {
                    tables.marks.scheduled = Some(tables::parse_compaction(key, value)?);
                }
                (Table::Meta, tables::FINISHED_COMPACTION) => {
                    tables.marks.finished = Some(tables::parse_compaction(key, value)?);
                }
                (Table::Auth, tables::AUTH_ENABLED) if value == [1] => return Err(LoadError::AuthEnabled),
                (Table::Auth | Table::AuthRoles | Table::AuthUsers, _) => {}
                (Table::Cluster | Table::Members | Table::MembersRemoved | Table::Meta, _) => {
                    tables.cluster.load_row(table, key, value)?;
                }
            }
        }
        let mut lessor = Lessor::load(settings.min_lease_ttl_seconds, leases)?;
        // A compaction that was asked for is in force, whether it was finished or not. Loading finishes it.
        let asked = tables.marks.scheduled.max(tables.marks.finished);
        let compacted = asked.map_or(-1, |main| main as i64);
        let loaded = mvcc::load(revisions, compacted)?;
        for (key, lease) in &loaded.leases {
            // A key whose lease is missing has none, as in etcd.
            let _ = lessor.attach(key, *lease);
        }
        let mut rows = Vec::new();
        if let Some(main) = asked.filter(|_| asked > tables.marks.finished) {
            tables.marks.finished = Some(main);
            rows.push(tables::compaction(tables::FINISHED_COMPACTION, main));
        }
        tables.cluster.follow_version(&mut rows);
        if auth_revision.is_none() {
            rows.push(row(Table::Auth, tables::AUTH_REVISION, 1_u64.to_be_bytes().to_vec()));
        }
        let shared = Shared {
            keyspace: Arc::new(ArcSwap::new(loaded.keyspace.clone())),
            lessor: Arc::new(SharedLessor::new(lessor)),
            counts: Arc::default(),
            tables: Arc::new(RwLock::new(Arc::new(tables.clone()))),
        };
        let revisions = Progress { current: loaded.keyspace.revision(), compacted };
        let trimmer = Trimmer::new(compacted);
        let keyspace = loaded.keyspace;
        Ok((State { shared, keyspace, revisions, tables, tables_changed: false, trimmer, rows }, loaded.dead))
    }

    /// Goes on as another state, which holds at least all that this one does: that of a snapshot from a peer. Whoever
    /// holds what readers hold sees it from now on.
    ///
    /// # Errors
    /// If revisions would go back: then it is no state of this cluster.
    pub fn become_another(&mut self, other: State) -> Result<(), Backwards> {
        let (ours, theirs) = (self.revisions.current, other.revisions.current);
        if theirs < ours {
            return Err(Backwards { ours, theirs });
        }
        let State { shared, keyspace, revisions, tables, trimmer, rows, .. } = other;
        self.shared.lessor.take_over(&shared.lessor);
        *self.shared.tables.write() = Arc::new(tables.clone());
        self.shared.keyspace.store(keyspace.clone());
        *self =
            State { shared: self.shared.clone(), keyspace, revisions, tables, tables_changed: false, trimmer, rows };
        Ok(())
    }

    /// What readers hold.
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// Applies a command. The effect has to be in the window before the next one.
    pub fn apply(&mut self, index: Index, term: Term, command: &Command, want: Want) -> Result<Applied, Halt> {
        let mut applied = Applied {
            effect: Effect { index, term, records: Vec::new(), rows: std::mem::take(&mut self.rows) },
            outcome: Ok(Response::Done),
            conf_change: None,
            wants_snapshot: false,
        };
        let effect = &mut applied.effect;
        applied.outcome = match command {
            Command::Noop | Command::DowngradeVersionTest => Ok(Response::Done),
            command if self.is_forbidden(command) => Err(self.why_forbidden()),
            Command::Range(_) if want == Want::Effect => Ok(Response::Done),
            Command::Range(range) => self.range(range)?,
            Command::Put(put) => self.put(put, effect)?,
            Command::DeleteRange(delete) => Ok(self.delete_range(delete, effect)?),
            Command::Txn(txn) => self.txn(txn, want, effect)?,
            Command::Compaction(compaction) => self.compact(compaction, effect),
            Command::LeaseGrant(grant) => self.lease_grant(grant, effect),
            Command::LeaseRevoke(revoke) => self.lease_revoke(revoke, effect),
            Command::LeaseCheckpoint(checkpoint) => Ok(self.lease_checkpoint(checkpoint, effect)),
            Command::Alarm(alarm) => {
                self.tables_changed = true;
                Ok(Response::Alarm(self.tables.alarms.apply(alarm, &mut effect.rows)))
            }
            Command::Auth(AuthCommand::Authenticate(_)) => Err(ApplyError::AuthNotEnabled),
            Command::Auth(command) if command.only_reads() => Err(ApplyError::AuthNotBuilt),
            Command::Auth(_) => return Err(Halt::Auth(index)),
            Command::ClusterVersionSet(set) => {
                applied.wants_snapshot = self.set_cluster_version(set, effect)?;
                Ok(Response::Done)
            }
            Command::MemberAttributesSet(set) => {
                self.set_member_attributes(set, effect)?;
                Ok(Response::Done)
            }
            Command::DowngradeInfoSet(set) => {
                self.tables_changed = true;
                self.tables.cluster.set_downgrade(set, &mut effect.rows);
                Ok(Response::Done)
            }
            Command::ConfChange(change) => {
                let (outcome, changed) = self.change_members(change, effect);
                applied.conf_change = Some(changed);
                outcome
            }
        };
        Ok(applied)
    }

    /// Lets readers see all that was applied. To be called when its effects are in the window.
    pub fn publish(&mut self) {
        self.keyspace.publish(self.revisions.current, self.revisions.compacted);
        if std::mem::take(&mut self.tables_changed) {
            *self.shared.tables.write() = Arc::new(self.tables.clone());
        }
    }

    /// The revision that was compacted last, trimmed or not; -1 before the first compaction.
    pub fn compacted(&self) -> i64 {
        self.revisions.compacted
    }

    /// The entry whose compaction is to be trimmed next: not before its effect is in the store.
    pub fn next_trim(&self) -> Option<Index> {
        self.trimmer.next()
    }

    /// The last compaction that is trimmed, for who asked for a physical one; -1 is none.
    pub fn finished_compaction(&self) -> i64 {
        self.trimmer.finished()
    }

    /// Takes out of the index what nobody can see any more, for about so many keys.
    pub fn trim_step(&mut self, keys: usize) -> Trimmed {
        let trimmed = self.trimmer.step(&self.keyspace, keys);
        if let Some(finished) = trimmed.finished {
            self.tables.marks.finished = Some(finished);
            self.tables_changed = true;
            self.rows.push(tables::compaction(tables::FINISHED_COMPACTION, finished));
        }
        trimmed
    }

    /// Whether an alarm forbids a command.
    fn is_forbidden(&self, command: &Command) -> bool {
        if self.tables.alarms.is_raised(AlarmType::Corrupt) {
            return matches!(
                command,
                Command::Put(_)
                    | Command::Range(_)
                    | Command::DeleteRange(_)
                    | Command::Txn(_)
                    | Command::Compaction(_)
                    | Command::LeaseGrant(_)
                    | Command::LeaseRevoke(_)
            );
        }
        match command {
            Command::Put(_) | Command::LeaseGrant(_) => self.tables.alarms.is_raised(AlarmType::Nospace),
            Command::Txn(txn) => self.tables.alarms.is_raised(AlarmType::Nospace) && txn.cost() > 0,
            _ => false,
        }
    }

    fn why_forbidden(&self) -> ApplyError {
        match self.tables.alarms.is_raised(AlarmType::Corrupt) {
            true => ApplyError::Corrupt,
            false => ApplyError::NoSpace,
        }
    }

    /// Returns whether the cluster went to an older version.
    fn set_cluster_version(
        &mut self,
        set: &membershippb::ClusterVersionSetRequest,
        effect: &mut Effect,
    ) -> Result<bool, Halt> {
        let index = effect.index;
        let version: ClusterVersion =
            set.ver.parse().map_err(|_| Halt::NoVersion { index, version: set.ver.clone() })?;
        if version.without_patch() > OUR_VERSION {
            return Err(Halt::TooOld { index, version, ours: OUR_VERSION });
        }
        let older = self.tables.cluster.version().is_some_and(|before| version < *before);
        self.tables_changed = true;
        self.tables.cluster.set_version(version, &mut effect.rows);
        Ok(older)
    }

    fn set_member_attributes(
        &mut self,
        set: &membershippb::ClusterMemberAttrSetRequest,
        effect: &mut Effect,
    ) -> Result<(), Halt> {
        let id = NodeId(set.member_id);
        let cluster = &mut self.tables.cluster;
        if cluster.member(id).is_none() && !cluster.is_removed(id) {
            return Err(Halt::UnknownMember(id.0, effect.index));
        }
        self.tables_changed = true;
        cluster.set_attributes(set, &mut effect.rows);
        // A member says this when it has been started.
        self.shared.lessor.lock().tell_again();
        Ok(())
    }

    fn change_members(&mut self, change: &ConfChange, effect: &mut Effect) -> (Outcome, ConfChanged) {
        let changed = self.tables.cluster.change(change, &mut effect.rows);
        self.tables_changed |= changed.is_ok();
        let cluster = &self.tables.cluster;
        let told = ConfChanged { change: changed.is_ok().then(|| change.clone()), conf: cluster.conf_state().clone() };
        let members = || cluster.members().cloned().collect::<Vec<Member>>();
        (changed.map(|()| Response::Members(members())), told)
    }
}
