//! `elect`: takes part in an election, or watches one.

use super::not_built;
use crate::command::{Command, Flag, Group};

pub static COMMAND: Command = Command {
    usage: "elect <election-name> [proposal]",
    short: "Observes and participates in leader election",
    group: Group::Concurrency,
    flags: &[Flag::bool("listen", "observe the election").letter('l')],
    run: Some(|call| Box::pin(not_built(call))),
    ..Command::NONE
};
