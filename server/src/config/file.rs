//! `--config-file`: YAML in the place of flags and environment.
//!
//!   YAML ──▶ keys ──▶ the table of flags ──▶ Config
//!
//! A key is a flag's name, exactly or else in another case; some stand in sections. As in etcd, of a key that comes twice
//! the last one counts, null keeps the default, numbers and lists are written as such, and a duration is a number of
//! nanoseconds. Unknown keys change nothing; unlike in etcd, that is said.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Map, Value};
use serde_saphyr::DuplicateKeyPolicy;

use super::flags::{FLAGS, Flag, Kind};
use super::{Config, ConfigError};

/// Flags that stand in sections: the section, the key in it, the flag.
const IN_SECTIONS: [(&[&str], &str, &str); 33] = [
    (CLIENT, "cert-file", "cert-file"),
    (CLIENT, "key-file", "key-file"),
    (CLIENT, "client-cert-file", "client-cert-file"),
    (CLIENT, "client-key-file", "client-key-file"),
    (CLIENT, "client-cert-auth", "client-cert-auth"),
    (CLIENT, "trusted-ca-file", "trusted-ca-file"),
    (CLIENT, "auto-tls", "auto-tls"),
    (CLIENT, "allowed-hostname", "client-cert-allowed-hostname"),
    (PEER, "cert-file", "peer-cert-file"),
    (PEER, "key-file", "peer-key-file"),
    (PEER, "client-cert-file", "peer-client-cert-file"),
    (PEER, "client-key-file", "peer-client-key-file"),
    (PEER, "client-cert-auth", "peer-client-cert-auth"),
    (PEER, "trusted-ca-file", "peer-trusted-ca-file"),
    (PEER, "auto-tls", "peer-auto-tls"),
    (PEER, "allowed-cn", "peer-cert-allowed-cn"),
    (PEER, "allowed-hostname", "peer-cert-allowed-hostname"),
    (PEER, "skip-client-san-verification", "peer-skip-client-san-verification"),
    (&["socket-options"], "reuse-port", "socket-reuse-port"),
    (&["socket-options"], "reuse-address", "socket-reuse-address"),
    (&["discovery-config"], "token", "discovery-token"),
    (DISCOVERY, "endpoints", "discovery-endpoints"),
    (DISCOVERY, "dial-timeout", "discovery-dial-timeout"),
    (DISCOVERY, "request-timeout", "discovery-request-timeout"),
    (DISCOVERY, "keepalive-time", "discovery-keepalive-time"),
    (DISCOVERY, "keepalive-timeout", "discovery-keepalive-timeout"),
    (DISCOVERY_TLS, "insecure-transport", "discovery-insecure-transport"),
    (DISCOVERY_TLS, "insecure-skip-tls-verify", "discovery-insecure-skip-tls-verify"),
    (DISCOVERY_TLS, "cert", "discovery-cert"),
    (DISCOVERY_TLS, "key", "discovery-key"),
    (DISCOVERY_TLS, "cacert", "discovery-cacert"),
    (DISCOVERY_USER, "username", "discovery-user"),
    (DISCOVERY_USER, "password", "discovery-password"),
];
const CLIENT: &[&str] = &["client-transport-security"];
const PEER: &[&str] = &["peer-transport-security"];
const DISCOVERY: &[&str] = &["discovery-config", "client"];
const DISCOVERY_TLS: &[&str] = &["discovery-config", "client", "secure"];
const DISCOVERY_USER: &[&str] = &["discovery-config", "client", "auth"];

/// Flags that a file cannot set: their names are unknown keys.
const NOT_IN_FILE: [&str; 5] =
    ["raft-read-timeout", "raft-write-timeout", "client-crl-file", "peer-crl-file", "discovery-fallback"];

/// Flags whose value is a list.
const LISTS: [&str; 6] = [
    "log-outputs",
    "cipher-suites",
    "client-cert-allowed-hostname",
    "peer-cert-allowed-cn",
    "peer-cert-allowed-hostname",
    "discovery-endpoints",
];

/// What a file holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// The flags that it gives.
    pub given: BTreeSet<(&'static str, String)>,
    /// Keys that are no flags, with the sections that they stand in.
    pub unknown: Vec<String>,
}

/// Applies a file to the defaults and says what it holds.
pub fn read(config: &mut Config, path: &str) -> Result<Contents, ConfigError> {
    let invalid = |error: &dyn std::fmt::Display| ConfigError::Invalid(format!("{path}: {error}"));
    let text = std::fs::read_to_string(Path::new(path)).map_err(|error| invalid(&error))?;
    apply(config, &text).map_err(|error| match error {
        ConfigError::Invalid(text) => invalid(&text),
        error => error,
    })
}

fn apply(config: &mut Config, text: &str) -> Result<Contents, ConfigError> {
    let options = serde_saphyr::options! { duplicate_keys: DuplicateKeyPolicy::LastWins };
    let document: Value = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        // What follows the first line draws the place, which the first line has named.
        let text = error.to_string();
        let line = text.lines().next().unwrap_or_default();
        ConfigError::Invalid(line.strip_prefix("error: ").unwrap_or(line).to_owned())
    })?;
    let document = section("the file", document)?;
    let mut given = BTreeSet::new();
    for flag in FLAGS {
        let Some((key, value)) = find(&document, flag)? else { continue };
        let value = written(flag, &key, value)?;
        // For these, an empty string is as good as none.
        let keeps_default = matches!(flag.name, "cors" | "host-whitelist" | "initial-cluster-state" | "log-outputs");
        if keeps_default && value.is_empty() {
            continue;
        }
        flag.apply(config, &value).map_err(|error| match (flag.kind, flag.name) {
            (Kind::Urls, _) => ConfigError::Printed(format!("unexpected error setting up {key}: {error}")),
            (_, "initial-cluster-state") => ConfigError::Invalid(format!("unexpected clusterState {value:?}")),
            (_, "feature-gates") => ConfigError::Invalid(error),
            _ => ConfigError::Invalid(format!("invalid value {value:?} for {key}: {error}")),
        })?;
        given.insert((flag.name, value));
    }
    Ok(Contents { given, unknown: unknown(&document) })
}

/// The sections that a flag stands in, and its key there; none if a file cannot set it.
fn place(flag: &Flag) -> Option<(&'static [&'static str], &'static str)> {
    let is_elsewhere = matches!(flag.kind, Kind::Ignored) || matches!(flag.name, "config-file" | "version");
    if is_elsewhere || NOT_IN_FILE.contains(&flag.name) {
        return None;
    }
    let in_sections = IN_SECTIONS.iter().find(|(.., name)| *name == flag.name);
    Some(in_sections.map_or((&[], flag.name), |(sections, key, _)| (sections, key)))
}

/// `section.key`.
fn path_of(sections: &[&str], key: &str) -> String {
    sections.iter().copied().chain([key]).collect::<Vec<_>>().join(".")
}

/// The keys that no flag is behind.
fn unknown(document: &Map<String, Value>) -> Vec<String> {
    let known: Vec<String> = FLAGS.iter().filter_map(place).map(|(sections, key)| path_of(sections, key)).collect();
    let mut unknown = Vec::new();
    // As deep as sections are known to be, whatever the file holds.
    let mut open = vec![(String::new(), document)];
    while let Some((above, map)) = open.pop() {
        for (key, value) in map {
            let path = format!("{above}{key}");
            let within = format!("{}.", path.to_ascii_lowercase());
            if known.iter().any(|known| known.eq_ignore_ascii_case(&path)) {
                continue;
            }
            match value {
                _ if !known.iter().any(|known| known.starts_with(&within)) => unknown.push(path),
                Value::Object(map) => open.push((format!("{path}."), map)),
                // What should be a section and is none has been refused.
                _ => {}
            }
        }
    }
    unknown.sort();
    unknown
}

/// The value of a flag in a document, with the key as it is to be shown; null is none.
fn find(document: &Map<String, Value>, flag: &Flag) -> Result<Option<(String, Value)>, ConfigError> {
    let Some((sections, key)) = place(flag) else { return Ok(None) };
    let mut within = document.clone();
    for name in sections {
        match get(&within, name) {
            None => return Ok(None),
            Some(value) => within = section(name, value.clone())?,
        }
    }
    Ok(get(&within, key).map(|value| (path_of(sections, key), value.clone())))
}

fn get<'a>(map: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    let in_any_case = || map.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value);
    map.get(key).or_else(in_any_case).filter(|value| !value.is_null())
}

/// What is a mapping, or nothing at all.
fn section(name: &str, value: Value) -> Result<Map<String, Value>, ConfigError> {
    match value {
        Value::Object(map) => Ok(map),
        Value::Null => Ok(Map::new()),
        other => Err(ConfigError::Invalid(format!("{name} must be a mapping, and is {}", kind_of(&other)))),
    }
}

/// A value as the command line would have it.
fn written(flag: &Flag, key: &str, value: Value) -> Result<String, ConfigError> {
    let wrong = |wanted: &str, value: &Value| {
        Err(ConfigError::Invalid(format!("{key} must be {wanted}, and is {}", kind_of(value))))
    };
    if LISTS.contains(&flag.name) {
        let Value::Array(list) = &value else { return wrong("a list", &value) };
        let words: Option<Vec<&str>> = list.iter().map(Value::as_str).collect();
        return words.map_or_else(|| wrong("a list of strings", &value), |words| Ok(words.join(",")));
    }
    let is_number = flag.name == "max-concurrent-streams";
    match (flag.kind, &value) {
        (Kind::Bool, Value::Bool(value)) => Ok(value.to_string()),
        (Kind::Bool, _) => wrong("true or false", &value),
        (Kind::Uint, Value::Number(number)) if number.is_u64() => Ok(number.to_string()),
        (Kind::Text, Value::Number(number)) if is_number && number.is_u64() => Ok(number.to_string()),
        (Kind::Uint, _) => wrong("an integer, not less than 0", &value),
        (Kind::Text, _) if is_number => wrong("an integer, not less than 0", &value),
        (Kind::Int, Value::Number(number)) if number.is_i64() => Ok(number.to_string()),
        (Kind::Int, _) => wrong("an integer", &value),
        (Kind::Duration, Value::Number(number)) if number.is_i64() => Ok(format!("{number}ns")),
        (Kind::Duration, _) => wrong("a number of nanoseconds", &value),
        (Kind::Text | Kind::Urls | Kind::Ignored, Value::String(text)) => Ok(text.clone()),
        (Kind::Text | Kind::Urls | Kind::Ignored, _) => wrong("a string", &value),
    }
}

fn kind_of(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => format!("the string {text:?}"),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a mapping".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::urls::joined;
    use super::*;

    #[test]
    fn a_file_sets_what_it_names() {
        let text = "\
name: b
name: 'a'            # a comment
data-dir:
SNAPSHOT-COUNT: 7
quota-backend-bytes: -1
heartbeat-interval: 50
pre-vote: false
grpc-keepalive-min-time: 3000000000
max-concurrent-streams: 9
listen-client-urls: http://127.0.0.1:2, http://127.0.0.1:1
cors:
host-whitelist: a,b
log-outputs: [stderr, /tmp/x]
feature-gates: LeaseCheckpoint=true
initial-cluster-state: ''
socket-options:
  reuse-port: yes
client-transport-security:
  cert-file:
  client-cert-auth: false
  cert-fil:
nobody-knows-this: {a: [1]}
raft-read-timeout: nonsense
";
        let mut config = Config::default();
        let Contents { given, unknown } = apply(&mut config, text).unwrap();
        assert_eq!((&*config.member.name, config.member.snapshot_count, config.raft.heartbeat_ms), ("a", 7, 50));
        assert_eq!((config.limits.quota_backend_bytes, config.limits.max_concurrent_streams), (-1, 9));
        assert!(!config.raft.pre_vote && config.urls.reuse_port);
        assert_eq!(config.keepalive.min_time, Duration::from_secs(3));
        assert_eq!(joined(&config.urls.listen_client), "http://127.0.0.1:1,http://127.0.0.1:2");
        assert_eq!((config.http.cors.join(" "), config.http.host_whitelist.join(" ")), ("*".into(), "a b".into()));
        assert_eq!(config.log.outputs, ["/tmp/x", "stderr"]);
        assert_eq!((config.features.to_string(), &*config.cluster.state), ("LeaseCheckpoint=true".into(), "new"));
        assert!(given.contains(&("snapshot-count", "7".to_owned())));
        assert!(given.contains(&("client-cert-auth", "false".to_owned())));
        assert!(!given.iter().any(|(name, _)| ["data-dir", "cors", "cert-file", "raft-read-timeout"].contains(name)));
        assert_eq!(unknown, ["client-transport-security.cert-fil", "nobody-knows-this", "raft-read-timeout"]);
        assert_eq!(apply(&mut Config::default(), "").unwrap(), Contents::default());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, error) in [
            ("- a", "the file must be a mapping, and is a list"),
            ("name: 5", "name must be a string, and is 5"),
            (
                "heartbeat-interval: x",
                "heartbeat-interval must be an integer, not less than 0, and is the string \"x\"",
            ),
            ("heartbeat-interval: -1", "heartbeat-interval must be an integer, not less than 0, and is -1"),
            ("max-txn-ops: 1.5", "max-txn-ops must be an integer, not less than 0, and is 1.5"),
            ("pre-vote: 'true'", "pre-vote must be true or false, and is the string \"true\""),
            (
                "corrupt-check-time: 10s",
                "corrupt-check-time must be a number of nanoseconds, and is the string \"10s\"",
            ),
            ("log-outputs: stderr", "log-outputs must be a list, and is the string \"stderr\""),
            ("log-outputs: [1]", "log-outputs must be a list of strings, and is a list"),
            ("socket-options: {reuse-port: 5}", "socket-options.reuse-port must be true or false, and is 5"),
            ("peer-transport-security: x", "peer-transport-security must be a mapping, and is the string \"x\""),
            (
                "max-concurrent-streams: 5000000000",
                "invalid value \"5000000000\" for max-concurrent-streams: \
                 strconv.ParseUint: parsing \"5000000000\": value out of range",
            ),
            ("initial-cluster-state: x", "unexpected clusterState \"x\""),
            ("feature-gates: X=true", "unrecognized feature gate: X"),
            ("name: [a", "line 1 column 7: unclosed bracket '['"),
        ] {
            let said = apply(&mut Config::default(), text).unwrap_err();
            assert_eq!(said, ConfigError::Invalid(error.to_owned()), "{text}");
        }
        assert_eq!(
            apply(&mut Config::default(), "listen-peer-urls: ftp://x").unwrap_err(),
            ConfigError::Printed(
                "unexpected error setting up listen-peer-urls: URL scheme must be http, https, unix, or unixs: ftp://x"
                    .to_owned()
            )
        );
    }

    #[test]
    fn each_section_names_a_flag() {
        for (_, _, name) in IN_SECTIONS {
            assert!(FLAGS.iter().any(|flag| flag.name == name), "{name}");
        }
        for name in NOT_IN_FILE.iter().chain(&LISTS) {
            assert!(FLAGS.iter().any(|flag| flag.name == *name), "{name}");
        }
    }
}
