//! `/health` for those who have always asked it, `/livez` and `/readyz` for Kubernetes.

use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use ferrite_observe::log;
use ferrite_observe::log::{Value, lines};
use ferrite_observe::metrics::families;
use ferrite_proto::etcdserverpb::AlarmType;
use http::header::X_CONTENT_TYPE_OPTIONS;
use http::{Response, StatusCode};

use super::answer::{self, NOSNIFF, TEXT};
use super::site::Site;
use crate::rpc::Status;

type Parameters<'a> = &'a [(String, String)];

/// One thing that is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    DataCorruption,
    SerializableRead,
    LinearizableRead,
    NonLearner,
}

impl Check {
    fn name(self) -> &'static str {
        match self {
            Check::DataCorruption => "data_corruption",
            Check::SerializableRead => "serializable_read",
            Check::LinearizableRead => "linearizable_read",
            Check::NonLearner => "non_learner",
        }
    }
}

/// A path under which checks are asked.
#[derive(Clone, Copy, Debug)]
pub struct Endpoint {
    /// With its slash.
    pub path: &'static str,
    pub checks: &'static [Check],
}

pub const LIVEZ: Endpoint = Endpoint { path: "/livez", checks: &[Check::SerializableRead] };
pub const READYZ: Endpoint = Endpoint {
    path: "/readyz",
    checks: &[Check::DataCorruption, Check::SerializableRead, Check::LinearizableRead, Check::NonLearner],
};

impl Endpoint {
    /// The checks that a path asks for: all, or the one that it names.
    pub fn asked(self, path: &str) -> Option<&'static [Check]> {
        let rest = path.strip_prefix(self.path)?;
        if rest.is_empty() {
            return Some(self.checks);
        }
        let name = rest.strip_prefix('/')?;
        let place = self.checks.iter().position(|check| check.name() == name)?;
        Some(&self.checks[place..=place])
    }
}

/// Whether this member can be used, as one JSON object.
pub async fn health(site: &Site, parameters: Parameters<'_>) -> Response<Bytes> {
    let excluded = values(parameters, "exclude");
    let serializable = values(parameters, "serializable").first() == Some(&"true");
    let reason = health_reason(site, &excluded, serializable).await;
    let (status, text) = match &reason {
        None => (StatusCode::OK, "{\"health\":\"true\",\"reason\":\"\"}".to_owned()),
        Some(reason) => {
            let reason = serde_json::Value::from(reason.as_str());
            (StatusCode::SERVICE_UNAVAILABLE, format!("{{\"health\":\"false\",\"reason\":{reason}}}"))
        }
    };
    if reason.is_none() {
        site.metrics.metric(&families::ETCD_SERVER_HEALTH_SUCCESS, &[]).increment();
        log!(site.logger, lines::HEALTH_OK, u32::from(status.as_u16()));
        return answer::answer(status, TEXT, text);
    }
    site.metrics.metric(&families::ETCD_SERVER_HEALTH_FAILURES, &[]).increment();
    log!(site.logger, lines::HEALTH_ERROR, &text, u32::from(status.as_u16()));
    answer::error(status, &text)
}

fn values<'a>(parameters: Parameters<'a>, name: &str) -> Vec<&'a str> {
    parameters.iter().filter(|(each, _)| each == name).map(|(_, value)| value.as_str()).collect()
}

async fn health_reason(site: &Site, excluded: &[&str], serializable: bool) -> Option<String> {
    for alarm in site.handle.state().tables().alarms.all() {
        let kind = AlarmType::try_from(alarm.alarm);
        let name = kind.map_or_else(|_| alarm.alarm.to_string(), |kind| kind.as_str_name().to_owned());
        if excluded.contains(&name.as_str()) {
            continue;
        }
        log!(site.logger, lines::HEALTH_ALARM, &name);
        return Some(match kind {
            Ok(AlarmType::Nospace | AlarmType::Corrupt) => format!("ALARM {name}"),
            Ok(AlarmType::None) | Err(_) => "ALARM UNKNOWN".to_owned(),
        });
    }
    if !serializable && site.handle.leader() == 0 {
        log!(site.logger, lines::HEALTH_NO_LEADER);
        return Some("RAFT NO LEADER".to_owned());
    }
    if !serializable && let Err(error) = linearizable_read(site).await {
        log!(site.logger, lines::HEALTH_RANGE_FAILS, &error);
        return Some(format!("RANGE ERROR:{error}"));
    }
    None
}

async fn linearizable_read(site: &Site) -> Result<(), String> {
    let begun = Instant::now();
    let confirmed = site.handle.confirm_read_by_member().await;
    // It stands for a range of one key, and is counted as one.
    site.handle.metrics().ranged(begun, Instant::now(), confirmed.is_ok());
    confirmed.map_err(|error| Status::from(error).message.into_owned())
}

/// Runs checks one after the other and lists them.
pub async fn checks(
    site: &Site,
    endpoint: Endpoint,
    path: &str,
    asked: &[Check],
    parameters: Parameters<'_>,
) -> Response<Bytes> {
    let excluded = if path == endpoint.path { values(parameters, "exclude") } else { Vec::new() };
    let unknown: Vec<String> = excluded
        .iter()
        .filter(|name| !name.is_empty() && !asked.iter().any(|check| check.name() == **name))
        .map(|name| name.to_string())
        .collect();
    if !unknown.is_empty() {
        log!(site.logger, lines::HEALTH_CHECKS_NOT_EXCLUDED, Value::List(&unknown));
    }
    let mut report = String::new();
    let mut healthy = true;
    for check in asked.iter().filter(|check| !excluded.contains(&check.name())) {
        let name = check.name();
        let (line, status) = match run(site, *check).await {
            Ok(()) => (format!("[+]{name} ok\n"), "success"),
            Err(error) => {
                healthy = false;
                (format!("[-]{name} failed: {error}\n"), "error")
            }
        };
        report.push_str(&line);
        let kind = endpoint.path.trim_start_matches('/');
        let gauge = site.metrics.metric(&families::ETCD_SERVER_HEALTHCHECK, &[kind, name]);
        gauge.set(f64::from(u8::from(status == "success")));
        site.metrics.metric(&families::ETCD_SERVER_HEALTHCHECKS_TOTAL, &[kind, name, status]).increment();
    }
    if !healthy {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        log!(site.logger, lines::HEALTH_CHECK_ERROR, path, &report, u32::from(status.as_u16()));
        return answer::error(status, &report);
    }
    log!(site.logger, lines::HEALTH_CHECK_OK, path, 200u32);
    let verbose = parameters.iter().any(|(name, _)| name == "verbose");
    let mut response = answer::answer(StatusCode::OK, TEXT, if verbose { report + "ok\n" } else { "ok\n".to_owned() });
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    response
}

async fn run(site: &Site, check: Check) -> Result<(), String> {
    let tables = site.handle.state().tables();
    match check {
        Check::DataCorruption if tables.alarms.is_raised(AlarmType::Corrupt) => {
            Err("alarm activated: CORRUPT".to_owned())
        }
        Check::NonLearner => {
            let own = tables.cluster.member(site.handle.ids().member);
            if own.is_some_and(|member| member.is_learner) {
                Err("not supported for learner".to_owned())
            } else {
                Ok(())
            }
        }
        Check::LinearizableRead => linearizable_read(site).await,
        Check::SerializableRead if site.handle.signals().disk_stalls.load(Ordering::Relaxed) => {
            Err("the log has not been synced for an election timeout: the disk stalls".to_owned())
        }
        // What is published can always be read: that this runs at all shows that the thread does.
        Check::DataCorruption | Check::SerializableRead => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_checks() {
        for (endpoint, path, asked) in [
            (LIVEZ, "/livez", Some("serializable_read")),
            (LIVEZ, "/livez/serializable_read", Some("serializable_read")),
            (LIVEZ, "/livez/linearizable_read", None),
            (LIVEZ, "/livezzz", None),
            (LIVEZ, "/livez/", None),
            (READYZ, "/readyz", Some("data_corruption serializable_read linearizable_read non_learner")),
            (READYZ, "/readyz/non_learner", Some("non_learner")),
            (READYZ, "/readyz/data_corruption", Some("data_corruption")),
        ] {
            let names = endpoint.asked(path);
            let names = names.map(|checks| checks.iter().map(|check| check.name()).collect::<Vec<_>>().join(" "));
            assert_eq!(names.as_deref(), asked, "{path}");
        }
    }
}
