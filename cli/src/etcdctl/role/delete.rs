//! `role delete`.

use crate::command::{Command, Group, Invocation};
use crate::etcdctl::{connect, only, text};
use crate::exit::Exit;
use crate::print::Answer;

pub static COMMAND: Command = Command {
    usage: "delete <role name>",
    short: "Deletes a role",
    group: Group::Authentication,
    run: Some(|call| Box::pin(run(call))),
    ..Command::NONE
};

async fn run(mut call: Invocation) -> Result<(), Exit> {
    let role = text(only(call.args(), "role delete command requires role name as its argument")?);
    let (client, printer) = connect::untimed(&mut call).await?;
    let response = client.role_delete(&role).await?;
    printer.print(&Answer::Done { text: format!("Role {role} deleted"), header: response.header })
}
