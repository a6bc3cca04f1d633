//! `role get`.

use crate::command::{Command, Group, Invocation};
use crate::etcdctl::{connect, only, text};
use crate::exit::Exit;
use crate::print::Answer;

pub static COMMAND: Command = Command {
    usage: "get <role name>",
    short: "Gets detailed information of a role",
    group: Group::Authentication,
    run: Some(|call| Box::pin(run(call))),
    ..Command::NONE
};

async fn run(mut call: Invocation) -> Result<(), Exit> {
    let name = text(only(call.args(), "role get command requires role name as its argument")?);
    let (client, printer) = connect::untimed(&mut call).await?;
    let response = client.role_get(&name).await?;
    printer.print(&Answer::RoleGet { name, response })
}
