//! `user`: who may do something.

mod add;
mod delete;
mod get;
mod grant_role;
mod list;
mod passwd;
mod revoke_role;

use std::io::BufRead as _;

use crate::command::{Command, Group};
use crate::exit::Exit;
use crate::prompt;

pub static COMMAND: Command = Command {
    usage: "user",
    short: "User related commands",
    group: Group::Authentication,

    commands: &[
        &add::COMMAND,
        &delete::COMMAND,
        &get::COMMAND,
        &grant_role::COMMAND,
        &list::COMMAND,
        &passwd::COMMAND,
        &revoke_role::COMMAND,
    ],
    ..Command::NONE
};

/// A password, typed twice.
fn ask_new_password(user: &str) -> Result<String, Exit> {
    let ask = |question: String| {
        prompt::password(&question).map_err(|error| Exit::bad_args(format!("failed to ask password: {error}")))
    };
    let password = ask(format!("Password of {user}: "))?;
    if password.is_empty() {
        return Err(Exit::bad_args("empty password"));
    }
    if ask(format!("Type password of {user} again for confirmation: "))? != password {
        return Err(Exit::bad_args("given passwords are different"));
    }
    Ok(password)
}

/// A password from standard input: the first word of its first line.
fn read_password() -> Result<String, Exit> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(Exit::bad_args)?;
    Ok(line.split_whitespace().next().unwrap_or_default().to_string())
}
