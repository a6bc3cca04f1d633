//! `user add`.

use crate::command::{Command, Flag, Group, Invocation, Kind};
use crate::etcdctl::{connect, only, text};
use crate::exit::Exit;
use crate::print::Answer;

pub static COMMAND: Command = Command {
    usage: "add <user name or user:password> [options]",
    short: "Adds a new user",
    group: Group::Authentication,
    flags: &[
        Flag::new(Kind::Bool, "interactive", "true", "read the password from a terminal rather than from stdin"),
        Flag::text("new-user-password", "", "the new user's password"),
        Flag::bool("no-password", "create a user without a password (known by its certificate)"),
    ],
    run: Some(|call| Box::pin(run(call))),
    ..Command::NONE
};

async fn run(mut call: Invocation) -> Result<(), Exit> {
    let word = text(only(call.args(), "user add command requires user name as its argument")?);
    let (given, no_password) = (call.flags().text("new-user-password").to_string(), call.flags().bool("no-password"));
    let ask = call.flags().bool("interactive");
    let (client, printer) = connect::untimed(&mut call).await?;
    let (name, password) = match word.split_once(':') {
        _ if no_password => (word.as_str(), String::new()),
        _ if !given.is_empty() => (word.as_str(), given),
        Some(("", _)) => return Err(Exit::bad_args("empty user name is not allowed")),
        Some((name, password)) => (name, password.to_string()),
        None if ask => (word.as_str(), super::ask_new_password(&word)?),
        None => (word.as_str(), super::read_password()?),
    };
    let response = client.user_add(name, &password, no_password).await?;
    printer.print(&Answer::Done { text: format!("User {name} created"), header: response.header })
}
