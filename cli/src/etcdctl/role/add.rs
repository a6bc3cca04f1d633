//! `role add`.

use crate::command::{Command, Group, Invocation};
use crate::etcdctl::{connect, only, text};
use crate::exit::Exit;
use crate::print::Answer;

pub static COMMAND: Command = Command {
    usage: "add <role name>",
    short: "Adds a new role",
    group: Group::Authentication,
    run: Some(|call| Box::pin(run(call))),
    ..Command::NONE
};

async fn run(mut call: Invocation) -> Result<(), Exit> {
    let role = text(only(call.args(), "role add command requires role name as its argument")?);
    let (client, printer) = connect::untimed(&mut call).await?;
    let response = client.role_add(&role).await?;
    printer.print(&Answer::Done { text: format!("Role {role} created"), header: response.header })
}
