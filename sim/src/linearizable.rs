//! Whether a history could have happened on one machine, one request after the other, each between its question and its
//! answer. After Wing and Gong, with Lowe's memory of what has been tried: [`check`] looks at one key after the other,
//! since keys that are linearizable each are so together.
//!
//! Revisions say more: they are the order itself. [`check_revisions`] holds them to real time.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::client::{Event, History, Operation, Outcome, Value};

/// A history that no order explains.
#[derive(Clone, Debug)]
pub struct Violation(pub String);

/// A request of one key, ready to be ordered.
#[derive(Clone, Copy, Debug)]
struct Call {
    operation: Operation,
    asked: Duration,
    /// `None`: it may take effect at any later time, or never.
    answered: Option<(Duration, Outcome)>,
}

/// Looks for an order of the requests of each key.
pub fn check(history: &History) -> Result<(), Violation> {
    let mut keys: HashMap<u64, Vec<Call>> = HashMap::new();
    for Event { key, operation, asked, answered } in &history.0 {
        keys.entry(*key).or_default().push(Call { operation: *operation, asked: *asked, answered: *answered });
    }
    let mut keys: Vec<_> = keys.into_iter().collect();
    keys.sort_by_key(|(key, _)| *key);
    for (key, calls) in keys {
        let calls = relevant(calls);
        if !has_order(&calls) {
            let story: Vec<String> = calls.iter().map(|call| format!("  {call:?}")).collect();
            return Err(Violation(format!("no order explains what was said of key {key}:\n{}", story.join("\n"))));
        }
    }
    Ok(())
}

/// Leaves out what cannot change the verdict: reads that nobody was told of, what was refused, and unanswered writes whose
/// value nobody has seen. If one of those did happen, an order with it is one without it.
fn relevant(calls: Vec<Call>) -> Vec<Call> {
    let seen: HashSet<Value> = calls
        .iter()
        .flat_map(|call| {
            let found = match call.answered {
                Some((_, Outcome::Found { value, .. })) => Some(value),
                _ => None,
            };
            let expected = match call.operation {
                Operation::Swap { expected, .. } => Some(expected),
                _ => None,
            };
            [found, expected]
        })
        .flatten()
        .collect();
    let matters = |call: &Call| match (call.answered, call.operation) {
        (Some((_, Outcome::Refused)), _) => false,
        (Some(_), _) => true,
        (None, Operation::Get) => false,
        (None, Operation::Put(value) | Operation::Swap { new: value, .. }) => seen.contains(&value),
        // It may explain why a key is gone.
        (None, Operation::Delete) => seen.contains(&0),
    };
    let mut calls: Vec<Call> = calls.into_iter().filter(matters).collect();
    calls.sort_by_key(|call| call.asked);
    calls
}

/// What a call does to a value, if its answer agrees with it.
fn take_effect(call: &Call, value: Value) -> Option<Value> {
    let outcome = call.answered.map(|(_, outcome)| outcome);
    match (call.operation, outcome) {
        (Operation::Put(new), None | Some(Outcome::Written { .. })) => Some(new),
        (Operation::Delete, None | Some(Outcome::Written { .. })) => Some(0),
        // A delete that found nothing wrote nothing.
        (Operation::Delete, Some(Outcome::Found { value: 0, .. })) => (value == 0).then_some(0),
        (Operation::Get, Some(Outcome::Found { value: found, .. })) => (found == value).then_some(value),
        (Operation::Swap { expected, new }, Some(Outcome::Written { .. })) => (value == expected).then_some(new),
        (Operation::Swap { expected, .. }, Some(Outcome::Found { value: found, .. })) => {
            (found == value && value != expected).then_some(value)
        }
        (Operation::Swap { expected, new }, None) => Some(if value == expected { new } else { value }),
        _ => None,
    }
}

/// Depth first, with everything that was tried remembered.
fn has_order(calls: &[Call]) -> bool {
    let words = calls.len().div_ceil(64);
    let mut done = vec![0_u64; words];
    let mut tried: HashSet<(Vec<u64>, Value)> = HashSet::new();
    // The calls taken, in order, each with the value before it.
    let mut path: Vec<(usize, Value)> = Vec::new();
    let mut value = 0;
    let mut from = 0;
    let mut unanswered_left = calls.iter().filter(|call| call.answered.is_some()).count();
    loop {
        if unanswered_left == 0 {
            return true;
        }
        // Only what was asked before the first of the others was answered can come next.
        let is_done = |at: usize| done[at / 64] >> (at % 64) & 1 == 1;
        let open = (0..calls.len()).filter(|at| !is_done(*at));
        let first_answer = open.filter_map(|at| calls[at].answered.map(|(when, _)| when)).min();
        let candidate = (from..calls.len()).find_map(|at| {
            if is_done(at) || first_answer.is_some_and(|answered| calls[at].asked > answered) {
                return None;
            }
            let after = take_effect(&calls[at], value)?;
            let mut next = done.clone();
            next[at / 64] |= 1 << (at % 64);
            (!tried.contains(&(next, after))).then_some((at, after))
        });
        match candidate {
            Some((at, after)) => {
                done[at / 64] |= 1 << (at % 64);
                tried.insert((done.clone(), after));
                path.push((at, value));
                unanswered_left -= usize::from(calls[at].answered.is_some());
                value = after;
                from = 0;
            }
            None => {
                let Some((at, before)) = path.pop() else { return false };
                done[at / 64] &= !(1 << (at % 64));
                unanswered_left += usize::from(calls[at].answered.is_some());
                value = before;
                from = at + 1;
            }
        }
    }
}

/// Holds revisions to the order of time: a request that was asked when another had been answered is not before it, and
/// no two writes have one revision.
pub fn check_revisions(history: &History) -> Result<(), Violation> {
    let mut writes: HashMap<i64, &Event> = HashMap::new();
    let mut answered: Vec<(Duration, i64, bool, &Event)> = Vec::new();
    for event in &history.0 {
        let Some((when, outcome)) = event.answered else { continue };
        match outcome {
            Outcome::Written { revision } => {
                if let Some(other) = writes.insert(revision, event) {
                    return Err(Violation(format!("two writes have revision {revision}:\n  {other:?}\n  {event:?}")));
                }
                answered.push((when, revision, true, event));
            }
            Outcome::Found { revision, .. } => answered.push((when, revision, false, event)),
            Outcome::Refused => {}
        }
    }
    answered.sort_by_key(|(when, ..)| *when);
    // The newest revision that was told by each time.
    let mut newest: Vec<(Duration, i64, &Event)> = Vec::new();
    for (when, revision, _, event) in &answered {
        if newest.last().is_none_or(|(_, known, _)| known < revision) {
            newest.push((*when, *revision, event));
        }
    }
    for (_, revision, is_write, event) in &answered {
        let before = newest.partition_point(|(when, ..)| *when < event.asked);
        let Some((_, known, other)) = before.checked_sub(1).map(|at| &newest[at]) else { continue };
        let is_late = if *is_write { revision <= known } else { revision < known };
        if is_late {
            return Err(Violation(format!(
                "revision {revision} was given when {known} had been told:\n  {other:?}\n  {event:?}"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request asked at one time and answered at another; 0 is never.
    fn call(asked: u64, answered: u64, operation: Operation, outcome: Outcome) -> Event {
        let answered = (answered > 0).then(|| (Duration::from_millis(answered), outcome));
        Event { key: 1, operation, asked: Duration::from_millis(asked), answered }
    }

    fn put(asked: u64, answered: u64, value: Value) -> Event {
        call(asked, answered, Operation::Put(value), Outcome::Written { revision: answered as i64 })
    }

    fn get(asked: u64, answered: u64, value: Value) -> Event {
        call(asked, answered, Operation::Get, Outcome::Found { value, revision: 0 })
    }

    fn delete(asked: u64, answered: u64) -> Event {
        call(asked, answered, Operation::Delete, Outcome::Written { revision: answered as i64 })
    }

    fn swap(asked: u64, answered: u64, expected: Value, new: Value) -> Event {
        call(asked, answered, Operation::Swap { expected, new }, Outcome::Written { revision: answered as i64 })
    }

    #[test]
    fn orders_are_found_where_there_are_any() {
        let check = |events: &[Event], expected: bool| {
            let is_fine = check(&History(events.to_vec())).is_ok();
            assert_eq!(is_fine, expected, "{events:#?}");
        };
        check(&[], true);
        check(&[put(1, 2, 7), get(3, 4, 7)], true);
        check(&[put(1, 2, 7), get(3, 4, 0)], false);
        check(&[put(1, 5, 7), get(2, 3, 0), get(4, 6, 7)], true);
        check(&[put(1, 5, 7), get(2, 3, 7), get(4, 6, 0)], false);
        check(&[put(1, 2, 7), put(3, 4, 8), get(5, 6, 7)], false);
        check(&[put(1, 4, 7), put(2, 3, 8), get(5, 6, 7)], true);
        check(&[put(1, 4, 7), put(2, 3, 8), get(5, 6, 7), get(7, 8, 8)], false);
        // What was not answered may have happened, at any time, or never.
        check(&[put(1, 0, 7), get(5, 6, 7)], true);
        check(&[put(1, 0, 7), get(5, 6, 0), get(7, 8, 7)], true);
        check(&[put(1, 0, 7), get(5, 6, 7), get(7, 8, 0)], false);
        check(&[put(4, 0, 7), get(1, 3, 7)], false);
        check(&[put(1, 2, 7), delete(3, 0), get(5, 6, 0)], true);
        check(&[put(1, 2, 7), delete(3, 4), get(5, 6, 7)], false);
        check(&[put(1, 2, 7), swap(3, 4, 7, 8), get(5, 6, 8)], true);
        check(&[put(1, 2, 7), swap(3, 4, 6, 8)], false);
        check(&[put(1, 2, 7), swap(3, 9, 7, 8), swap(3, 9, 7, 9)], false);
        check(&[put(1, 2, 7), swap(3, 9, 7, 8), swap(3, 9, 8, 9), get(10, 11, 9)], true);
        let failed = call(3, 4, Operation::Swap { expected: 1, new: 2 }, Outcome::Found { value: 7, revision: 2 });
        check(&[put(1, 2, 7), failed, get(5, 6, 7)], true);
        check(&[put(1, 2, 8), failed], false);
    }

    #[test]
    fn another_key_is_another_matter() {
        let mut other = get(3, 4, 0);
        other.key = 2;
        check(&History(vec![put(1, 2, 7), other, get(3, 4, 7)])).unwrap();
    }

    #[test]
    fn revisions_go_with_time() {
        let at = |mut event: Event, new: i64| {
            if let Some((_, Outcome::Written { revision } | Outcome::Found { revision, .. })) = &mut event.answered {
                *revision = new;
            }
            event
        };
        let check = |events: &[Event], expected: bool| {
            assert_eq!(check_revisions(&History(events.to_vec())).is_ok(), expected, "{events:#?}");
        };
        check(&[at(put(1, 2, 7), 5), at(put(3, 4, 8), 6), at(get(5, 6, 8), 6)], true);
        check(&[at(put(1, 2, 7), 5), at(put(3, 4, 8), 5)], false);
        check(&[at(put(1, 2, 7), 5), at(put(3, 4, 8), 4)], false);
        check(&[at(put(1, 4, 7), 5), at(put(2, 3, 8), 4)], true);
        check(&[at(put(1, 2, 7), 5), at(get(3, 4, 7), 4)], false);
        check(&[at(put(1, 2, 7), 5), at(get(3, 4, 7), 5)], true);
    }
}
