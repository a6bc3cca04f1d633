//! `auth status`.

use crate::command::{Command, Group, Invocation};
use crate::etcdctl::{connect, none};
use crate::exit::Exit;
use crate::print::Answer;

pub static COMMAND: Command = Command {
    usage: "status",
    short: "Returns authentication status",
    group: Group::Authentication,
    run: Some(|call| Box::pin(run(call))),
    ..Command::NONE
};

async fn run(mut call: Invocation) -> Result<(), Exit> {
    none(call.args(), "auth status command does not accept any arguments")?;
    let (client, printer) = connect::timed(&mut call).await?;
    printer.print(&Answer::AuthStatus(client.auth_status().await?))
}
