//! `lock`: holds a named lock, by itself or while a command runs.

use super::not_built;
use crate::command::{Command, Flag, Group, Kind};

pub static COMMAND: Command = Command {
    usage: "lock <lockname> [exec-command arg1 arg2 ...]",
    short: "Acquires a named lock",
    group: Group::Concurrency,
    flags: &[Flag::new(Kind::Int, "ttl", "10", "seconds after which a lock whose holder is gone is free")],
    run: Some(|call| Box::pin(not_built(call))),
    ..Command::NONE
};
