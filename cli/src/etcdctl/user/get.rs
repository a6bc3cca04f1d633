//! `user get`.

use crate::command::{Command, Flag, Group, Invocation};
use crate::etcdctl::{connect, only, text};
use crate::exit::{self, Exit};
use crate::print::Answer;

pub static COMMAND: Command = Command {
    usage: "get <user name> [options]",
    short: "Gets detailed information of a user",
    group: Group::Authentication,
    flags: &[Flag::bool("detail", "show permissions of roles granted to the user")],
    run: Some(|call| Box::pin(run(call))),
    ..Command::NONE
};

async fn run(mut call: Invocation) -> Result<(), Exit> {
    let name = text(only(call.args(), "user get command requires user name as its argument")?);
    let detail = call.flags().bool("detail");
    let (client, printer) = connect::untimed(&mut call).await?;
    let response = client.user_get(&name).await?;
    if !detail {
        return printer.print(&Answer::UserGet { name, response });
    }
    exit::print(format!("User: {name}\n").as_bytes())?;
    for name in response.roles {
        let response = client.role_get(&name).await?;
        exit::print(b"\n")?;
        printer.print(&Answer::RoleGet { name, response })?;
    }
    Ok(())
}
