//! `version`.

use crate::command::{Command, Group, Invocation};
use crate::exit::{self, Exit};

pub static COMMAND: Command = Command {
    usage: "version",
    short: "Prints the version of etcdctl",
    group: Group::Utility,
    run: Some(|call| Box::pin(run(call))),
    ..Command::NONE
};

/// The version of etcd whose behaviour this is.
pub const VERSION: &str = "3.7.1";

async fn run(_: Invocation) -> Result<(), Exit> {
    exit::print(format!("etcdctl version: {VERSION}\nAPI version: 3.7\n").as_bytes())
}
