//! `lease revoke`.

use crate::command::{Command, Group, Invocation};
use crate::etcdctl::{connect, lease_id, only, text};
use crate::exit::Exit;
use crate::print::Answer;

pub static COMMAND: Command = Command {
    usage: "revoke <leaseID>",
    short: "Revokes leases",
    group: Group::KeyValue,
    run: Some(|call| Box::pin(run(call))),
    ..Command::NONE
};

async fn run(mut call: Invocation) -> Result<(), Exit> {
    let word = text(only(call.args(), "lease revoke command needs 1 argument")?);
    let id = lease_id(&word, "lease ID arg")?;
    let (client, printer) = connect::timed(&mut call).await?;
    let failed = |error| Exit::of_call(&error, format!("failed to revoke lease ({error})"));
    let response = client.lease_revoke(id).await.map_err(failed)?;
    printer.print(&Answer::Done { text: format!("lease {id:016x} revoked"), header: response.header })
}
