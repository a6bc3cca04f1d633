//! What the members of a cluster must agree on, as it happens: who leads a term, what stands at a place of the log, and what
//! was published as which revision.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ferrite_raft::{Entry, NodeId, Term};
use ferrite_state::mvcc::Keyspace;
use ferrite_state::watch::{Change, History as _, Step};

use crate::finding::{Check, Violation};

/// Time in which nothing was committed, though clients always want something: nobody led who could.
#[derive(Debug, Default)]
struct Standstill {
    /// When it went on, the last time that it stood still.
    resumed: Duration,
    /// When something was committed last.
    last: Duration,
    /// For how long it has stood still by then.
    total: Duration,
}

/// From one entry to the next it takes less, unless something has gone wrong.
const SWIFT: Duration = Duration::from_millis(300);
/// Going on for less is not worth the name: a leader has had no time to say what is left of leases, in whole seconds.
const SHORTEST: Duration = Duration::from_secs(1);

impl Standstill {
    fn until(&self, now: Duration) -> Duration {
        let (lasts, went_on) = (now.saturating_sub(self.last), self.last - self.resumed);
        match lasts > SWIFT {
            true if went_on < SHORTEST => self.total + lasts + went_on,
            true => self.total + lasts,
            false => self.total,
        }
    }

    fn end(&mut self, now: Duration) {
        let total = self.until(now);
        let resumed = if total > self.total { now } else { self.resumed };
        *self = Standstill { resumed, last: now, total };
    }
}

/// What has been agreed on.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    leaders: BTreeMap<Term, NodeId>,
    /// When each of them was first seen to lead.
    elections: Vec<Duration>,
    /// All that was committed, from the first entry on.
    committed: Vec<Entry>,
    standstill: Standstill,
    /// All changes that were published.
    changes: Vec<Change>,
    /// Up to which revision.
    published: u64,
}

impl Ledger {
    /// A member leads. True: it is news.
    pub fn leads(&mut self, term: Term, leader: NodeId, now: Duration) -> Result<bool, Violation> {
        match self.leaders.insert(term, leader) {
            None => {
                self.elections.push(now);
                Ok(true)
            }
            Some(other) if other == leader => Ok(false),
            Some(other) => {
                Err(Violation::new(Check::Leader, format!("{leader:x} and {other:x} both lead term {term}")))
            }
        }
    }

    /// When there was a new leader.
    pub fn elections(&self) -> &[Duration] {
        &self.elections
    }

    /// For how long nothing has been committed in all, up to now.
    pub fn stood_still(&self, now: Duration) -> Duration {
        self.standstill.until(now)
    }

    /// A member is about to apply these.
    pub fn applies(&mut self, member: &str, entries: &[Entry], now: Duration) -> Result<(), Violation> {
        for entry in entries {
            match self.committed.get(entry.index.0 as usize - 1) {
                Some(known) if known == entry => {}
                Some(known) => {
                    let what = format!("{member} applies {entry:?}, where another member applied {known:?}");
                    return Err(Violation::new(Check::Committed, what));
                }
                None => {
                    self.standstill.end(now);
                    self.committed.push(entry.clone());
                }
            }
        }
        Ok(())
    }

    /// More can be read at a member: the first one to publish a revision says what it is.
    pub fn published(&mut self, keyspace: &Arc<Keyspace>) {
        let until = keyspace.published();
        while self.published < until {
            let step = Step { changes: 1000, bytes: 1 << 20 };
            let read = keyspace.read(self.published + 1, until, step, &mut self.changes);
            self.published = read.expect("what has just been published can be read");
        }
    }

    pub fn changes(&self) -> &[Change] {
        &self.changes
    }
}

/// The key of a change.
pub(crate) fn key_of(change: &Change) -> Bytes {
    use prost::Message;
    let kv = ferrite_proto::mvccpb::KeyValue::decode(change.key_value.clone());
    kv.expect("what is stored is a KeyValue").key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standing_still_is_told_from_going_on() {
        let mut standstill = Standstill::default();
        let mut check = |commits: &[u64], stood_still| {
            commits.iter().for_each(|at| standstill.end(Duration::from_millis(*at)));
            let last = Duration::from_millis(*commits.last().expect("a commit"));
            assert_eq!(standstill.until(last), Duration::from_millis(stood_still), "{commits:?}");
        };
        check(&[900, 1100, 1400], 900);
        check(&[1700, 2000, 2300], 900);
        check(&[4300], 2900);
        // It has gone on for half a second only.
        check(&[4600, 4800, 6800], 5400);
    }
}
