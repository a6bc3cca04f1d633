//! `compaction`: forgets old revisions.

use super::{connect, only, text};
use crate::command::{Command, Flag, Group, Invocation};
use crate::exit::{self, Exit};
use crate::go::number::parse_int;

pub static COMMAND: Command = Command {
    usage: "compaction [options] <revision>",
    short: "Compacts the event history in etcd",
    group: Group::KeyValue,
    flags: &[Flag::bool("physical", "wait until the old revisions are gone from the store")],
    run: Some(|call| Box::pin(run(call))),
    ..Command::NONE
};

async fn run(mut call: Invocation) -> Result<(), Exit> {
    let word = text(only(call.args(), "compaction command needs 1 argument")?);
    let revision = parse_int(&word, Some(10)).map_err(Exit::error)?;
    let physical = call.flags().bool("physical");
    let (client, _) = connect::timed(&mut call).await?;
    client.compact(revision, physical).await?;
    exit::print(format!("compacted revision {revision}\n").as_bytes())
}
