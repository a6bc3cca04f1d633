//! From a data directory to a member that can take its first turn.
//!
//!   no log   ──▶ ids from the initial cluster ──▶ store, then log with one entry a member ─┐
//!        └─────▶ ids from the running cluster ──▶ store, then log with no entry ──────────┤
//!   a log    ──▶ its last snapshot record ──▶ store, whole up to it ──▶ log behind it ────┴─▶ state, Raft
//!
//! The store is made before the log, and a log is in place only when it is complete: so a log without a store has lost
//! it, and a store without a log is either empty, from a start that did not come far, or has lost its log.

use std::path::{Path, PathBuf};

use ferrite_raft::{
    BoxedLogger, Config, Entry, HardState, Index, MemoryLog, NewError, NodeId, RawNode, Rules, Snapshot, SnapshotMeta,
    Term,
};
use ferrite_state::cluster::{self, Member};
use ferrite_state::command::{CommandError, ConfChange, MemberChange};
use ferrite_state::{LoadError, RequestId, Settings, State};
use ferrite_storage::snap::{SnapError, SnapshotFiles};
use ferrite_storage::store::{Identity, Store, StoreError};
use ferrite_storage::vfs::{self, Vfs};
use ferrite_storage::{Revision, WindowWriter, store, wal};

use crate::alone::stand_alone;

/// Where a member keeps its files.
#[derive(Clone, Debug)]
pub struct Directories {
    pub log: PathBuf,
    pub snapshots: PathBuf,
    pub store: PathBuf,
}

impl Directories {
    /// The directories below `data_dir`, the log elsewhere if asked (`--wal-dir`).
    pub fn new(data_dir: &Path, log_dir: Option<&Path>) -> Directories {
        let member = data_dir.join("member");
        Directories {
            log: log_dir.map_or_else(|| member.join("wal"), Path::to_path_buf),
            snapshots: member.join("snap"),
            store: member.join("store"),
        }
    }
}

/// What a start begins with that finds more than a log to go on from.
#[derive(Clone, Debug)]
pub enum Beginning {
    /// Its cluster begins with it.
    New(NewCluster),
    /// Its cluster runs, and has added it: it learns everything from the leader.
    Join(Ids),
    /// It has a log, and goes on alone: the rest of its cluster is lost (`--force-new-cluster`).
    Alone,
}

/// A cluster that does not exist yet.
#[derive(Clone, Debug)]
pub struct NewCluster {
    /// Name and peer URLs of each member.
    pub members: Vec<(String, Vec<String>)>,
    /// Which of them this one is.
    pub own_name: String,
    pub token: String,
}

impl NewCluster {
    /// Who this member will be.
    pub fn ids(&self) -> Result<Ids, StartError> {
        self.with_members(&self.members()?)
    }

    fn with_members(&self, members: &[Member]) -> Result<Ids, StartError> {
        let own = members.iter().find(|member| member.name == self.own_name);
        let own = own.ok_or_else(|| StartError::NotInCluster { own_name: self.own_name.clone() })?;
        Ok(Ids { member: own.id, cluster: cluster::cluster_id(members.iter().map(|member| member.id)) })
    }

    /// The members in the order of their ids, as every one of them computes them.
    fn members(&self) -> Result<Vec<Member>, StartError> {
        let member = |(name, peer_urls): &(String, Vec<String>)| Member {
            id: cluster::member_id(peer_urls, &self.token),
            peer_urls: peer_urls.clone(),
            name: name.clone(),
            ..Member::default()
        };
        let mut members: Vec<Member> = self.members.iter().map(member).collect();
        members.sort_by_key(|member| member.id);
        match members.windows(2).find(|pair| pair[0].id == pair[1].id) {
            Some(pair) => Err(StartError::SameId(pair[0].id.0)),
            None => Ok(members),
        }
    }
}

/// How Raft keeps time.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    pub election_ticks: u32,
    pub pre_vote: bool,
}

/// Whose member this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    pub member: NodeId,
    pub cluster: u64,
}

/// A member, all its parts ready.
#[derive(Debug)]
pub struct Parts<V: Vfs> {
    pub ids: Ids,
    pub raft: RawNode<MemoryLog>,
    pub log: wal::Wal<V>,
    pub snapshots: SnapshotFiles<V>,
    pub store: Store<V>,
    pub state: State,
    /// Revisions that are in the store although nobody can see them.
    pub dead: Vec<Revision>,
    pub window: WindowWriter,
    /// The last entry that is in the store, and its term.
    pub applied: (Index, Term),
    /// Where the last snapshot record stands.
    pub checkpoint: Index,
    /// Whether a log was there.
    pub is_restart: bool,
    pub warnings: Vec<String>,
}

/// Why a member cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("couldn't find local name {own_name:?} in the initial cluster configuration")]
    NotInCluster { own_name: String },
    #[error("member exists with identical ID {0:x}")]
    SameId(u64),
    #[error(
        "{}: the log records a snapshot at index {index}, but there is no store in {}: \
         put the store back, or remove the member from its cluster and add it again with an empty data directory",
        log.display(), store.display()
    )]
    StoreMissing { log: PathBuf, store: PathBuf, index: Index },
    #[error(
        "{}: there is a store that holds entries, but no log in {}: \
         put the log back, or remove the member from its cluster and add it again with an empty data directory",
        store.display(), log.display()
    )]
    LogMissing { log: PathBuf, store: PathBuf },
    #[error(
        "{}: this data directory was written by etcd; taking it over is not built yet: start with an empty one",
        file.display()
    )]
    WrittenByEtcd { file: PathBuf },
    #[error(
        "member {0:x} was removed from its cluster and cannot go on alone: \
         start one that still is a member with --force-new-cluster"
    )]
    Removed(NodeId),
    #[error("{}: there was a log here a moment ago, and there is none now: start again", log.display())]
    NoLog { log: PathBuf },
    #[error("{}: the log's metadata names no member and no cluster: this is not a log of etcd", log.display())]
    NoIdentity { log: PathBuf },
    #[error(transparent)]
    Io(#[from] vfs::Error),
    #[error(transparent)]
    Log(#[from] wal::WalError),
    #[error(transparent)]
    Snapshots(#[from] SnapError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    State(#[from] LoadError),
    #[error(transparent)]
    Entry(#[from] CommandError),
    #[error(transparent)]
    Raft(#[from] NewError),
}

impl StartError {
    /// Another process holds the directory: it may be on its way out.
    pub fn is_locked(&self) -> bool {
        matches!(self, StartError::Store(StoreError::Locked { .. }) | StartError::Log(wal::WalError::Locked { .. }))
    }
}

/// The sizes of files.
#[derive(Clone, Copy, Debug, Default)]
pub struct FileOptions {
    pub log: wal::Options,
    pub store: store::Options,
}

/// Opens a member, or makes a new one. Without a log it needs to be told what it begins with; with one, only if it is to
/// go on alone.
pub fn open<V: Vfs>(
    vfs: &V,
    directories: &Directories,
    beginning: Option<&Beginning>,
    timing: Timing,
    settings: Settings,
    files: FileOptions,
    logger: BoxedLogger,
) -> Result<Parts<V>, StartError> {
    let is_restart = wal::exists(vfs, &directories.log)?;
    if let Some(parent) = directories.log.parent().filter(|_| !is_restart) {
        vfs.create_dir_all(parent)?;
    }
    let database = directories.snapshots.join("db");
    if !is_restart && vfs.exists(&database)? {
        // Its log is elsewhere, or lost: beginning anew would leave the keys behind.
        return Err(StartError::WrittenByEtcd { file: database });
    }
    vfs.create_dir_all(&directories.snapshots)?;
    let found = match beginning {
        _ if is_restart => find(vfs, directories, files)?,
        Some(Beginning::New(cluster)) => found_new(vfs, directories, cluster, files)?,
        Some(Beginning::Join(ids)) => found(vfs, directories, *ids, HardState::default(), Vec::new(), files)?,
        Some(Beginning::Alone) | None => return Err(StartError::NoLog { log: directories.log.clone() }),
    };
    let Found { ids, start, mut log, mut replay, store, opened } = found;
    let (applied, term) = (opened.applied, opened.term);
    let warnings = [&opened.warnings[..], &replay.warnings[..]].concat();
    let (state, dead) = State::load(opened.rows, opened.revisions, settings)?;
    let conf = state.tables().cluster.conf_state().clone();
    let snapshot = Snapshot { meta: SnapshotMeta { conf, ..start.clone() }, ..Snapshot::default() };
    let mut hard_state = replay.hard_state;
    hard_state.commit = hard_state.commit.max(applied);
    if let Some(Beginning::Alone) = beginning {
        let members = (applied, &state.tables().cluster);
        let appended = stand_alone(ids.member, members, &mut replay.entries, &mut hard_state)?;
        log.append(Some(&hard_state), &appended)?;
        log.write()?;
        log.sync()?;
    }
    let raft_log = MemoryLog::restore(hard_state, snapshot, replay.entries);
    let config = Config {
        election_ticks: timing.election_ticks,
        applied,
        rules: Rules { pre_vote: timing.pre_vote, ..Rules::default() },
        ..Config::new(ids.member)
    };
    let snapshots = SnapshotFiles::open(vfs.clone(), &directories.snapshots)?;
    Ok(Parts {
        ids,
        raft: RawNode::with_logger(config, raft_log, logger)?,
        log,
        snapshots,
        store,
        state,
        dead,
        window: opened.window,
        applied: (applied, term),
        checkpoint: start.index,
        is_restart,
        warnings,
    })
}

/// What is on disk once it has been opened.
struct Found<V: Vfs> {
    ids: Ids,
    start: SnapshotMeta,
    log: wal::Wal<V>,
    replay: wal::Replay,
    store: Store<V>,
    opened: store::Opened,
}

/// Whose log it is, and the snapshot that its member starts from.
fn survey<V: Vfs>(vfs: &V, log: &Path) -> Result<(Ids, SnapshotMeta), StartError> {
    let survey = wal::survey(vfs, log)?;
    let no_identity = || StartError::NoIdentity { log: log.to_path_buf() };
    let metadata = wal::Metadata::decode(&survey.metadata).ok_or_else(no_identity)?;
    let ids = Ids { member: metadata.node_id, cluster: metadata.cluster_id };
    // A leader sends what is committed, and its store was durable before the record was written.
    let start = survey.received.or_else(|| survey.snapshots.last().cloned()).unwrap_or_default();
    Ok((ids, start))
}

/// Opens what an earlier life left.
fn find<V: Vfs>(vfs: &V, directories: &Directories, files: FileOptions) -> Result<Found<V>, StartError> {
    let (ids, mut start) = survey(vfs, &directories.log)?;
    let identity = Identity { node_id: ids.member.0, cluster_id: ids.cluster };
    let database = directories.snapshots.join("db");
    let mut warnings = Vec::new();
    let mut is_installed = false;
    if store::is_unsettled(vfs, &directories.store)? {
        // Another process may be at it, or its last record be in memory only: the log is locked and its end made durable.
        let (_locked, replay) =
            wal::Wal::open(vfs.clone(), &directories.log, wal::Start::from(&start), Index(0), files.log)?;
        warnings = replay.warnings;
        (_, start) = survey(vfs, &directories.log)?;
        is_installed = store::settle(vfs, &directories.store, start.index)?;
    }
    let opened = Store::open(vfs.clone(), &directories.store, identity, start.index, files.store);
    let (store, opened) = match opened {
        Err(StoreError::Missing { .. }) if vfs.exists(&database)? => {
            return Err(StartError::WrittenByEtcd { file: database });
        }
        Err(StoreError::Missing { dir }) if start.index > Index(0) => {
            let (log, index) = (directories.log.clone(), start.index);
            return Err(StartError::StoreMissing { log, store: dir, index });
        }
        // The log holds everything from the first entry on.
        Err(StoreError::Missing { dir }) => Store::create(vfs.clone(), &dir, identity, files.store)?,
        opened => opened?,
    };
    let (log, mut replay) =
        wal::Wal::open(vfs.clone(), &directories.log, wal::Start::from(&start), opened.applied, files.log)?;
    replay.warnings.splice(0..0, warnings);
    if is_installed {
        replay.warnings.push(format!("the snapshot at index {} that a leader had sent was installed", start.index));
    }
    Ok(Found { ids, start, log, replay, store, opened })
}

/// Makes the files of a member of a new cluster.
fn found_new<V: Vfs>(
    vfs: &V,
    directories: &Directories,
    cluster: &NewCluster,
    files: FileOptions,
) -> Result<Found<V>, StartError> {
    let members = cluster.members()?;
    let ids = cluster.with_members(&members)?;
    let entries: Vec<Entry> = (1..).zip(members).map(|(index, member)| first_entry(index, member)).collect();
    // Without its first entries a member would not know that it may lead, and wait for ever.
    let hard_state = HardState { term: Term(1), vote: None, commit: Index(entries.len() as u64) };
    found(vfs, directories, ids, hard_state, entries, files)
}

/// Makes the files of a member that has never run, with a log that begins like this.
fn found<V: Vfs>(
    vfs: &V,
    directories: &Directories,
    ids: Ids,
    hard_state: HardState,
    entries: Vec<Entry>,
    files: FileOptions,
) -> Result<Found<V>, StartError> {
    let identity = Identity { node_id: ids.member.0, cluster_id: ids.cluster };
    // A store that holds nothing was left by a start that did not come to make the log; it is made anew.
    let (store, opened) = match Store::create(vfs.clone(), &directories.store, identity, files.store) {
        Err(StoreError::NoManifest { dir }) => {
            return Err(StartError::LogMissing { log: directories.log.clone(), store: dir });
        }
        created => created?,
    };
    let metadata = wal::Metadata { node_id: ids.member, cluster_id: ids.cluster }.encode();
    let dir = &directories.log;
    let log = wal::Wal::create_with(vfs.clone(), dir, metadata.clone(), &hard_state, &entries, files.log)?;
    let replay = wal::Replay { metadata, hard_state, entries, snapshots: Vec::new(), warnings: Vec::new() };
    Ok(Found { ids, start: SnapshotMeta::default(), log, replay, store, opened })
}

/// Every member of a new cluster begins with the same entries: one that adds each member, in the order of their ids.
fn first_entry(index: u64, member: Member) -> Entry {
    let change = ConfChange { node: member.id, change: MemberChange::Add { member, as_voter: true } };
    Entry { term: Term(1), index: Index(index), payload: change.proposed_as(RequestId(0)).into() }
}
