//! `lease`: what keeps keys only for as long as somebody cares.

mod grant;
mod keep_alive;
mod list;
mod revoke;
mod timetolive;

use crate::command::{Command, Group};

pub static COMMAND: Command = Command {
    usage: "lease",
    short: "Lease related commands",
    group: Group::KeyValue,

    commands: &[&grant::COMMAND, &keep_alive::COMMAND, &list::COMMAND, &revoke::COMMAND, &timetolive::COMMAND],
    ..Command::NONE
};
