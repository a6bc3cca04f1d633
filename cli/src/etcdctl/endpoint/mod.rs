//! `endpoint`: members, each asked by itself.

mod hashkv;
mod health;
mod status;

use crate::command::{Command, Flag, Group, Invocation};
use crate::etcdctl::connect::Settings;
use crate::exit::Exit;

pub static COMMAND: Command = Command {
    usage: "endpoint",
    short: "Endpoint related commands",
    group: Group::Maintenance,
    persistent: &[CLUSTER],
    commands: &[&hashkv::COMMAND, &health::COMMAND, &status::COMMAND],
    ..Command::NONE
};

pub const CLUSTER: Flag = Flag::bool("cluster", "use all endpoints from the cluster member list");

/// The endpoints to ask: those given, as they are written, or the client URLs of all members.
pub async fn endpoints(call: &Invocation, settings: &Settings) -> Result<Vec<String>, Exit> {
    if !call.flags().bool("cluster") {
        return Ok(settings.config.endpoints.clone());
    }
    let client = settings.connect().await.map_err(|exit| exit.with_code(1))?.with_timeout(settings.timeout);
    let failed = |error| {
        let text = format!("failed to fetch endpoints from etcd cluster member list: {error}");
        Exit::of_call(&error, text)
    };
    let members = client.member_list(true).await.map_err(failed)?.members;
    Ok(members.into_iter().flat_map(|member| member.client_ur_ls).collect())
}
