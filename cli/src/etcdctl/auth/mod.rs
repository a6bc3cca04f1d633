//! `auth`: authentication as a whole.

mod disable;
mod enable;
mod status;

use crate::command::{Command, Group};

pub static COMMAND: Command = Command {
    usage: "auth",
    short: "Enable or disable authentication",
    group: Group::Authentication,

    commands: &[&disable::COMMAND, &enable::COMMAND, &status::COMMAND],
    ..Command::NONE
};
