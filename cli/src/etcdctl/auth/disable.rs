//! `auth disable`.

use crate::command::{Command, Group, Invocation};
use crate::etcdctl::{connect, none};
use crate::exit::{self, Exit};

pub static COMMAND: Command = Command {
    usage: "disable",
    short: "Disables authentication",
    group: Group::Authentication,
    run: Some(|call| Box::pin(run(call))),
    ..Command::NONE
};

async fn run(mut call: Invocation) -> Result<(), Exit> {
    none(call.args(), "auth disable command does not accept any arguments")?;
    let (client, _) = connect::timed(&mut call).await?;
    client.auth_disable().await?;
    exit::print(b"Authentication Disabled\n")
}
