//! Configuration: one table of flags, from which the command line, the environment and `--help` follow.
//!
//!   argv ──flags of Go's kind──▶ ┐
//!   ETCD_* for flags not given ─▶ ├─▶ Config ──validate──▶ ready to run
//!   defaults ──────────────────▶ ┘
//!
//! Or, with `--config-file`: the file alone stands in the place of flags and environment (`file`).
//!
//! Every flag of etcd is known. One that turns on what is not built yet is refused with a sentence that says so, so that
//! nobody believes to be protected by what is not there. One that only shapes it, or for which this server has no use, is
//! warned of.

mod adjust;
mod cluster;
mod environment;
mod features;
mod file;
mod flags;
mod help;
mod host;
mod parse;
mod urls;
mod validate;
mod value;

use std::time::Duration;

use ferrite_observe::log::Format;

pub use adjust::human;
pub use cluster::{ClusterState, InitialCluster};
pub use features::{Feature, Features};
pub use help::{USAGE, go_arch, listing, version};
pub use host::default_host;
pub use parse::{Asked, Command, parse};
pub use urls::{Scheme, Url, joined, parse_urls};
pub use value::{duration, parse_duration};

/// The etcd version whose behaviour this is.
pub const ETCD_VERSION: &str = "3.7.1";

/// Everything that can be configured.
#[derive(Clone, Debug)]
pub struct Config {
    pub member: Member,
    pub urls: Urls,
    pub cluster: Cluster,
    pub discovery: Discovery,
    pub raft: Raft,
    pub limits: Limits,
    pub keepalive: KeepaliveFlags,
    pub compaction: Compaction,
    pub http: Http,
    pub log: Log,
    pub features: Features,
}

/// Who this member is and where it keeps its data.
#[derive(Clone, Debug)]
pub struct Member {
    pub name: String,
    /// `<name>.etcd` when not given; filled in by `validate`.
    pub data_dir: String,
    /// Empty: below the data directory.
    pub wal_dir: String,
    pub snapshot_count: u64,
    pub snapshot_catchup_entries: u64,
    pub max_snapshots: u64,
    pub max_wals: u64,
    pub unsafe_no_fsync: bool,
}

/// Addresses.
#[derive(Clone, Debug)]
pub struct Urls {
    pub listen_peer: Vec<Url>,
    pub listen_client: Vec<Url>,
    pub listen_client_http: Vec<Url>,
    pub listen_metrics: Vec<Url>,
    pub advertise_peer: Vec<Url>,
    pub advertise_client: Vec<Url>,
    pub reuse_port: bool,
}

/// The cluster at its first start.
#[derive(Clone, Debug)]
pub struct Cluster {
    pub initial: String,
    pub state: String,
    pub token: String,
    pub max_learners: i64,
    pub force_new: bool,
    /// Changes of members that would risk the quorum are refused.
    pub strict_reconfig_check: bool,
    pub downgrade_check_time: Duration,
}

/// Where the members of a new cluster are found out, if the flags do not name them.
#[derive(Clone)]
pub struct Discovery {
    /// Another etcd, which holds the list of members. Empty: there is none.
    pub endpoints: Vec<String>,
    /// Which of its lists.
    pub token: String,
    pub dial_timeout: Duration,
    pub request_timeout: Duration,
    pub keepalive_time: Duration,
    pub keepalive_timeout: Duration,
    pub insecure_transport: bool,
    pub insecure_skip_tls_verify: bool,
    pub cert: String,
    pub key: String,
    pub cacert: String,
    pub user: String,
    pub password: String,
    /// A domain whose SRV records name the members. Empty: none.
    pub srv: String,
    /// The suffix of the records' service.
    pub srv_name: String,
}

impl std::fmt::Debug for Discovery {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Discovery { endpoints, token, srv, .. } = self;
        let mut shown = f.debug_struct("Discovery");
        shown.field("endpoints", endpoints).field("token", token).field("srv", srv).finish_non_exhaustive()
    }
}

#[derive(Clone, Debug)]
pub struct Raft {
    pub heartbeat_ms: u64,
    pub election_ms: u64,
    pub initial_election_tick_advance: bool,
    pub pre_vote: bool,
    pub read_timeout: Duration,
    pub write_timeout: Duration,
}

/// What clients may ask for.
#[derive(Clone, Debug)]
pub struct Limits {
    /// 0: etcd's default; negative: none.
    pub quota_backend_bytes: i64,
    pub max_txn_ops: u64,
    pub max_request_bytes: u64,
    pub max_concurrent_streams: u32,
    pub watch_progress_notify_interval: Duration,
    pub warning_apply_duration: Duration,
    pub warning_unary_request_duration: Duration,
}

#[derive(Clone, Debug)]
pub struct KeepaliveFlags {
    pub min_time: Duration,
    pub interval: Duration,
    pub timeout: Duration,
}

#[derive(Clone, Debug)]
pub struct Compaction {
    pub mode: String,
    pub retention: String,
    pub batch_limit: i64,
    pub sleep_interval: Duration,
    pub hash_check_nanos: i64,
}

#[derive(Clone, Debug)]
pub struct Http {
    /// Allowed origins, or `*`.
    pub cors: Vec<String>,
    pub host_whitelist: Vec<String>,
    /// `basic` or `extensive`.
    pub metrics: String,
}

#[derive(Clone, Debug)]
pub struct Log {
    pub logger: String,
    pub outputs: Vec<String>,
    pub level: String,
    pub format: String,
}

impl Log {
    pub fn shape(&self) -> Option<Format> {
        match self.format.as_str() {
            "" | "json" => Some(Format::Json),
            "console" => Some(Format::Console),
            _ => None,
        }
    }
}

impl Config {
    /// Bytes beyond which the backend may not grow; `None`: no quota.
    pub fn quota_bytes(&self) -> Option<u64> {
        const DEFAULT_QUOTA_BYTES: u64 = 2 << 30;
        match self.limits.quota_backend_bytes {
            0 => Some(DEFAULT_QUOTA_BYTES),
            quota => u64::try_from(quota).ok(),
        }
    }

    /// How long a proposal or a linearizable read may take.
    pub fn request_timeout(&self) -> Duration {
        Duration::from_secs(5) + 2 * self.election_timeout()
    }

    pub fn heartbeat(&self) -> Duration {
        Duration::from_millis(self.raft.heartbeat_ms)
    }

    pub fn election_timeout(&self) -> Duration {
        Duration::from_millis(self.raft.election_ms)
    }
}

/// Why the server does not start, and how it says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// A slip in the command line: printed with the usage, exit 2.
    Usage(String),
    /// A value that cannot be: a warning in the log, exit 1.
    Invalid(String),
    /// A line of its own in the log has said it already, exit 1.
    Said,
    /// A line on stderr that is none of the log, exit 1.
    Printed(String),
    /// A log level that is none: etcd panics, exit 2.
    Level(String),
}
