//! From a configuration to the parts of a server: the data directory is opened, the owners are made, and everything that
//! threads share is in one place. No thread is started here.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ferrite_member::bootstrap::{self, Directories, FileOptions, Ids, Parts, StartError, Timing};
use ferrite_member::duty::{AutoCompaction, Checkpointing, Duties, Leases, Publish, Retention};
use ferrite_member::{
    Applier, ApplyJob, ApplyTiming, Checkpoints, Inbox, Keep, Limits, LogJob, LogTiming, LogWriter, Member, Pace,
    Progress, Receiver, RequestIds, StoreJob, StoreKeeper, StoreTiming, TrimPace, inbox,
};
use ferrite_observe::log::Logger;
use ferrite_observe::metrics::Registry;
use ferrite_peer::Transport;
use ferrite_raft::{BoxedLogger, NodeId};
use ferrite_state::Settings;
use ferrite_state::cluster::ClusterVersion;
use ferrite_storage::vfs::Vfs;
use tokio::sync::watch;

use crate::call_metrics::CallMetrics;
use crate::config::{Config, Feature, duration, parse_duration};
use crate::halt::Halt;
use crate::handle::{CallLimits, Door, Load, MemberInput, ProposalAnswer, ReadAnswer};
use crate::loops::{Clock, Defragmented, Outlets, PeerLane, Signals};
use crate::membership::Membership;
use crate::peers::{self, Begin, Inlet, Lane, Peers, Roster, SnapshotSender, SnapshotTaker, Told, Transfers};
use crate::post::Reply;
use crate::raft_log::RaftLog;
use crate::read_pool::{ReadThread, read_pool};

/// The log is given up at the latest when it has grown by this much.
const CHECKPOINT_BYTES: u64 = 256 << 20;
/// A write of the log that takes longer to be durable is worth a line (etcd's bound).
pub const SLOW_SYNC: Duration = Duration::from_secs(1);
/// The version whose log we write.
const OWN_VERSION: ClusterVersion = ClusterVersion::new(3, 7);

/// The owners, each with its inbox.
#[derive(Debug)]
pub struct Owners<V: Vfs> {
    pub member: (Member<Reply<ProposalAnswer>, Reply<ReadAnswer>>, Inbox<MemberInput>),
    pub log: (LogWriter<V>, Inbox<LogJob>),
    pub apply: (Applier<Reply<ProposalAnswer>>, Inbox<ApplyJob<Reply<ProposalAnswer>>>),
    pub store: (StoreKeeper<V, Defragmented>, Inbox<StoreJob<Defragmented>>),
    pub reads: Vec<ReadThread>,
}

/// A server whose threads have not been started.
#[derive(Debug)]
pub struct Assembled<V: Vfs> {
    pub owners: Owners<V>,
    pub door: Arc<Door>,
    pub peers: PeerLane,
    pub roster: Roster,
    /// Becomes true when this member was removed from its cluster.
    pub removed: watch::Sender<bool>,
    pub warnings: Vec<String>,
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("error parsing CompactionRetention: time: invalid duration {0:?}")]
    Retention(String),
}

impl AssembleError {
    /// Another process holds the data directory: it may be on its way out.
    pub fn is_locked(&self) -> bool {
        matches!(self, AssembleError::Start(error) if error.is_locked())
    }
}

/// What a server is made in.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// It begins now.
    pub clock: Clock,
    pub registry: Arc<Registry>,
    pub logger: Logger,
    pub halt: Halt,
    /// Where all that is sent to peers is written.
    pub peer_runtime: tokio::runtime::Handle,
}

/// Opens the data directory and makes the owners. Without `begin` there must be a log.
pub fn assemble<V: Vfs>(
    vfs: &V,
    config: &Config,
    begin: Option<&Begin>,
    surroundings: &Surroundings,
) -> Result<Assembled<V>, AssembleError> {
    let ticks = election_ticks(config);
    let timing = Timing { election_ticks: ticks, pre_vote: config.raft.pre_vote };
    let settings = Settings {
        min_lease_ttl_seconds: min_lease_ttl(ticks, config.heartbeat()),
        max_learners: usize::try_from(config.cluster.max_learners).unwrap_or(0),
    };
    let raft_log: BoxedLogger = Box::new(RaftLog(surroundings.logger.clone()));
    let compaction = retention(config)?.map(|retention| AutoCompaction::new(retention, surroundings.clock.now()));
    let (directories, beginning) = (directories(config), begin.map(|begin| &begin.beginning));
    let parts = bootstrap::open(vfs, &directories, beginning, timing, settings, FileOptions::default(), raft_log)?;
    let known = begin.map(|begin| begin.known.clone()).unwrap_or_default();
    Ok(wire(vfs, parts, config, compaction, known, settings, surroundings))
}

/// Ticks until an election.
pub fn election_ticks(config: &Config) -> u32 {
    (config.raft.election_ms / config.raft.heartbeat_ms.max(1)) as u32
}

fn wire<V: Vfs>(
    vfs: &V,
    parts: Parts<V>,
    config: &Config,
    compaction: Option<AutoCompaction>,
    known: Vec<(NodeId, Vec<String>)>,
    settings: Settings,
    surroundings: &Surroundings,
) -> Assembled<V> {
    let Surroundings { clock, registry, logger, halt, peer_runtime } = surroundings;
    let clock = *clock;
    let Parts { ids, raft, log, snapshots, mut store, state, dead, window, applied, checkpoint, warnings, .. } = parts;
    store.trim(&dead);
    let (to_member, member_inbox) = inbox();
    let (to_log, log_inbox) = inbox();
    let (to_apply, apply_inbox) = inbox();
    let (to_store, store_inbox) = inbox();
    let (reads, read_threads) = read_pool();
    let outlets = Outlets { member: to_member, log: to_log, apply: to_apply, store: to_store };
    let progress = Arc::new(Progress::new(applied.0, applied.1));
    let request_ids = Arc::new(RequestIds::new(ids.member, unix_ms()));
    let shared = state.shared().clone();
    let (arriving, removed) = (Arc::<Lane>::default(), watch::Sender::new(false));
    let sizes = store.shared_sizes();
    let keeper = StoreKeeper::new(store, StoreTiming::new(registry));
    let receiver =
        Receiver::new(vfs.clone(), directories(config), ids, settings, FileOptions::default().store, keeper.place());
    let transfers = Transfers::new(ids.member, logger.clone(), registry.clone());
    let inlet = Inlet {
        member: outlets.member.clone(),
        state: shared.clone(),
        lane: arriving.clone(),
        snapshots: Arc::new(SnapshotTaker {
            receiver,
            member: outlets.member.clone(),
            reads: reads.clone(),
            transfers: transfers.clone(),
        }),
        transfers: transfers.clone(),
        removed: removed.clone(),
    };
    let transport = {
        let _on_its_runtime = peer_runtime.enter();
        let (local, limit) = (peers::local(ids, config), peers::timeouts(config));
        Transport::start(local, Arc::new(inlet), peers::connect(config), limit, logger.clone(), registry.clone())
    };
    let told = Told::recovered(ids, &shared.tables().cluster, logger);
    let mut roster = Roster::new(ids.member, transport.clone(), known, removed.clone(), told);
    roster.follow(&shared.tables().cluster);
    let door = Arc::new(Door {
        ids,
        request_ids: request_ids.clone(),
        outlets,
        progress: progress.clone(),
        signals: Arc::new(Signals::default()),
        state: shared.clone(),
        sizes,
        clock,
        limits: CallLimits {
            request_bytes: config.limits.max_request_bytes as usize,
            timeout: config.request_timeout(),
            election_timeout: config.election_timeout(),
            prefers_revokes: config.features.enabled(Feature::PriorityRequest),
            renews_at_once: config.features.enabled(Feature::FastLeaseKeepAlive),
        },
        load: Load::default(),
        membership: Membership::new(config.cluster.strict_reconfig_check, registry, logger),
        reads,
        metrics: CallMetrics::new(registry, config.limits.warning_apply_duration, logger),
        halt: halt.clone(),
        peers: Peers { transport: transport.clone(), asker: peers::asker(config) },
    });
    let duties = duties(ids, config, &door, compaction, registry);
    let limits = Limits {
        entries: config.member.snapshot_count,
        bytes: CHECKPOINT_BYTES,
        catch_up: config.member.snapshot_catchup_entries,
    };
    let checkpoints = Checkpoints::new(limits, checkpoint);
    let pace = Pace { heartbeat: config.heartbeat(), election_ticks: election_ticks(config) };
    let member = Member::new(raft, pace, checkpoints, duties, progress.clone(), clock.now());
    let keep =
        Keep { segments: keep_at_most(config.member.max_wals), snapshots: keep_at_most(config.member.max_snapshots) };
    let timing = ApplyTiming::new(registry, config.limits.warning_apply_duration);
    let owners = Owners {
        member: (member, member_inbox),
        log: (LogWriter::new(log, snapshots, keep, LogTiming::new(registry, SLOW_SYNC)), log_inbox),
        apply: (Applier::new(state, window, progress, applied.0, trim_pace(config), timing), apply_inbox),
        store: (keeper, store_inbox),
        reads: read_threads,
    };
    let snapshots = SnapshotSender {
        transport: transport.clone(),
        store: door.outlets.store.clone(),
        member: door.outlets.member.clone(),
        reads: door.reads.clone(),
        runtime: peer_runtime.clone(),
        halt: halt.clone(),
        transfers,
    };
    Assembled { owners, door, peers: PeerLane { transport, snapshots, arriving }, roster, removed, warnings }
}

fn duties(ids: Ids, config: &Config, door: &Door, compaction: Option<AutoCompaction>, registry: &Registry) -> Duties {
    let client_urls = config.urls.advertise_client.iter().map(ToString::to_string).collect();
    let checkpointing = match config.features.asked(Feature::LeaseCheckpoint) {
        Some(true) => Checkpointing::Always,
        Some(false) => Checkpointing::Never,
        None => Checkpointing::AmongOurs,
    };
    Duties::new(
        door.state.clone(),
        door.progress.clone(),
        door.request_ids.clone(),
        Publish::new(ids.member.0, config.member.name.clone(), client_urls),
        door.signals.room.clone(),
        OWN_VERSION,
        Leases::new(door.state.lessor.clone(), checkpointing, registry),
        compaction,
        door.metrics.requests.clone(),
    )
}

/// The pace that the flags ask for; 0 leaves it to us.
fn trim_pace(config: &Config) -> TrimPace {
    let keys = usize::try_from(config.compaction.batch_limit).ok().filter(|keys| *keys > 0);
    TrimPace { keys: keys.unwrap_or(TrimPace::default().keys), pause: config.compaction.sleep_interval }
}

/// Where this configuration keeps its files.
pub fn directories(config: &Config) -> Directories {
    let log_dir = (!config.member.wal_dir.is_empty()).then(|| Path::new(&config.member.wal_dir));
    Directories::new(Path::new(&config.member.data_dir), log_dir)
}

/// etcd's rule: one and a half election timeouts, in whole seconds, rounded up.
fn min_lease_ttl(election_ticks: u32, heartbeat: Duration) -> i64 {
    let shortest = heartbeat * (3 * election_ticks / 2);
    shortest.as_millis().div_ceil(1000) as i64
}

/// 0 keeps all.
fn keep_at_most(count: u64) -> usize {
    if count == 0 { usize::MAX } else { usize::try_from(count).unwrap_or(usize::MAX) }
}

/// What `--auto-compaction-mode` and `-retention` ask for: a number is hours or revisions, anything else a duration.
fn retention(config: &Config) -> Result<Option<Retention>, AssembleError> {
    let text = config.compaction.retention.as_str();
    let is_periodic = config.compaction.mode == "periodic";
    let nanos = match text.parse::<u32>() {
        Ok(hours) if is_periodic => i64::from(hours) * 3_600_000_000_000,
        Ok(revisions) => i64::from(revisions),
        Err(_) if text.is_empty() => 0,
        Err(_) => parse_duration(text).ok_or_else(|| AssembleError::Retention(text.to_string()))?,
    };
    Ok(match nanos {
        ..=0 => None,
        nanos if is_periodic => Some(Retention::Period(duration(nanos))),
        // etcd takes a duration's nanoseconds for a number of revisions.
        revisions => Some(Retention::Revisions(revisions as u64)),
    })
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_lease_outlives_an_election() {
        assert_eq!(min_lease_ttl(10, Duration::from_millis(100)), 2);
        assert_eq!(min_lease_ttl(5, Duration::from_millis(100)), 1);
        assert_eq!(min_lease_ttl(10, Duration::from_millis(500)), 8);
    }

    #[test]
    fn retention_is_hours_revisions_or_a_duration() {
        let check = |mode: &str, text: &str| {
            let mut config = Config::default();
            config.compaction.mode = mode.to_string();
            config.compaction.retention = text.to_string();
            retention(&config).ok()
        };
        let hours = |count: u64| Some(Some(Retention::Period(Duration::from_secs(3600 * count))));
        assert_eq!(check("periodic", "0"), Some(None));
        assert_eq!(check("periodic", "2"), hours(2));
        assert_eq!(check("periodic", "60m"), hours(1));
        assert_eq!(check("revision", "1000"), Some(Some(Retention::Revisions(1000))));
        assert_eq!(check("revision", "1us"), Some(Some(Retention::Revisions(1000))));
        assert_eq!(check("periodic", "many"), None);
    }
}
