//! Streams of clients that asked for a leader (metadata `hasleader`): they end when there has been none for a while, so
//! that the client looks for another member. New ones are refused at once (`Services::admit`): that costs less.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::sync::Notify;

use super::RequestError;
use crate::rpc::{Caller, Status};

/// Election timeouts without a leader, looked at once in each, after which streams end.
const MAX_LOOKS_WITHOUT: u32 = 3;

/// The streams of a net thread.
#[derive(Debug, Default)]
pub struct LedStreams {
    lost: Notify,
}

/// Whether a call is only to be served by a member that knows a leader.
pub fn wants_leader(caller: &Caller) -> bool {
    caller.metadata.get("hasleader") == Some(b"true")
}

impl LedStreams {
    /// Looks for a leader in each election timeout, for as long as the net thread serves.
    pub async fn drive(&self, election_timeout: Duration, has_leader: impl Fn() -> bool) {
        let mut without = 0;
        loop {
            tokio::time::sleep(election_timeout).await;
            without = if has_leader() { 0 } else { without + 1 };
            if without >= MAX_LOOKS_WITHOUT {
                self.lost.notify_waiters();
            }
        }
    }

    /// Serves a stream; if its client asked for a leader, for as long as there is one.
    pub async fn serve<T>(
        &self,
        wants_leader: bool,
        stream: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        if !wants_leader {
            return stream.await;
        }
        match select(pin!(stream), pin!(self.lost.notified())).await {
            Either::Left((ended, _)) => ended,
            Either::Right(_) => Err(RequestError::NoLeader.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(1);

    /// Whether streams have ended after so many election timeouts in which a leader was known (`l`) or not (`-`): one that
    /// asked for a leader, one that did not, one that ended by itself.
    async fn ended(timeouts: &str) -> [bool; 3] {
        let streams = LedStreams::default();
        let has_leader = Cell::new(true);
        let ended = Cell::new([false; 3]);
        let mark = |which: usize| {
            let mut all = ended.get();
            all[which] = true;
            ended.set(all);
        };
        let asked = async {
            let refused = streams.serve(true, std::future::pending::<Result<(), Status>>()).await.unwrap_err();
            assert_eq!(refused.message, "etcdserver: no leader");
            mark(0);
        };
        let did_not = async {
            let _ = streams.serve(false, std::future::pending::<Result<(), Status>>()).await;
            mark(1);
        };
        let by_itself = async {
            streams.serve(true, async { Ok(()) }).await.unwrap();
            mark(2);
        };
        let time = async {
            tokio::time::sleep(TIMEOUT / 2).await;
            for each in timeouts.chars() {
                has_leader.set(each == 'l');
                tokio::time::sleep(TIMEOUT).await;
            }
        };
        let drive = streams.drive(TIMEOUT, || has_leader.get());
        tokio::select! {
            () = async { tokio::join!(asked, did_not, by_itself); } => {}
            () = drive => {}
            () = time => {}
        }
        ended.get()
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_when_three_looks_in_a_row_find_no_leader() {
        for (timeouts, asked) in [("lll", false), ("--l--", false), ("---", true), ("-l---", true)] {
            assert_eq!(ended(timeouts).await, [asked, false, true], "{timeouts}");
        }
    }
}
