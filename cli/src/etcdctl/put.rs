//! `put`: writes a key.

use std::io::Read as _;

use bytes::Bytes;
use ferrite_client::Put;

use super::{connect, lease_id};
use crate::command::{Command, Flag, Group, Invocation, Words};
use crate::exit::Exit;
use crate::print::Answer;

pub static COMMAND: Command = Command {
    usage: "put [options] <key> <value> (<value> can also be given from stdin)",
    short: "Puts the given key into the store",
    long: "\
Puts the given key into the store.

When <value> begins with '-', <value> is interpreted as a flag.
Insert '--' for workaround:

$ put <key> -- <value>
$ put -- <key> <value>

If <value> isn't given as a command line argument and '--ignore-value' is not specified,
this command tries to read the value from standard input.

If <lease> isn't given as a command line argument and '--ignore-lease' is specified,
the key keeps the lease it has.

For example,
$ cat file | put <key>
will store the content of the file to <key>.",
    group: Group::KeyValue,
    flags: &[
        Flag::text("lease", "0", "lease ID (in hexadecimal) to attach to the key"),
        Flag::bool("prev-kv", "return the previous key-value pair before modification"),
        Flag::bool("ignore-value", "keep the key's value"),
        Flag::bool("ignore-lease", "keep the key's lease"),
    ],
    run: Some(|call| Box::pin(run(call))),
    ..Command::NONE
};

async fn run(mut call: Invocation) -> Result<(), Exit> {
    let put = operation(&call.words, read_value)?;
    let (client, printer) = connect::timed(&mut call).await?;
    printer.print(&Answer::Put(client.put(put).await?))
}

/// The write that `words` ask for; `read` gives the value if they have none.
pub fn operation(words: &Words, read: fn() -> Option<Bytes>) -> Result<Put, Exit> {
    let (flags, args) = (&words.flags, &words.args);
    let complaint = || Exit::bad_args("put command needs 1 argument and input from stdin or 2 arguments");
    let key = args.first().ok_or_else(complaint)?;
    let ignore_value = flags.bool("ignore-value");
    if ignore_value && args.len() > 1 {
        return Err(Exit::bad_args("put command needs only 1 argument when 'ignore-value' is set"));
    }
    let value = match args.get(1) {
        Some(value) => value.clone(),
        None if ignore_value => Bytes::new(),
        None => read().ok_or_else(complaint)?,
    };
    let mut put = Put::new(key.clone(), value).lease(lease_id(flags.text("lease"), "lease ID")?);
    if flags.bool("prev-kv") {
        put = put.prev_kv();
    }
    if ignore_value {
        put = put.ignore_value();
    }
    if flags.bool("ignore-lease") {
        put = put.ignore_lease();
    }
    Ok(put)
}

/// All of standard input, to the last newline.
fn read_value() -> Option<Bytes> {
    let mut value = Vec::new();
    std::io::stdin().lock().read_to_end(&mut value).ok()?;
    (!value.is_empty()).then(|| value.into())
}
