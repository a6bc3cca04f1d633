//! The ledger: every acknowledged write, so that a restart can be held to them.
//!
//! ```text
//! put ──acknowledged──▶ Write { revision, id, key } ──▶ file ──▶ verify ◀── the server: state at some revisions, then history by watch
//! ```
//!
//! A value begins with the id of its write, and no two writes have one id. So after any crash:
//! nothing is *lost* (each write of the ledger stands at its revision), nothing is *doubled* (no id at two revisions), and
//! revisions have no *gap*. A write that was sent and never acknowledged may be there or not.

use crate::grpc::{CallError, Connection, rpc};
use crate::rng::Rng;
use bytes::Bytes;
use ferrite_proto::etcdserverpb::{RangeRequest, WatchCreateRequest, WatchRequest, watch_request::RequestUnion};
use ferrite_proto::mvccpb::Event;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write as _};
use std::path::Path;

/// Which write a value comes from; its first eight bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WriteId(pub u64);

impl WriteId {
    pub const BYTES: usize = 8;

    /// The id in a value, if it is long enough to have one.
    pub fn of(value: &[u8]) -> Option<WriteId> {
        value.first_chunk().map(|bytes| WriteId(u64::from_be_bytes(*bytes)))
    }

    /// The run it was handed out in.
    fn run(self) -> u64 {
        self.0 >> 32
    }

    /// Writes the id over the beginning of a value.
    pub fn stamp(self, value: &mut [u8]) {
        value[..Self::BYTES].copy_from_slice(&self.0.to_be_bytes());
    }
}

/// Hands out ids: the upper half is random for each run, so that several runs can share a ledger.
#[derive(Debug)]
pub struct WriteIds(u64);

impl WriteIds {
    pub fn new() -> WriteIds {
        WriteIds(Rng::from_clock().next() << 32)
    }

    pub fn next(&mut self) -> WriteId {
        self.0 += 1;
        WriteId(self.0)
    }
}

/// A write that was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    pub revision: i64,
    pub id: WriteId,
    pub key: Bytes,
}

/// A ledger file being written: a line a write.
#[derive(Debug)]
pub struct Ledger(BufWriter<File>);

impl Ledger {
    /// Opens a ledger; new lines go behind those that are there.
    pub fn append(path: &Path) -> io::Result<Ledger> {
        Ok(Ledger(BufWriter::new(File::options().create(true).append(true).open(path)?)))
    }

    pub fn add(&mut self, write: &Write) -> io::Result<()> {
        write!(self.0, "{} {:016x} ", write.revision, write.id.0)?;
        for byte in &write.key {
            write!(self.0, "{byte:02x}")?;
        }
        writeln!(self.0)
    }

    pub fn finish(mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Reads a ledger file.
pub fn read(path: &Path) -> io::Result<Vec<Write>> {
    let line = |(number, line): (usize, io::Result<String>)| {
        let line = line?;
        parse(&line).ok_or_else(|| {
            io::Error::other(format!("{}:{}: not a line of a ledger: {line}", path.display(), number + 1))
        })
    };
    BufReader::new(File::open(path)?).lines().enumerate().map(line).collect()
}

fn parse(line: &str) -> Option<Write> {
    let mut words = line.split(' ');
    let (revision, id, hex) = (words.next()?.parse().ok()?, words.next()?, words.next()?);
    let id = WriteId(u64::from_str_radix(id, 16).ok()?);
    let key: Option<Vec<u8>> =
        (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(hex.get(i..i + 2)?, 16).ok()).collect();
    Some(Write { revision, id, key: key?.into() })
}

/// What a server holds, against a ledger.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    pub acknowledged: usize,
    pub current_revision: i64,
    /// Revisions that were seen with what they wrote.
    pub seen_revisions: usize,
    /// The server was compacted to here; older versions cannot be asked for.
    pub compacted: i64,
    pub lost: Vec<Write>,
    pub doubled: Vec<WriteId>,
    pub gaps: Vec<i64>,
    /// Writes the server holds that nobody saw acknowledged.
    pub unacknowledged: usize,
}

impl Verdict {
    pub fn holds(&self) -> bool {
        self.lost.is_empty() && self.doubled.is_empty() && self.gaps.is_empty()
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "{}: {} acknowledged, {} lost, {} doubled, {} gaps; {} revisions seen of {} (compacted at {}), {} writes nobody saw acknowledged",
            if self.holds() { "ledger holds" } else { "LEDGER BROKEN" },
            self.acknowledged,
            self.lost.len(),
            self.doubled.len(),
            self.gaps.len(),
            self.seen_revisions,
            self.current_revision,
            self.compacted,
            self.unacknowledged,
        )?;
        for write in self.lost.iter().take(5) {
            writeln!(f, "  lost: revision {} id {:016x} key {:?}", write.revision, write.id.0, write.key)?;
        }
        for id in self.doubled.iter().take(5) {
            writeln!(f, "  doubled: id {:016x}", id.0)?;
        }
        for revision in self.gaps.iter().take(5) {
            writeln!(f, "  gap: revision {revision}")?;
        }
        Ok(())
    }
}

const PAGE_KEYS: i64 = 10_000;

/// So many writes that no view shows are asked for one by one; of more, all history is watched, which takes some servers
/// many times as long as the writes did.
const MOST_ASKED_FOR: usize = 20_000;

/// The first revision a store can give out: a new one is at 1.
const FIRST_REVISION: i64 = 2;

/// Reads what the server holds, and compares. What is alive at the revisions `views` and now is read first, because that is
/// quick, then what else the ledger names if it is little; if that leaves revisions unexplained, history is watched from
/// the first of them.
pub async fn verify(connection: &Connection, ledger: &[Write], views: &[i64]) -> Result<Verdict, CallError> {
    let probe = RangeRequest { key: Bytes::from_static(b"\0"), serializable: false, ..Default::default() };
    let answer = connection.call(rpc::RANGE, &probe).await?;
    let current = answer.header.unwrap_or_default().revision;
    let mut seen = Vec::new();
    let mut after = 0;
    for &view in views.iter().filter(|&&v| v < current).chain([&current]) {
        seen.extend(alive(connection, view, after).await?);
        after = view;
    }
    let mut known: HashSet<i64> = seen.iter().map(|w| w.revision).collect();
    let superseded: Vec<&Write> = ledger.iter().filter(|w| !known.contains(&w.revision)).collect();
    if superseded.len() <= MOST_ASKED_FOR {
        for write in superseded {
            let found = at(connection, write).await?;
            known.extend(found.as_ref().map(|w| w.revision));
            seen.extend(found);
        }
    }
    let mut compacted = 0;
    if let Some(first_unseen) = (FIRST_REVISION..=current).find(|r| !known.contains(r)) {
        let history = history(connection, first_unseen, current).await?;
        compacted = history.compacted;
        let from = first_unseen.max(compacted + 1);
        seen.retain(|w| w.revision < from);
        seen.extend(history.events.iter().filter_map(put));
        let revisions = history.events.iter().filter_map(|e| e.kv.as_ref()).map(|kv| kv.mod_revision);
        let known: HashSet<i64> = seen.iter().map(|w| w.revision).chain(revisions).collect();
        return Ok(compare(ledger, &seen, &known, current, compacted));
    }
    Ok(compare(ledger, &seen, &known, current, compacted))
}

fn compare(ledger: &[Write], seen: &[Write], known: &HashSet<i64>, current: i64, compacted: i64) -> Verdict {
    let mut by_id: HashMap<WriteId, Vec<&Write>> = HashMap::with_capacity(seen.len());
    for write in seen {
        by_id.entry(write.id).or_default().push(write);
    }
    // Below the compacted revision a write may have been superseded and forgotten.
    let lost = ledger
        .iter()
        .filter(|w| w.revision > compacted && !by_id.get(&w.id).is_some_and(|s| s.contains(w)))
        .cloned()
        .collect();
    // Values of others may repeat and mean nothing.
    let runs: HashSet<u64> = ledger.iter().map(|w| w.id.run()).collect();
    let doubled =
        by_id.iter().filter(|(id, writes)| writes.len() > 1 && runs.contains(&id.run())).map(|(id, _)| *id).collect();
    let acknowledged: HashSet<WriteId> = ledger.iter().map(|w| w.id).collect();
    Verdict {
        acknowledged: ledger.len(),
        current_revision: current,
        seen_revisions: known.len(),
        compacted,
        lost,
        doubled,
        gaps: (FIRST_REVISION.max(compacted + 1)..=current).filter(|r| !known.contains(r)).collect(),
        unacknowledged: seen.iter().filter(|w| !acknowledged.contains(&w.id)).count(),
    }
}

/// What is alive at a revision and was written after another.
async fn alive(connection: &Connection, at: i64, after: i64) -> Result<Vec<Write>, CallError> {
    let mut writes = Vec::new();
    let mut from = Bytes::from_static(b"\0");
    loop {
        let page = RangeRequest {
            key: from.clone(),
            range_end: Bytes::from_static(b"\0"),
            limit: PAGE_KEYS,
            revision: at,
            ..Default::default()
        };
        let answer = connection.call(rpc::RANGE, &page).await?;
        if let Some(last) = answer.kvs.last() {
            from = [&last.key[..], b"\0"].concat().into();
        }
        // Not by a filter in the request: with one, etcd reads all that is behind the page as well.
        writes.extend(answer.kvs.into_iter().filter(|kv| kv.mod_revision > after).filter_map(|kv| {
            Some(Write { revision: kv.mod_revision, id: WriteId::of(&kv.value)?, key: Bytes::copy_from_slice(&kv.key) })
        }));
        if !answer.more {
            return Ok(writes);
        }
    }
}

/// What stands at the revision of a write, if it is of its key and not compacted.
async fn at(connection: &Connection, write: &Write) -> Result<Option<Write>, CallError> {
    let request = RangeRequest { key: write.key.clone(), revision: write.revision, ..Default::default() };
    let answer = match connection.call(rpc::RANGE, &request).await {
        Err(CallError::Status { .. }) => return Ok(None),
        answer => answer?,
    };
    let kv = answer.kvs.into_iter().find(|kv| kv.mod_revision == write.revision);
    Ok(kv.and_then(|kv| Some(Write { revision: kv.mod_revision, id: WriteId::of(&kv.value)?, key: kv.key })))
}

fn put(event: &Event) -> Option<Write> {
    let kv = event.kv.as_ref().filter(|_| event.r#type == 0)?;
    Some(Write { revision: kv.mod_revision, id: WriteId::of(&kv.value)?, key: kv.key.clone() })
}

/// Events as a watch tells them.
#[derive(Debug, Default)]
pub struct History {
    pub events: Vec<Event>,
    /// History up to here is compacted, as far as the watch met it; 0 if it did not.
    pub compacted: i64,
}

/// The events of the whole key space from one revision to another, or from the compacted one on.
pub async fn history(connection: &Connection, from: i64, to: i64) -> Result<History, CallError> {
    let mut history = History::default();
    let mut from = from;
    while from <= to {
        let mut stream = connection.stream(rpc::WATCH).await?;
        stream.sender.send(&watch_everything(from))?;
        loop {
            let Some(answer) = stream.next().await? else {
                return Err(CallError::Broken("the watch stream ended".to_owned()));
            };
            if answer.canceled && answer.compact_revision >= from {
                history.compacted = answer.compact_revision;
                from = answer.compact_revision + 1;
                break;
            }
            if answer.canceled {
                return Err(CallError::Broken(format!("the watch was cancelled: {}", answer.cancel_reason)));
            }
            let last = answer.events.last().and_then(|e| e.kv.as_ref()).map_or(0, |kv| kv.mod_revision);
            history
                .events
                .extend(answer.events.into_iter().filter(|e| e.kv.as_ref().is_some_and(|kv| kv.mod_revision <= to)));
            if last >= to {
                return Ok(history);
            }
        }
    }
    Ok(history)
}

/// A request that watches every key from a revision on.
pub fn watch_everything(from: i64) -> WatchRequest {
    let create = WatchCreateRequest {
        key: Bytes::from_static(b"\0"),
        range_end: Bytes::from_static(b"\0"),
        start_revision: from,
        ..Default::default()
    };
    WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(revision: i64, id: u64) -> Write {
        Write { revision, id: WriteId(id), key: Bytes::from(format!("k{id}")) }
    }

    #[test]
    fn a_ledger_is_read_as_written() {
        let file = std::env::temp_dir().join(format!("ledger-{}", std::process::id()));
        let writes = [write(2, 7), Write { revision: 3, id: WriteId(u64::MAX), key: Bytes::from_static(b"\0\xff ") }];
        for write in &writes {
            let mut ledger = Ledger::append(&file).unwrap();
            ledger.add(write).unwrap();
            ledger.finish().unwrap();
        }
        assert_eq!(read(&file).unwrap(), writes);
        std::fs::write(&file, "2 xyz 00\n").unwrap();
        assert!(read(&file).unwrap_err().to_string().contains(":1: not a line"));
        std::fs::remove_file(&file).unwrap();
    }

    #[test]
    fn what_is_wrong_is_found() {
        //    ledger              seen                            compacted   lost, doubled, gaps
        const OTHER: u64 = 5 << 32;
        type Pairs = &'static [(i64, u64)];
        type Row = (Pairs, Pairs, i64, (usize, usize, usize));
        let table: [Row; 9] = [
            (&[(2, 1), (3, 2)], &[(2, 1), (3, 2)], 0, (0, 0, 0)),
            (&[(2, 1)], &[(2, 1), (3, 2)], 0, (0, 0, 0)), // in flight when it crashed
            (&[(2, 1), (3, 2)], &[(2, 1)], 0, (1, 0, 0)), // the tail is lost: the revision has gone back
            (&[(2, 1), (4, 2)], &[(2, 1), (4, 2)], 0, (0, 0, 1)), // no revision 3
            (&[(2, 1)], &[(2, 1), (3, 1)], 0, (0, 1, 0)), // applied twice
            (&[(2, 1)], &[(2, 1), (3, 2), (4, 2)], 0, (0, 1, 0)), // in flight, and applied twice
            (&[(2, 1)], &[(2, 1), (3, OTHER), (4, OTHER)], 0, (0, 0, 0)), // not of a run in the ledger
            (&[(2, 1)], &[(3, 1)], 0, (1, 0, 1)),         // at another revision
            (&[(2, 1), (4, 2)], &[(4, 2)], 3, (0, 0, 0)), // superseded and compacted
        ];
        for (number, (ledger, seen, compacted, expected)) in table.into_iter().enumerate() {
            let writes = |pairs: &[(i64, u64)]| pairs.iter().map(|&(r, id)| write(r, id)).collect::<Vec<_>>();
            let known = seen.iter().map(|w| w.0).collect();
            let current = seen.iter().map(|w| w.0).max().unwrap();
            let v = compare(&writes(ledger), &writes(seen), &known, current, compacted);
            assert_eq!((v.lost.len(), v.doubled.len(), v.gaps.len()), expected, "row {number}: {v}");
        }
    }
}
