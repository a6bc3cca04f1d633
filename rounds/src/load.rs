//! Clients: each asks one member, one request after the other, and notes what it asks and is told.
//!
//! All rounds share one history and one clock, so that what an early one was told can be held against what is read late.

use std::cell::{Cell, Ref, RefCell};
use std::ops::Range;
use std::rc::Rc;
use std::time::{Duration, Instant};

use ferrite_client::proto::etcdserverpb::{RangeResponse, ResponseHeader, ResponseOp, response_op};
use ferrite_client::proto::mvccpb::KeyValue;
use ferrite_client::{Client, Compare, Config, Delete, Error, Get, Put, Txn};
use ferrite_sim::{History, Operation, Outcome, SLOTS, Value, Values};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_local};

use crate::member::endpoint;
use crate::{AnyError, Dice, MEMBERS};

const CLIENTS: usize = 8;
/// Groups of keys that a round writes. No other round does; others read them.
const GROUPS: u64 = 4;
/// A request that takes longer is given up; it may still come to pass.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two attempts at what has to succeed in the end.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(100);
/// Between two requests of a client, at most: the pace of the load.
const PAUSE_MS: u64 = 15;
/// The same behind an error: what may have come to pass is tried in every order, and much of it tells little.
const PAUSE_AFTER_ERROR_MS: u64 = 500;

/// Requests that are being made.
pub(crate) struct Load {
    clients: Vec<JoinHandle<Result<u64, Error>>>,
    stop: watch::Sender<bool>,
}

/// What everybody notes, from the first round to the last.
#[derive(Clone)]
pub(crate) struct Notes {
    history: Rc<RefCell<History>>,
    /// No two requests write the same value.
    last_value: Rc<Cell<Value>>,
    begun: Instant,
}

impl Notes {
    pub fn begin() -> Notes {
        Notes { history: Rc::default(), last_value: Rc::default(), begun: Instant::now() }
    }

    /// What the times of the history say now.
    pub fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    pub fn history(&self) -> Ref<'_, History> {
        self.history.borrow()
    }

    fn new_value(&self) -> Value {
        self.last_value.set(self.last_value.get() + 1);
        self.last_value.get()
    }

    fn ask(&self, group: u64, operation: Operation) -> usize {
        self.history.borrow_mut().ask(group, operation, self.now())
    }

    /// Whatever went wrong is not noted: the request may have come to pass.
    fn answer(&self, request: usize, outcome: Outcome) {
        self.history.borrow_mut().answer(request, self.now(), outcome);
    }
}

async fn connect(member: usize) -> Result<Client, Error> {
    // A request that is made twice behind our back would be two.
    let config = Config { max_attempts: 1, ..Config::new([endpoint(member)]) };
    Client::connect(config).await
}

impl Load {
    /// Begins to ask. Must be called on a `LocalSet`.
    pub fn begin(notes: &Notes, round: u64, seed: u64) -> Load {
        let stop = watch::Sender::new(false);
        let client = |number| {
            let (notes, stopped) = (notes.clone(), stop.subscribe());
            let dice = Dice(seed ^ number as u64);
            spawn_local(async move { ask_until(stopped, number, round, dice, &notes).await })
        };
        let clients = (0..CLIENTS).map(client).collect();
        Load { clients, stop }
    }

    /// Ends once every client has its last answer, or has given it up. An error if a member made no write for it: what was
    /// not under load is not shown to be clean. Load begins on members that are whole, and a second before the fault.
    pub async fn end(self) -> Result<(), AnyError> {
        self.stop.send_replace(true);
        let mut written = [0; MEMBERS];
        for (number, client) in self.clients.into_iter().enumerate() {
            written[number % MEMBERS] += client.await??;
        }
        match written.iter().position(|count| *count == 0) {
            None => Ok(()),
            Some(member) => Err(format!("member {member} made none of the writes that load asked it for").into()),
        }
    }
}

/// The groups of a round.
pub(crate) fn groups(round: u64) -> Range<u64> {
    round * GROUPS..(round + 1) * GROUPS
}

/// Waits until each member has made one put. Must be called on a `LocalSet`.
pub(crate) async fn written_everywhere(notes: &Notes, group: u64, patience: Duration) -> Result<(), AnyError> {
    let write = |member| {
        let notes = notes.clone();
        spawn_local(async move { write_through(member, &notes, group, patience).await })
    };
    let mut silent = Vec::new();
    for (member, written) in (0..MEMBERS).map(write).enumerate().collect::<Vec<_>>() {
        if let Err(error) = written.await? {
            silent.push(format!("member {member} ({error})"));
        }
    }
    match silent.is_empty() {
        true => Ok(()),
        false => Err(format!("no put was made within {patience:?} by {}", silent.join(", ")).into()),
    }
}

async fn write_through(member: usize, notes: &Notes, group: u64, patience: Duration) -> Result<(), Error> {
    let client = connect(member).await?;
    let give_up = Instant::now() + patience;
    while let Err(error) = ask(&client, group, Operation::Put { slot: 0, value: notes.new_value() }, notes).await {
        if Instant::now() > give_up {
            return Err(error);
        }
        tokio::time::sleep(BETWEEN_ATTEMPTS).await;
    }
    Ok(())
}

/// Asks each member for what these groups have.
pub(crate) async fn read_everywhere(notes: &Notes, groups: Range<u64>, patience: Duration) -> Result<(), AnyError> {
    for member in 0..MEMBERS {
        let client = connect(member).await?;
        for group in groups.clone() {
            let give_up = Instant::now() + patience;
            while let Err(error) = ask(&client, group, Operation::Get, notes).await {
                if Instant::now() > give_up {
                    return Err(
                        format!("member {member} has not read group {group} within {patience:?}: {error}").into()
                    );
                }
                tokio::time::sleep(BETWEEN_ATTEMPTS).await;
            }
        }
    }
    Ok(())
}

/// A client: it stays with its member, whatever happens to it. Says how many of its writes were made.
async fn ask_until(
    stopped: watch::Receiver<bool>,
    number: usize,
    round: u64,
    mut dice: Dice,
    notes: &Notes,
) -> Result<u64, Error> {
    let mut written = 0;
    let mut last_seen = [0; SLOTS];
    let client = connect(number % MEMBERS).await?;
    while !*stopped.borrow() {
        let group = groups(round).start + dice.below(GROUPS);
        let slot = dice.below(SLOTS as u64) as usize;
        let operation = match dice.below(10) {
            0..4 => Operation::Put { slot, value: notes.new_value() },
            4..7 => Operation::Get,
            7..9 => Operation::Swap { slot, expected: last_seen[slot], new: notes.new_value() },
            _ => Operation::Delete { slot },
        };
        let told = ask(&client, group, operation, notes).await;
        match told {
            Ok(Outcome::Found { values, .. }) => last_seen = values,
            Ok(Outcome::Written { .. }) => written += 1,
            _ => {}
        }
        let pause = if told.is_ok() { dice.below(PAUSE_MS) } else { PAUSE_AFTER_ERROR_MS };
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    Ok(written)
}

/// Asks, and notes it.
async fn ask(client: &Client, group: u64, operation: Operation, notes: &Notes) -> Result<Outcome, Error> {
    let request = notes.ask(group, operation);
    let told = make(client, group, operation).await;
    if let Ok(outcome) = &told {
        notes.answer(request, *outcome);
    }
    told
}

async fn make(client: &Client, group: u64, operation: Operation) -> Result<Outcome, Error> {
    // Its time begins now.
    let client = client.with_timeout(PATIENCE);
    match operation {
        Operation::Put { slot, value } => {
            let put = client.put(Put::new(key(group, slot), value.to_string())).await?;
            Ok(Outcome::Written { revision: revision(put.header) })
        }
        Operation::Delete { slot } => {
            let deleted = client.delete(Delete::new(key(group, slot))).await?;
            let revision = revision(deleted.header);
            Ok(if deleted.deleted > 0 { Outcome::Written { revision } } else { Outcome::Nothing { revision } })
        }
        Operation::Get => {
            let range = client.get(all(group)).await?;
            Ok(Outcome::Found { values: values(group, &range), revision: revision(range.header) })
        }
        Operation::Swap { slot, expected, new } => {
            let is_expected = match expected {
                0 => Compare::version(key(group, slot)).eq(0),
                value => Compare::value(key(group, slot)).eq(value.to_string()),
            };
            let puts = (0..SLOTS).map(|slot| Put::new(key(group, slot), new.to_string()).into());
            let txn = Txn::new().when([is_expected]).and_then(puts).or_else([all(group).into()]);
            let done = client.txn(txn).await?;
            if done.succeeded {
                return Ok(Outcome::Written { revision: revision(done.header) });
            }
            let revision = revision(done.header);
            let values = match done.responses.into_iter().next() {
                Some(ResponseOp { response: Some(response_op::Response::ResponseRange(range)) }) => {
                    values(group, &range)
                }
                _ => UNREADABLE,
            };
            Ok(Outcome::Found { values, revision })
        }
    }
}

fn key(group: u64, slot: usize) -> String {
    format!("{group:08}/{slot}")
}

fn all(group: u64) -> Get {
    Get::new(format!("{group:08}/")).prefix()
}

/// An answer that makes no sense: nobody has written this, so no order explains it.
const UNREADABLE: Values = [Value::MAX; SLOTS];

fn values(group: u64, range: &RangeResponse) -> Values {
    let mut values: Values = [0; SLOTS];
    for KeyValue { key: found, value, .. } in &range.kvs {
        let slot = (0..SLOTS).find(|slot| found == key(group, *slot).as_bytes());
        let value = std::str::from_utf8(value).ok().and_then(|value| value.parse().ok());
        let (Some(slot), Some(value)) = (slot, value) else { return UNREADABLE };
        values[slot] = value;
    }
    values
}

fn revision(header: Option<ResponseHeader>) -> i64 {
    header.map_or(0, |header| header.revision)
}

/// Which member leads, as one of them says.
pub(crate) async fn leader() -> Option<usize> {
    for member in 0..MEMBERS {
        let Ok(client) = connect(member).await else { continue };
        let Ok(status) = client.with_timeout(PATIENCE).status(&endpoint(member)).await else { continue };
        if status.header.is_some_and(|header| header.member_id == status.leader) {
            return Some(member);
        }
    }
    None
}

/// Waits until all members have come to the same keys, with the same hash.
pub(crate) async fn same_everywhere(patience: Duration) -> Result<(), AnyError> {
    let give_up = Instant::now() + patience;
    loop {
        let mut hashes = Vec::new();
        for member in 0..MEMBERS {
            let hash = connect(member).await?.with_timeout(PATIENCE).hash_kv(&endpoint(member), 0).await;
            hashes.push(hash.map(|hash| (hash.hash_revision, hash.hash)).ok());
        }
        if hashes[0].is_some() && hashes.iter().all(|hash| *hash == hashes[0]) {
            return Ok(());
        }
        if Instant::now() > give_up {
            return Err(format!("the members' keys differ (revision and hash of each): {hashes:?}").into());
        }
        tokio::time::sleep(BETWEEN_ATTEMPTS).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_makes_no_sense_is_not_taken_for_another() {
        let check = |pairs: &[(&str, &str)], expected: Values| {
            let pair = |(key, value): &(&str, &str)| KeyValue {
                key: key.to_string().into(),
                value: value.to_string().into(),
                ..KeyValue::default()
            };
            let range = RangeResponse { kvs: pairs.iter().map(pair).collect(), ..RangeResponse::default() };
            assert_eq!(values(7, &range), expected, "{pairs:?}");
        };
        check(&[], [0, 0]);
        check(&[("00000007/1", "5")], [0, 5]);
        check(&[("00000007/0", "4"), ("00000007/1", "5")], [4, 5]);
        check(&[("00000008/1", "5")], UNREADABLE);
        check(&[("00000007/2", "5")], UNREADABLE);
        check(&[("", "5")], UNREADABLE);
        check(&[("00000007/1", "five")], UNREADABLE);
    }
}
