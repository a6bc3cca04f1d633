//! `lease list`.

use crate::command::{Command, Group, Invocation};
use crate::etcdctl::connect;
use crate::exit::Exit;
use crate::print::Answer;

pub static COMMAND: Command = Command {
    usage: "list",
    short: "List all active leases",
    group: Group::KeyValue,
    run: Some(|call| Box::pin(run(call))),
    ..Command::NONE
};

async fn run(mut call: Invocation) -> Result<(), Exit> {
    let (client, printer) = connect::untimed(&mut call).await?;
    printer.print(&Answer::Leases(client.leases().await.map_err(Exit::bad_connection)?))
}
