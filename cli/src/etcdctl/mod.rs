//! `etcdctl`: the table of its commands and global flags.

mod alarm;
mod auth;
mod check;
mod compaction;
mod completion;
mod connect;
mod defrag;
mod del;
mod downgrade;
mod elect;
mod endpoint;
mod get;
mod help;
mod lease;
mod lock;
mod make_mirror;
mod member;
mod move_leader;
mod options;
mod put;
mod role;
mod snapshot;
mod txn;
mod user;
mod version;
mod watch;

use bytes::Bytes;

use crate::command::{Command, Flag, Kind};
use crate::exit::Exit;
use crate::go::number::parse_int;

/// The command line as a whole.
pub static ROOT: Command = Command {
    usage: "etcdctl",
    short: "A simple command line client for etcd3.",
    persistent: GLOBAL_FLAGS,
    commands: &[
        &alarm::COMMAND,
        &auth::COMMAND,
        &check::COMMAND,
        &compaction::COMMAND,
        &completion::COMMAND,
        &defrag::COMMAND,
        &del::COMMAND,
        &downgrade::COMMAND,
        &elect::COMMAND,
        &endpoint::COMMAND,
        &get::COMMAND,
        &help::COMMAND,
        &lease::COMMAND,
        &lock::COMMAND,
        &make_mirror::COMMAND,
        &member::COMMAND,
        &move_leader::COMMAND,
        &options::COMMAND,
        &put::COMMAND,
        &role::COMMAND,
        &snapshot::COMMAND,
        &txn::COMMAND,
        &user::COMMAND,
        &version::COMMAND,
        &watch::COMMAND,
    ],
    ..Command::NONE
};

const GLOBAL_FLAGS: &[Flag] = &[
    Flag::new(Kind::Texts, "endpoints", "127.0.0.1:2379", "gRPC endpoints"),
    Flag::bool("debug", "show all settings on standard error"),
    Flag::text("write-out", "simple", "set the output format (fields, json, protobuf, simple, table)").letter('w'),
    Flag::bool("hex", "print byte strings as hex encoded strings"),
    Flag::new(Kind::Duration, "dial-timeout", "2s", "how long authentication may take when the client is created"),
    Flag::new(Kind::Duration, "command-timeout", "5s", "how long a short command may take"),
    Flag::new(Kind::Duration, "keepalive-time", "2s", "how often to ping an idle connection (at least every 10s)"),
    Flag::new(Kind::Duration, "keepalive-timeout", "6s", "how long to wait for the answer to a ping"),
    Flag::int("max-request-bytes", "the largest request to send, in bytes (0: 2 MiB)"),
    Flag::int("max-recv-bytes", "the largest response to accept, in bytes (0: 2 GiB)"),
    Flag::new(Kind::Bool, "insecure-transport", "true", "allow connections without TLS"),
    Flag::new(Kind::Bool, "insecure-discovery", "true", "accept SRV records that describe endpoints without TLS"),
    Flag::bool("insecure-skip-tls-verify", "do not verify the server's certificate (for tests only)"),
    Flag::text("cert", "", "identify with this TLS certificate file"),
    Flag::text("key", "", "identify with this TLS key file"),
    Flag::text("cacert", "", "verify servers with this bundle of certificates"),
    Flag::text("auth-jwt-token", "", "JWT to authenticate with, instead of a user and a password"),
    Flag::text("user", "", "username[:password] to authenticate with (asked for if not given)"),
    Flag::text("password", "", "password to authenticate with (then --user is the name alone)"),
    Flag::text("discovery-srv", "", "domain to ask for SRV records that describe the endpoints").letter('d'),
    Flag::text("discovery-srv-name", "", "service name to ask for"),
];

/// SIGINT and SIGTERM, from now on: for commands that have something to give back.
fn signals() -> Result<tokio::sync::mpsc::Receiver<()>, Exit> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Exit::error)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Exit::error)?;
    // One is enough: after it the command ends.
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        let _ = sender.send(()).await; // nobody waits for it any more
        std::future::pending::<()>().await
    });
    Ok(receiver)
}

/// A word as text.
fn text(word: &Bytes) -> String {
    String::from_utf8_lossy(word).into_owned()
}

/// The only word, or this complaint.
fn only<'a>(args: &'a [Bytes], complaint: &str) -> Result<&'a Bytes, Exit> {
    match args {
        [word] => Ok(word),
        _ => Err(Exit::bad_args(complaint)),
    }
}

/// No words, or this complaint.
fn none(args: &[Bytes], complaint: &str) -> Result<(), Exit> {
    if args.is_empty() { Ok(()) } else { Err(Exit::bad_args(complaint)) }
}

/// A lease's id; `what` is what the complaint calls it.
fn lease_id(word: &str, what: &str) -> Result<i64, Exit> {
    parse_int(word, Some(16)).map_err(|reason| Exit::bad_args(format!("bad {what} ({reason}), expecting ID in Hex")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_parses_its_own_defaults_and_says_what_it_is() {
        fn check(command: &'static Command) {
            assert!(!command.short.is_empty(), "{}", command.usage);
            crate::command::parse(&[], &command.flags.iter().collect::<Vec<_>>()).unwrap();
            assert!(command.run.is_some() || !command.commands.is_empty(), "{} does nothing", command.usage);
            command.commands.iter().for_each(|command| check(command));
        }
        check(&ROOT);
        assert_eq!(GLOBAL_FLAGS.len(), 21);
    }
}
