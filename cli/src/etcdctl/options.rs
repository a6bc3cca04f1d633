//! `options`: the global flags.

use super::GLOBAL_FLAGS;
use crate::command::{Command, Group, Invocation, flag_lines};
use crate::exit::{self, Exit};

pub static COMMAND: Command = Command {
    usage: "options",
    short: "List of global command-line options (applies to all commands)",
    group: Group::Utility,
    run: Some(|call| Box::pin(run(call))),
    ..Command::NONE
};

async fn run(_: Invocation) -> Result<(), Exit> {
    let lines = flag_lines(GLOBAL_FLAGS.iter().map(|flag| (*flag, flag.help.to_string())).collect());
    exit::print(format!("The following options can be passed to any command:\n\n{lines}").as_bytes())
}
