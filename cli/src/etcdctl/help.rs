//! `help`.

use crate::command::{Command, Group, Invocation, help_about};
use crate::exit::{self, Exit};

pub static COMMAND: Command = Command {
    usage: "help [command]",
    short: "Help about any command",
    group: Group::Utility,
    run: Some(|call| Box::pin(run(call))),
    ..Command::NONE
};

async fn run(call: Invocation) -> Result<(), Exit> {
    match help_about(call.path[0], call.args()) {
        Ok(help) => exit::print(help.as_bytes()),
        Err(complaint) => {
            eprint!("{complaint}");
            Ok(())
        }
    }
}
