//! What was acknowledged, when the cluster has come to rest: it was published at the revision that was told, and can be read
//! there unless that is compacted; and whatever is compacted, the last version of each key stays.
//!
//! The ledger has noted each change when it was published first. It forgets nothing, so it finds what all members have lost
//! alike, too.

use std::collections::BTreeMap;

use bytes::Bytes;
use ferrite_proto::etcdserverpb as pb;
use ferrite_proto::mvccpb::KeyValue;
use ferrite_state::mvcc::Keyspace;
use ferrite_state::watch::Change;

use crate::finding::{Check, Violation};
use crate::history::{Event, History, Operation, Outcome, SLOTS, Value};
use crate::ledger;
use crate::requests;

/// Each acknowledged write, and the revision that was told.
fn acknowledged(history: &History) -> impl Iterator<Item = (&Event, i64)> {
    history.0.iter().filter_map(|event| match event.answered {
        Some((_, Outcome::Written { revision })) => Some((event, revision)),
        _ => None,
    })
}

fn wrong<T>(what: String) -> Result<T, Violation> {
    Err(Violation::new(Check::Written, what))
}

/// What was acknowledged can be read at its revision.
pub(crate) fn check_read(history: &History, keyspace: &Keyspace) -> Result<(), Violation> {
    for (event, revision) in acknowledged(history).filter(|(_, revision)| *revision >= keyspace.compacted()) {
        let found = match requests::read(keyspace, event.group, revision) {
            Some(Outcome::Found { values, .. }) => values,
            _ => [u64::MAX; SLOTS],
        };
        let is_there = match event.operation {
            Operation::Put { slot, value } => found[slot] == value,
            Operation::Delete { slot } => found[slot] == 0,
            Operation::Swap { new, .. } => found == [new; SLOTS],
            Operation::Get => true,
        };
        if !is_there {
            return wrong(format!("{event:?} was acknowledged with revision {revision}, and there is {found:?}"));
        }
    }
    Ok(())
}

/// What was acknowledged was published at its revision, compacted or not.
pub(crate) fn check_published(history: &History, changes: &[Change]) -> Result<(), Violation> {
    for (event, revision) in acknowledged(history) {
        let from = changes.partition_point(|change| (change.revision.main as i64) < revision);
        let until = changes.partition_point(|change| change.revision.main as i64 <= revision);
        let published = &changes[from..until];
        let has = |slot: usize, value: Value| published.iter().any(|change| is_write(change, event.group, slot, value));
        let is_there = match event.operation {
            Operation::Put { slot, value } => has(slot, value),
            Operation::Delete { slot } => has(slot, 0),
            Operation::Swap { new, .. } => (0..SLOTS).all(|slot| has(slot, new)),
            Operation::Get => true,
        };
        if !is_there {
            return wrong(format!(
                "{event:?} was acknowledged with revision {revision}, where this was published: {published:?}"
            ));
        }
    }
    Ok(())
}

/// Whether a change gives a key this value, 0 for none.
fn is_write(change: &Change, group: u64, slot: usize, value: Value) -> bool {
    let kv = ledger::key_value_of(change);
    kv.key == requests::name(group, slot)
        && change.tombstone == (value == 0)
        && (change.tombstone || kv.value == requests::text(value))
}

/// A member has the last version of each key, as of now and as of the compacted revision: a compaction takes away what has
/// been replaced or deleted by then, and nothing else.
pub(crate) fn check_kept(member: &str, changes: &[Change], keyspace: &Keyspace) -> Result<(), Violation> {
    let newest = keyspace.revision() as i64;
    let (key, range_end) = requests::everything();
    for revision in [keyspace.compacted(), newest].into_iter().filter(|revision| *revision > 0) {
        let all = pb::RangeRequest { key: key.clone(), range_end: range_end.clone(), revision, ..Default::default() };
        let found = match keyspace.range(&all) {
            Ok(answer) => answer.kvs,
            Err(error) => return wrong(format!("{member} cannot be read at revision {revision}: {error}")),
        };
        if let Err(what) = compare(changes, revision as u64, &found) {
            let compacted = keyspace.compacted();
            return wrong(format!("{member} at revision {revision} of {newest}, compacted at {compacted}: {what}"));
        }
    }
    Ok(())
}

/// Holds what was found at a revision to what was published by then.
fn compare(changes: &[Change], revision: u64, found: &[Bytes]) -> Result<(), String> {
    let mut published: BTreeMap<Bytes, KeyValue> = BTreeMap::new();
    for change in changes.iter().take_while(|change| change.revision.main <= revision) {
        let kv = ledger::key_value_of(change);
        match change.tombstone {
            true => published.remove(&kv.key),
            false => published.insert(kv.key.clone(), kv),
        };
    }
    for kv in found.iter().map(ledger::decoded) {
        match published.remove(&kv.key) {
            Some(expected) if expected == kv => {}
            expected => return Err(format!("{kv:?} is there, and {expected:?} was published last")),
        }
    }
    match published.into_values().next() {
        Some(lost) => Err(format!("{lost:?} was published last, and is not there")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ferrite_storage::Revision;
    use prost::Message as _;

    use super::*;

    /// A change of the first key of group 1 or another one; value 0 deletes it.
    fn change(main: u64, group: u64, value: Value) -> Change {
        let kv = KeyValue { key: requests::name(group, 0), mod_revision: main as i64, ..KeyValue::default() };
        let kv = if value == 0 { kv } else { KeyValue { value: requests::text(value), ..kv } };
        let revision = Revision { main, sub: 0 };
        Change { revision, tombstone: value == 0, key_value: kv.encode_to_vec().into() }
    }

    fn changes() -> Vec<Change> {
        vec![change(2, 1, 7), change(3, 2, 8), change(4, 2, 9), change(5, 3, 6), change(6, 3, 0)]
    }

    #[test]
    fn the_last_version_of_each_key_stays() {
        let check = |revision: u64, found: &[Change], expected: bool| {
            let found: Vec<Bytes> = found.iter().map(|change| change.key_value.clone()).collect();
            assert_eq!(compare(&changes(), revision, &found).is_ok(), expected, "{found:?} at {revision}");
        };
        check(6, &[change(2, 1, 7), change(4, 2, 9)], true);
        // A compaction took the only version of a key, or the last one.
        check(6, &[change(4, 2, 9)], false);
        check(6, &[change(2, 1, 7)], false);
        check(6, &[change(2, 1, 7), change(3, 2, 8)], false);
        // It took a tombstone, and what was deleted is back.
        check(6, &[change(2, 1, 7), change(4, 2, 9), change(5, 3, 6)], false);
        check(5, &[change(2, 1, 7), change(4, 2, 9), change(5, 3, 6)], true);
        check(3, &[change(2, 1, 7), change(3, 2, 8)], true);
        // As it was, at another revision.
        check(6, &[change(3, 1, 7), change(4, 2, 9)], false);
    }

    #[test]
    fn what_was_acknowledged_was_published() {
        let check = |operation: Operation, revision: i64, expected: bool| {
            let mut history = History::default();
            let request = history.ask(2, operation, Duration::ZERO);
            history.answer(request, Duration::ZERO, Outcome::Written { revision });
            assert_eq!(check_published(&history, &changes()).is_ok(), expected, "{operation:?} at {revision}");
        };
        check(Operation::Put { slot: 0, value: 8 }, 3, true);
        check(Operation::Put { slot: 0, value: 8 }, 4, false);
        check(Operation::Put { slot: 1, value: 8 }, 3, false);
        check(Operation::Put { slot: 0, value: 8 }, 7, false);
        check(Operation::Delete { slot: 0 }, 4, false);
        check(Operation::Swap { slot: 0, expected: 8, new: 9 }, 4, false);
    }
}
