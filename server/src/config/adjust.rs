//! Values that a start corrects, or remarks on: said in the log, as etcd says it.

use std::time::Duration;

use ferrite_observe::log;
use ferrite_observe::log::{Logger, lines};

use super::{Config, Feature};

const DEFAULT_SNAPSHOT_COUNT: u64 = 10_000;
const DEFAULT_CATCH_UP_ENTRIES: u64 = 5_000;
const RECOMMENDED_REQUEST_BYTES: u64 = 10 << 20;
const DEFAULT_QUOTA_BYTES: u64 = 2 << 30;
const MAX_QUOTA_BYTES: u64 = 8 << 30;
/// Watchers are told of progress no more often than this.
const MIN_PROGRESS_INTERVAL: Duration = Duration::from_millis(100);
/// Peers give a sign of life three times in the time that they are given.
const MIN_PEER_TIMEOUT: Duration = Duration::from_secs(5);
/// Whose quota the log speaks of.
const QUOTA: &str = "v3-applier";

impl Config {
    /// Puts defaults in the place of zeros, and raises what is too little.
    pub fn adjust(&mut self, logger: &Logger) {
        if self.limits.max_request_bytes > RECOMMENDED_REQUEST_BYTES {
            let (given, recommended) = (self.limits.max_request_bytes, RECOMMENDED_REQUEST_BYTES);
            log!(logger, lines::REQUEST_LIMIT_HIGH, given, &human(given), recommended, &human(recommended));
        }
        self.say_quota(logger);
        if self.member.snapshot_count == 0 {
            log!(logger, lines::SNAPSHOT_COUNT_UPDATED, 0u64, DEFAULT_SNAPSHOT_COUNT);
            self.member.snapshot_count = DEFAULT_SNAPSHOT_COUNT;
        }
        if self.member.snapshot_catchup_entries == 0 {
            log!(logger, lines::CATCH_UP_UPDATED, 0u64, DEFAULT_CATCH_UP_ENTRIES);
            self.member.snapshot_catchup_entries = DEFAULT_CATCH_UP_ENTRIES;
        }
        let raft = &mut self.raft;
        for (timeout, line) in [
            (&mut raft.read_timeout, lines::READ_TIMEOUT_RAISED),
            (&mut raft.write_timeout, lines::WRITE_TIMEOUT_RAISED),
        ] {
            if *timeout < MIN_PEER_TIMEOUT {
                *timeout = MIN_PEER_TIMEOUT;
                log!(logger, line);
            }
        }
        self.say_member_address(logger);
        let interval = &mut self.limits.watch_progress_notify_interval;
        if !interval.is_zero() && *interval < MIN_PROGRESS_INTERVAL {
            log!(logger, lines::PROGRESS_INTERVAL_RAISED, MIN_PROGRESS_INTERVAL);
            *interval = MIN_PROGRESS_INTERVAL;
        }
    }

    fn say_member_address(&self, logger: &Logger) {
        if !self.features.enabled(Feature::SetMemberLocalAddr) {
            return;
        }
        let urls: Vec<String> = self.urls.advertise_peer.iter().map(ToString::to_string).collect();
        log!(logger, lines::SEARCHING_MEMBER_ADDRESS, &urls);
        match self.member_address() {
            Some(address) => log!(logger, lines::MEMBER_ADDRESS_SET, &address.to_string()),
            None => log!(logger, lines::NO_MEMBER_ADDRESS, &urls),
        }
    }

    fn say_quota(&self, logger: &Logger) {
        let given = self.limits.quota_backend_bytes;
        match u64::try_from(given) {
            Err(_) => log!(logger, lines::QUOTA_DISABLED, QUOTA, given),
            Ok(0) => log!(logger, lines::QUOTA_DEFAULT, QUOTA, DEFAULT_QUOTA_BYTES, &human(DEFAULT_QUOTA_BYTES)),
            Ok(bytes) => {
                if bytes > MAX_QUOTA_BYTES {
                    let most = human(MAX_QUOTA_BYTES);
                    log!(logger, lines::QUOTA_TOO_LARGE, QUOTA, bytes, &human(bytes), MAX_QUOTA_BYTES, &most);
                }
                log!(logger, lines::QUOTA_ENABLED, QUOTA, bytes, &human(bytes));
            }
        }
    }
}

/// `2.1 GB`: two digits below ten, in powers of 1000.
pub fn human(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 10 {
        return format!("{bytes} B");
    }
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let value = (value * 10.0 + 0.5).floor() / 10.0;
    if value < 10.0 { format!("{value:.1} {}", UNITS[unit]) } else { format!("{value:.0} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use ferrite_observe::log::Level;

    use super::*;

    #[test]
    fn sizes_read_as_in_etcd() {
        for (bytes, text) in [
            (5, "5 B"),
            (10, "10 B"),
            (1572864, "1.6 MB"),
            (2 << 30, "2.1 GB"),
            (8 << 30, "8.6 GB"),
            (10 << 20, "10 MB"),
            (16 << 20, "17 MB"),
        ] {
            assert_eq!(human(bytes), text);
        }
    }

    #[test]
    fn what_is_corrected_is_said() {
        let (logger, text) = Logger::to_memory(Level::Info);
        let mut config = Config::default();
        config.member.snapshot_count = 0;
        config.member.snapshot_catchup_entries = 0;
        config.limits.max_request_bytes = 16 << 20;
        config.limits.watch_progress_notify_interval = Duration::from_millis(1);
        (config.raft.read_timeout, config.raft.write_timeout) = (Duration::ZERO, Duration::from_secs(1));
        config.adjust(&logger);
        assert_eq!((config.member.snapshot_count, config.member.snapshot_catchup_entries), (10_000, 5_000));
        assert_eq!(config.limits.watch_progress_notify_interval, MIN_PROGRESS_INTERVAL);
        assert_eq!((config.raft.read_timeout, config.raft.write_timeout), (MIN_PEER_TIMEOUT, MIN_PEER_TIMEOUT));
        for bytes in [-1, 9 << 30] {
            config.limits.quota_backend_bytes = bytes;
            config.say_quota(&logger);
        }
        let text = text.lock().unwrap().clone();
        for part in [
            "\"updating snapshot-count to default\",\"given-snapshot-count\":0,\"updated-snapshot-count\":10000",
            "\"given-snapshot-catchup-entries\":0,\"updated-snapshot-catchup-entries\":5000",
            "\"max-request-size\":\"17 MB\",\"recommended-request-bytes\":10485760,\"recommended-request-size\":\"10 MB\"",
            "\"enabled backend quota with default value\",\"quota-name\":\"v3-applier\",\"quota-size-bytes\":2147483648",
            "\"disabled backend quota\",\"quota-name\":\"v3-applier\",\"quota-size-bytes\":-1",
            "\"quota-maximum-size-bytes\":8589934592,\"quota-maximum-size\":\"8.6 GB\"",
            "\"enabled backend quota\",\"quota-name\":\"v3-applier\",\"quota-size-bytes\":9663676416",
            "raft-read-timeout",
            "raft-write-timeout",
            "\"min-watch-progress-notify-interval\":\"100ms\"",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn the_address_that_peers_see_is_the_first_that_others_can_reach() {
        for (gate, urls, expected) in [
            (
                "SetMemberLocalAddr=true",
                "http://127.0.0.1:1,http://0.0.0.0:1,http://[::1]:1,http://192.0.2.7:1",
                "192.0.2.7",
            ),
            ("SetMemberLocalAddr=true", "http://name:1,http://[2001:db8::7]:1", "2001:db8::7"),
            ("SetMemberLocalAddr=true", "http://127.0.0.1:1,http://name:1", ""),
            ("SetMemberLocalAddr=false", "http://192.0.2.7:1", ""),
        ] {
            let (logger, text) = Logger::to_memory(Level::Info);
            let mut config = Config::default();
            config.features.merge(gate).unwrap();
            config.urls.advertise_peer = crate::config::urls::parse_urls(urls).unwrap();
            assert_eq!(
                config.member_address().map_or(String::new(), |address| address.to_string()),
                expected,
                "{urls}"
            );
            config.adjust(&logger);
            let text = text.lock().unwrap().clone();
            let said = match (gate.ends_with("true"), expected) {
                (true, "") => "\"unable to set a member local address due to lack of suitable local addresses\",\"advertise-peer-urls\":[".to_owned(),
                (true, address) => format!("\"setting member local address\",\"LocalAddr\":\"{address}\""),
                (false, _) => String::new(),
            };
            assert!(text.contains(&said), "{text}");
            assert_eq!(text.contains("member local address"), gate.ends_with("true"));
        }
    }
}
