//! What the history of all rounds says: whether it could have happened on one machine, and how long nothing was written.
//!
//! Revisions are looked at as a whole, from the first round on. The search for an order is made for those groups only that
//! were asked about since the last verdict, each with all that was ever said of it: what an early round was told of has to
//! fit what a late one reads.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use ferrite_sim::linearizable::{Violation, check, check_revisions};
use ferrite_sim::{Event, History, Operation, Outcome, Value};

/// Whether revisions follow real time, and whether there is an order for each group that was asked about at `begun` or
/// later.
pub(crate) fn judge(history: &History, begun: Duration) -> Result<(), Violation> {
    check_revisions(history)?;
    let groups: HashSet<u64> = since(history, begun).0.iter().map(|event| event.group).collect();
    let about = history.0.iter().filter(|event| groups.contains(&event.group)).copied();
    check(&seen_through(&History(about.collect())))
}

/// What was asked at `when` or later.
pub(crate) fn since(history: &History, when: Duration) -> History {
    History(history.0.iter().filter(|event| event.asked >= when).copied().collect())
}

/// The history with what can be concluded from it: a write that nobody was told of, and whose value somebody has seen, was
/// made by the time when the first who saw it was told. Otherwise it could have been made at any time to the end, and the
/// search for an order would have to try them all.
fn seen_through(history: &History) -> History {
    let mut seen: HashMap<(u64, Value), Duration> = HashMap::new();
    for event in &history.0 {
        if let Some((when, Outcome::Found { values, .. })) = event.answered {
            for value in values {
                let first = seen.entry((event.group, value)).or_insert(when);
                *first = when.min(*first);
            }
        }
    }
    let conclude = |event: &Event| {
        let value = match event.operation {
            Operation::Put { value, .. } | Operation::Swap { new: value, .. } => Some(value),
            Operation::Delete { .. } | Operation::Get => None,
        };
        let by = value.and_then(|value| seen.get(&(event.group, value)));
        let concluded = by.map(|when| (*when, Outcome::Made));
        Event { answered: event.answered.or(concluded), ..*event }
    };
    History(history.0.iter().map(conclude).collect())
}

/// The longest time in which nothing was written, from the begin of load to its end.
pub(crate) fn longest_pause(history: &History, begun: Duration, ended: Duration) -> Duration {
    let written = history.0.iter().filter_map(|event| match event.answered {
        Some((when, Outcome::Written { .. })) if (begun..ended).contains(&when) => Some(when),
        _ => None,
    });
    let mut times: Vec<Duration> = written.chain([begun, ended]).collect();
    times.sort();
    times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(operation: Operation, asked: u64, answered: Option<(u64, Outcome)>) -> Event {
        let answered = answered.map(|(when, outcome)| (Duration::from_secs(when), outcome));
        Event { group: 1, operation, asked: Duration::from_secs(asked), answered }
    }

    #[test]
    fn a_write_that_was_seen_was_made_by_then() {
        let put = |value| Operation::Put { slot: 0, value };
        let found = |value| Outcome::Found { values: [value, 0], revision: 3 };
        let history = History(vec![
            event(put(7), 0, None),
            event(put(8), 0, None),
            event(Operation::Get, 1, Some((5, found(7)))),
            event(Operation::Get, 1, Some((4, found(7)))),
        ]);
        let concluded: Vec<_> =
            seen_through(&history).0.iter().map(|event| event.answered.map(|(when, _)| when)).collect();
        let seconds = |count| Some(Duration::from_secs(count));
        assert_eq!(concluded, [seconds(4), None, seconds(5), seconds(4)]);
        assert!(check(&seen_through(&history)).is_ok());
    }

    #[test]
    fn a_pause_goes_to_the_end_if_nothing_is_written_again() {
        let pause = |writes: &[u64]| {
            let put = |when: &u64| {
                event(Operation::Put { slot: 0, value: *when }, *when, Some((*when, Outcome::Written { revision: 2 })))
            };
            let told = event(Operation::Get, 15, Some((15, Outcome::Found { values: [0, 0], revision: 2 })));
            let history = History(writes.iter().map(put).chain([told]).collect());
            longest_pause(&history, Duration::from_secs(10), Duration::from_secs(20)).as_secs()
        };
        //    writes       longest pause of 10..20
        for (writes, expected) in [(&[][..], 10), (&[11, 12], 8), (&[17, 18], 7), (&[13, 19], 6), (&[9, 12, 21], 8)] {
            assert_eq!(pause(writes), expected, "{writes:?}");
        }
    }

    #[test]
    fn a_lost_write_is_found() {
        let put = event(Operation::Put { slot: 0, value: 7 }, 0, Some((1, Outcome::Written { revision: 2 })));
        let get = event(Operation::Get, 2, Some((3, Outcome::Found { values: [0, 0], revision: 2 })));
        assert!(judge(&History(vec![put, get]), Duration::ZERO).is_err());
    }

    #[test]
    fn what_an_early_round_was_told_binds_a_late_one() {
        let of = |group, event| Event { group, ..event };
        let put = |group, at, value, revision| {
            of(group, event(Operation::Put { slot: 0, value }, at, Some((at + 1, Outcome::Written { revision }))))
        };
        let get = |group, at, value, revision| {
            let found = Outcome::Found { values: [value, 0], revision };
            of(group, event(Operation::Get, at, Some((at + 1, found))))
        };
        let begun = 10;
        let late_round = |read: Event| {
            let history = History(vec![put(1, 0, 7, 2), put(2, begun, 8, 3), read]);
            judge(&history, Duration::from_secs(begun)).is_ok()
        };
        assert!(late_round(get(1, 12, 7, 3)));
        assert!(!late_round(get(1, 12, 0, 3)), "a write of an early round is lost");
        assert!(!late_round(get(2, 12, 8, 2)), "revisions went back");
    }
}
