//! `lease timetolive`.

use crate::command::{Command, Flag, Group, Invocation};
use crate::etcdctl::{connect, lease_id, only, text};
use crate::exit::Exit;
use crate::print::Answer;

pub static COMMAND: Command = Command {
    usage: "timetolive <leaseID> [options]",
    short: "Get lease information",
    group: Group::KeyValue,
    flags: &[Flag::bool("keys", "get keys attached to this lease")],
    run: Some(|call| Box::pin(run(call))),
    ..Command::NONE
};

async fn run(mut call: Invocation) -> Result<(), Exit> {
    let word = text(only(call.args(), "lease timetolive command needs lease ID as argument")?);
    let id = lease_id(&word, "lease ID arg")?;
    let keys = call.flags().bool("keys");
    let (client, printer) = connect::untimed(&mut call).await?;
    let response = client.lease_time_to_live(id, keys).await.map_err(Exit::bad_connection)?;
    printer.print(&Answer::LeaseTimeToLive { response, keys })
}
