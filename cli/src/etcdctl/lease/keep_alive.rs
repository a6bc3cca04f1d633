//! `lease keep-alive`.

use crate::command::{Command, Flag, Group, Invocation};
use crate::etcdctl::{connect, lease_id, only, text};
use crate::exit;
use crate::exit::Exit;
use crate::print::Answer;
use crate::print::Format;

pub static COMMAND: Command = Command {
    usage: "keep-alive [options] <leaseID>",
    short: "Keeps leases alive (renew)",
    group: Group::KeyValue,
    flags: &[Flag::bool("once", "renew the lease once, then exit")],
    run: Some(|call| Box::pin(run(call))),
    ..Command::NONE
};

async fn run(mut call: Invocation) -> Result<(), Exit> {
    let word = text(only(call.args(), "lease keep-alive command needs lease ID as argument")?);
    let id = lease_id(&word, "lease ID arg")?;
    let once = call.flags().bool("once");
    let (client, printer) = connect::untimed(&mut call).await?;
    if once {
        let answer = client.keep_alive_once(id).await.map_err(Exit::bad_connection)?;
        return printer.print(&Answer::LeaseKeepAlive(answer));
    }
    let mut kept = client.keep_alive(id).map_err(Exit::bad_connection)?;
    while let Some(answer) = kept.next().await {
        printer.print(&Answer::LeaseKeepAlive(answer))?;
    }
    if printer.format == Format::Simple {
        exit::print(format!("lease {id:016x} expired or revoked.\n").as_bytes())?;
    }
    Ok(())
}
