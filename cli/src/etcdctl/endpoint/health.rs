//! `endpoint health`: whether writes go through each endpoint.

use ferrite_client::Known;
use ferrite_client::proto::etcdserverpb::{AlarmResponse, AlarmType};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::endpoints;
use crate::command::{Command, Group, Invocation};
use crate::etcdctl::connect::Settings;
use crate::exit::Exit;
use crate::go::duration::GoDuration;
use crate::log;
use crate::print::{Answer, Format, Health};

pub static COMMAND: Command = Command {
    usage: "health",
    short: "Checks the healthiness of endpoints specified in `--endpoints` flag",
    group: Group::Maintenance,
    run: Some(|call| Box::pin(run(call))),
    ..Command::NONE
};

async fn run(mut call: Invocation) -> Result<(), Exit> {
    let settings = Settings::read(&mut call, &[])?;
    let mut checks = JoinSet::new();
    for endpoint in endpoints(&call, &settings).await? {
        checks.spawn(check(settings.clone(), endpoint));
    }
    // In the order in which they answer.
    let mut all = Vec::new();
    while let Some(health) = checks.join_next().await {
        all.push(health.map_err(Exit::error)?);
    }
    settings.printer.print(&Answer::EndpointHealth(all.clone()))?;
    let mut healthy = true;
    for Health { endpoint, error, .. } in all {
        let Some(error) = error else { continue };
        healthy = false;
        if settings.printer.format == Format::Simple {
            eprintln!("{endpoint} is unhealthy: failed to commit proposal: {error}");
        }
    }
    if healthy { Ok(()) } else { Err(Exit::error("unhealthy cluster")) }
}

/// A linearizable read needs a quorum, as a write does; being refused the read needs one too.
async fn check(settings: Settings, endpoint: String) -> Health {
    let client = match settings.connect_to(&endpoint).await {
        Ok(client) => client.with_timeout(settings.timeout),
        Err(error) => return Health { endpoint, took: None, error: Some(error.to_string()) },
    };
    let start = Instant::now();
    let read = client.get("health").await;
    let took = Some(GoDuration::from(start.elapsed()));
    let error = match read {
        Err(error) if !error.is(Known::PermissionDenied) => {
            log::unreachable(error.unreachable());
            Some(error.to_string())
        }
        _ => match client.alarm_list().await {
            Ok(response) => alarms(&response),
            Err(_) => Some("Unable to fetch the alarm list".to_string()),
        },
    };
    Health { endpoint, took, error }
}

fn alarms(response: &AlarmResponse) -> Option<String> {
    let name = |alarm| match alarm {
        AlarmType::Nospace => "NOSPACE ",
        AlarmType::Corrupt => "CORRUPT ",
        AlarmType::None => "UNKNOWN ",
    };
    let names: String = response.alarms.iter().map(|alarm| name(alarm.alarm())).collect();
    (!names.is_empty()).then(|| format!("Active Alarm(s): {names}"))
}
