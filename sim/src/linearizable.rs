//! Whether a history could have happened on one machine, one request after the other, each between its question and its
//! answer. After Wing and Gong, with Lowe's memory of what has been tried: [`check`] looks at one group of keys after the
//! other, since groups that are linearizable each are so together.
//!
//! Revisions say more: they are the order itself, of all groups. So an order of a group has to be that of the revisions that
//! were told, or values would be of one time and their revision of another; and [`check_revisions`] holds revisions to
//! real time.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use crate::history::{Event, History, Operation, Outcome, SLOTS, Value, Values};

/// A history that no order explains.
#[derive(Clone, Debug)]
pub struct Violation(pub String);

/// A request of one group, ready to be ordered.
#[derive(Clone, Copy, Debug)]
struct Call {
    operation: Operation,
    asked: Duration,
    /// `None`: it may take effect at any later time, or never.
    answered: Option<(Duration, Outcome)>,
}

/// Looks for an order of the requests of each group.
pub fn check(history: &History) -> Result<(), Violation> {
    let mut groups: BTreeMap<u64, Vec<Call>> = BTreeMap::new();
    for Event { group, operation, asked, answered } in &history.0 {
        groups.entry(*group).or_default().push(Call { operation: *operation, asked: *asked, answered: *answered });
    }
    for (group, calls) in groups {
        let calls = relevant(calls);
        if let Err(explained) = order(&calls) {
            return Err(Violation(format!(
                "no order explains what was said of group {group}; the first {explained} requests have one:\n{}",
                story(&calls, explained)
            )));
        }
    }
    Ok(())
}

/// The requests around the place where no order goes on.
fn story(calls: &[Call], explained: usize) -> String {
    const AROUND: usize = 20;
    let around = &calls[explained.saturating_sub(AROUND)..calls.len().min(explained + AROUND)];
    let lines = around.iter().map(|Call { operation, asked, answered }| match answered {
        Some((when, outcome)) => format!("  {asked:>14?} - {when:<14?} {operation:?} -> {outcome:?}"),
        None => format!("  {asked:>14?} -                {operation:?}"),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Leaves out what cannot change the verdict: reads that nobody was told of, what was refused, and unanswered writes whose
/// value nobody has seen. If one of those did happen, an order with it is one without it.
fn relevant(calls: Vec<Call>) -> Vec<Call> {
    let mut seen: HashSet<Value> = HashSet::new();
    for call in &calls {
        match call.answered {
            Some((_, Outcome::Found { values, .. })) => seen.extend(values),
            // A key was not there.
            Some((_, Outcome::Nothing { .. })) => seen.extend([0]),
            _ => {}
        }
        if let Operation::Swap { expected, .. } = call.operation {
            seen.insert(expected);
        }
    }
    let matters = |call: &Call| match (call.answered, call.operation) {
        (Some((_, Outcome::Refused)), _) => false,
        (Some(_), _) => true,
        (None, Operation::Get) => false,
        (None, Operation::Put { value, .. } | Operation::Swap { new: value, .. }) => seen.contains(&value),
        // It may explain why a key is gone.
        (None, Operation::Delete { .. }) => seen.contains(&0),
    };
    let mut calls: Vec<Call> = calls.into_iter().filter(matters).collect();
    calls.sort_by_key(|call| call.asked);
    calls
}

impl Call {
    /// The revision that was told.
    fn revision(&self) -> Option<i64> {
        match self.answered?.1 {
            Outcome::Written { revision } | Outcome::Found { revision, .. } | Outcome::Nothing { revision } => {
                Some(revision)
            }
            Outcome::Made | Outcome::Gone | Outcome::Refused => None,
        }
    }
}

/// A group behind some calls.
#[derive(Clone, Copy, Debug)]
struct State {
    values: Values,
    /// The store was at this revision, or at a later one.
    revision: i64,
}

/// What a call makes of a group, if its answer agrees with the values and with what was told of revisions.
fn take_effect(call: &Call, before: State) -> Option<State> {
    let values = change(call, before.values)?;
    let revision = match (call.answered, call.revision()) {
        (Some((_, Outcome::Written { .. })), Some(told)) => (told > before.revision).then_some(told)?,
        (_, Some(told)) => (told >= before.revision).then_some(told)?,
        (Some((_, Outcome::Made)), None) => before.revision + 1,
        // Who ends a lease is not told whether there was a key.
        (Some(_), None) => before.revision,
        // If it wrote nothing it need not be in the order at all.
        (None, None) => before.revision + 1,
    };
    Some(State { values, revision })
}

/// What a call does to the values, if its answer agrees with them.
fn change(call: &Call, values: Values) -> Option<Values> {
    let with = |slot: usize, value: Value| {
        let mut after = values;
        after[slot] = value;
        after
    };
    let outcome = call.answered.map(|(_, outcome)| outcome);
    match (call.operation, outcome) {
        (Operation::Put { slot, value }, None | Some(Outcome::Made | Outcome::Written { .. })) => {
            Some(with(slot, value))
        }
        // What was deleted is not told, so it may be a value that nobody has seen.
        (Operation::Delete { slot }, None | Some(Outcome::Gone | Outcome::Written { .. })) => Some(with(slot, 0)),
        (Operation::Delete { slot }, Some(Outcome::Nothing { .. })) => (values[slot] == 0).then_some(values),
        (Operation::Get, Some(Outcome::Found { values: found, .. })) => (found == values).then_some(values),
        (Operation::Swap { slot, expected, new }, Some(Outcome::Made | Outcome::Written { .. })) => {
            (values[slot] == expected).then_some([new; SLOTS])
        }
        (Operation::Swap { slot, expected, .. }, Some(Outcome::Found { values: found, .. })) => {
            (found == values && values[slot] != expected).then_some(values)
        }
        (Operation::Swap { slot, expected, new }, None) => {
            Some(if values[slot] == expected { [new; SLOTS] } else { values })
        }
        _ => None,
    }
}

/// The calls that have been put in order, as bits, and how many there are of them from the first on without a gap.
struct Done {
    bits: Vec<u64>,
    prefix: usize,
}

impl Done {
    fn has(&self, at: usize) -> bool {
        self.bits[at / 64] >> (at % 64) & 1 == 1
    }

    fn flip(&mut self, at: usize) {
        self.bits[at / 64] ^= 1 << (at % 64);
        if at < self.prefix {
            self.prefix = at;
        }
        while self.prefix < self.bits.len() * 64 && self.has(self.prefix) {
            self.prefix += 1;
        }
    }
}

/// Depth first, with everything that was tried remembered. An error says how many calls the longest attempt came to.
fn order(calls: &[Call]) -> Result<(), usize> {
    let mut done = Done { bits: vec![0; calls.len() / 64 + 1], prefix: 0 };
    // What was tried, with the lowest revision: from a higher one, no more is possible.
    let mut tried: HashMap<(Vec<u64>, Values), i64> = HashMap::new();
    // The calls taken, in order, each with the state before it.
    let mut path: Vec<(usize, State)> = Vec::new();
    let mut state = State { values: [0; SLOTS], revision: 0 };
    let mut from = 0;
    let mut longest = 0;
    let mut answered_left = calls.iter().filter(|call| call.answered.is_some()).count();
    while answered_left > 0 {
        longest = longest.max(path.len());
        // Only what was asked before the first of the others was answered can come next. Calls are in the order of asking.
        let mut limit = Duration::MAX;
        // The lowest revision that one of them was told: nothing that is later can come next.
        let mut lowest = i64::MAX;
        for (at, call) in calls.iter().enumerate().skip(done.prefix) {
            if call.asked > limit {
                break;
            }
            if let (false, Some((when, _))) = (done.has(at), call.answered) {
                limit = limit.min(when);
                lowest = lowest.min(call.revision().unwrap_or(i64::MAX));
            }
        }
        let mut candidate = None;
        for (at, call) in calls.iter().enumerate().skip(done.prefix.max(from)) {
            if call.asked > limit {
                break;
            }
            if done.has(at) {
                continue;
            }
            let Some(after) = take_effect(call, state).filter(|after| after.revision <= lowest) else { continue };
            done.flip(at);
            let known = tried.entry((done.bits.clone(), after.values)).or_insert(i64::MAX);
            if after.revision < *known {
                *known = after.revision;
                candidate = Some((at, after));
                break;
            }
            done.flip(at);
        }
        match candidate {
            Some((at, after)) => {
                path.push((at, state));
                answered_left -= usize::from(calls[at].answered.is_some());
                state = after;
                from = 0;
            }
            None => {
                let Some((at, before)) = path.pop() else { return Err(longest) };
                done.flip(at);
                answered_left += usize::from(calls[at].answered.is_some());
                state = before;
                from = at + 1;
            }
        }
    }
    Ok(())
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
            Outcome::Found { revision, .. } | Outcome::Nothing { revision } => {
                answered.push((when, revision, false, event));
            }
            Outcome::Made | Outcome::Gone | Outcome::Refused => {}
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
        Event { group: 1, operation, asked: Duration::from_millis(asked), answered }
    }

    fn put(asked: u64, answered: u64, value: Value) -> Event {
        call(asked, answered, Operation::Put { slot: 0, value }, Outcome::Written { revision: answered as i64 })
    }

    fn get(asked: u64, answered: u64, value: Value) -> Event {
        both(asked, answered, [value, 0])
    }

    fn both(asked: u64, answered: u64, values: Values) -> Event {
        call(asked, answered, Operation::Get, Outcome::Found { values, revision: answered as i64 })
    }

    /// The same, told another revision than the time of the answer.
    fn at(mut event: Event, new: i64) -> Event {
        if let Some((_, Outcome::Written { revision } | Outcome::Found { revision, .. })) = &mut event.answered {
            *revision = new;
        }
        event
    }

    fn delete(asked: u64, answered: u64) -> Event {
        call(asked, answered, Operation::Delete { slot: 0 }, Outcome::Written { revision: answered as i64 })
    }

    fn swap(asked: u64, answered: u64, expected: Value, new: Value) -> Event {
        call(
            asked,
            answered,
            Operation::Swap { slot: 0, expected, new },
            Outcome::Written { revision: answered as i64 },
        )
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
        check(&[put(1, 2, 7), swap(3, 4, 7, 8), both(5, 6, [8, 8])], true);
        check(&[put(1, 2, 7), swap(3, 4, 7, 8), both(5, 6, [8, 0])], false);
        check(&[put(1, 2, 7), swap(3, 0, 7, 8), both(5, 6, [7, 8])], false);
        check(&[put(1, 2, 7), swap(3, 4, 6, 8)], false);
        check(&[put(1, 2, 7), swap(3, 9, 7, 8), swap(3, 9, 7, 9)], false);
        check(&[put(1, 2, 7), swap(3, 9, 7, 8), at(swap(3, 9, 8, 9), 10), both(10, 11, [9, 9])], true);
        let found = Outcome::Found { values: [7, 0], revision: 2 };
        let failed = call(3, 4, Operation::Swap { slot: 0, expected: 1, new: 2 }, found);
        check(&[put(1, 2, 7), failed, get(5, 6, 7)], true);
        check(&[put(1, 2, 8), failed], false);
        let missing = call(3, 4, Operation::Delete { slot: 0 }, Outcome::Nothing { revision: 3 });
        check(&[put(1, 2, 8), missing], false);
        check(&[put(1, 0, 9), delete(2, 3), get(4, 5, 0)], true);
        check(&[put(1, 2, 8), delete(2, 0), missing], true);
        // A lease may end once it has run out, not before.
        check(&[put(1, 2, 8), get(4, 5, 0), delete(3, 0)], true);
        check(&[put(1, 2, 8), get(4, 5, 0), delete(6, 0)], false);
    }

    #[test]
    fn an_order_is_that_of_the_revisions() {
        let check = |events: &[Event], expected: bool| {
            let history = History(events.to_vec());
            check_revisions(&history).expect("revisions go with time");
            assert_eq!(check(&history).is_ok(), expected, "{events:#?}");
        };
        // What a read found is as old as its revision.
        check(&[at(put(1, 2, 7), 2), at(put(3, 6, 8), 3), at(get(4, 5, 7), 2)], true);
        check(&[at(put(1, 2, 7), 2), at(put(3, 6, 8), 3), at(get(4, 5, 7), 3)], false);
        check(&[at(put(1, 2, 7), 2), at(put(3, 6, 8), 3), at(get(4, 5, 8), 2)], false);
        // Of two writes at a time, the one with the higher revision stays.
        check(&[at(put(1, 4, 7), 2), at(put(1, 4, 8), 3), at(get(5, 6, 8), 3)], true);
        check(&[at(put(1, 4, 7), 2), at(put(1, 4, 8), 3), at(get(5, 6, 7), 3)], false);
        // A write that nobody was told of took a revision, wherever it was.
        check(&[at(put(1, 2, 7), 2), put(3, 0, 8), at(get(4, 5, 7), 2), at(get(4, 5, 8), 3)], true);
        check(&[at(put(1, 2, 7), 2), put(3, 0, 8), at(get(4, 5, 7), 2), at(get(4, 5, 8), 2)], false);
        check(&[at(put(1, 2, 7), 2), put(3, 0, 8), at(get(4, 5, 7), 9), at(get(4, 5, 8), 5)], false);
        // The end of a lease takes one only if there was a key.
        let gone = call(3, 9, Operation::Delete { slot: 0 }, Outcome::Gone);
        check(&[at(put(1, 2, 7), 2), at(get(4, 5, 7), 2), gone, at(get(10, 11, 0), 3)], true);
        check(&[at(get(1, 2, 0), 2), gone, at(get(10, 11, 0), 2)], true);
    }

    #[test]
    fn another_group_is_another_matter() {
        let mut other = get(3, 4, 0);
        other.group = 2;
        check(&History(vec![put(1, 2, 7), other, get(3, 4, 7)])).unwrap();
    }

    #[test]
    fn revisions_go_with_time() {
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
