//! `downgrade cancel`.

use crate::command::{Command, Group, Invocation};
use crate::etcdctl::connect;
use crate::exit::Exit;
use crate::print::Answer;
use ferrite_client::proto::etcdserverpb::downgrade_request::DowngradeAction;

pub static COMMAND: Command = Command {
    usage: "cancel",
    short: "Cancel the ongoing downgrade action to cluster",
    group: Group::Maintenance,
    run: Some(|call| Box::pin(run(call))),
    ..Command::NONE
};

async fn run(mut call: Invocation) -> Result<(), Exit> {
    let (client, printer) = connect::timed(&mut call).await?;
    let response = client.downgrade(DowngradeAction::Cancel, "").await?;
    let text = format!("Downgrade cancel success, cluster version {}", response.version);
    printer.print(&Answer::Downgrade { text, response })
}
