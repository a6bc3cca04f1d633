//! `user passwd`.

use crate::command::{Command, Flag, Group, Invocation, Kind};
use crate::etcdctl::{connect, only, text};
use crate::exit::Exit;
use crate::print::Answer;

pub static COMMAND: Command = Command {
    usage: "passwd <user name> [options]",
    short: "Changes password of user",
    group: Group::Authentication,
    flags: &[Flag::new(Kind::Bool, "interactive", "true", "read the password from a terminal rather than from stdin")],
    run: Some(|call| Box::pin(run(call))),
    ..Command::NONE
};

async fn run(mut call: Invocation) -> Result<(), Exit> {
    let name = text(only(call.args(), "user passwd command requires user name as its argument")?);
    let ask = call.flags().bool("interactive");
    let (client, printer) = connect::untimed(&mut call).await?;
    let password = if ask { super::ask_new_password(&name)? } else { super::read_password()? };
    let response = client.user_change_password(&name, &password).await?;
    printer.print(&Answer::Done { text: "Password updated".into(), header: response.header })
}
