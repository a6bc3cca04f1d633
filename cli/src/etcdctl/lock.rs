//! `lock`: holds a named lock, by itself or while a command runs.

use std::process::Command as Process;

use bytes::Bytes;
use ferrite_client::concurrency::{Mutex, Session};
use ferrite_client::{Client, Error};

use super::{connect, signals, text};
use crate::command::{Command, Flag, Group, Invocation, Kind};
use crate::exit::Exit;
use crate::print::{Answer, Printer};
use crate::process::{self, Failure};

pub static COMMAND: Command = Command {
    usage: "lock <lockname> [exec-command arg1 arg2 ...]",
    short: "Acquires a named lock",
    group: Group::Concurrency,
    flags: &[Flag::new(Kind::Int, "ttl", "10", "seconds after which a lock whose holder is gone is free")],
    run: Some(|call| Box::pin(run(call))),
    ..Command::NONE
};

async fn run(mut call: Invocation) -> Result<(), Exit> {
    let [name, exec @ ..] = call.args() else {
        return Err(Exit::bad_args("lock takes a lock name argument and an optional command to execute"));
    };
    let (name, exec) = (text(name), exec.to_vec());
    let ttl = call.flags().int("ttl");
    let (client, printer) = connect::untimed(&mut call).await?;
    let mut signals = signals()?;
    let session = Session::new(&client, ttl).await?;
    let mut mutex = Mutex::new(&session, &name);
    let locked = tokio::select! {
        locked = mutex.lock() => locked.map_err(Exit::from),
        // Whoever waits behind us would wait for our lease.
        _ = signals.recv() => Err(Exit::error("context canceled")),
    };
    if locked.is_err() {
        mutex.unlock().await?;
        return locked;
    }
    if !exec.is_empty() {
        let ran = process::run(command(&mutex, &exec)).await;
        mutex.unlock().await?;
        return ran.map_err(failed);
    }
    show(&client, printer, &mutex).await?;
    tokio::select! {
        _ = signals.recv() => Ok(mutex.unlock().await?),
        () = session.done() => Err(Exit::error("session expired")),
    }
}

/// The command, with the lock in its environment; what is there already under these names stays.
fn command(mutex: &Mutex<'_>, exec: &[Bytes]) -> Process {
    let key = mutex.key().map(|key| String::from_utf8_lossy(key).into_owned()).unwrap_or_default();
    let revision = mutex.header().unwrap_or_default().revision.to_string();
    let mut variables = vec![("ETCD_LOCK_KEY", key), ("ETCD_LOCK_REV", revision)];
    variables.retain(|(name, _)| std::env::var_os(name).is_none());
    process::command(exec, &variables)
}

fn failed(failure: Failure) -> Exit {
    let code = match failure {
        Failure::NotStarted(_) => 1,
        Failure::Code(code) => code as u8,
        Failure::Signal(_) => 255,
    };
    Exit::error(failure).with_code(code)
}

async fn show(client: &Client, printer: Printer, mutex: &Mutex<'_>) -> Result<(), Exit> {
    let key = mutex.key().ok_or(Error::SessionExpired)?.clone();
    let response = client.get(key).await?;
    if response.kvs.is_empty() {
        return Err(Exit::error("lock lost on init"));
    }
    printer.print(&Answer::Get { response, values_only: false })
}
