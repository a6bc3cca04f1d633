//! `user list`.

use crate::command::{Command, Group, Invocation};
use crate::etcdctl::{connect, none};
use crate::exit::Exit;
use crate::print::Answer;

pub static COMMAND: Command = Command {
    usage: "list",
    short: "Lists all users",
    group: Group::Authentication,
    run: Some(|call| Box::pin(run(call))),
    ..Command::NONE
};

async fn run(mut call: Invocation) -> Result<(), Exit> {
    none(call.args(), "user list command requires no arguments")?;
    let (client, printer) = connect::untimed(&mut call).await?;
    printer.print(&Answer::UserList(client.user_list().await?))
}
