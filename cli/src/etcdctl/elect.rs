//! `elect`: takes part in an election, or watches one.

use bytes::Bytes;
use ferrite_client::Client;
use ferrite_client::concurrency::{Election, Observer, Session};

use super::{connect, signals, text};
use crate::command::{Command, Flag, Group, Invocation};
use crate::exit::Exit;
use crate::print::{Answer, Printer};

pub static COMMAND: Command = Command {
    usage: "elect <election-name> [proposal]",
    short: "Observes and participates in leader election",
    group: Group::Concurrency,
    flags: &[Flag::bool("listen", "observe the election").letter('l')],
    run: Some(|call| Box::pin(run(call))),
    ..Command::NONE
};

/// A session's default.
const TTL: i64 = 0;

async fn run(mut call: Invocation) -> Result<(), Exit> {
    let listen = call.flags().bool("listen");
    let (name, proposal) = match call.args() {
        [name] if listen => (text(name), None),
        [_] => return Err(Exit::bad_args("no proposal argument but -l not set")),
        [_, _] if listen => return Err(Exit::bad_args("proposal given but -l is set")),
        [name, proposal] => (text(name), Some(proposal.clone())),
        _ => {
            let text = "elect takes one election name argument and an optional proposal argument";
            return Err(Exit::bad_args(text));
        }
    };
    let (client, printer) = connect::untimed(&mut call).await?;
    match proposal {
        Some(proposal) => campaign(&client, printer, &name, proposal).await,
        None => observe(&client, printer, &name).await,
    }
}

async fn campaign(client: &Client, printer: Printer, name: &str, proposal: Bytes) -> Result<(), Exit> {
    let mut signals = signals()?;
    let session = Session::new(client, TTL).await?;
    let mut election = Election::new(&session, name);
    let elected = tokio::select! {
        elected = election.campaign(proposal) => elected.map_err(Exit::from),
        _ = signals.recv() => Err(Exit::error("context canceled")),
    };
    if elected.is_err() {
        election.resign().await?;
        return elected;
    }
    let key = election.key().cloned().unwrap_or_default();
    printer.print(&Answer::Get { response: client.get(key).await?, values_only: false })?;
    tokio::select! {
        _ = signals.recv() => Ok(election.resign().await?),
        () = session.done() => Err(Exit::error("elect: session expired")),
    }
}

async fn observe(client: &Client, printer: Printer, name: &str) -> Result<(), Exit> {
    let mut signals = signals()?;
    let mut observer = Observer::new(client, name);
    loop {
        tokio::select! {
            seen = observer.next() => match seen {
                Ok(response) => printer.print(&Answer::Get { response, values_only: false })?,
                Err(_) => return Err(Exit::error("elect: observer lost")),
            },
            _ = signals.recv() => return Ok(()),
        }
    }
}
