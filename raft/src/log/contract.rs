//! What Raft relies on when it reads the saved log. A store that breaks this has lost something that was acknowledged, or is
//! about to: the node stops, and names what was broken.

use crate::log::store::{LogError, LogStore};
use crate::types::{Entry, Index, LogPosition, Term};

/// Stops the node.
#[cold]
pub fn broken(contract: &str, found: &str) -> ! {
    panic!("the log store broke its contract: {contract}; {found}")
}

/// Reads entries that the store said it has, and returns how many it appended.
pub fn entries<L: LogStore>(
    store: &L,
    from: Index,
    until: Index,
    max_size: u64,
    into: &mut Vec<Entry>,
) -> Result<usize, LogError> {
    let held = into.len();
    match store.entries(from, until, max_size, into) {
        Ok(()) => {}
        Err(LogError::Compacted) => return Err(LogError::Compacted),
        Err(error) => broken(
            "entries() has all from first_index to last_index",
            &format!("entries {from}..{until} cannot be read: {error}"),
        ),
    }
    let entries = &into[held..];
    if entries.is_empty() || entries.len() as u64 > until.0 - from.0 {
        let found = format!("{} entries for {from}..{until}", entries.len());
        broken("entries() returns at least one entry, and none beyond what is asked for", &found);
    }
    let mut before = LogPosition { term: Term(0), index: from.prev() };
    for entry in entries {
        if entry.index != before.index.next() || entry.term < before.term {
            let found = format!("{}/{} behind {}/{}", entry.term, entry.index, before.term, before.index);
            broken("entries() returns entries in order, and their terms never go down", &found);
        }
        before = entry.position();
    }
    Ok(entries.len())
}

/// Reads the term of an entry that the store said it has.
pub fn term<L: LogStore>(store: &L, index: Index) -> Result<Term, LogError> {
    match store.term(index) {
        Err(
            error @ (LogError::Unavailable | LogError::SnapshotTemporarilyUnavailable | LogError::SnapshotOutOfDate),
        ) => broken(
            "term() has all from the one before first_index to last_index",
            &format!("the term of {index} cannot be read: {error}"),
        ),
        term => term,
    }
}

/// Looks whether the store holds what its owner has reported as saved.
pub fn holds<L: LogStore>(store: &L, saved: LogPosition) {
    let held = store.term(saved.index);
    if held != Ok(saved.term) {
        let found = format!("{}/{} was reported, and the term there is {held:?}", saved.term, saved.index);
        broken("what is reported as saved can be read", &found);
    }
}

/// What is wrong with a store at the start, if anything is.
pub fn fault<L: LogStore>(store: &L) -> Option<&'static str> {
    let (first, last) = (store.first_index(), store.last_index());
    if first.0 == 0 {
        Some("first_index() is at least 1: there is no entry 0")
    } else if first > last.next() {
        Some("last_index() is at least the one before first_index()")
    } else if store.term(first.prev()).is_err() || store.term(last).is_err() {
        Some("term() has all from the one before first_index to last_index")
    } else {
        None
    }
}
