//! `downgrade validate`.

use crate::command::{Command, Group, Invocation};
use crate::etcdctl::{connect, text};
use crate::exit::Exit;
use crate::print::Answer;
use ferrite_client::proto::etcdserverpb::downgrade_request::DowngradeAction;

pub static COMMAND: Command = Command {
    usage: "validate <TARGET_VERSION>",
    short: "Validate downgrade capability before starting downgrade",
    group: Group::Maintenance,
    run: Some(|call| Box::pin(run(call))),
    ..Command::NONE
};

async fn run(mut call: Invocation) -> Result<(), Exit> {
    let target = match call.args() {
        [] => return Err(Exit::bad_args("TARGET_VERSION not provided")),
        [target] if target.is_empty() => return Err(Exit::bad_args("target version not provided")),
        [target] => text(target),
        _ => return Err(Exit::bad_args("too many arguments")),
    };
    let (client, printer) = connect::timed(&mut call).await?;
    let response = client.downgrade(DowngradeAction::Validate, &target).await?;
    let text = format!("Downgrade validate success, cluster version {}", response.version);
    printer.print(&Answer::Downgrade { text, response })
}
