//! Trimming: after a compaction is in force, its revisions are taken out of the index, in steps.
//!
//!   compaction ──▶ hash of what it covers ──▶ walk over the index ──▶ dead revisions ──▶ store
//!
//! One compaction after the other, each when no reader looks behind it any more. The hash for the other members has to be
//! made first: afterwards what it covers is gone.

use std::collections::VecDeque;

use ferrite_raft::Index;
use ferrite_storage::Revision;

use super::Keyspace;
use super::hash::HashWalk;
use super::index::Position;

/// Compactions that are in force and not yet trimmed.
#[derive(Debug)]
pub struct Trimmer {
    waiting: VecDeque<Compaction>,
    work: Work,
    /// The last compaction that is trimmed; -1 is none.
    finished: i64,
}

#[derive(Clone, Copy, Debug)]
struct Compaction {
    main: u64,
    before: i64,
    /// The entry of the log that asked for it.
    index: Index,
}

#[derive(Debug)]
enum Work {
    Idle,
    Hash(Box<HashWalk>),
    Walk(Position),
}

/// What a step of trimming came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trimmed {
    /// For the store to forget.
    pub dead: Vec<Revision>,
    /// The compaction that this step has finished.
    pub finished: Option<u64>,
    /// Whether another step would find something to do. If not, either all is trimmed, or a reader looks behind the
    /// compaction still.
    pub more: bool,
}

impl Trimmer {
    pub fn new(finished: i64) -> Trimmer {
        Trimmer { waiting: VecDeque::new(), work: Work::Idle, finished }
    }

    pub fn add(&mut self, main: u64, before: i64, index: Index) {
        self.waiting.push_back(Compaction { main, before, index });
    }

    pub fn finished(&self) -> i64 {
        self.finished
    }

    /// The entry whose compaction is to be trimmed next.
    pub fn next(&self) -> Option<Index> {
        self.waiting.front().map(|compaction| compaction.index)
    }

    /// Goes on for about so many keys.
    pub fn step(&mut self, keyspace: &Keyspace, keys: usize) -> Trimmed {
        let mut trimmed = Trimmed::default();
        let Some(compaction) = self.waiting.front().copied() else { return trimmed };
        trimmed.more = true;
        self.work = match std::mem::replace(&mut self.work, Work::Idle) {
            Work::Idle => Work::Hash(Box::new(HashWalk::new(compaction.main, compaction.before))),
            Work::Hash(mut walk) => match walk.step(keyspace, keys) {
                Some(hash) => {
                    keyspace.hashes.lock().insert(hash);
                    Work::Walk(Position::start())
                }
                None => Work::Hash(walk),
            },
            Work::Walk(position) if keyspace.horizon.is_pinned_before(compaction.main) => {
                trimmed.more = false;
                Work::Walk(position)
            }
            Work::Walk(position) => {
                let mut index = keyspace.index.write();
                match index.compact(&position, compaction.main, keys, &mut trimmed.dead) {
                    Some(position) => Work::Walk(position),
                    None => {
                        self.waiting.pop_front();
                        self.finished = compaction.main as i64;
                        trimmed.finished = Some(compaction.main);
                        trimmed.more = !self.waiting.is_empty();
                        Work::Idle
                    }
                }
            }
        };
        trimmed
    }
}
