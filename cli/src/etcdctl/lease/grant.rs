//! `lease grant`.

use crate::command::{Command, Group, Invocation};
use crate::etcdctl::{connect, only, text};
use crate::exit::Exit;
use crate::go::number::parse_int;
use crate::print::Answer;

pub static COMMAND: Command = Command {
    usage: "grant <ttl>",
    short: "Creates leases",
    group: Group::KeyValue,
    run: Some(|call| Box::pin(run(call))),
    ..Command::NONE
};

async fn run(mut call: Invocation) -> Result<(), Exit> {
    let word = text(only(call.args(), "lease grant command needs TTL argument")?);
    let ttl = parse_int(&word, Some(10)).map_err(|reason| Exit::bad_args(format!("bad TTL ({reason})")))?;
    let (client, printer) = connect::timed(&mut call).await?;
    let failed = |error| Exit::of_call(&error, format!("failed to grant lease ({error})"));
    printer.print(&Answer::LeaseGrant(client.lease_grant(ttl).await.map_err(failed)?))
}
