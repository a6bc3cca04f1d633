//! What the log says of a server's life: the data directory that was found, the whole configuration, what is served, and
//! how it ends.

use std::path::Path;
use std::time::Duration;

use ferrite_observe::log;
use ferrite_observe::log::{Id, Line, Logger, Value, lines};
use ferrite_proto::etcdserverpb::{AlarmMember, AlarmType};
use ferrite_storage::vfs::Disk;
use ferrite_storage::wal;

use crate::assemble::directories;
use crate::config::{Config, InitialCluster, Url, Urls, go_arch};
use crate::end::End;
use crate::handle::Door;
use crate::listen::Port;
use crate::version;

/// Whether the data directory has been used, and what does not belong into it. Only the log depends on this: what a start
/// does follows from the log files.
pub fn inspect_data_dir(config: &Config, logger: &Logger) {
    let dir = &config.member.data_dir;
    let mut is_member = false;
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.file_name().to_string_lossy().as_ref() {
            "member" => is_member = true,
            name => log!(logger, lines::INVALID_FILE_IN_DATA_DIR, name, dir),
        }
    }
    if is_member {
        log!(logger, lines::SERVER_INITIALIZED, dir, "member");
    } else {
        log!(logger, lines::INITIALIZE_AND_START, dir, "empty");
    }
}

/// The line by which one sees how a server was started. Its fields and their order are etcd's.
pub fn starting(config: &Config, logger: &Logger) {
    // What cannot be looked at is told by who opens it.
    let is_initialized = wal::exists(&Disk, &directories(config).log).unwrap_or(false);
    let member_dir = Path::new(&config.member.data_dir).join("member").display().to_string();
    let (advertise_peer, listen_peer) = (texts(&config.urls.advertise_peer), texts(&config.urls.listen_peer));
    let (advertise_client, listen_client) = (texts(&config.urls.advertise_client), texts(&config.urls.listen_client));
    let listen_metrics = texts(&config.urls.listen_metrics);
    let cluster = InitialCluster::parse(&config.cluster.initial).map_or_else(|_| String::new(), |all| all.text());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let discovery = &config.discovery;
    let gates = config.features.to_string();
    // On a restart the files say who the members are.
    let at_first = |text| if is_initialized { "" } else { text };
    log!(
        logger,
        lines::STARTING_AN_ETCD_SERVER,
        version::ETCD,
        "Not provided",
        "none",
        std::env::consts::OS,
        go_arch(),
        cores,
        cores,
        is_initialized,
        &config.member.name,
        &config.member.data_dir,
        &config.member.wal_dir,
        &config.member.wal_dir,
        &member_dir,
        false,
        config.heartbeat(),
        config.election_timeout(),
        config.raft.initial_election_tick_advance,
        config.member.snapshot_count,
        config.member.max_wals,
        config.member.max_snapshots,
        config.member.snapshot_catchup_entries,
        Value::List(&advertise_peer),
        Value::List(&listen_peer),
        Value::List(&advertise_client),
        Value::List(&listen_client),
        Value::List(&listen_metrics),
        "",
        Value::List(&config.http.cors),
        Value::List(&config.http.host_whitelist),
        at_first(&cluster),
        &config.cluster.state,
        at_first(&config.cluster.token),
        config.quota_bytes().map_or(config.limits.quota_backend_bytes, |bytes| bytes as i64),
        config.limits.max_request_bytes,
        config.limits.max_concurrent_streams,
        config.raft.pre_vote,
        &gates,
        false,
        Duration::ZERO,
        Duration::from_nanos(u64::try_from(config.compaction.hash_check_nanos).unwrap_or(0)),
        &config.compaction.mode,
        &config.compaction.retention,
        &config.compaction.retention,
        &discovery.token,
        Value::List(&discovery.endpoints),
        discovery.dial_timeout,
        discovery.request_timeout,
        discovery.keepalive_time,
        discovery.keepalive_timeout,
        discovery.insecure_transport,
        discovery.insecure_skip_tls_verify,
        &discovery.cert,
        &discovery.key,
        &discovery.cacert,
        &discovery.user,
        config.cluster.downgrade_check_time,
        config.cluster.max_learners,
        "write-only",
    );
}

/// The ports are about to be bound.
pub fn configuring_listeners(urls: &Urls, logger: &Logger) {
    log!(logger, lines::CONFIGURING_PEER_LISTENERS, Value::List(&texts(&urls.listen_peer)));
    log!(logger, lines::CONFIGURING_CLIENT_LISTENERS, Value::List(&texts(&urls.listen_client)));
}

/// What the data directory held.
pub fn opened(door: &Door, warnings: &[String], logger: &Logger) {
    let tables = door.state.tables();
    let version = tables.cluster.version().map(|version| format!("{}.{}", version.major, version.minor));
    log!(logger, lines::KEYS_RESTORED, door.state.keyspace().revision());
    let (member, cluster) = (Value::Id(Id(door.ids.member.0)), Value::Id(Id(door.ids.cluster)));
    let version = version.as_deref().unwrap_or("to_be_decided");
    log!(logger, lines::STARTING_ETCD_SERVER, member, version::ETCD, cluster, version);
    for warning in warnings {
        log!(logger, lines::RECOVERED, warning);
    }
    let own_alarm = |alarm: &AlarmMember| alarm.member_id == door.ids.member.0 && alarm.alarm() == AlarmType::Nospace;
    if tables.alarms.all().any(|alarm| own_alarm(&alarm)) {
        log!(logger, lines::ALARM_STANDS, member);
    }
}

/// The threads run; ports are served from now on.
pub fn serving(door: &Door, urls: &Urls, logger: &Logger) {
    log!(
        logger,
        lines::NOW_SERVING,
        Id(door.ids.member.0),
        Value::List(&texts(&urls.advertise_peer)),
        Value::List(&texts(&urls.listen_peer)),
        Value::List(&texts(&urls.advertise_client)),
        Value::List(&texts(&urls.listen_client)),
        Value::List(&texts(&urls.listen_metrics)),
    );
}

/// A port is served.
pub fn accepting(port: Port, url: &Url, logger: &Logger) {
    match port {
        Port::Peer => log!(logger, lines::SERVING_PEERS, &url.address),
        Port::Metrics => log!(logger, lines::SERVING_METRICS, &url.address),
        Port::Client | Port::ClientGrpc | Port::ClientHttp => {
            log!(logger, lines::READY);
            log!(logger, lines::SERVING_INSECURELY, port.traffic(), &url.address);
        }
    }
}

/// Why the server stops.
pub fn ended(end: End, logger: &Logger) {
    match end {
        End::Signal(_, name) => log!(logger, lines::RECEIVED_SIGNAL, name),
        End::Removed => {
            log!(logger, lines::MEMBER_REMOVED, "the member has been permanently removed from the cluster");
            log!(logger, lines::DATA_DIR_TO_REMOVE);
        }
    }
}

/// `CLOSING` or `CLOSED`.
pub fn closes(line: Line, config: &Config, logger: &Logger) {
    let (peers, clients) = (texts(&config.urls.advertise_peer), texts(&config.urls.advertise_client));
    log!(logger, line, &config.member.name, &config.member.data_dir, Value::List(&peers), Value::List(&clients));
}

/// A line for each port of peers.
pub fn of_peers(line: Line, urls: &Urls, logger: &Logger) {
    urls.listen_peer.iter().for_each(|url| log!(logger, line, &url.address));
}

fn texts(urls: &[Url]) -> Vec<String> {
    urls.iter().map(Url::to_string).collect()
}

#[cfg(test)]
mod tests {
    use ferrite_observe::log::Level;

    use super::*;

    #[test]
    fn the_line_has_a_value_for_each_field_of_etcd() {
        let (logger, text) = Logger::to_memory(Level::Info);
        let dir = std::env::temp_dir().join(format!("ferrite-starting-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("member/wal")).unwrap();
        std::fs::write(dir.join("member/wal/0000000000000000-0000000000000000.wal"), b"").unwrap();
        let mut config = Config::default();
        config.member.snapshot_catchup_entries = 1000;
        config.member.data_dir = dir.display().to_string();
        starting(&config, &logger);
        std::fs::remove_dir_all(&dir).unwrap();
        let text = text.lock().unwrap().clone();
        for part in [
            "\"etcd-version\":\"3.7.1\"",
            "\"heartbeat-interval\":\"100ms\",\"election-timeout\":\"1s\"",
            "\"snapshot-catchup-entries\":1000",
            "\"member-initialized\":true",
            "\"initial-cluster\":\"\",\"initial-cluster-state\":\"new\",\"initial-cluster-token\":\"\"",
            "\"quota-backend-bytes\":2147483648,\"max-request-bytes\":1572864,\"max-concurrent-streams\":4294967295",
            "\"discovery-endpoints\":[],\"discovery-dial-timeout\":\"2s\"",
            "\"max-learners\":1,\"v2-deprecation\":\"write-only\"}",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn a_data_directory_is_looked_through() {
        let dir = std::env::temp_dir().join(format!("ferrite-banner-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("member")).unwrap();
        std::fs::write(dir.join("stray"), b"").unwrap();
        let (logger, text) = Logger::to_memory(Level::Info);
        let mut config = Config::default();
        config.member.data_dir = dir.display().to_string();
        inspect_data_dir(&config, &logger);
        std::fs::remove_dir_all(&dir).unwrap();
        inspect_data_dir(&config, &logger);
        let text = text.lock().unwrap().clone();
        let messages: Vec<&str> = ["found invalid file", "already been initialized", "Initialize and start"].into();
        let found: Vec<&str> =
            text.lines().map(|line| *messages.iter().find(|m| line.contains(**m)).unwrap()).collect();
        assert_eq!(found.len(), 3, "{text}");
        assert!(found.contains(&"found invalid file") && found[2] == "Initialize and start", "{text}");
    }
}
