//! The owner of the store: moves effects from the window into files, makes them durable when log is to be given up, and
//! takes back the space of what is dead.
//!
//!   window ──▶ frames ── checkpoint: sync ──▶ what the log writer records
//!                  ├──── trimmed ──▶ marked dead ──▶ cleaned, a little after each batch
//!                  ├──── cut ──▶ the store as it was, for who sends it elsewhere
//!                  └──── install ──▶ the store of a snapshot takes the place of this one

use std::time::Instant;

use ferrite_raft::{HardState, Index, SnapshotMeta};
use ferrite_state::cluster::RowError;
use ferrite_storage::Revision;
use ferrite_storage::store::{Cleaned, Space, Store, StoreError};
use ferrite_storage::vfs::Vfs;

use crate::cut::{Cut, Cuts};
use crate::log_writer::LogCheckpoint;
use crate::receive::Place;
use crate::timing::StoreTiming;
use crate::transfer::cluster_of;
use crate::v2_snapshot;

/// Bytes of one frame, unless a single effect is larger.
const FRAME_BYTES: u64 = 1 << 20;
/// Bytes copied by one step of cleaning.
const CLEAN_BYTES: u64 = 4 << 20;

/// Work for the store keeper.
#[derive(Debug)]
pub enum StoreJob<D> {
    /// There are effects in the window; no hurry.
    Write,
    /// Write them now, and say up to where.
    Flush,
    /// Make the store whole, so that the log can say so after this hard state.
    Checkpoint(HardState),
    /// Nobody can read these revisions any more.
    Trim(Vec<Revision>),
    /// Take back all space that can be taken back, and tell this waiter.
    Defragment(D),
    /// Go over to the store of the snapshot that is ready. What is told after this is of that one.
    Install,
    /// The snapshot that is ready is not wanted.
    Discard,
    /// Hand out the store as it is, with all that was applied when this came.
    Cut(Cut),
    /// Write and sync everything: the member ends.
    Close,
}

/// What has been done.
#[derive(Debug)]
pub struct StoreDone<D> {
    /// The files hold everything up to here: to be told if somebody asked.
    pub flushed: Option<Index>,
    pub checkpoint: Option<LogCheckpoint>,
    pub defragmented: Vec<D>,
    pub is_short_of_space: bool,
    /// There is more to clean: step again when nothing else waits.
    pub has_more: bool,
    pub is_closed: bool,
}

/// What can go wrong here. The member stops.
#[derive(Debug, thiserror::Error)]
pub enum StoreKeeperError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Row(#[from] RowError),
}

/// The owner of the store.
#[derive(Debug)]
pub struct StoreKeeper<V: Vfs, D> {
    store: Store<V>,
    /// There may be something to clean.
    has_more: bool,
    /// Those who are told when there is nothing to clean any more. Bounded by the calls that clients may have open.
    defragmenting: Vec<D>,
    /// Somebody waits for all to be in files, and there has been no space for it.
    flushing: bool,
    /// A checkpoint waits for the same.
    checkpoint: Option<HardState>,
    cuts: Cuts,
    /// Where the store of a snapshot is made ready.
    place: Place<V>,
    /// When the defragmentation was asked for that is under way.
    defragmenting_since: Option<Instant>,
    timing: StoreTiming,
}

impl<V: Vfs, D> StoreKeeper<V, D> {
    pub fn new(store: Store<V>, timing: StoreTiming) -> StoreKeeper<V, D> {
        StoreKeeper {
            store,
            has_more: true,
            defragmenting: Vec::new(),
            flushing: false,
            checkpoint: None,
            cuts: Cuts::default(),
            place: Place::default(),
            defragmenting_since: None,
            timing,
        }
    }

    /// Where whoever receives snapshots puts their stores.
    pub fn place(&self) -> Place<V> {
        self.place.clone()
    }

    /// Does all that waits; with nothing waiting, a step of cleaning. While space is short, call it now and then: what the
    /// disk had no room for is tried again.
    pub fn step(&mut self, jobs: &mut Vec<StoreJob<D>>) -> Result<StoreDone<D>, StoreKeeperError> {
        let mut done = StoreDone {
            flushed: None,
            checkpoint: None,
            defragmented: Vec::new(),
            is_short_of_space: false,
            has_more: false,
            is_closed: false,
        };
        for job in &mut *jobs {
            match job {
                StoreJob::Trim(dead) => {
                    self.store.trim(dead);
                    self.has_more = true;
                }
                StoreJob::Install => self.install()?,
                _ => {}
            }
        }
        self.cuts.make(&self.store);
        let is_full = match self.write_all() {
            Ok(space) => {
                done.is_short_of_space = space == Space::Short;
                false
            }
            // Nothing is lost: the rest stays in the window and in the log.
            Err(StoreError::Full { .. }) => {
                done.is_short_of_space = true;
                true
            }
            Err(error) => return Err(error.into()),
        };
        for job in jobs.drain(..) {
            match job {
                // Some have been done already.
                StoreJob::Write | StoreJob::Trim(_) | StoreJob::Install => {}
                StoreJob::Discard => {
                    if let Some(store) = self.place.take() {
                        store.remove()?;
                        self.place.give_up();
                    }
                }
                StoreJob::Flush => self.flushing = true,
                StoreJob::Checkpoint(hard_state) => self.checkpoint = Some(hard_state),
                StoreJob::Defragment(waiter) => {
                    self.defragmenting_since.get_or_insert_with(Instant::now);
                    self.timing.defragmenting.set(1.0);
                    self.store.defragment()?;
                    self.has_more = true;
                    self.defragmenting.push(waiter);
                }
                StoreJob::Cut(cut) => self.cuts.want(cut),
                StoreJob::Close => {
                    self.store.sync()?;
                    done.is_closed = true;
                }
            }
        }
        if self.flushing && !is_full {
            self.flushing = false;
            done.flushed = Some(self.store.applied());
        }
        if !is_full {
            self.cuts.written();
        }
        // Without space it would be where the last one was, and so would the next.
        if let Some(hard_state) = self.checkpoint.take_if(|_| !is_full) {
            done.checkpoint = Some(self.checkpoint(hard_state)?);
        }
        self.store.dump_if_due()?;
        if self.has_more {
            self.has_more = self.store.clean(CLEAN_BYTES)? == Cleaned::Step;
        }
        if !self.has_more {
            if let Some(since) = self.defragmenting_since.take() {
                self.timing.defragment.observe_seconds(since.elapsed());
                self.timing.defragmenting.set(0.0);
            }
            done.defragmented.append(&mut self.defragmenting);
        }
        done.has_more = self.has_more || self.cuts.has_more();
        Ok(done)
    }

    /// What the store so far has not written is in the other one.
    fn install(&mut self) -> Result<(), StoreKeeperError> {
        let mut store = self.place.take().expect("a snapshot is installed when its store is ready");
        store.take_the_place_of(&mut self.store)?;
        self.place.give_up();
        self.store = *store;
        self.checkpoint = None;
        self.has_more = true;
        Ok(())
    }

    fn write_all(&mut self) -> Result<Space, StoreError> {
        loop {
            let begun = Instant::now();
            let written = self.store.write(FRAME_BYTES)?;
            if written.effects == 0 {
                return Ok(written.space);
            }
            let took = begun.elapsed();
            self.timing.commit.observe_seconds(took);
            self.timing.commit_write.observe_seconds(took);
        }
    }

    fn checkpoint(&mut self, mut hard_state: HardState) -> Result<LogCheckpoint, StoreKeeperError> {
        let index = self.store.sync()?;
        let cluster = cluster_of(self.store.rows())?;
        // What is in the store was committed, even if the hard state was read before that was known.
        hard_state.commit = hard_state.commit.max(index);
        let meta = SnapshotMeta { index, term: self.store.term(), conf: cluster.conf_state().clone() };
        Ok(LogCheckpoint { hard_state, meta, members: v2_snapshot::render(&cluster, index) })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::mpsc::channel;

    use ferrite_observe::metrics::Registry;
    use ferrite_raft::Term;
    use ferrite_storage::store::{Identity, Opened, Options, Plan, StoreSnapshot};
    use ferrite_storage::vfs::LyingDisk;
    use ferrite_storage::{Effect, Record, RowChange, Table};

    use super::*;

    type Keeper = StoreKeeper<LyingDisk, ()>;

    fn keeper(disk: &LyingDisk) -> (Keeper, Opened) {
        let identity = Identity { node_id: 1, cluster_id: 2 };
        let options = Options { segment_bytes: 8 << 10, ..Options::default() };
        let (store, opened) = Store::create(disk.clone(), Path::new("/store"), identity, options).unwrap();
        (StoreKeeper::new(store, StoreTiming::new(&Registry::new())), opened)
    }

    /// An entry that puts a value, and says in a row that it did.
    fn effect(index: u64) -> Effect {
        let revision = Revision { main: index + 1, sub: 0 };
        let record = Record::new(revision, false, vec![7; 100].into());
        let row = RowChange { table: Table::Meta, key: "last".into(), value: Some(index.to_string().into()) };
        Effect { index: Index(index), term: Term(1), records: vec![record], rows: vec![row] }
    }

    fn cut() -> (StoreJob<()>, std::sync::mpsc::Receiver<StoreSnapshot>) {
        let (sender, receiver) = channel();
        (StoreJob::Cut(Cut::new(move |snapshot| sender.send(snapshot).unwrap())), receiver)
    }

    fn length(snapshot: StoreSnapshot) -> u64 {
        let mut plan = Plan::new(snapshot);
        assert!(plan.step(usize::MAX));
        plan.finish().bytes()
    }

    #[test]
    fn a_cut_has_all_that_was_applied_and_nothing_that_its_rows_say_is_trimmed() {
        let disk = LyingDisk::new();
        let (mut keeper, mut opened) = keeper(&disk);
        (1..=100).for_each(|index| opened.window.append(effect(index)));
        opened.window.publish();
        let (job, untouched) = cut();
        assert!(keeper.step(&mut vec![job]).unwrap().has_more, "it waits for what else has been handed in");
        while keeper.step(&mut Vec::new()).unwrap().has_more {}
        let untouched = untouched.try_recv().unwrap();
        assert_eq!(untouched.applied, Index(100));

        // The applier hands in what is dead, then applies an entry whose rows say that it is gone. The keeper has taken
        // its jobs before the first, and sees the entry.
        let (job, receiver) = cut();
        let mut taken = vec![job];
        let dead = (2..=100).map(|main| Revision { main, sub: 0 }).collect();
        let mut handed_in = vec![StoreJob::Trim(dead)];
        opened.window.append(effect(101));
        opened.window.publish();
        assert!(keeper.step(&mut taken).unwrap().has_more);
        receiver.try_recv().unwrap_err();
        keeper.step(&mut handed_in).unwrap();
        let snapshot = receiver.try_recv().unwrap();
        assert_eq!(snapshot.applied, Index(101));
        assert!(snapshot.rows.of(Table::Meta).any(|(key, value)| key == "last" && value == "101"));
        assert!(length(snapshot) < length(untouched));
    }

    #[test]
    fn a_cut_waits_for_room() {
        let disk = LyingDisk::new();
        let (mut keeper, mut opened) = keeper(&disk);
        disk.set_capacity(8 << 10);
        (1..=200).for_each(|index| opened.window.append(effect(index)));
        opened.window.publish();
        let (job, receiver) = cut();
        let mut jobs = vec![job];
        for _ in 0..5 {
            assert!(keeper.step(&mut jobs).unwrap().is_short_of_space);
            receiver.try_recv().unwrap_err();
        }
        disk.set_capacity(1 << 30);
        while keeper.step(&mut Vec::new()).unwrap().has_more {}
        assert_eq!(receiver.try_recv().unwrap().applied, Index(200));
    }
}
