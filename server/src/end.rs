//! What ends the server: a signal, or its cluster.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// A member that was removed goes on for so long: others hear that its removal is applied.
const FAREWELL: Duration = Duration::from_secs(1);

/// What ended the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A signal: its number and name.
    Signal(i32, &'static str),
    /// This member was removed from its cluster.
    Removed,
}

/// Waits for the end. Signals that come from its making on are heard.
#[derive(Debug)]
pub struct Ending {
    terminate: Signal,
    interrupt: Signal,
    removed: watch::Receiver<bool>,
}

impl Ending {
    /// `removed` becomes true when this member is one no more.
    pub fn new(removed: watch::Receiver<bool>) -> io::Result<Ending> {
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(Ending { terminate, interrupt, removed })
    }

    /// What ends the server.
    pub async fn wait(&mut self) -> End {
        let removed = async {
            if self.removed.wait_for(|removed| *removed).await.is_err() {
                // Nobody is left who could remove it.
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(FAREWELL).await;
        };
        tokio::select! {
            _ = self.terminate.recv() => End::Signal(SignalKind::terminate().as_raw_value(), "terminated"),
            _ = self.interrupt.recv() => End::Signal(SignalKind::interrupt().as_raw_value(), "interrupt"),
            () = removed => End::Removed,
        }
    }

    /// What a future comes to, unless the end comes first.
    pub async fn unless<T>(&mut self, future: impl Future<Output = T>) -> Result<T, End> {
        tokio::select! {
            end = self.wait() => Err(end),
            done = future => Ok(done),
        }
    }
}
