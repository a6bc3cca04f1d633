//! After a restart: everything that was promised, one promise at a time.

use super::{Change, Known, LeaseEnd, Planned, Round, Unanswered, model::Model};
use crate::grpc::{CallError, Connection, rpc};
use crate::ledger::history;
use crate::rng::Rng;
use bytes::Bytes;
use ferrite_proto::etcdserverpb::{
    HashKvRequest, LeaseLeasesRequest, LeaseTimeToLiveRequest, RangeRequest, RangeResponse,
};
use ferrite_proto::mvccpb::Event;
use std::collections::{BTreeMap, HashSet};
use std::time::Instant;

/// What a check looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub acknowledged: usize,
    pub in_flight_kept: usize,
    pub in_flight_lost: usize,
    pub lease_ends: usize,
    pub leases: usize,
    pub hashes: usize,
}

/// Why a check ended early, or what it found.
#[derive(Debug)]
pub enum Broken {
    Promise(String),
    Call(CallError),
}

impl From<CallError> for Broken {
    fn from(error: CallError) -> Broken {
        Broken::Call(error)
    }
}

impl From<String> for Broken {
    fn from(text: String) -> Broken {
        Broken::Promise(text)
    }
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Broken::Promise(text) => write!(f, "{text}"),
            Broken::Call(error) => write!(f, "no answer to the check: {error}"),
        }
    }
}

/// Holds the restarted server to a round of load, and moves the model on to where it is now.
pub async fn check(
    connection: &Connection,
    round: &mut Round,
    known: &mut Known,
    model: &mut Model,
    rng: &mut Rng,
) -> Result<Tally, Broken> {
    if let Some(wrong) = round.wrong.first() {
        return Err(Broken::Promise(format!("before the crash: {wrong}")));
    }
    let current = range(connection, 0).await?.header.unwrap_or_default().revision;
    let timeline = timeline(connection, round, model.revision, current).await?;
    let mut tally = Tally { acknowledged: round.acknowledged.len(), ..Tally::default() };
    let first = model.revision.max(known.compaction_asked) + 1;
    let past = (first <= current).then(|| first + rng.below((current - first + 1) as u64) as i64);
    let mut at_past = None;
    let mut open = Vec::new();
    for (revision, events) in &timeline {
        open.extend(explain(*revision, events, round, known, model, &mut tally)?);
        if Some(*revision) == past {
            at_past = Some(model.clone());
        }
    }
    if let Some((revision, changes)) = round.acknowledged.iter().next() {
        return Err(Broken::Promise(format!(
            "lost: acknowledged at revision {revision}: {changes:?}; the server is at {current}"
        )));
    }
    assign(&open, round)?;
    tally.in_flight_kept = open.len();
    tally.in_flight_lost = round.unanswered.len() - open.len();
    for expected in at_past.iter().chain([&*model]) {
        if let Some(difference) = expected.differs(&range(connection, expected.revision).await?.kvs) {
            return Err(Broken::Promise(difference));
        }
    }
    compaction(connection, known, current).await?;
    tally.leases = leases(connection, known, model).await?;
    tally.hashes = hashes(connection, round).await?;
    Ok(tally)
}

async fn range(connection: &Connection, revision: i64) -> Result<RangeResponse, CallError> {
    let all = Bytes::from_static(b"\0");
    connection
        .call(rpc::RANGE, &RangeRequest { key: all.clone(), range_end: all, revision, ..Default::default() })
        .await
}

/// One event and when it was seen.
type Seen = (Event, Instant);

/// Every revision behind the model's, from what was watched before the crash and what can be read after it; where both tell of
/// a revision they must agree.
async fn timeline(
    connection: &Connection,
    round: &mut Round,
    from: i64,
    current: i64,
) -> Result<BTreeMap<i64, Vec<Seen>>, Broken> {
    let revision = |event: &Event| event.kv.as_ref().map_or(0, |kv| kv.mod_revision);
    let mut timeline: BTreeMap<i64, Vec<Seen>> = BTreeMap::new();
    for (event, when) in std::mem::take(&mut round.watched) {
        timeline.entry(revision(&event)).or_default().push((event, when));
    }
    if let Some((&last, _)) = timeline.last_key_value().filter(|(last, _)| **last > current) {
        return Err(Broken::Promise(format!(
            "lost: a watcher was told of revision {last}; the server is at {current}"
        )));
    }
    let now = Instant::now();
    let mut read: BTreeMap<i64, Vec<Seen>> = BTreeMap::new();
    let mut told = history(connection, from + 1, current).await?.events;
    for event in told.drain(..) {
        read.entry(revision(&event)).or_default().push((event, now));
    }
    for (revision, events) in read {
        let before = timeline.entry(revision).or_insert_with(|| events.clone());
        if !before.iter().map(|(e, _)| e).eq(events.iter().map(|(e, _)| e)) {
            return Err(Broken::Promise(format!(
                "revision {revision} was watched as {before:?} and is now {events:?}"
            )));
        }
    }
    for (expected, found) in (from + 1..=current).zip(timeline.keys().copied().chain([current + 1])) {
        if expected != found {
            return Err(Broken::Promise(format!(
                "gap: revision {expected} has no event, the next is {found}, the server is at {current}"
            )));
        }
    }
    if timeline.len() as i64 != current - from {
        return Err(Broken::Promise(format!("{} revisions between {from} and {current}", timeline.len())));
    }
    Ok(timeline)
}

/// A revision that only a request without an answer can explain.
#[derive(Debug)]
struct Open {
    revision: i64,
    changes: Vec<Change>,
}

/// Looks for the cause of a revision: an acknowledged write, or a lease that ended. If it is neither, it stays open.
fn explain(
    revision: i64,
    seen: &[Seen],
    round: &mut Round,
    known: &Known,
    model: &mut Model,
    tally: &mut Tally,
) -> Result<Option<Open>, Broken> {
    let ended = ended_lease(seen, known, model).map(|lease| model.attached(lease));
    let events: Vec<&Event> = seen.iter().map(|(event, _)| event).collect();
    let changes = model.apply(&events)?;
    if let Some(acknowledged) = round.acknowledged.remove(&revision) {
        if acknowledged == changes {
            return Ok(None);
        }
        return Err(Broken::Promise(format!(
            "revision {revision} was acknowledged as {acknowledged:?} and is {changes:?}"
        )));
    }
    if let Some(attached) = ended
        && changes == attached.into_iter().map(|key| Change::Delete { key }).collect::<Vec<_>>()
    {
        tally.lease_ends += 1;
        return Ok(None);
    }
    Ok(Some(Open { revision, changes }))
}

/// Gives each open revision a request of its own. Deletes may fit several, so that earlier choices are changed where needed.
fn assign(open: &[Open], round: &Round) -> Result<(), Broken> {
    let mut taken_by: Vec<Option<usize>> = vec![None; round.unanswered.len()];
    for at in 0..open.len() {
        if !place(at, open, &round.unanswered, &mut taken_by, &mut HashSet::new()) {
            let Open { revision, changes } = &open[at];
            let refused = round.refused.iter().find(|(_, request)| could_be(request, changes));
            return Err(Broken::Promise(match refused {
                Some((error, _)) => format!("revision {revision} was refused ({error}) and yet is there: {changes:?}"),
                None => format!("doubled or invented: nobody asked for revision {revision}: {changes:?}"),
            }));
        }
    }
    Ok(())
}

/// Finds a request for one revision, moving others to other requests if that makes room (an augmenting path).
fn place(
    at: usize,
    open: &[Open],
    requests: &[Unanswered],
    taken_by: &mut [Option<usize>],
    tried: &mut HashSet<usize>,
) -> bool {
    for (number, request) in requests.iter().enumerate() {
        if !could_be(request, &open[at].changes) || !tried.insert(number) {
            continue;
        }
        let free = match taken_by[number] {
            None => true,
            Some(other) => place(other, open, requests, taken_by, tried),
        };
        if free {
            taken_by[number] = Some(at);
            return true;
        }
    }
    false
}

/// The lease that may have ended with these deletes: one whose end was asked for, or whose time had come.
fn ended_lease(seen: &[Seen], known: &Known, model: &Model) -> Option<i64> {
    let (event, when) = seen.first()?;
    let lease = model.keys.get(&event.kv.as_ref()?.key)?.lease;
    let found = known.leases.get(&lease)?;
    (found.end != LeaseEnd::None || when.duration_since(found.sent) >= found.ttl).then_some(lease)
}

/// Whether changes are one of the outcomes of a request that had no answer.
fn could_be(unanswered: &Unanswered, changes: &[Change]) -> bool {
    unanswered.variants.iter().any(|planned| {
        let mut rest = changes;
        for plan in planned {
            match (plan, rest.split_first()) {
                (Planned::Put { key, id, lease }, Some((change, behind))) => {
                    if *change != (Change::Put { key: key.clone(), id: *id, lease: *lease }) {
                        return false;
                    }
                    rest = behind;
                }
                (Planned::Put { .. }, None) => return false,
                (Planned::Delete { from, end }, _) => {
                    let within = |key: &Bytes| key == from || (key > from && key < end);
                    let count = rest.iter().take_while(|c| matches!(c, Change::Delete { key } if within(key))).count();
                    rest = &rest[count..];
                }
            }
        }
        rest.is_empty()
    })
}

/// An acknowledged compaction is still in force, and none happened beyond what was asked for.
async fn compaction(connection: &Connection, known: &Known, current: i64) -> Result<(), Broken> {
    if known.compacted > 1 {
        match range(connection, known.compacted - 1).await {
            Err(error) if error.says("required revision has been compacted") => {}
            other => {
                let text = format!("compacted at {}, but a read before it gives {other:?}", known.compacted);
                return Err(Broken::Promise(text));
            }
        }
    }
    if (1..=current).contains(&known.compaction_asked)
        && let Err(error) = range(connection, known.compaction_asked).await
    {
        let text =
            format!("compaction was asked for at {} at most, but a read there gives {error}", known.compaction_asked);
        return Err(Broken::Promise(text));
    }
    Ok(())
}

/// How much longer than granted a lease may live after a restart: etcd adds the election timeout, and spreads leases that
/// would end together. It must never be shorter.
const MOST_EXTENDED_SECONDS: i64 = 60;

/// Every lease that was promised and has not ended is there, with its keys and its time; none that was revoked is.
async fn leases(connection: &Connection, known: &mut Known, model: &Model) -> Result<usize, Broken> {
    let list = connection.call(rpc::LEASE_LEASES, &LeaseLeasesRequest {}).await?;
    let listed: HashSet<i64> = list.leases.iter().map(|l| l.id).collect();
    if let Some(unknown) = listed.iter().find(|id| !known.leases.contains_key(id)) {
        return Err(Broken::Promise(format!("lease {unknown:x} was never asked for")));
    }
    let now = Instant::now();
    for (id, lease) in &known.leases {
        let may_have_ended = lease.end != LeaseEnd::None || now.duration_since(lease.sent) >= lease.ttl;
        match listed.contains(id) {
            true if lease.end == LeaseEnd::Revoked => {
                return Err(Broken::Promise(format!("lease {id:x} was revoked and is there")));
            }
            false if lease.granted && !may_have_ended => {
                return Err(Broken::Promise(format!("lost: lease {id:x} of {:?} was granted and is gone", lease.ttl)));
            }
            _ => {}
        }
    }
    // What is gone cannot come back; what is there was granted, though its answer may not have come.
    known.leases.retain(|id, _| listed.contains(id));
    for (id, lease) in &mut known.leases {
        lease.granted = true;
        let asked = LeaseTimeToLiveRequest { id: *id, keys: true };
        let answer = connection.call(rpc::LEASE_TIME_TO_LIVE, &asked).await?;
        let (granted, rest) = (lease.ttl.as_secs() as i64, answer.ttl);
        if rest < 0 && (lease.end != LeaseEnd::None || lease.sent.elapsed() >= lease.ttl) {
            continue;
        }
        let mut keys = answer.keys;
        keys.sort_unstable();
        if answer.granted_ttl != granted
            || rest > granted + MOST_EXTENDED_SECONDS
            || (keys != model.attached(*id) && lease.sent.elapsed() < lease.ttl)
        {
            let text = format!(
                "lease {id:x} of {granted} s with {:?} is told as {rest} of {} s with {keys:?}",
                model.attached(*id),
                answer.granted_ttl
            );
            return Err(Broken::Promise(text));
        }
    }
    Ok(listed.len())
}

/// HashKV of a revision is what it was, as long as the same history was compacted.
async fn hashes(connection: &Connection, round: &Round) -> Result<usize, Broken> {
    let mut compared = 0;
    for before in round.hashes.iter().rev().take(10) {
        let answer = match connection.call(rpc::HASH_KV, &HashKvRequest { revision: before.revision }).await {
            Ok(answer) => answer,
            Err(error) if error.says("compacted") => continue,
            Err(error) => return Err(error.into()),
        };
        if answer.compact_revision == before.compacted {
            compared += 1;
            if answer.hash != before.hash {
                return Err(Broken::Promise(format!("{before:?} before the crash, {answer:?} after it")));
            }
        }
    }
    Ok(compared)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::WriteId;

    #[test]
    fn a_request_explains_only_its_own_outcomes() {
        let put =
            |key: &'static str, id| Planned::Put { key: Bytes::from_static(key.as_bytes()), id: WriteId(id), lease: 0 };
        let done =
            |key: &'static str, id| Change::Put { key: Bytes::from_static(key.as_bytes()), id: WriteId(id), lease: 0 };
        let gone = |key: &'static str| Change::Delete { key: Bytes::from_static(key.as_bytes()) };
        let range = Planned::Delete { from: Bytes::from_static(b"b"), end: Bytes::from_static(b"d") };
        let request = Unanswered { variants: vec![vec![put("a", 1), range, put("z", 2)], vec![put("a", 3)]] };
        let table: [(&[Change], bool); 8] = [
            (&[done("a", 1), gone("b"), gone("c"), done("z", 2)], true),
            (&[done("a", 1), done("z", 2)], true),
            (&[done("a", 3)], true),
            (&[done("a", 1)], false),                          // half of it
            (&[done("a", 1), gone("d"), done("z", 2)], false), // beyond the range
            (&[done("a", 3), done("z", 2)], false),            // of both branches
            (&[done("a", 4)], false),                          // of another write
            (&[gone("b")], false),
        ];
        for (changes, expected) in table {
            assert_eq!(could_be(&request, changes), expected, "{changes:?}");
        }
    }

    #[test]
    fn each_revision_has_a_request_of_its_own() {
        let delete = |from: &'static str, end: &'static str| {
            let planned = Planned::Delete { from: from.into(), end: end.into() };
            Unanswered { variants: vec![vec![planned]] }
        };
        let open = |keys: &[&'static str]| Open {
            revision: 2,
            changes: keys.iter().map(|&k| Change::Delete { key: k.into() }).collect(),
        };
        //    in flight                                  found                               explained
        let table = [
            (vec![delete("a", "z"), delete("b", "")], vec![open(&["b"]), open(&["b", "c"])], true),
            (vec![delete("a", "z"), delete("b", "")], vec![open(&["b", "c"]), open(&["d"])], false),
            (vec![delete("b", "")], vec![open(&["b"]), open(&["b"])], false),
            (vec![delete("b", ""), delete("b", "")], vec![open(&["b"])], true),
        ];
        for (number, (unanswered, found, explained)) in table.into_iter().enumerate() {
            let round = Round { unanswered, ..Round::default() };
            assert_eq!(assign(&found, &round).is_ok(), explained, "row {number}");
        }
    }
}
