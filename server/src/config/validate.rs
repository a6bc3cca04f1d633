//! What must hold between values, in the order in which etcd looks.

use std::net::IpAddr;
use std::time::Duration;

use ferrite_observe::log;
use ferrite_observe::log::{Format, GoDuration, Level, Logger, lines};

use super::urls::{Url, joined};
use super::value::duration;
use super::{Config, ConfigError, Feature};

const MAX_ELECTION_MS: u64 = 50_000;
/// What `--warning-unary-request-duration=0` means.
const DEFAULT_UNARY_WARNING: Duration = Duration::from_millis(300);

impl Config {
    /// Checks everything, and fills in what follows from other values.
    pub(super) fn validate(&mut self, logger: &Logger) -> Result<(), ConfigError> {
        for list in [&self.urls.listen_peer, &self.urls.listen_client, &self.urls.listen_client_http] {
            check_bind(list)?;
        }
        if self.urls.listen_client_http.is_empty() {
            log!(logger, lines::SINGLE_PORT);
        }
        check_bind(&self.urls.listen_metrics)?;
        self.validate_urls()?;
        self.validate_discovery()?;
        self.validate_raft()?;
        if self.urls.advertise_client.is_empty() {
            return invalid("--advertise-client-urls is required when --listen-client-urls is set explicitly");
        }
        match self.compaction.mode.as_str() {
            "periodic" | "revision" => {}
            "" => return invalid("undefined auto-compaction-mode"),
            mode => return invalid(&format!("unknown auto-compaction-mode {mode:?}")),
        }
        let checkpoint = self.features.enabled(Feature::LeaseCheckpoint);
        match (checkpoint, self.features.enabled(Feature::LeaseCheckpointPersist)) {
            (true, false) => log!(logger, lines::CHECKPOINT_WITHOUT_PERSIST),
            (false, true) => {
                return invalid(
                    "enabling feature gate LeaseCheckpointPersist requires enabling feature gate LeaseCheckpoint",
                );
            }
            (true, true) | (false, false) => {}
        }
        if self.compaction.hash_check_nanos <= 0 {
            let value = GoDuration(duration(self.compaction.hash_check_nanos.saturating_neg()));
            let sign = if self.compaction.hash_check_nanos < 0 { "-" } else { "" };
            return invalid(&format!("--compact-hash-check-time must be >0 (set to {sign}{value})"));
        }
        if self.member.name == "default" {
            log!(logger, lines::DEFAULT_NAME, &self.member.name);
        }
        if self.limits.warning_unary_request_duration.is_zero() {
            self.limits.warning_unary_request_duration = DEFAULT_UNARY_WARNING;
        }
        Ok(())
    }

    /// The least level that is logged, and the form of lines.
    pub(super) fn check_log(&self) -> Result<(Level, Format), ConfigError> {
        match self.log.logger.as_str() {
            "zap" => {}
            "capnslog" => return invalid("--logger=capnslog is removed in v3.5"),
            other => return invalid(&format!("unknown logger option {other:?}")),
        }
        let Some(format) = self.log.shape() else {
            let format = &self.log.format;
            return invalid(&format!("unknown log format: {format}, supported values json, console"));
        };
        match self.log_level() {
            Some(level) => Ok((level, format)),
            None => Err(ConfigError::Level(self.log.level.clone())),
        }
    }

    fn log_level(&self) -> Option<Level> {
        match self.log.level.to_ascii_lowercase().as_str() {
            "" => Some(Level::Info),
            // A level of zap's for what is a panic only during development.
            "dpanic" => Some(Level::Panic),
            level => Level::parse(level),
        }
    }

    fn validate_urls(&self) -> Result<(), ConfigError> {
        if let Some(url) = self.urls.listen_client.iter().find(|url| self.urls.listen_client_http.contains(url)) {
            return invalid(&format!(
                "cannot bind both --listen-client-urls and --listen-client-http-urls on the same url {url}"
            ));
        }
        if let Some(url) = empty_host(&self.urls.advertise_peer) {
            let list = joined(&self.urls.advertise_peer);
            return invalid(&format!(
                "--initial-advertise-peer-urls {list:?} must be \"host:port\" (unexpected empty host ({url}))"
            ));
        }
        if let Some(url) = empty_host(&self.urls.advertise_client) {
            let list = joined(&self.urls.advertise_client);
            return invalid(&format!(
                "--advertise-client-urls {list:?} must be in the format \"host:port\", \"unix:/path/to/socket\" or \
                 \"unixs:/path/to/socket\" (unexpected empty host ({url}))"
            ));
        }
        let lists = [
            &self.urls.listen_peer,
            &self.urls.listen_client,
            &self.urls.listen_client_http,
            &self.urls.listen_metrics,
        ];
        match lists.into_iter().flatten().find(|url| url.is_secure()) {
            Some(url) => invalid(&format!("TLS is not built yet in Ferrite: {url} cannot be listened on")),
            None => Ok(()),
        }
    }

    /// There is one source of the initial cluster.
    fn validate_discovery(&self) -> Result<(), ConfigError> {
        let discovery = &self.discovery;
        let has_endpoints = !discovery.endpoints.is_empty();
        let sources = [!self.cluster.initial.is_empty(), !discovery.srv.is_empty(), has_endpoints];
        if sources.into_iter().filter(|is_given| *is_given).count() > 1 {
            return invalid(
                "multiple discovery or bootstrap flags are set. Choose one of \"initial-cluster\", \
                 \"discovery-endpoints\" or \"discovery-srv\"",
            );
        }
        if discovery.token.is_empty() == has_endpoints {
            return invalid("both --discovery-token and --discovery-endpoints must be set");
        }
        if discovery.endpoints.iter().any(|endpoint| endpoint.trim().is_empty()) {
            return invalid("--discovery-endpoints must not contain empty endpoints");
        }
        Ok(())
    }

    fn validate_raft(&self) -> Result<(), ConfigError> {
        let (heartbeat, election) = (self.raft.heartbeat_ms, self.raft.election_ms);
        if heartbeat == 0 {
            return invalid("--heartbeat-interval must be >0 (set to 0ms)");
        }
        if election == 0 {
            return invalid("--election-timeout must be >0 (set to 0ms)");
        }
        if heartbeat.saturating_mul(5) > election {
            return invalid(&format!(
                "--election-timeout[{election}ms] should be at least as 5 times as --heartbeat-interval[{heartbeat}ms]"
            ));
        }
        if election > MAX_ELECTION_MS {
            return invalid(&format!(
                "--election-timeout[{election}ms] is too long, and should be set less than {MAX_ELECTION_MS}ms"
            ));
        }
        Ok(())
    }
}

fn invalid<T>(text: &str) -> Result<T, ConfigError> {
    Err(ConfigError::Invalid(text.to_owned()))
}

/// One listens on an address, not on a name.
fn check_bind(urls: &[Url]) -> Result<(), ConfigError> {
    for url in urls.iter().filter(|url| !url.is_unix()) {
        if url.host() != "localhost" && url.host().parse::<IpAddr>().is_err() {
            return invalid(&format!("expected IP in URL for binding ({url})"));
        }
    }
    Ok(())
}

fn empty_host(urls: &[Url]) -> Option<&Url> {
    urls.iter().find(|url| !url.is_unix() && url.host().is_empty())
}
