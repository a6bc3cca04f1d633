//! `downgrade`: going back to an older version.

mod cancel;
mod enable;
mod validate;

use crate::command::{Command, Group};

pub static COMMAND: Command = Command {
    usage: "downgrade",
    short: "Downgrade related commands",
    group: Group::Maintenance,

    commands: &[&cancel::COMMAND, &enable::COMMAND, &validate::COMMAND],
    ..Command::NONE
};
