//! The table of flags. Parsing, environment and help follow from it; a flag is written once, here.

use super::Config;
use super::urls::{Url, parse_urls};
use super::value::{duration, parse_bool, parse_duration, parse_int, parse_uint};

/// A flag of the server.
#[derive(Debug)]
pub struct Flag {
    pub name: &'static str,
    pub group: Group,
    pub kind: Kind,
    pub default: &'static str,
    pub help: &'static str,
    pub set: Set,
}

/// Where `--help` lists a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Member,
    Clustering,
    Security,
    Auth,
    Profiling,
    Logging,
    Tracing,
    Features,
    Unsafe,
    /// Not listed.
    Hidden,
}

/// What a flag's value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Takes a value only behind `=`.
    Bool,
    Text,
    Uint,
    Int,
    Duration,
    Urls,
    /// Given and forgotten, whatever its value.
    Ignored,
}

/// What happens with the value.
#[derive(Debug)]
pub enum Set {
    To(fn(&mut Config, &str) -> Result<(), String>),
    /// Checked for its form. It shapes what is not here, or not yet: a value other than the default is warned of, with the
    /// flag's help as the reason.
    NoEffect,
    /// The same, where etcd checks more than the form, or shows the value at its start.
    Shown(fn(&mut Config, &str) -> Result<(), String>),
    /// The same for a flag whose default asks for what is not built yet: anything but this value is warned of.
    Missing(&'static str),
    /// Any value but the default is refused: who gives it relies on what is not there.
    NotBuilt,
    /// `--version`, `--config-file` and those that are ignored: the parser deals with them.
    Parser,
}

impl Flag {
    /// The name of its environment variable.
    pub fn environment(&self) -> String {
        format!("ETCD_{}", self.name.to_uppercase().replace('-', "_"))
    }

    /// Puts a value in place, or says what is wrong with it.
    pub fn apply(&self, config: &mut Config, value: &str) -> Result<(), String> {
        self.kind.check(value)?;
        match self.set {
            Set::To(set) | Set::Shown(set) => set(config, value),
            Set::NoEffect | Set::Missing(_) | Set::NotBuilt | Set::Parser => Ok(()),
        }
    }

    /// Whether a value changes nothing, although it should.
    pub fn is_without_effect(&self, value: &str) -> bool {
        match self.set {
            Set::NoEffect | Set::Shown(_) => !self.kind.same(value, self.default),
            Set::Missing(ours) => !self.kind.same(value, ours),
            Set::To(_) | Set::NotBuilt | Set::Parser => false,
        }
    }

    /// Whether a value asks for something that is not there.
    pub fn asks_for_what_is_not_built(&self, value: &str) -> bool {
        matches!(self.set, Set::NotBuilt) && !self.kind.same(value, self.default)
    }
}

impl Kind {
    fn check(self, value: &str) -> Result<(), String> {
        match self {
            Kind::Bool => parse_bool(value).map(drop).ok_or_else(|| "parse error".to_owned()),
            Kind::Uint => parse_uint(value, 64).map(drop).map_err(str::to_owned),
            Kind::Int => parse_int(value).map(drop).map_err(str::to_owned),
            Kind::Duration => parse_duration(value).map(drop).ok_or_else(|| "parse error".to_owned()),
            Kind::Text | Kind::Urls | Kind::Ignored => Ok(()),
        }
    }

    fn same(self, a: &str, b: &str) -> bool {
        match self {
            Kind::Bool => parse_bool(a) == parse_bool(b),
            Kind::Uint => parse_uint(a, 64) == parse_uint(b, 64),
            Kind::Int => parse_int(a) == parse_int(b),
            Kind::Duration => parse_duration(a) == parse_duration(b),
            Kind::Text | Kind::Urls | Kind::Ignored => a == b,
        }
    }
}

/// An empty value keeps the default list.
fn urls(list: &mut Vec<Url>, value: &str) -> Result<(), String> {
    if !value.is_empty() {
        *list = parse_urls(value)?;
    }
    Ok(())
}

fn strings(list: &mut Vec<String>, value: &str) {
    *list = value.split(',').map(|part| part.trim().to_owned()).collect();
    list.sort();
    list.dedup();
}

/// A value whose form `Kind::check` has found good.
const CHECKED: &str = "the kind of the flag was checked";

macro_rules! flags {
    ($($name:literal $group:ident $kind:ident $default:literal $help:literal $set:tt)*) => {
        /// All flags, in the order in which `--help` lists them.
        pub const FLAGS: &[Flag] = &[$(Flag {
            name: $name,
            group: Group::$group,
            kind: Kind::$kind,
            default: $default,
            help: $help,
            set: flags!(@ $kind $set),
        }),*];
    };
    (@ $kind:ident NoEffect) => { Set::NoEffect };
    (@ $kind:ident [$ours:literal]) => { Set::Missing($ours) };
    (@ $kind:ident [$set:ident]) => { Set::Shown($set) };
    (@ $kind:ident NotBuilt) => { Set::NotBuilt };
    (@ $kind:ident Parser) => { Set::Parser };
    (@ Bool ($($place:tt)+)) => { Set::To(|c, v| { c.$($place)+ = parse_bool(v).expect(CHECKED); Ok(()) }) };
    (@ Uint ($($place:tt)+)) => { Set::To(|c, v| { c.$($place)+ = parse_uint(v, 64)?; Ok(()) }) };
    (@ Int ($($place:tt)+)) => { Set::To(|c, v| { c.$($place)+ = parse_int(v)?; Ok(()) }) };
    (@ Duration ($($place:tt)+)) => {
        Set::To(|c, v| { c.$($place)+ = duration(parse_duration(v).expect(CHECKED)); Ok(()) })
    };
    (@ Text ($($place:tt)+)) => { Set::To(|c, v| { c.$($place)+ = v.to_owned(); Ok(()) }) };
    (@ Urls ($($place:tt)+)) => { Set::To(|c, v| urls(&mut c.$($place)+, v)) };
    (@ $kind:ident {$set:expr}) => { Set::To($set) };
}

flags! {
    "name" Member Text "default" "Human-readable name of this member." (member.name)
    "data-dir" Member Text "" "Directory of the member's data; empty means <name>.etcd." (member.data_dir)
    "wal-dir" Member Text "" "Directory of the write-ahead log; empty means below the data directory." (member.wal_dir)
    "snapshot-count" Member Uint "10000" "Committed entries between two snapshots." (member.snapshot_count)
    "snapshot-catchup-entries" Member Uint "5000" "Entries kept in memory behind a snapshot for slow followers." (member.snapshot_catchup_entries)
    "max-snapshots" Member Uint "5" "Snapshot files to keep; 0 keeps all. Deprecated." (member.max_snapshots)
    "max-wals" Member Uint "5" "Log files to keep; 0 keeps all." (member.max_wals)
    "memory-mlock" Member Bool "false" "Lock the database's memory map in memory." NotBuilt
    "heartbeat-interval" Member Uint "100" "Milliseconds between two heartbeats." (raft.heartbeat_ms)
    "election-timeout" Member Uint "1000" "Milliseconds without a heartbeat after which an election begins." (raft.election_ms)
    "initial-election-tick-advance" Member Bool "true" "Skip most of the first election timeout at start." (raft.initial_election_tick_advance)
    "listen-peer-urls" Member Urls "http://localhost:2380" "URLs to listen on for peers." (urls.listen_peer)
    "listen-client-urls" Member Urls "http://localhost:2379" "URLs to listen on for clients: gRPC, and HTTP unless it has URLs of its own." (urls.listen_client)
    "listen-client-http-urls" Member Urls "" "URLs to listen on for HTTP only; the client URLs then serve gRPC only." (urls.listen_client_http)
    "listen-metrics-urls" Member Urls "" "Further URLs that serve metrics and health only." (urls.listen_metrics)
    "quota-backend-bytes" Member Int "0" "Bytes the data may take before an alarm is raised; 0 means 2 GiB, less means no quota." (limits.quota_backend_bytes)
    "backend-bbolt-freelist-type" Member Text "" "Free list of a bbolt file. This server's store has none." NoEffect
    "backend-batch-interval" Member Duration "0s" "Longest time between two commits of a bbolt file. This server's store needs none." NoEffect
    "backend-batch-limit" Member Int "0" "Writes between two commits of a bbolt file. This server's store needs none." NoEffect
    "max-txn-ops" Member Uint "128" "Operations that a transaction may hold." (limits.max_txn_ops)
    "max-request-bytes" Member Uint "1572864" "Bytes that a request may have." (limits.max_request_bytes)
    "max-concurrent-streams" Member Text "4294967295" "Calls that a client may have open at once on a connection." {max_concurrent_streams}
    "grpc-keepalive-min-time" Member Duration "5s" "Clients that ping more often are sent away." (keepalive.min_time)
    "grpc-keepalive-interval" Member Duration "2h" "Idle time after which the server pings a client; 0 for never." (keepalive.interval)
    "grpc-keepalive-timeout" Member Duration "20s" "How long the answer to such a ping may take; 0 for never." (keepalive.timeout)
    "socket-reuse-port" Member Bool "false" "Set SO_REUSEPORT on listeners." (urls.reuse_port)
    "socket-reuse-address" Member Bool "false" "Set SO_REUSEADDR on listeners. It is set in any case." NoEffect
    "raft-read-timeout" Member Duration "5s" "How long a peer may send nothing; at least 5s." (raft.read_timeout)
    "raft-write-timeout" Member Duration "5s" "How long a peer may take nothing; at least 5s." (raft.write_timeout)
    "enable-grpc-gateway" Member Bool "true" "Serve the JSON gateway. It is not built yet." ["false"]

    "initial-advertise-peer-urls" Clustering Urls "http://localhost:2380" "Peer URLs of this member for the rest of the cluster." (urls.advertise_peer)
    "initial-cluster" Clustering Text "default=http://localhost:2380" "Members of a new cluster: name=url pairs." (cluster.initial)
    "initial-cluster-state" Clustering Text "new" "`new` begins a cluster, `existing` joins one." {initial_cluster_state}
    "initial-cluster-token" Clustering Text "etcd-cluster" "Tells clusters apart that begin with the same members." (cluster.token)
    "advertise-client-urls" Clustering Urls "http://localhost:2379" "Client URLs of this member for everybody." (urls.advertise_client)
    "discovery-endpoints" Clustering Text "" "Endpoints of another etcd that holds the list of members." {discovery_endpoints}
    "discovery-token" Clustering Text "" "Which list of members it is." (discovery.token)
    "discovery-dial-timeout" Clustering Duration "2s" "How long connecting to that etcd may take." (discovery.dial_timeout)
    "discovery-request-timeout" Clustering Duration "5s" "How long a request to it may take." (discovery.request_timeout)
    "discovery-keepalive-time" Clustering Duration "2s" "How often to ping it." (discovery.keepalive_time)
    "discovery-keepalive-timeout" Clustering Duration "6s" "How long the answer to such a ping may take." (discovery.keepalive_timeout)
    "discovery-insecure-transport" Clustering Bool "true" "No TLS towards it, unless a certificate is named." (discovery.insecure_transport)
    "discovery-insecure-skip-tls-verify" Clustering Bool "false" "Do not verify its certificate." (discovery.insecure_skip_tls_verify)
    "discovery-cert" Clustering Text "" "Client certificate for it." (discovery.cert)
    "discovery-key" Clustering Text "" "Key of that certificate." (discovery.key)
    "discovery-cacert" Clustering Text "" "Authorities that it is verified with." (discovery.cacert)
    "discovery-user" Clustering Text "" "User name for it." (discovery.user)
    "discovery-password" Clustering Text "" "Password for it." (discovery.password)
    "discovery-fallback" Clustering Text "exit" "What to do when discovery fails: only `exit`." {discovery_fallback}
    "discovery-srv" Clustering Text "" "Domain whose SRV records name the members." (discovery.srv)
    "discovery-srv-name" Clustering Text "" "Suffix of the SRV names." (discovery.srv_name)
    "strict-reconfig-check" Clustering Bool "true" "Refuse membership changes that would risk the quorum." (cluster.strict_reconfig_check)
    "pre-vote" Clustering Bool "true" "Ask for an election's chances before holding it." (raft.pre_vote)
    "auto-compaction-retention" Clustering Text "0" "What automatic compaction keeps; 0 turns it off." (compaction.retention)
    "auto-compaction-mode" Clustering Text "periodic" "What the retention counts: `periodic` (time) or `revision`." (compaction.mode)
    "v2-deprecation" Clustering Text "" "Without effect. Deprecated." {v2_deprecation}

    "cert-file" Security Text "" "Certificate of the client server." NotBuilt
    "key-file" Security Text "" "Key of the client server." NotBuilt
    "client-cert-file" Security Text "" "Certificate towards the own client server." NotBuilt
    "client-key-file" Security Text "" "Key of that certificate." NotBuilt
    "client-cert-auth" Security Bool "false" "Require client certificates." NotBuilt
    "client-crl-file" Security Text "" "Revoked client certificates." NotBuilt
    "client-cert-allowed-hostname" Security Text "" "Names that a client certificate may carry." NotBuilt
    "trusted-ca-file" Security Text "" "Authorities of client certificates." NotBuilt
    "auto-tls" Security Bool "false" "Make a certificate for clients." NotBuilt
    "peer-cert-file" Security Text "" "Certificate of the peer server." NotBuilt
    "peer-key-file" Security Text "" "Key of the peer server." NotBuilt
    "peer-client-cert-file" Security Text "" "Certificate towards peers." NotBuilt
    "peer-client-key-file" Security Text "" "Key of that certificate." NotBuilt
    "peer-client-cert-auth" Security Bool "false" "Require certificates of peers." NotBuilt
    "peer-trusted-ca-file" Security Text "" "Authorities of peers' certificates." NotBuilt
    "peer-auto-tls" Security Bool "false" "Make a certificate for peers." NotBuilt
    "self-signed-cert-validity" Security Uint "1" "Years that a certificate made here is valid. TLS is not built yet." NoEffect
    "peer-crl-file" Security Text "" "Revoked peer certificates." NotBuilt
    "peer-cert-allowed-cn" Security Text "" "Common names that peers may have." NotBuilt
    "peer-cert-allowed-hostname" Security Text "" "Names that a peer certificate may carry." NotBuilt
    "cipher-suites" Security Text "" "TLS 1.2 cipher suites to allow. TLS is not built yet." NoEffect
    "peer-skip-client-san-verification" Security Bool "false" "Do not compare a peer's address with its certificate." NotBuilt
    "tls-min-version" Security Text "TLS1.2" "Lowest TLS version. TLS is not built yet." NoEffect
    "tls-max-version" Security Text "" "Highest TLS version. TLS is not built yet." NoEffect
    "cors" Security Text "*" "Origins that browsers may call from." {cors}
    "host-whitelist" Security Text "*" "Host names that plain HTTP requests may ask for." {host_whitelist}

    "auth-token" Auth Text "simple" "Kind of tokens." NotBuilt
    "bcrypt-cost" Auth Uint "10" "Cost of hashing passwords. Users are not built yet." NoEffect
    "auth-token-ttl" Auth Uint "300" "Seconds that a simple token lives. Users are not built yet." NoEffect

    "enable-pprof" Profiling Bool "false" "Serve profiles. They are not built yet." ["false"]
    "metrics" Profiling Text "basic" "`extensive` adds histograms of handling times." (http.metrics)

    "logger" Logging Text "zap" "Kind of logger: only `zap`." (log.logger)
    "log-outputs" Logging Text "default" "Where lines go: default, stderr, stdout, files." {log_outputs}
    "log-level" Logging Text "info" "Least level that is logged: debug, info, warn, error, panic, fatal." (log.level)
    "log-format" Logging Text "json" "Form of lines: json or console." (log.format)
    "enable-log-rotation" Logging Bool "false" "Rotate the log file." NotBuilt
    "log-rotation-config-json" Logging Text "{\"maxsize\": 100, \"maxage\": 0, \"maxbackups\": 0, \"localtime\": false, \"compress\": false}" "How to rotate. Rotation is not built yet." NoEffect
    "warning-unary-request-duration" Logging Duration "300ms" "Calls that take longer are logged." (limits.warning_unary_request_duration)

    "enable-distributed-tracing" Tracing Bool "false" "Export spans." NotBuilt
    "distributed-tracing-address" Tracing Text "localhost:4317" "Address of the collector. Tracing is not built yet." NoEffect
    "distributed-tracing-service-name" Tracing Text "etcd" "Service name of spans. Tracing is not built yet." NoEffect
    "distributed-tracing-instance-id" Tracing Text "" "Instance id of spans. Tracing is not built yet." NoEffect
    "distributed-tracing-sampling-rate" Tracing Int "0" "Samples per million spans. Tracing is not built yet." NoEffect

    "corrupt-check-time" Features Duration "0s" "Interval of the corruption check; 0 turns it off." NotBuilt
    "compact-hash-check-time" Features Duration "1m" "Interval of the compaction hash check. It is not built yet." [compact_hash_check_time]
    "compaction-batch-limit" Features Int "0" "Revisions in a batch of a compaction." (compaction.batch_limit)
    "compaction-sleep-interval" Features Duration "0s" "Pause between two batches of a compaction." (compaction.sleep_interval)
    "watch-progress-notify-interval" Features Duration "0s" "Interval of progress notifications to watchers; 0 means 10 minutes." (limits.watch_progress_notify_interval)
    "warning-apply-duration" Features Duration "100ms" "Requests that take longer to apply are logged." (limits.warning_apply_duration)
    "bootstrap-defrag-threshold-megabytes" Features Uint "0" "Defragment a bbolt file at start. This server's store needs none." NoEffect
    "max-learners" Features Int "1" "Learners that a cluster may have." (cluster.max_learners)
    "downgrade-check-time" Features Duration "5s" "How often to look whether a downgrade is done. Downgrades are not built yet." [downgrade_check_time]
    "feature-gates" Features Text "" "Features to switch: Name=true,Other=false." {feature_gates}

    "force-new-cluster" Unsafe Bool "false" "Start as the only member of a cluster that was larger." (cluster.force_new)
    "unsafe-no-fsync" Unsafe Bool "false" "Do not wait for the disk; a crash may lose what was acknowledged." (member.unsafe_no_fsync)

    "config-file" Hidden Text "" "Path of a configuration file." Parser
    "version" Hidden Bool "false" "Print the version and exit." Parser
    "cluster-active-size" Hidden Ignored "" "Ignored." Parser
    "cluster-remove-delay" Hidden Ignored "" "Ignored." Parser
    "cluster-sync-interval" Hidden Ignored "" "Ignored." Parser
    "config" Hidden Ignored "" "Ignored." Parser
    "force" Hidden Ignored "" "Ignored." Parser
    "max-result-buffer" Hidden Ignored "" "Ignored." Parser
    "max-retry-attempts" Hidden Ignored "" "Ignored." Parser
    "peer-heartbeat-interval" Hidden Ignored "" "Ignored." Parser
    "peer-election-timeout" Hidden Ignored "" "Ignored." Parser
    "retry-interval" Hidden Ignored "" "Ignored." Parser
    "snapshot" Hidden Ignored "" "Ignored." Parser
    "v" Hidden Ignored "" "Ignored." Parser
    "vv" Hidden Ignored "" "Ignored." Parser
    "test.coverprofile" Hidden Ignored "" "Ignored." Parser
    "test.outputdir" Hidden Ignored "" "Ignored." Parser
}

fn max_concurrent_streams(config: &mut Config, value: &str) -> Result<(), String> {
    // The text is that of Go's number parser, which this flag shows raw.
    let streams = parse_uint(value, 32).map_err(|error| {
        let what = if error == "parse error" { "invalid syntax" } else { error };
        format!("strconv.ParseUint: parsing {value:?}: {what}")
    })?;
    config.limits.max_concurrent_streams = u32::try_from(streams).expect("32 bits were asked for");
    Ok(())
}

fn initial_cluster_state(config: &mut Config, value: &str) -> Result<(), String> {
    if !matches!(value, "new" | "existing") {
        return Err("invalid value".to_owned());
    }
    config.cluster.state = value.to_owned();
    Ok(())
}

fn discovery_endpoints(config: &mut Config, value: &str) -> Result<(), String> {
    match value.is_empty() {
        true => config.discovery.endpoints.clear(),
        false => strings(&mut config.discovery.endpoints, value),
    }
    Ok(())
}

fn discovery_fallback(_: &mut Config, value: &str) -> Result<(), String> {
    if matches!(value, "exit" | "proxy") { Ok(()) } else { Err("invalid value".to_owned()) }
}

fn v2_deprecation(_: &mut Config, value: &str) -> Result<(), String> {
    const KNOWN: [&str; 4] = ["write-only", "write-only-skip-check", "write-only-drop-data", "gone"];
    match value.split(',').find(|word| !word.is_empty() && !KNOWN.contains(word)) {
        Some(word) => Err(format!("invalid value {word:?}")),
        None => Ok(()),
    }
}

fn cors(config: &mut Config, value: &str) -> Result<(), String> {
    if value != "*" {
        parse_urls(value)?;
    }
    strings(&mut config.http.cors, value);
    Ok(())
}

fn host_whitelist(config: &mut Config, value: &str) -> Result<(), String> {
    strings(&mut config.http.host_whitelist, value);
    Ok(())
}

fn log_outputs(config: &mut Config, value: &str) -> Result<(), String> {
    strings(&mut config.log.outputs, value);
    Ok(())
}

fn compact_hash_check_time(config: &mut Config, value: &str) -> Result<(), String> {
    config.compaction.hash_check_nanos = parse_duration(value).expect(CHECKED);
    Ok(())
}

fn downgrade_check_time(config: &mut Config, value: &str) -> Result<(), String> {
    config.cluster.downgrade_check_time = duration(parse_duration(value).expect(CHECKED));
    Ok(())
}

fn feature_gates(config: &mut Config, value: &str) -> Result<(), String> {
    config.features.merge(value)
}

/// The flag of this name.
pub fn find(name: &str) -> Option<&'static Flag> {
    FLAGS.iter().find(|flag| flag.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_flag_is_there_once_and_takes_its_default() {
        for (i, flag) in FLAGS.iter().enumerate() {
            assert!(FLAGS[..i].iter().all(|other| other.name != flag.name), "{} twice", flag.name);
            if !matches!(flag.kind, Kind::Ignored) {
                let applied = flag.apply(&mut Config::default(), flag.default);
                assert_eq!(applied, Ok(()), "{}", flag.name);
            }
            assert!(!flag.asks_for_what_is_not_built(flag.default), "{}", flag.name);
        }
    }
}
