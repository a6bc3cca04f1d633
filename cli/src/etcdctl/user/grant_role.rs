//! `user grant-role`.

use crate::command::{Command, Group, Invocation};
use crate::etcdctl::{connect, text};
use crate::exit::Exit;
use crate::print::Answer;

pub static COMMAND: Command = Command {
    usage: "grant-role <user name> <role name>",
    short: "Grants a role to a user",
    group: Group::Authentication,
    run: Some(|call| Box::pin(run(call))),
    ..Command::NONE
};

async fn run(mut call: Invocation) -> Result<(), Exit> {
    let [user, role] = call.args() else {
        return Err(Exit::bad_args("user grant command requires user name and role name as its argument"));
    };
    let (user, role) = (text(user), text(role));
    let (client, printer) = connect::untimed(&mut call).await?;
    let response = client.user_grant_role(&user, &role).await?;
    printer.print(&Answer::Done { text: format!("Role {role} is granted to user {user}"), header: response.header })
}
