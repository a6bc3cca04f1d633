//! `etcdutl`: the table of its commands. They work on files; so far only what needs none is built.

use crate::command::{Command, Flag, Group, Invocation, Kind, completion};
use crate::exit::{self, Exit};

/// The command line as a whole.
pub static ROOT: Command = Command {
    usage: "etcdutl",
    short: "An administrative command line tool for etcd3.",
    persistent: GLOBAL_FLAGS,
    commands: &[&COMPLETION, &DEFRAG, &HASHKV, &MIGRATE, &SNAPSHOT, &VERSION],
    ..Command::NONE
};

const GLOBAL_FLAGS: &[Flag] = &[
    Flag::new(Kind::Duration, "timeout", "10s", "how long to wait for the lock of the database (0: for ever)"),
    Flag::text("write-out", "simple", "set the output format (fields, json, protobuf, simple, table)").letter('w'),
];

static COMPLETION: Command = Command {
    usage: "completion [bash|zsh|fish|powershell]",
    short: "Generate completion script",
    group: Group::Utility,
    one_of: completion::SHELLS,
    run: Some(|call| Box::pin(print_completion(call))),
    ..Command::NONE
};

static VERSION: Command = Command {
    usage: "version",
    short: "Prints the version of etcdutl",
    group: Group::Utility,
    run: Some(|_| Box::pin(async { exit::print(b"etcdutl version: 3.7.1\nAPI version: 3.7\n") })),
    ..Command::NONE
};

static DEFRAG: Command = Command { usage: "defrag", short: "Defragments the storage of the etcd", ..NOT_BUILT };
static HASHKV: Command =
    Command { usage: "hashkv <filename>", short: "Prints the KV history hash of a given file", ..NOT_BUILT };
static MIGRATE: Command = Command { usage: "migrate", short: "Migrates schema of etcd data dir files", ..NOT_BUILT };
static SNAPSHOT: Command = Command {
    usage: "snapshot <subcommand>",
    short: "Manages etcd node snapshots",
    commands: &[&RESTORE, &STATUS],
    ..Command::NONE
};
static RESTORE: Command = Command {
    usage: "restore <filename>",
    short: "Restores an etcd member snapshot to an etcd directory",
    ..NOT_BUILT
};
static STATUS: Command =
    Command { usage: "status <filename>", short: "Gets backend snapshot status of a given file", ..NOT_BUILT };

/// What a command is that is known, and refused.
const NOT_BUILT: Command =
    Command { group: Group::Maintenance, run: Some(|call| Box::pin(refuse(call))), ..Command::NONE };

async fn refuse(call: Invocation) -> Result<(), Exit> {
    let names: Vec<&str> = call.path.iter().map(|command| command.name()).collect();
    Err(Exit::error(format!("{} is not built yet", names.join(" "))))
}

async fn print_completion(call: Invocation) -> Result<(), Exit> {
    exit::print(completion::script(call.path[0].name(), &call.args()[0]).as_bytes())
}
