//! `alarm list`.

use crate::command::{Command, Group, Invocation};
use crate::etcdctl::{connect, none};
use crate::exit::Exit;
use crate::print::Answer;

pub static COMMAND: Command = Command {
    usage: "list",
    short: "Lists all alarms",
    group: Group::Maintenance,
    run: Some(|call| Box::pin(run(call))),
    ..Command::NONE
};

async fn run(mut call: Invocation) -> Result<(), Exit> {
    none(call.args(), "alarm list command accepts no arguments")?;
    let (client, printer) = connect::timed(&mut call).await?;
    printer.print(&Answer::Alarm(client.alarm_list().await?))
}
