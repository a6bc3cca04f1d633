//! `alarm`: what has gone wrong in a way that restricts a cluster.

mod disarm;
mod list;

use crate::command::{Command, Group};

pub static COMMAND: Command = Command {
    usage: "alarm",
    short: "Alarm related commands",
    group: Group::Maintenance,

    commands: &[&disarm::COMMAND, &list::COMMAND],
    ..Command::NONE
};
