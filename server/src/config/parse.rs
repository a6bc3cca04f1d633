//! The command line, as Go's `flag` package reads it.

use std::collections::BTreeSet;

use ferrite_observe::log;
use ferrite_observe::log::{Logger, lines};

use super::file::Contents;
use super::flags::{FLAGS, Flag, Kind, find};
use super::value::parse_bool;
use super::{
    Cluster, Compaction, Config, ConfigError, Discovery, Features, Http, KeepaliveFlags, Limits, Log, Member, Raft,
    Urls,
};
use super::{environment, file};

/// What the command line asks for.
#[derive(Clone, Debug)]
pub enum Command {
    Serve(Box<Asked>),
    Help,
    Version,
}

/// A configuration as it was asked for. It says where the log goes, and the log is told what is wrong with the rest.
#[derive(Clone, Debug)]
pub struct Asked {
    config: Config,
    /// Each flag that was given, by whatever way.
    given: BTreeSet<(&'static str, String)>,
    /// The configuration file, if there was one, and its keys that are no flags.
    file: Option<(String, Vec<String>)>,
}

/// Reads arguments (without the program's name) and environment. `logger` is told what was found in the environment.
pub fn parse(
    arguments: &[String],
    environment: impl IntoIterator<Item = (String, String)>,
    logger: &Logger,
) -> Result<Command, ConfigError> {
    if let Some(command @ ("gateway" | "grpc-proxy")) = arguments.first().map(String::as_str) {
        return Err(ConfigError::Invalid(format!("the command {command:?} is not built yet")));
    }
    let mut config = Config::default();
    let mut given = BTreeSet::new();
    let mut rest = arguments;
    while let Some((argument, tail)) = rest.split_first() {
        let Some((name, value)) = flag_of(argument)? else { break };
        rest = tail;
        if argument == "--" {
            break;
        }
        if matches!(name, "h" | "help") && find(name).is_none() {
            return Ok(Command::Help);
        }
        let Some(flag) = find(name) else {
            return Err(ConfigError::Usage(format!("flag provided but not defined: -{name}")));
        };
        let value = match (flag.kind, value, rest.split_first()) {
            (Kind::Bool | Kind::Ignored, value, _) => value.unwrap_or("true"),
            (_, Some(value), _) => value,
            (_, None, Some((value, tail))) => {
                rest = tail;
                value
            }
            (_, None, None) => return Err(ConfigError::Usage(format!("flag needs an argument: -{name}"))),
        };
        flag.apply(&mut config, value).map_err(|error| bad_value(flag, value, &error))?;
        given.insert((flag.name, value.to_owned()));
    }
    if let Some(word) = rest.first() {
        return Err(ConfigError::Invalid(format!("{word:?} is not a valid flag")));
    }
    if given.iter().any(|(name, value)| *name == "version" && parse_bool(value) == Some(true)) {
        return Ok(Command::Version);
    }
    let environment: Vec<(String, String)> = environment.into_iter().collect();
    let named = given.iter().find(|(name, value)| *name == "config-file" && !value.is_empty());
    let variable = || environment.iter().find(|(name, _)| name == "ETCD_CONFIG_FILE");
    let file = named.map(|(_, path)| path).or_else(|| variable().map(|(_, path)| path)).filter(|path| !path.is_empty());
    if let Some(path) = file {
        // It stands alone: what flags and environment gave is forgotten.
        config = Config::default();
        let Contents { given, unknown } = file::read(&mut config, path)?;
        let is_default = find("initial-cluster").is_some_and(|flag| flag.default == config.cluster.initial);
        if is_default && !(config.discovery.srv.is_empty() && config.discovery.endpoints.is_empty()) {
            config.cluster.initial.clear();
        }
        Ok(Command::Serve(Box::new(Asked { config, given, file: Some((path.clone(), unknown)) })))
    } else {
        environment::read(&mut config, &mut given, environment, logger)?;
        if given.iter().any(|(name, value)| *name == "discovery-fallback" && value == "proxy") {
            let text = "v2 proxy is deprecated, and --discovery-fallback can't be configured as \"proxy\"";
            return Err(ConfigError::Invalid(text.to_owned()));
        }
        let has = |name: &str| given.iter().any(|(given, _)| *given == name);
        if has("listen-client-urls") && !has("advertise-client-urls") {
            config.urls.advertise_client.clear();
        }
        if ["discovery-srv", "discovery-srv-name", "discovery-endpoints"].into_iter().any(has)
            && !has("initial-cluster")
        {
            config.cluster.initial.clear();
        }
        Ok(Command::Serve(Box::new(Asked { config, given, file: None })))
    }
}

/// Name and value of a flag, or nothing if the word is none.
fn flag_of(argument: &str) -> Result<Option<(&str, Option<&str>)>, ConfigError> {
    let Some(name) = argument.strip_prefix('-').filter(|name| !name.is_empty()) else { return Ok(None) };
    let name = name.strip_prefix('-').unwrap_or(name);
    if argument == "--" {
        return Ok(Some((name, None)));
    }
    if name.is_empty() || name.starts_with(['-', '=']) {
        return Err(ConfigError::Usage(format!("bad flag syntax: {argument}")));
    }
    Ok(Some(match name.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (name, None),
    }))
}

fn bad_value(flag: &Flag, value: &str, error: &str) -> ConfigError {
    let name = flag.name;
    ConfigError::Usage(match flag.kind {
        Kind::Bool => format!("invalid boolean value {value:?} for -{name}: {error}"),
        _ => format!("invalid value {value:?} for flag -{name}: {error}"),
    })
}

impl Asked {
    /// The log that was asked for.
    pub fn logger(&self) -> Result<Logger, ConfigError> {
        let (level, format) = self.config.check_log()?;
        let opened = Logger::open(level, format, &self.config.log.outputs);
        opened.map_err(|error| ConfigError::Invalid(error.to_string()))
    }

    /// The configuration, if it makes sense.
    pub fn check(self, logger: &Logger) -> Result<Config, ConfigError> {
        let Asked { mut config, given, file } = self;
        let checked = finish(&mut config, &given, logger);
        if let Some((path, unknown)) = file {
            for key in &unknown {
                log!(logger, lines::UNKNOWN_KEY, key, &path);
            }
            log!(logger, lines::LOADED_FILE, &path);
        }
        checked.map(|()| config)
    }
}

/// What follows from which flags were given, by whatever way.
fn finish(config: &mut Config, given: &BTreeSet<(&'static str, String)>, logger: &Logger) -> Result<(), ConfigError> {
    let has = |name: &str| given.iter().any(|(given, _)| *given == name);
    for (name, value) in given {
        let flag = find(name).expect("only flags are given");
        if flag.asks_for_what_is_not_built(value) {
            return Err(not_built(name));
        }
        if flag.is_without_effect(value) {
            log!(logger, lines::FLAG_WITHOUT_EFFECT, *name, value, flag.help);
        }
    }
    if let Some(gate) = config.features.not_built() {
        let text = format!("feature gate {gate} asks for what is not built yet in Ferrite; leave it off");
        return Err(ConfigError::Invalid(text));
    }
    for (gate, why) in config.features.without_effect() {
        log!(logger, lines::FLAG_WITHOUT_EFFECT, "feature-gates", &gate, why);
    }
    config.validate(logger)?;
    if has("max-snapshots") {
        log!(logger, lines::MAX_SNAPSHOTS_DEPRECATED);
    }
    if has("v2-deprecation") {
        log!(logger, lines::V2_DEPRECATION_DEPRECATED);
    }
    Ok(())
}

fn not_built(name: &str) -> ConfigError {
    ConfigError::Invalid(format!("--{name} asks for what is not built yet in Ferrite; leave it at its default"))
}

impl Default for Config {
    /// The table's defaults.
    fn default() -> Self {
        let nothing = std::time::Duration::ZERO;
        let mut config = Config {
            member: Member {
                name: String::new(),
                data_dir: String::new(),
                wal_dir: String::new(),
                snapshot_count: 0,
                snapshot_catchup_entries: 0,
                max_snapshots: 0,
                max_wals: 0,
                unsafe_no_fsync: false,
            },
            urls: Urls {
                listen_peer: Vec::new(),
                listen_client: Vec::new(),
                listen_client_http: Vec::new(),
                listen_metrics: Vec::new(),
                advertise_peer: Vec::new(),
                advertise_client: Vec::new(),
                reuse_port: false,
            },
            cluster: Cluster {
                initial: String::new(),
                state: String::new(),
                token: String::new(),
                max_learners: 0,
                force_new: false,
                strict_reconfig_check: true,
                downgrade_check_time: nothing,
            },
            discovery: Discovery {
                endpoints: Vec::new(),
                token: String::new(),
                dial_timeout: nothing,
                request_timeout: nothing,
                keepalive_time: nothing,
                keepalive_timeout: nothing,
                insecure_transport: true,
                insecure_skip_tls_verify: false,
                cert: String::new(),
                key: String::new(),
                cacert: String::new(),
                user: String::new(),
                password: String::new(),
                srv: String::new(),
                srv_name: String::new(),
            },
            raft: Raft {
                heartbeat_ms: 0,
                election_ms: 0,
                initial_election_tick_advance: true,
                pre_vote: true,
                read_timeout: nothing,
                write_timeout: nothing,
            },
            limits: Limits {
                quota_backend_bytes: 0,
                max_txn_ops: 0,
                max_request_bytes: 0,
                max_concurrent_streams: 0,
                watch_progress_notify_interval: nothing,
                warning_apply_duration: nothing,
                warning_unary_request_duration: nothing,
            },
            keepalive: KeepaliveFlags { min_time: nothing, interval: nothing, timeout: nothing },
            compaction: Compaction {
                mode: String::new(),
                retention: String::new(),
                batch_limit: 0,
                sleep_interval: nothing,
                hash_check_nanos: 0,
            },
            http: Http { cors: Vec::new(), host_whitelist: Vec::new(), metrics: String::new() },
            log: Log { logger: String::new(), outputs: Vec::new(), level: String::new(), format: String::new() },
            features: Features::default(),
        };
        for flag in FLAGS.iter().filter(|flag| flag.kind != Kind::Ignored) {
            flag.apply(&mut config, flag.default).expect("a default is a good value");
        }
        config
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::urls::joined;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn check(arguments: &str, environment: &[(&str, &str)]) -> Result<Command, ConfigError> {
        let environment = environment.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        let command = parse(&words(arguments), environment, &Logger::silent())?;
        if let Command::Serve(asked) = &command {
            asked.logger()?;
            asked.clone().check(&Logger::silent())?;
        }
        Ok(command)
    }

    fn config(arguments: &str, environment: &[(&str, &str)]) -> Config {
        match check(arguments, environment) {
            Ok(Command::Serve(asked)) => asked.check(&Logger::silent()).expect("it was checked"),
            other => panic!("{arguments}: {other:?}"),
        }
    }

    #[test]
    fn forms_of_flags() {
        let client = "--advertise-client-urls http://localhost:1";
        let c = config("-name=a --data-dir /d --pre-vote=false -snapshot-count 0x10 --name b", &[]);
        assert_eq!((&*c.member.name, &*c.member.data_dir, c.member.snapshot_count), ("b", "/d", 16));
        assert!(!c.raft.pre_vote);
        let c = config(&format!("--listen-client-urls http://127.0.0.1:2,http://127.0.0.1:1 {client} --force=x"), &[]);
        assert_eq!(joined(&c.urls.listen_client), "http://127.0.0.1:1,http://127.0.0.1:2");
        let c = config("--grpc-keepalive-min-time=1m30s", &[]);
        assert_eq!(c.keepalive.min_time, Duration::from_secs(90));
    }

    #[test]
    fn defaults() {
        let c = config("", &[]);
        assert_eq!(c.limits.max_concurrent_streams, u32::MAX);
        assert_eq!(c.quota_bytes(), Some(2 << 30));
        assert_eq!(c.request_timeout(), Duration::from_secs(7));
        assert_eq!(joined(&c.urls.advertise_client), "http://localhost:2379");
        assert_eq!(c.limits.max_request_bytes, 1_572_864);
    }

    #[test]
    fn commands() {
        assert!(matches!(check("--version --config-file=x", &[]), Ok(Command::Version)));
        assert!(matches!(check("--name x -h", &[]), Ok(Command::Help)));
        assert!(matches!(check("--help", &[]), Ok(Command::Help)));
    }

    const TWO_SOURCES: &str = "multiple discovery or bootstrap flags are set. Choose one of \"initial-cluster\", \
                               \"discovery-endpoints\" or \"discovery-srv\"";

    #[test]
    fn errors() {
        let usage = |text: &str| ConfigError::Usage(text.to_owned());
        let invalid = |text: &str| ConfigError::Invalid(text.to_owned());
        for (arguments, error) in [
            ("--nope", usage("flag provided but not defined: -nope")),
            ("--enable-v2=true", usage("flag provided but not defined: -enable-v2")),
            ("--name", usage("flag needs an argument: -name")),
            ("---name x", usage("bad flag syntax: ---name")),
            ("-=x", usage("bad flag syntax: -=x")),
            ("--snapshot-count x", usage("invalid value \"x\" for flag -snapshot-count: parse error")),
            (
                "--snapshot-count 99999999999999999999",
                usage("invalid value \"99999999999999999999\" for flag -snapshot-count: value out of range"),
            ),
            ("--pre-vote=maybe", usage("invalid boolean value \"maybe\" for -pre-vote: parse error")),
            ("--grpc-keepalive-timeout 5", usage("invalid value \"5\" for flag -grpc-keepalive-timeout: parse error")),
            (
                "--max-concurrent-streams x",
                usage(
                    "invalid value \"x\" for flag -max-concurrent-streams: strconv.ParseUint: parsing \"x\": invalid syntax",
                ),
            ),
            (
                "--v2-deprecation not-yet",
                usage("invalid value \"not-yet\" for flag -v2-deprecation: invalid value \"not-yet\""),
            ),
            ("--initial-cluster-state x", usage("invalid value \"x\" for flag -initial-cluster-state: invalid value")),
            (
                "--feature-gates X=true",
                usage("invalid value \"X=true\" for flag -feature-gates: unrecognized feature gate: X"),
            ),
            (
                "--listen-peer-urls ftp://x:1",
                usage(
                    "invalid value \"ftp://x:1\" for flag -listen-peer-urls: URL scheme must be http, https, unix, or unixs: ftp://x:1",
                ),
            ),
            ("--pre-vote false", invalid("\"false\" is not a valid flag")),
            ("-- --name x", invalid("\"--name\" is not a valid flag")),
            ("--name x word", invalid("\"word\" is not a valid flag")),
            (
                "--cert-file x",
                invalid("--cert-file asks for what is not built yet in Ferrite; leave it at its default"),
            ),
            ("--config-file /no/such/file", invalid("/no/such/file: No such file or directory (os error 2)")),
            (
                "--discovery-fallback proxy",
                invalid("v2 proxy is deprecated, and --discovery-fallback can't be configured as \"proxy\""),
            ),
            ("--initial-cluster a=http://a:1 --discovery-srv a.test", invalid(TWO_SOURCES)),
            ("--discovery-endpoints a --discovery-token t --discovery-srv a.test", invalid(TWO_SOURCES)),
            ("--discovery-token t", invalid("both --discovery-token and --discovery-endpoints must be set")),
            ("--discovery-endpoints a:1", invalid("both --discovery-token and --discovery-endpoints must be set")),
            (
                "--discovery-endpoints a:1, --discovery-token t",
                invalid("--discovery-endpoints must not contain empty endpoints"),
            ),
            ("--heartbeat-interval 0", invalid("--heartbeat-interval must be >0 (set to 0ms)")),
            ("--election-timeout 0", invalid("--election-timeout must be >0 (set to 0ms)")),
            (
                "--election-timeout 499",
                invalid("--election-timeout[499ms] should be at least as 5 times as --heartbeat-interval[100ms]"),
            ),
            (
                "--election-timeout 50001",
                invalid("--election-timeout[50001ms] is too long, and should be set less than 50000ms"),
            ),
            (
                "--listen-client-urls http://127.0.0.1:1",
                invalid("--advertise-client-urls is required when --listen-client-urls is set explicitly"),
            ),
            (
                "--listen-peer-urls http://example.com:1",
                invalid("expected IP in URL for binding (http://example.com:1)"),
            ),
            (
                "--advertise-client-urls http://:1",
                invalid(
                    "--advertise-client-urls \"http://:1\" must be in the format \"host:port\", \"unix:/path/to/socket\" or \"unixs:/path/to/socket\" (unexpected empty host (http://:1))",
                ),
            ),
            (
                "--initial-advertise-peer-urls http://:1",
                invalid(
                    "--initial-advertise-peer-urls \"http://:1\" must be \"host:port\" (unexpected empty host (http://:1))",
                ),
            ),
            ("--auto-compaction-mode=", invalid("undefined auto-compaction-mode")),
            ("--auto-compaction-mode x", invalid("unknown auto-compaction-mode \"x\"")),
            ("--compact-hash-check-time 0", invalid("--compact-hash-check-time must be >0 (set to 0s)")),
            (
                "--feature-gates LeaseCheckpointPersist=true",
                invalid("enabling feature gate LeaseCheckpointPersist requires enabling feature gate LeaseCheckpoint"),
            ),
            (
                "--feature-gates InitialCorruptCheck=true",
                invalid("feature gate InitialCorruptCheck asks for what is not built yet in Ferrite; leave it off"),
            ),
            ("--logger capnslog", invalid("--logger=capnslog is removed in v3.5")),
            ("--logger x", invalid("unknown logger option \"x\"")),
            ("--log-format x", invalid("unknown log format: x, supported values json, console")),
            ("--log-level x", ConfigError::Level("x".to_owned())),
            ("gateway start", invalid("the command \"gateway\" is not built yet")),
        ] {
            assert_eq!(check(arguments, &[]).unwrap_err(), error, "{arguments}");
        }
    }

    #[test]
    fn a_flag_is_built_or_refused_or_warned_of() {
        let warned = |arguments: &str| {
            let (logger, text) = Logger::to_memory(ferrite_observe::log::Level::Warn);
            let Ok(Command::Serve(asked)) = parse(&words(arguments), [], &logger) else { panic!("{arguments}") };
            assert!(asked.check(&logger).is_ok(), "{arguments}");
            let text = text.lock().unwrap().clone();
            text.lines().filter(|line| line.contains("the flag has no effect")).count()
        };
        for (arguments, count) in [
            ("", 0),
            ("--enable-grpc-gateway=true", 1),
            ("--enable-grpc-gateway", 1),
            ("--enable-grpc-gateway=false", 0),
            ("--enable-pprof=false --backend-batch-limit 0", 0),
            ("--enable-pprof --backend-batch-limit 9 --bcrypt-cost 4", 3),
            ("--raft-read-timeout=1s --tls-min-version TLS1.3", 1),
            ("--compact-hash-check-time 5m --downgrade-check-time 1s --socket-reuse-address", 3),
            ("--feature-gates TxnModeWriteWithSharedBuffer=false,PriorityRequest=true", 1),
            ("--feature-gates AllAlpha=true", 2),
        ] {
            assert_eq!(warned(arguments), count, "{arguments}");
        }
    }

    #[test]
    fn a_file_stands_alone() {
        let dir = std::env::temp_dir().join(format!("ferrite-config-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("a.yml").display().to_string();
        std::fs::write(&path, "name: f\nlisten-client-urls: http://127.0.0.1:1\n").unwrap();
        let c = config(&format!("--config-file {path} --name g --snapshot-count 3"), &[("ETCD_MAX_WALS", "x")]);
        assert_eq!((&*c.member.name, c.member.snapshot_count), ("f", 10_000));
        // Unlike on the command line.
        assert_eq!(joined(&c.urls.advertise_client), "http://localhost:2379");
        assert_eq!(config("", &[("ETCD_CONFIG_FILE", &path)]).member.name, "f");
        for (text, initial) in [
            ("discovery-srv: a.test\n", ""),
            ("discovery-config: {token: t, client: {endpoints: [a:1]}}\n", ""),
            ("discovery-srv-name: blue\n", "default=http://localhost:2380"),
        ] {
            std::fs::write(&path, text).unwrap();
            let c = config(&format!("--config-file {path}"), &[]);
            assert_eq!(c.cluster.initial, initial, "{text}");
        }
        std::fs::write(&path, "cert-file: x\nclient-transport-security: {cert-file: z}\n").unwrap();
        assert_eq!(
            check(&format!("--config-file {path}"), &[]).unwrap_err(),
            ConfigError::Invalid(
                "--cert-file asks for what is not built yet in Ferrite; leave it at its default".into()
            )
        );
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn the_environment_stands_behind_flags() {
        let c = config("--name a", &[("ETCD_DATA_DIR", "/e"), ("ETCD_SNAPSHOT_COUNT", ""), ("OTHER", "x")]);
        assert_eq!((&*c.member.data_dir, c.member.snapshot_count), ("/e", 10_000));
        assert_eq!(check("--name a", &[("ETCD_NAME", "")]).unwrap_err(), ConfigError::Said);
        assert_eq!(
            check("", &[("ETCD_MAX_WALS", "x"), ("ETCD_SNAPSHOT_COUNT", "y")]).unwrap_err(),
            ConfigError::Invalid("invalid value \"y\" for ETCD_SNAPSHOT_COUNT: parse error".to_owned())
        );
        let c = config(
            "",
            &[("ETCD_LISTEN_CLIENT_URLS", "http://127.0.0.1:1"), ("ETCD_ADVERTISE_CLIENT_URLS", "http://a:1")],
        );
        assert_eq!(joined(&c.urls.advertise_client), "http://a:1");
        assert!(matches!(
            check("", &[("ETCD_TRUSTED_CA_FILE", "x")]),
            Err(ConfigError::Invalid(text)) if text.starts_with("--trusted-ca-file asks for")
        ));
    }

    #[test]
    fn a_cluster_to_be_discovered_is_not_named() {
        let initial = |arguments: &str| config(arguments, &[]).cluster.initial;
        assert_eq!(initial("--discovery-srv a.test"), "");
        assert_eq!(initial("--discovery-srv-name blue"), "");
        assert_eq!(initial("--discovery-endpoints b:1,a:1 --discovery-token t"), "");
        assert_eq!(initial("--name x"), "default=http://localhost:2380");
    }
}
