//! `del`: deletes keys.

use std::time::Duration;

use ferrite_client::Delete;

use super::connect;
use super::get::{PREFIX_AND_FROM_KEY, TOO_MANY_FOR_RANGE};
use crate::command::{Command, Flag, Group, Invocation, Words};
use crate::exit::Exit;
use crate::go::quote::quote;
use crate::print::Answer;

pub static COMMAND: Command = Command {
    usage: "del [options] <key> [range_end]",
    short: "Removes the specified key or range of keys [key, range_end)",
    group: Group::KeyValue,
    flags: &[
        Flag::bool("prefix", "delete keys with matching prefix"),
        Flag::bool("prev-kv", "return deleted key-value pairs"),
        Flag::bool("from-key", "delete keys that are greater than or equal to the given key"),
        Flag::bool("range", "delete a range of keys without the delay that lets one think again"),
    ],
    run: Some(|call| Box::pin(run(call))),
    ..Command::NONE
};

/// How long one has to think again.
const DELAY: Duration = Duration::from_secs(2);

async fn run(mut call: Invocation) -> Result<(), Exit> {
    let delete = operation(&call.words).await?;
    let (client, printer) = connect::timed(&mut call).await?;
    printer.print(&Answer::Delete(client.delete(delete).await?))
}

/// The deletion that `words` ask for.
pub async fn operation(words: &Words) -> Result<Delete, Exit> {
    let flags = &words.flags;
    let [key, end @ ..] = &words.args[..] else { return Err(Exit::bad_args(ARGUMENTS)) };
    if end.len() > 1 {
        return Err(Exit::bad_args(ARGUMENTS));
    }
    let (prefix, from_key) = (flags.bool("prefix"), flags.bool("from-key"));
    if prefix && from_key {
        return Err(Exit::bad_args(PREFIX_AND_FROM_KEY));
    }
    let mut delete = Delete::new(key.clone());
    if let Some(end) = end.first() {
        if prefix || from_key {
            return Err(Exit::bad_args(TOO_MANY_FOR_RANGE));
        }
        delete = delete.range(end.clone());
        if !flags.bool("range") {
            eprintln!(
                "Warning: Keys between {} and {} will be deleted. Please interrupt the command within next 2 seconds to \
                 cancel. You can provide `--range` flag to avoid the delay.",
                quote(key),
                quote(end)
            );
            tokio::time::sleep(DELAY).await;
        }
    }
    if prefix {
        delete = delete.prefix();
    }
    if from_key {
        delete = delete.from_key();
    }
    if flags.bool("prev-kv") {
        delete = delete.prev_kv();
    }
    Ok(delete)
}

const ARGUMENTS: &str = "del command needs one argument as key and an optional argument as range_end";
