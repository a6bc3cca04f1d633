//! `snapshot`: backups of a running member. What is done with one is up to `etcdutl`.

mod save;

use crate::command::{Command, Group};

pub static COMMAND: Command = Command {
    usage: "snapshot",
    short: "Manages etcd node snapshots",
    group: Group::Maintenance,

    commands: &[&save::COMMAND],
    ..Command::NONE
};
