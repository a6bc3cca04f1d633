//! What the members of a cluster must agree on, as it happens: who leads a term, what stands at a place of the log, and what
//! was published as which revision.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ferrite_proto::mvccpb::KeyValue;
use ferrite_raft::{Entry, NodeId, Term};
use ferrite_state::command::{Command, Proposal};
use ferrite_state::mvcc::Keyspace;
use ferrite_state::watch::{Change, History as _, Step};
use prost::Message as _;

use crate::delays::Delays;
use crate::finding::{Check, Violation};

/// What has been agreed on.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    leaders: BTreeMap<Term, NodeId>,
    /// When each of them was first seen to lead.
    elections: Vec<Duration>,
    /// All that was committed, from the first entry on.
    committed: Vec<Entry>,
    /// The revisions of the compactions among them.
    compactions: BTreeSet<u64>,
    pub delays: Delays,
    /// All changes that were published.
    changes: Vec<Change>,
    /// Up to which revision.
    published: u64,
}

impl Ledger {
    /// A member leads, which has known the log for so long. True: it is news.
    pub fn leads(&mut self, term: Term, leader: NodeId, now: Duration, knows_for: Duration) -> Result<bool, Violation> {
        match self.leaders.insert(term, leader) {
            None => {
                self.elections.push(now);
                self.delays.elected(now, knows_for);
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
                    self.delays.committed(now);
                    if let Ok(Proposal { command: Command::Compaction(request), .. }) = Proposal::parse(entry) {
                        self.compactions.extend(u64::try_from(request.revision));
                    }
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

    /// Whether this revision has been compacted. Members make a compacted revision of nothing else than a committed entry,
    /// and are noted here before they apply it.
    pub fn is_compacted(&self, revision: u64) -> bool {
        self.compactions.contains(&revision)
    }

    pub fn changes(&self) -> &[Change] {
        &self.changes
    }
}

/// The key of a change.
pub(crate) fn key_of(change: &Change) -> Bytes {
    decoded(&change.key_value).key
}

/// What a key was given by a change, as whoever reads it is told. A tombstone has the key only.
pub(crate) fn key_value_of(change: &Change) -> KeyValue {
    KeyValue { mod_revision: change.revision.main as i64, ..decoded(&change.key_value) }
}

/// A `KeyValue` as it is stored.
pub(crate) fn decoded(stored: &Bytes) -> KeyValue {
    KeyValue::decode(stored.clone()).expect("what is stored is a KeyValue")
}
