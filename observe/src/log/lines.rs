//! The table of lines: level, message, names of the fields. Messages and names are etcd's where etcd has the line.

use super::{Level, Line};

macro_rules! lines {
    ($($constant:ident: $level:ident $message:literal [$($field:literal),*];)*) => {
        $(
            #[doc = $message]
            pub const $constant: Line = Line { level: Level::$level, message: $message, fields: &[$($field),*] };
        )*
    };
}

// Command line and configuration.
lines! {
    RUNNING: Info "Running: " ["args"];
    FAILED_TO_VERIFY_FLAGS: Warn "failed to verify flags" ["error"];
    ADVERTISE_NOT_SET: Warn "advertise client URLs are not set" ["error"];
    USED_ENVIRONMENT: Info "recognized and used environment variable" ["variable-name", "variable-value"];
    SHADOWED_ENVIRONMENT: Fatal "conflicting environment variable is shadowed by corresponding command-line flag (either unset environment variable or disable flag))" ["environment-variable"];
    UNKNOWN_ENVIRONMENT: Warn "unrecognized environment variable" ["environment-variable"];
    SPECIAL_ENVIRONMENT: Warn "cannot set special environment variable" ["key", "value"];
    NO_FSYNC: Warn "--unsafe-no-fsync: nothing is synced to disk; a crash of the machine loses what was acknowledged, or leaves a data directory that cannot be opened" [];
    SNAPSHOT_COUNT_UPDATED: Info "updating snapshot-count to default" ["given-snapshot-count", "updated-snapshot-count"];
    CATCH_UP_UPDATED: Info "updating snapshot catch-up entries to default" ["given-snapshot-catchup-entries", "updated-snapshot-catchup-entries"];
    PROGRESS_INTERVAL_RAISED: Warn "adjusting watch progress notify interval to minimum period" ["min-watch-progress-notify-interval"];
    SEARCHING_MEMBER_ADDRESS: Info "searching for a suitable member local address in AdvertisePeerURLs" ["advertise-peer-urls"];
    MEMBER_ADDRESS_SET: Info "setting member local address" ["LocalAddr"];
    NO_MEMBER_ADDRESS: Warn "unable to set a member local address due to lack of suitable local addresses" ["advertise-peer-urls"];
    READ_TIMEOUT_RAISED: Info "raft-read-timeout increased to minimum value: 5s" [];
    WRITE_TIMEOUT_RAISED: Info "raft-write-timeout increased to minimum value: 5s" [];
    REQUEST_LIMIT_HIGH: Warn "exceeded recommended request limit" ["max-request-bytes", "max-request-size", "recommended-request-bytes", "recommended-request-size"];
    QUOTA_DISABLED: Info "disabled backend quota" ["quota-name", "quota-size-bytes"];
    QUOTA_DEFAULT: Info "enabled backend quota with default value" ["quota-name", "quota-size-bytes", "quota-size"];
    QUOTA_TOO_LARGE: Warn "quota exceeds the maximum value" ["quota-name", "quota-size-bytes", "quota-size", "quota-maximum-size-bytes", "quota-maximum-size"];
    QUOTA_ENABLED: Info "enabled backend quota" ["quota-name", "quota-size-bytes", "quota-size"];
    SINGLE_PORT: Warn "Running http and grpc server on single port. This is not recommended for production." [];
    DEFAULT_NAME: Warn "it isn't recommended to use default name, please set a value for --name. Note that etcd might run into issue when multiple members have the same default name" ["name"];
    CHECKPOINT_WITHOUT_PERSIST: Warn "Detected that checkpointing is enabled without persistence. Consider enabling feature gate LeaseCheckpointPersist" [];
    MAX_SNAPSHOTS_DEPRECATED: Warn "--max-snapshots is deprecated in 3.6 and will be decommissioned in 3.8" [];
    V2_DEPRECATION_DEPRECATED: Warn "--v2-deprecation is deprecated and scheduled for removal in v3.8. The default value is enforced, ignoring user input" [];
    LOADED_FILE: Info "loaded server configuration, other configuration command line flags and environment variables will be ignored if provided" ["path"];
    UNKNOWN_KEY: Warn "the configuration file has a key that is no option; it is passed over" ["key", "path"];
    FLAG_WITHOUT_EFFECT: Warn "the flag has no effect" ["flag", "value", "reason"];
    DEFAULT_HOST: Info "detected default host for advertise" ["host"];
    NO_DEFAULT_HOST: Info "failed to detect default host" ["error"];
    DATA_DIR_UNSET: Warn "'data-dir' was empty; using default" ["data-dir"];
    FILE_DESCRIPTORS_TOO_FEW: Fatal "file descriptor limit of etcd process is too low; please set higher" ["limit", "recommended-limit"];
    START_FAILED: Fatal "discovery failed" ["error"];
}

// Starting.
lines! {
    INVALID_FILE_IN_DATA_DIR: Warn "found invalid file under data directory" ["filename", "data-dir"];
    SERVER_INITIALIZED: Info "server has already been initialized" ["data-dir", "dir-type"];
    INITIALIZE_AND_START: Info "Initialize and start etcd server" ["data-dir", "dir-type"];
    CONFIGURING_PEER_LISTENERS: Info "configuring peer listeners" ["listen-peer-urls"];
    CONFIGURING_CLIENT_LISTENERS: Info "configuring client listeners" ["listen-client-urls"];
    STARTING_AN_ETCD_SERVER: Info "starting an etcd server" ["etcd-version", "git-sha", "go-version", "go-os", "go-arch", "max-cpu-set", "max-cpu-available", "member-initialized", "name", "data-dir", "wal-dir", "wal-dir-dedicated", "member-dir", "force-new-cluster", "heartbeat-interval", "election-timeout", "initial-election-tick-advance", "snapshot-count", "max-wals", "max-snapshots", "snapshot-catchup-entries", "initial-advertise-peer-urls", "listen-peer-urls", "advertise-client-urls", "listen-client-urls", "listen-metrics-urls", "local-address", "cors", "host-whitelist", "initial-cluster", "initial-cluster-state", "initial-cluster-token", "quota-backend-bytes", "max-request-bytes", "max-concurrent-streams", "pre-vote", "feature-gates", "initial-corrupt-check", "corrupt-check-time-interval", "compact-check-time-interval", "auto-compaction-mode", "auto-compaction-retention", "auto-compaction-interval", "discovery-token", "discovery-endpoints", "discovery-dial-timeout", "discovery-request-timeout", "discovery-keepalive-time", "discovery-keepalive-timeout", "discovery-insecure-transport", "discovery-insecure-skip-tls-verify", "discovery-cert", "discovery-key", "discovery-cacert", "discovery-user", "downgrade-check-interval", "max-learners", "v2-deprecation"];
    ALARM_STANDS: Warn "an alarm NOSPACE of an earlier life stands: writes that need space are refused until there is room and it is disarmed (etcdctl alarm disarm)" ["local-member-id"];
    KEYS_RESTORED: Info "kvstore restored" ["current-rev"];
    STARTING_ETCD_SERVER: Info "starting etcd server" ["local-member-id", "local-server-version", "cluster-id", "cluster-version"];
    NOW_SERVING: Info "now serving peer/client/metrics" ["local-member-id", "initial-advertise-peer-urls", "listen-peer-urls", "advertise-client-urls", "listen-client-urls", "listen-metrics-urls"];
    SIMPLE_TOKEN: Warn "simple token is not cryptographically signed" [];
    PUBLISHED: Info "published local member to cluster through raft" ["local-member-id", "local-member-attributes", "cluster-id", "publish-timeout"];
    SET_CLUSTER_VERSION: Info "set initial cluster version" ["cluster-id", "local-member-id", "cluster-version"];
    RECOVERED_MEMBER: Info "recovered/added member from store" ["cluster-id", "local-member-id", "recovered-remote-peer-id", "recovered-remote-peer-urls", "recovered-remote-peer-is-learner"];
    REMOVED_MEMBER: Info "removed member" ["cluster-id", "local-member-id", "removed-remote-peer-id", "removed-remote-peer-urls", "removed-remote-peer-is-learner"];
    UPDATED_MEMBER: Info "updated member" ["cluster-id", "local-member-id", "updated-remote-peer-id", "updated-remote-peer-urls", "updated-remote-peer-is-learner"];
    PROMOTED_MEMBER: Info "promote member" ["cluster-id", "local-member-id", "promoted-member-id"];
    ADDED_MEMBER: Info "added member" ["cluster-id", "local-member-id", "added-peer-id", "added-peer-peer-urls", "added-peer-is-learner"];
}

// Serving.
lines! {
    READY: Info "ready to serve client requests" [];
    SERVING_INSECURELY: Info "serving client traffic insecurely; this is strongly discouraged!" ["traffic", "address"];
    SERVING_PEERS: Info "serving peer traffic" ["address"];
    SERVING_METRICS: Info "serving metrics" ["address"];
    NOTIFYING_INIT: Info "notifying init daemon" [];
    NOTIFIED_INIT: Info "successfully notified init daemon" [];
    NOTIFY_INIT_FAILED: Error "failed to notify systemd for readiness" ["error"];
    GRPC_STATUS_CHANGED: Info "grpc service status changed" ["service", "status"];
    HEALTH_ALARM: Warn "serving /health false due to an alarm" ["alarm"];
    HEALTH_NO_LEADER: Warn "serving /health false; no leader" [];
    HEALTH_RANGE_FAILS: Warn "serving /health false; Range fails" ["error"];
    HEALTH_ERROR: Warn "/health error" ["output", "status-code"];
    HEALTH_OK: Debug "/health OK" ["status-code"];
    HEALTH_CHECK_ERROR: Error "Health check error" ["path", "reason", "status-code"];
    HEALTH_CHECK_OK: Debug "Health check OK" ["path", "status-code"];
    HEALTH_CHECKS_NOT_EXCLUDED: Warn "some health checks cannot be excluded" ["missing-health-checks"];
    HOST_REJECTED: Warn "rejecting HTTP request to prevent DNS rebinding attacks" ["host"];
    RECOVERED: Warn "recovered from an unclean end" ["warning"];
    WAITING_FOR_LOCK: Info "db file is flocked by another process, or taking too long" ["error"];
    OWNER_FAILED: Fatal "the member cannot go on" ["error"];
    ACCEPT_FAILED: Warn "accepting a connection failed" ["address", "error"];
    CONNECTION_WAITS: Warn "a new connection waits until another one ends: the limit of open files (ulimit -Hn) allows no more" ["address"];
    CONNECTION_ENDED: Debug "client connection ended with an error" ["remote-addr", "error"];
}

// Discovery.
lines! {
    DISCOVERY_BEGINS: Info "Bootstrapping cluster using v3 discovery." [];
    DISCOVERY_JOINED: Info "discovery joined cluster successfully" ["discovery-token", "discovery-endpoints", "cluster"];
    DISCOVERY_FAILED: Error "discovery failed to join cluster" ["discovery-token", "discovery-endpoints", "cluster", "error"];
    DISCOVERY_TOKEN_USED: Warn "failed to bootstrap; discovery token was already used" ["discovery-token", "discovery-endpoints", "error"];
    DISCOVERY_TOKEN_NOT_TO_REUSE: Warn "do not reuse discovery token; generate a new one to bootstrap a cluster" [];
    DISCOVERY_TOKEN_IGNORED: Warn "discovery token is ignored since cluster already initialized; valid logs are found" ["wal-dir"];
    SIZE_NOT_READ: Warn "failed to get cluster size from discovery service" ["discovery-token", "discovery-endpoints", "clusterSizeKey", "error"];
    MEMBERS_NOT_READ: Warn "failed to get cluster members from discovery service" ["discovery-token", "discovery-endpoints", "membersKeyPrefix", "error"];
    REGISTRY_ASKED_AGAIN: Warn "retry connecting to discovery service" ["discovery-token", "discovery-endpoints", "reason", "backoff"];
    REGISTERED: Info "register member itself successfully" ["discovery-token", "discovery-endpoints", "memberKey", "memberInfo"];
    REGISTER_FAILED: Warn "failed to register members itself to the discovery service" ["discovery-token", "discovery-endpoints", "memberKey", "error"];
    PEER_FOUND: Info "found peer from discovery service" ["discovery-token", "discovery-endpoints", "memberKey", "memberInfo"];
    PEER_MALFORMED: Warn "invalid peer info returned from discovery service" ["discovery-token", "discovery-endpoints", "memberKey", "memberInfo"];
    PEER_DUPLICATE: Warn "found duplicate peer from discovery service" ["discovery-token", "discovery-endpoints", "memberKey", "memberInfo"];
    WAITING_FOR_PEERS: Info "waiting for peers from discovery service" ["discovery-token", "discovery-endpoints", "clusterSize", "found-peers"];
    FOUND_ALL_PEERS: Info "found all needed peers from discovery service" ["discovery-token", "discovery-endpoints", "clusterSize", "found-peers"];
    SRV_SECURE: Info "get cluster for etcd-server-ssl SRV" ["service-scheme", "service-name", "server-name", "discovery-srv", "advertise-peer-urls", "found-cluster", "error"];
    SRV_PLAIN: Info "get cluster for etcd-server SRV" ["service-scheme", "service-name", "server-name", "discovery-srv", "advertise-peer-urls", "found-cluster", "error"];
    SRV_FAILED: Warn "failed to resolve during SRV discovery" ["error"];
    SRV_NODE: Info "got bootstrap from DNS for etcd-server" ["node"];
}

// Changes of members and of the leader.
lines! {
    ADD_REJECTED_NOT_STARTED: Warn "rejecting member add request; not enough healthy members" ["local-member-id", "requested-member-add", "error"];
    ADD_REJECTED_UNHEALTHY: Warn "rejecting member add request; local member has not been connected to majority peers, reconfigure breaks active quorum" ["local-member-id", "requested-member-add", "error"];
    REMOVE_REJECTED_NOT_STARTED: Warn "rejecting member remove request; not enough healthy members" ["local-member-id", "requested-member-remove-id", "error"];
    REMOVE_REJECTED_UNHEALTHY: Warn "rejecting member remove request; local member has not been connected to all peers, reconfigure breaks active quorum" ["local-member-id", "requested-member-remove", "error"];
    PROMOTE_REJECTED_NOT_READY: Error "rejecting promote learner: learner is not ready" ["learner-ready-percent", "ready-percent-threshold"];
    PROMOTE_REJECTED_NOT_STARTED: Warn "rejecting member promote request; not enough healthy members" ["local-member-id", "requested-member-remove-id", "error"];
    PROMOTE_FAILED: Warn "failed to promote a member" ["member-id", "error"];
    CHANGED_MEMBERS: Info "applied a configuration change through raft" ["local-member-id", "raft-conf-change", "raft-conf-change-node-id"];
    TRANSFER_STARTING: Info "leadership transfer starting" ["local-member-id", "current-leader-member-id", "transferee-member-id"];
    TRANSFER_FINISHED: Info "leadership transfer finished" ["local-member-id", "old-leader-member-id", "new-leader-member-id", "took"];
}

// Snapshots between members.
lines! {
    SENDING_SNAPSHOT: Info "sending database snapshot" ["snapshot-index", "remote-peer-id", "bytes", "size"];
    SENT_SNAPSHOT: Info "sent database snapshot" ["snapshot-index", "remote-peer-id", "bytes", "size"];
    SNAPSHOT_NOT_SENT: Warn "failed to send database snapshot" ["snapshot-index", "remote-peer-id", "bytes", "size"];
    RECEIVING_SNAPSHOT: Info "receiving database snapshot" ["local-member-id", "remote-snapshot-sender-id", "incoming-snapshot-index"];
    RECEIVED_SNAPSHOT: Info "received and saved database snapshot" ["local-member-id", "remote-snapshot-sender-id", "incoming-snapshot-index", "incoming-snapshot-size-bytes", "incoming-snapshot-size", "download-took"];
    SNAPSHOT_NOT_RECEIVED: Warn "failed to save incoming database snapshot" ["local-member-id", "remote-snapshot-sender-id", "incoming-snapshot-index", "error"];
    APPLIED_SNAPSHOT: Info "applied snapshot" ["incoming-leader-snapshot-index", "incoming-leader-snapshot-term"];
}

// Backups for clients.
lines! {
    SENDING_BACKUP: Info "sending database snapshot to client" ["total-bytes", "size", "storage-version"];
    SENDING_BACKUP_CHECKSUM: Info "sending database sha256 checksum to client" ["total-bytes", "checksum-size"];
    SENT_BACKUP: Info "successfully sent database snapshot to client" ["total-bytes", "size", "took", "storage-version"];
    BACKUP_NOT_SENT: Warn "failed to send database snapshot to client" ["total-bytes", "size", "took", "storage-version"];
}

// Running and stopping.
lines! {
    SLOW_SYNC: Warn "slow fdatasync" ["took", "expected-duration"];
    SAVED_SNAPSHOT: Info "saved snapshot" ["snapshot-index"];
    COMPACTED: Info "finished scheduled compaction" ["compact-revision", "took"];
    APPLY_TOOK_TOO_LONG: Warn "apply request took too long" ["took", "expected-duration", "prefix", "request", "response", "error"];
    REQUEST_STATS: Warn "request stats" ["start time", "time spent", "remote", "response type", "request count", "request size", "response count", "response size", "request content"];
    REQUEST_STATS_DEBUG: Debug "request stats" ["start time", "time spent", "remote", "response type", "request count", "request size", "response count", "response size", "request content"];
    RECEIVED_SIGNAL: Info "received signal; shutting down" ["signal"];
    CLOSING: Info "closing etcd server" ["name", "data-dir", "advertise-peer-urls", "advertise-client-urls"];
    SKIPPED_LEADERSHIP_TRANSFER: Info "skipped leadership transfer for single voting member cluster" ["local-member-id", "current-leader-member-id"];
    SKIPPED_TRANSFER_NOT_LEADER: Info "skipped leadership transfer; local server is not leader" ["local-member-id", "current-leader-member-id"];
    TRANSFER_FAILED: Warn "leadership transfer failed" ["local-member-id", "error"];
    STOPPING_PEERS: Info "stopping serving peer traffic" ["address"];
    STOPPED_PEERS: Info "stopped serving peer traffic" ["address"];
    CLOSED: Info "closed etcd server" ["name", "data-dir", "advertise-peer-urls", "advertise-client-urls"];
}

// Members and their cluster.
lines! {
    NO_CLUSTER_RESPONSE: Warn "failed to get cluster response" ["address", "error"];
    CLUSTER_RESPONSE_UNREADABLE: Warn "failed to unmarshal cluster response" ["address", "error"];
    CLUSTER_ID_UNREADABLE: Warn "failed to parse cluster ID" ["address", "header"];
    CLUSTER_VERSION_TOO_LOW: Warn "cluster version of remote member is not compatible; too low" ["remote-member-id", "remote-member-cluster-version", "minimum-cluster-version-supported"];
    CLUSTER_VERSION_TOO_HIGH: Warn "cluster version of remote member is not compatible; too high" ["remote-member-id", "remote-member-cluster-version", "maximum-cluster-version-supported"];
    HOST_NOT_RESOLVED: Warn "failed to resolve URL Host" ["url", "host", "retry-interval"];
    NO_VERSION: Warn "failed to get version" ["remote-member-id"];
    HIGHER_VERSION: Warn "leader found higher-versioned member" ["remote-member-id", "remote-member-version", "local-member-version"];
    FORCING_NEW_CLUSTER: Warn "--force-new-cluster: this member goes on alone; the others of its cluster must never run again" [];
    MEMBER_REMOVED: Warn "server error" ["error"];
    DATA_DIR_TO_REMOVE: Warn "data-dir used by this member must be removed" [];
}

// Peers.
lines! {
    STARTED_PEER: Info "started remote peer" ["remote-peer-id"];
    STOPPED_PEER: Info "stopped remote peer" ["remote-peer-id"];
    TOO_MANY_REMOTES: Warn "ignored one that says it is a member: too many that the cluster has not named say so" ["remote-peer-id"];
    PEER_WITHOUT_URL: Error "a member has no URL that can be dialled" ["remote-peer-id", "peer-urls"];
    PEER_ACTIVE: Info "peer became active" ["peer-id"];
    PEER_INACTIVE: Warn "peer became inactive (message send to peer failed)" ["peer-id", "error"];
    STREAM_WRITER_ESTABLISHED: Info "established TCP streaming connection with remote peer" ["local-member-id", "remote-peer-id", "stream-writer-type"];
    STREAM_WRITER_CLOSED: Warn "closed TCP streaming connection with remote peer" ["local-member-id", "remote-peer-id", "stream-writer-type"];
    STREAM_ESTABLISHED: Info "established TCP streaming connection with remote peer" ["local-member-id", "remote-peer-id", "stream-reader-type"];
    STREAM_LOST: Warn "lost TCP streaming connection with remote peer" ["local-member-id", "remote-peer-id", "stream-reader-type", "error"];
    MESSAGE_DROPPED: Warn "dropped internal Raft message since sending buffer is full" ["remote-peer-id", "remote-peer-active"];
    RECEIVED_MESSAGE_DROPPED: Warn "dropped internal Raft message since receiving buffer is full" ["local-member-id", "from"];
    REJECTED_FROM_REMOVED: Warn "rejected Raft message from removed member" ["local-member-id", "removed-member-id"];
    REJECTED_TO_MISMATCH: Warn "rejected Raft message to mismatch member" ["local-member-id", "from", "mismatch-member-id"];
    PROBER_UNHEALTHY: Warn "prober detected unhealthy status" ["remote-peer-id", "error"];
    PEER_REFUSED: Warn "refused a request of a peer" ["local-member-id", "path", "reason"];
}
