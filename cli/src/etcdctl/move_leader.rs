//! `move-leader`: hands leadership to another member.

use crate::command::{Command, Group, Invocation};
use crate::etcdctl::connect::Settings;
use crate::etcdctl::{only, text};
use crate::exit::Exit;
use crate::go::number::parse_uint;
use crate::print::Answer;

pub static COMMAND: Command = Command {
    usage: "move-leader <transferee-member-id>",
    short: "Transfers leadership to another etcd cluster member.",
    group: Group::Maintenance,
    run: Some(|call| Box::pin(run(call))),
    ..Command::NONE
};

async fn run(mut call: Invocation) -> Result<(), Exit> {
    let word = text(only(call.args(), "move-leader command needs 1 argument")?);
    let target = parse_uint(&word, Some(16)).map_err(Exit::bad_args)?;
    let settings = Settings::read(&mut call, &[])?;
    let client = settings.connect().await?.with_deadline(settings.deadline);
    // Only the leader can do it, and nobody redirects.
    let endpoints = &client.config().endpoints;
    for endpoint in endpoints {
        let status = client.status(endpoint).await?;
        let member = status.header.unwrap_or_default().member_id;
        if status.leader == member {
            let response = client.only(endpoint)?.move_leader(target).await?;
            let text = format!("Leadership transferred from {member:x} to {target:x}");
            return settings.printer.print(&Answer::MoveLeader { text, response });
        }
    }
    Err(Exit::bad_args(format!("no leader endpoint given at [{}]", endpoints.join(" "))))
}
