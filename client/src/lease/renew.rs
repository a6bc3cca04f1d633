//! The task that keeps a client's leases alive: one stream for all of them.
//!
//! It asks for each lease when a third of its time has passed, and again every half second until there is an answer. A lease whose
//! time has passed without one is given up. A broken stream is opened again half a second later, for ever.

use std::collections::HashMap;
use std::time::Duration;

use ferrite_proto::etcdserverpb::{LeaseKeepAliveRequest, LeaseKeepAliveResponse};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryFutureExt};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;

use super::Renew;
use crate::call::{Scope, SharedWire, rest};
use crate::error::Error;
use crate::stubs::lease_client::LeaseClient;

/// How long to wait for an answer before asking again.
const REPEAT: Duration = Duration::from_millis(500);
/// The shortest time between two rounds over all leases: what falls due meanwhile goes out together.
const SHORTEST_ROUND: Duration = Duration::from_millis(10);
const REOPEN: Duration = Duration::from_millis(500);
/// Requests handed to the transport and not yet sent. Full: the rest is asked for half a second later.
const OUTGOING_REQUESTS: usize = 1024;

/// A lease that is kept alive.
#[derive(Debug)]
struct Kept {
    readers: Vec<mpsc::Sender<LeaseKeepAliveResponse>>,
    due: Instant,
    lost: Instant,
}

/// All leases that are kept alive: the part that knows no stream or task.
#[derive(Debug, Default)]
struct Leases(HashMap<i64, Kept>);

impl Leases {
    fn add(&mut self, renew: Renew, now: Instant) {
        let lost = now + renew.first_within;
        let kept = self.0.entry(renew.id).or_insert(Kept { readers: Vec::new(), due: now, lost });
        kept.readers.push(renew.answers);
    }

    /// Gives up what is lost or unwanted, and returns what is due.
    fn round(&mut self, now: Instant) -> Vec<i64> {
        self.0.retain(|_, kept| {
            kept.readers.retain(|reader| !reader.is_closed());
            !kept.readers.is_empty() && kept.lost > now
        });
        let due = self.0.iter_mut().filter(|(_, kept)| kept.due <= now);
        due.map(|(id, kept)| {
            kept.due = now + REPEAT;
            *id
        })
        .collect()
    }

    /// When there is something to do next.
    fn next_round(&self) -> Option<Instant> {
        self.0.values().map(|kept| kept.due.min(kept.lost)).min()
    }

    fn on_answer(&mut self, answer: LeaseKeepAliveResponse, now: Instant) {
        if answer.ttl <= 0 {
            self.0.remove(&answer.id);
            return;
        }
        let Some(kept) = self.0.get_mut(&answer.id) else { return };
        let ttl = Duration::from_secs(answer.ttl as u64);
        (kept.due, kept.lost) = (now + ttl / 3, now + ttl);
        for reader in &kept.readers {
            // Full: this reader misses an answer, which the next one makes up for. Closed: the next round sees it.
            let _ = reader.try_send(answer);
        }
    }
}

type Answers = BoxStream<'static, Result<LeaseKeepAliveResponse, Error>>;

pub(super) async fn run(wire: SharedWire, mut commands: mpsc::UnboundedReceiver<Renew>) {
    let mut leases = Leases::default();
    let mut last_round = Instant::now();
    let (mut requests, mut answers) = open(&wire, Duration::ZERO);
    loop {
        // A lease comes with a command, so without one there is nothing to wake up for.
        let next = leases.next_round().map(|next| next.max(last_round + SHORTEST_ROUND));
        let round = async {
            match next {
                Some(next) => tokio::time::sleep_until(next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            command = commands.recv() => match command {
                Some(renew) => leases.add(renew, Instant::now()),
                None => return,
            },
            answer = answers.next() => match answer {
                Some(Ok(answer)) => leases.on_answer(answer, Instant::now()),
                Some(Err(_)) | None => (requests, answers) = open(&wire, REOPEN),
            },
            () = round => {
                last_round = Instant::now();
                for id in leases.round(last_round) {
                    if requests.try_send(LeaseKeepAliveRequest { id }).is_err() {
                        break;
                    }
                }
            }
        }
    }
}

/// A stream whose opening is its reader's first wait: the server answers only once it has got a request.
fn open(wire: &SharedWire, wait: Duration) -> (mpsc::Sender<LeaseKeepAliveRequest>, Answers) {
    let (sender, requests) = mpsc::channel(OUTGOING_REQUESTS);
    let wire = wire.clone();
    let opening = async move {
        rest(wait).await;
        let scope = Scope { require_leader: true, deadline: None };
        let open = move |pool, r| async move { LeaseClient::new(pool).lease_keep_alive(r).await };
        let answers = wire.stream(scope, ReceiverStream::new(requests), open).await?;
        Ok(answers.map(|answer| answer.map_err(Error::from)))
    };
    (sender, opening.try_flatten_stream().boxed())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(ttl: i64) -> LeaseKeepAliveResponse {
        LeaseKeepAliveResponse { id: 7, ttl, ..LeaseKeepAliveResponse::default() }
    }

    fn kept(now: Instant) -> (Leases, mpsc::Receiver<LeaseKeepAliveResponse>) {
        let (answers, reader) = mpsc::channel(2);
        let mut leases = Leases::default();
        leases.add(Renew { id: 7, answers, first_within: Duration::from_secs(3) }, now);
        (leases, reader)
    }

    #[test]
    fn a_lease_is_asked_for_until_answered_and_then_after_a_third_of_its_time() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let (mut leases, _reader) = kept(start);
        assert_eq!(leases.round(at(0)), [7]);
        assert_eq!(leases.round(at(0)), [] as [i64; 0], "give it time");
        assert_eq!(leases.next_round(), Some(at(0) + REPEAT));
        assert_eq!(leases.round(at(1)), [7], "no answer yet");
        leases.on_answer(answer(9), at(1));
        assert_eq!(leases.next_round(), Some(at(4)));
        assert_eq!(leases.round(at(3)), [] as [i64; 0]);
        assert_eq!(leases.round(at(4)), [7]);
    }

    #[test]
    fn a_lease_is_given_up_when_its_time_has_passed() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        //    first answer at    given up at
        for (answered, lost) in [(None, 3), (Some(2), 12)] {
            let (mut leases, mut reader) = kept(start);
            if let Some(answered) = answered {
                leases.on_answer(answer(10), at(answered));
                assert!(reader.try_recv().is_ok());
            }
            leases.round(at(lost - 1));
            assert_eq!(reader.try_recv(), Err(mpsc::error::TryRecvError::Empty), "still kept");
            leases.round(at(lost));
            assert_eq!(reader.try_recv(), Err(mpsc::error::TryRecvError::Disconnected));
        }
    }

    #[test]
    fn a_lease_that_is_gone_closes_its_readers_and_a_slow_reader_does_not_stop_renewal() {
        let now = Instant::now();
        let (mut leases, mut reader) = kept(now);
        for _ in 0..5 {
            leases.on_answer(answer(10), now);
        }
        assert_eq!(leases.0[&7].lost, now + Duration::from_secs(10));
        leases.on_answer(answer(0), now);
        assert!(leases.0.is_empty());
        assert!(reader.try_recv().is_ok() && reader.try_recv().is_ok());
        assert_eq!(reader.try_recv(), Err(mpsc::error::TryRecvError::Disconnected));
    }

    #[test]
    fn nobody_reads_nobody_renews() {
        let now = Instant::now();
        let (mut leases, reader) = kept(now);
        drop(reader);
        assert_eq!(leases.round(now), [] as [i64; 0]);
        assert!(leases.0.is_empty());
    }
}
