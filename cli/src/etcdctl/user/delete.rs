//! `user delete`.

use crate::command::{Command, Group, Invocation};
use crate::etcdctl::{connect, only, text};
use crate::exit::Exit;
use crate::print::Answer;

pub static COMMAND: Command = Command {
    usage: "delete <user name>",
    short: "Deletes a user",
    group: Group::Authentication,
    run: Some(|call| Box::pin(run(call))),
    ..Command::NONE
};

async fn run(mut call: Invocation) -> Result<(), Exit> {
    let user = text(only(call.args(), "user delete command requires user name as its argument")?);
    let (client, printer) = connect::untimed(&mut call).await?;
    let response = client.user_delete(&user).await?;
    printer.print(&Answer::Done { text: format!("User {user} deleted"), header: response.header })
}
