//! Tests of the store as its owner sees it, over a disk that lies. `Model` says what must be in it.

mod crash;
mod damage;
mod exchange;
mod format;
mod space;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bytes::Bytes;
use ferrite_raft::{Index, Term};

use super::*;
use crate::vfs::lying::Dice;
use crate::vfs::{Disk, LyingDisk};
use crate::{Effect, Record, RowChange};

const DIR: &str = "/member/store";
const IDENTITY: Identity = Identity { node_id: 7, cluster_id: 8 };
const SMALL: Options = Options { segment_bytes: 2048, window_bytes: 1 << 20, dump_bytes: 256 };

type Opening = Result<(Store<LyingDisk>, Opened), StoreError>;

fn create(disk: &LyingDisk, options: Options) -> Opening {
    Store::create(disk.clone(), Path::new(DIR), IDENTITY, options)
}

fn open(disk: &LyingDisk, whole_up_to: Index) -> Opening {
    Store::open(disk.clone(), Path::new(DIR), IDENTITY, whole_up_to, SMALL)
}

/// A disk whose directory for the store's parent is durable, as the member makes it.
fn disk() -> LyingDisk {
    let disk = LyingDisk::new();
    disk.create_dir_all(Path::new("/member")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    disk
}

/// A history of effects, known in advance.
#[derive(Debug)]
struct Model {
    effects: Vec<Effect>,
}

/// The key that a record belongs to: one of a few that change often, or of many that seldom do. A later record of the same
/// key supersedes an earlier one.
fn key_of(revision: Revision) -> u64 {
    let number = revision.main + 3 * revision.sub;
    if number.is_multiple_of(3) { 9 + number % 101 } else { number % 9 }
}

impl Model {
    fn new(seed: u64, entries: u64) -> Model {
        let mut dice = Dice::new(seed);
        let mut main = 1;
        let effects = (1..=entries).map(|index| {
            let records = match dice.below(6) {
                0 => 0,
                1 => 3,
                _ => 1,
            };
            main += (records > 0) as u64;
            let record = |sub| {
                let tombstone = dice.once_in(5);
                let length = dice.below(60) as usize + if dice.once_in(40) { 3000 } else { 0 };
                let value: Vec<u8> = (0..length).map(|_| dice.roll() as u8).collect();
                Record::new(Revision { main, sub }, tombstone, value.into())
            };
            let records = (0..records).map(record).collect();
            let rows = (0..dice.below(4)).map(|_| RowChange {
                table: Table::ALL[dice.below(9) as usize],
                key: Bytes::from(format!("row {}", dice.below(5))),
                value: (!dice.once_in(4)).then(|| Bytes::from(format!("{}", dice.roll()))),
            });
            let rows = rows.collect();
            Effect { index: Index(index), term: Term(1 + index / 20), records, rows }
        });
        Model { effects: effects.collect() }
    }

    fn up_to(&self, index: Index) -> &[Effect] {
        &self.effects[..index.0 as usize]
    }

    fn rows(&self, index: Index) -> Vec<(Table, Bytes, Bytes)> {
        let mut rows = BTreeMap::new();
        for change in self.up_to(index).iter().flat_map(|effect| &effect.rows) {
            match &change.value {
                Some(value) => rows.insert((change.table, change.key.clone()), value.clone()),
                None => rows.remove(&(change.table, change.key.clone())),
            };
        }
        rows.into_iter().map(|((table, key), value)| (table, key, value)).collect()
    }

    fn records(&self, index: Index) -> BTreeMap<Revision, &Record> {
        self.up_to(index).iter().flat_map(|effect| &effect.records).map(|record| (record.revision, record)).collect()
    }

    /// What a compaction at this entry makes dead: what a later record supersedes, and tombstones but for those of the
    /// last revision.
    fn dead(&self, index: Index) -> BTreeSet<Revision> {
        let records = self.records(index);
        let Some(compacted) = records.keys().next_back().map(|revision| revision.main) else { return BTreeSet::new() };
        let mut newest = BTreeMap::new();
        let superseded = records.keys().filter_map(|revision| newest.insert(key_of(*revision), *revision));
        let mut dead: BTreeSet<_> = superseded.collect();
        let is_dead = |revision: &Revision| revision.main < compacted && records[revision].tombstone;
        dead.extend(newest.into_values().filter(is_dead));
        dead
    }

    /// Checks that a store holds what it must: all effects up to `applied`, but for what may be dead.
    fn check(&self, opened: &Opened, may_be_dead: &BTreeSet<Revision>) {
        assert_eq!(opened.rows, self.rows(opened.applied), "rows at {}", opened.applied);
        let term = opened.applied.0.checked_sub(1).map_or(Term(0), |at| self.effects[at as usize].term);
        assert_eq!(opened.term, term);
        self.check_revisions(&opened.revisions, opened.applied, may_be_dead);
        self.check_tombstones(&opened.revisions, opened.applied);
    }

    /// Checks of a store that was opened that no tombstone has gone before a record that it made dead: what is dead is told
    /// by the records alone.
    fn check_tombstones(&self, revisions: &Revisions, applied: Index) {
        let seen: Vec<_> = revisions.scan(Revision::default(), u64::MAX).map(|found| found.unwrap().revision).collect();
        for (tombstone, record) in self.records(applied) {
            if record.tombstone && seen.binary_search(&tombstone).is_err() {
                let revived = seen.iter().find(|seen| **seen < tombstone && key_of(**seen) == key_of(tombstone));
                assert_eq!(revived, None, "came back to life without {tombstone:?}");
            }
        }
    }

    fn check_revisions(&self, revisions: &Revisions, applied: Index, may_be_dead: &BTreeSet<Revision>) {
        let expected = self.records(applied);
        let mut last = None;
        let mut seen = BTreeSet::new();
        for found in revisions.scan(Revision::default(), u64::MAX) {
            let found = found.unwrap();
            assert!(last < Some(found.revision), "{:?} after {last:?}", found.revision);
            last = Some(found.revision);
            let record = expected.get(&found.revision).unwrap_or_else(|| panic!("{:?} from nowhere", found.revision));
            assert_eq!(&found.key_value[..], record.key_value);
            assert_eq!((found.tombstone, found.checksum), (record.tombstone, record.checksum));
            seen.insert(found.revision);
        }
        let checksums = revisions.checksums(Revision::default(), u64::MAX);
        assert!(checksums.map(|found| found.revision).eq(seen.iter().copied()));
        for (revision, record) in expected {
            let (found, checksum) = (revisions.get(revision).unwrap(), revisions.checksum(revision));
            let may_be_gone = may_be_dead.contains(&revision);
            assert!(seen.contains(&revision) || may_be_gone, "{revision:?} is lost");
            assert!(found.as_ref().map_or(may_be_gone, |found| found[..] == record.key_value), "{revision:?}");
            assert!(checksum.map_or(may_be_gone, |checksum| checksum == record.hashed()), "{revision:?}");
        }
    }
}

/// A store under way, its model, and what has been promised so far.
struct Run<'a> {
    model: &'a Model,
    store: Store<LyingDisk>,
    opened: Opened,
    disk: LyingDisk,
    promises: Vec<Promise>,
    dead: BTreeSet<Revision>,
    /// The last entry in the window.
    appended: Index,
}

/// From this number of operations on: entries up to one are durable, and these revisions may be gone.
#[derive(Clone, Debug, Default)]
struct Promise {
    operations: usize,
    durable: Index,
    may_be_dead: BTreeSet<Revision>,
}

impl Run<'_> {
    fn new<'a>(model: &'a Model, disk: &LyingDisk, (store, opened): (Store<LyingDisk>, Opened)) -> Run<'a> {
        let appended = opened.applied;
        Run { model, store, opened, disk: disk.clone(), promises: Vec::new(), dead: BTreeSet::new(), appended }
    }

    fn append(&mut self, count: u64) {
        for effect in self.model.effects.iter().skip(self.appended.0 as usize).take(count as usize) {
            self.opened.window.append(effect.clone());
            self.appended = effect.index;
        }
        self.opened.window.publish();
    }

    fn write_all(&mut self) {
        while self.store.write(u64::MAX).unwrap().effects > 0 {}
        assert_eq!(self.store.applied(), self.appended);
    }

    fn sync(&mut self) {
        let durable = self.store.sync().unwrap();
        assert_eq!(durable, self.store.applied());
        self.promise(durable);
    }

    fn promise(&mut self, durable: Index) {
        let operations = self.disk.operations();
        self.promises.push(Promise { operations, durable, may_be_dead: self.dead.clone() });
    }

    fn durable(&self) -> Index {
        self.promises.last().map_or(Index(0), |promise| promise.durable)
    }

    fn trim(&mut self) {
        let dead = self.model.dead(self.store.applied());
        self.store.trim(&dead.difference(&self.dead).copied().collect::<Vec<_>>());
        self.dead = dead;
        self.promise(self.durable());
    }

    /// One thing after the other, as chance will have it, until all is written.
    fn anything(&mut self, dice: &mut Dice) {
        while self.store.applied().0 < self.model.effects.len() as u64 {
            match dice.below(12) {
                0..=3 => self.append(1 + dice.below(6)),
                4..=7 => _ = self.store.write(1 + dice.below(600)).unwrap(),
                8 => self.sync(),
                9 => self.trim(),
                10 if dice.once_in(3) => self.store.defragment().unwrap(),
                10 => _ = self.store.dump_if_due().unwrap(),
                _ => _ = self.store.clean(dice.below(800)).unwrap(),
            }
            self.check();
        }
    }

    fn check(&self) {
        self.model.check_revisions(&self.opened.revisions, self.appended, &self.dead);
        let Sizes { bytes_written, bytes_alive } = self.store.sizes();
        assert!(bytes_alive <= bytes_written + self.store.rows.changed_bytes, "{bytes_alive} of {bytes_written}");
    }
}

#[test]
fn all_is_there_after_a_clean_stop() {
    for seed in 0..10 {
        let model = Model::new(seed, 150);
        let disk = disk();
        let mut run = Run::new(&model, &disk, create(&disk, SMALL).unwrap());
        run.anything(&mut Dice::new(seed));
        run.sync();
        let (dead, sizes) = (run.dead.clone(), run.store.sizes());
        assert!(matches!(open(&disk, Index(0)), Err(StoreError::Locked { .. })));
        drop(run);
        let (mut store, opened) = open(&disk, Index(150)).unwrap();
        assert_eq!((opened.applied, opened.warnings.len()), (Index(150), 0), "{:?}", opened.warnings);
        model.check(&opened, &dead);
        // What has died is told again by the index; then the sizes are what they were.
        store.trim(&dead.into_iter().collect::<Vec<_>>());
        assert_eq!(store.sizes(), sizes);
    }
}

#[test]
fn nothing_comes_back_to_life_however_often_it_is_opened() {
    let mut buried = 0;
    for seed in 0..10 {
        let model = Model::new(seed, 600);
        let (disk, mut dice) = (disk(), Dice::new(seed));
        drop(create(&disk, SMALL).unwrap());
        let mut durable = Index(0);
        while durable < Index(600) {
            let (store, opened) = open(&disk, durable).unwrap();
            // What it holds is less than what was there before only by what is dead.
            model.check(&opened, &model.dead(durable));
            let mut run = Run::new(&model, &disk, (store, opened));
            run.trim();
            for _ in 0..1 + dice.below(3) {
                run.append(1 + dice.below(25));
                run.write_all();
                run.trim();
                while run.store.clean(1 + dice.below(800)).unwrap() == Cleaned::Step && !dice.once_in(12) {}
            }
            run.sync();
            durable = run.durable();
            buried += run.store.manifest.buried.is_some() as u32;
        }
    }
    assert!(buried > 20, "{buried}");
}

#[test]
fn a_store_is_its_members_only() {
    let disk = disk();
    let dir = Path::new(DIR);
    assert!(matches!(open(&disk, Index(0)), Err(StoreError::Missing { .. })));
    drop(create(&disk, SMALL).unwrap());
    let other = Identity { node_id: 9, ..IDENTITY };
    let error = Store::open(disk.clone(), dir, other, Index(0), SMALL).unwrap_err();
    assert_eq!(
        error.to_string(),
        "/member/store/MANIFEST: the store belongs to member 7 of cluster 8, not to member 9 of cluster 8: \
         use the data directory of this member"
    );
}

#[test]
fn a_store_that_lost_its_manifest_is_not_made_anew() {
    let model = Model::new(1, 100);
    let disk = disk();
    let mut run = Run::new(&model, &disk, create(&disk, SMALL).unwrap());
    run.append(100);
    run.write_all();
    drop(run);
    disk.remove_file(&Path::new(DIR).join("MANIFEST")).unwrap();
    assert!(matches!(open(&disk, Index(0)), Err(StoreError::Missing { .. })));
    assert!(matches!(create(&disk, SMALL), Err(StoreError::NoManifest { .. })));
}

#[test]
fn a_frame_larger_than_a_segment_gets_one_of_its_own() {
    let disk = disk();
    let (mut store, mut opened) = create(&disk, SMALL).unwrap();
    for index in 1..=6 {
        let records = vec![Record::new(Revision { main: index + 1, sub: 0 }, false, vec![7; 5000].into())];
        opened.window.append(Effect { index: Index(index), term: Term(1), records, rows: Vec::new() });
        opened.window.publish();
        assert_eq!(store.write(1).unwrap(), Written { effects: 1, applied: Index(index), space: Space::Reserved });
    }
    drop((store, opened.window));
    let (_, opened) = open(&disk, Index(6)).unwrap();
    for main in 2..=7 {
        assert_eq!(opened.revisions.get(Revision { main, sub: 0 }).unwrap().unwrap().len(), 5000);
    }
}

#[test]
fn readers_find_all_that_is_published_while_it_moves() {
    let model = Model::new(21, 3000);
    let disk = disk();
    // Chunks of a few effects, so that most writes take something out of the window.
    let options = Options { window_bytes: 64 << 10, ..SMALL };
    let mut run = Run::new(&model, &disk, create(&disk, options).unwrap());
    let dead = model.dead(Index(3000));
    let records: Vec<_> = model.records(Index(3000)).into_values().filter(|r| !dead.contains(&r.revision)).collect();
    let every: Vec<_> = model.records(Index(3000)).into_values().collect();
    let (last, revisions) = (every[every.len() - 1].revision.main, run.opened.revisions.clone());
    let read = |seed| {
        let (mut dice, mut found) = (Dice::new(seed), 0u64);
        let mut published = 0;
        while published < last {
            published = revisions.published_main();
            // The newest, which is moving from the window to a file; any that stays alive; and what follows on it.
            let newest = every.partition_point(|record| record.revision.main <= published).checked_sub(1);
            let any = records.partition_point(|record| record.revision.main <= published);
            let newest = newest.map(|at| every[at.saturating_sub(dice.below(9) as usize)]);
            let any = (any > 0).then(|| records[dice.below(any as u64) as usize]);
            for (record, stays) in newest.map(|record| (record, false)).into_iter().chain(any.map(|r| (r, true))) {
                let bytes = revisions.get(record.revision).unwrap();
                assert!(bytes.as_ref().is_none_or(|bytes| bytes[..] == record.key_value));
                assert!(bytes.is_some() || (!stays && dead.contains(&record.revision)), "{:?}", record.revision);
                if !dead.contains(&record.revision) {
                    let next = revisions.scan(record.revision, published).next().expect("what was there").unwrap();
                    assert_eq!(next.revision, record.revision);
                }
                found += 1;
            }
        }
        found
    };
    std::thread::scope(|scope| {
        let readers = [1, 2].map(|seed| scope.spawn(move || read(seed)));
        let mut dice = Dice::new(3);
        while run.store.applied() < Index(3000) {
            run.append(1 + dice.below(20));
            run.store.write(1 + dice.below(900)).unwrap();
            match dice.below(40) {
                0 => run.trim(),
                1 => run.store.defragment().unwrap(),
                _ => _ = run.store.clean(dice.below(2000)).unwrap(),
            }
        }
        for reader in readers {
            assert!(reader.join().unwrap() > 0);
        }
    });
}

#[test]
fn the_same_on_a_real_disk() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("store");
    let model = Model::new(22, 400);
    let (mut store, mut opened) = Store::create(Disk, &dir, IDENTITY, SMALL).unwrap();
    for effects in model.effects.chunks(40) {
        effects.iter().for_each(|effect| opened.window.append(effect.clone()));
        opened.window.publish();
        while store.write(700).unwrap().effects > 0 {}
        store.trim(&model.dead(store.applied()).into_iter().collect::<Vec<_>>());
        store.dump_if_due().unwrap();
        while store.clean(500).unwrap() == Cleaned::Step {}
        model.check_revisions(&opened.revisions, store.applied(), &model.dead(store.applied()));
    }
    assert_eq!(store.sync().unwrap(), Index(400));
    let held = opened.revisions.scan(Revision::default(), u64::MAX).next().unwrap().unwrap();
    store.defragment().unwrap();
    while store.clean(500).unwrap() == Cleaned::Step {}
    assert!(matches!(Store::open(Disk, &dir, IDENTITY, Index(0), SMALL), Err(StoreError::Locked { .. })));
    let sizes = store.sizes();
    drop((store, opened));
    assert_eq!(
        held.key_value[..],
        model.records(Index(400))[&held.revision].key_value,
        "its file is gone, not its bytes"
    );

    let (mut store, opened) = Store::open(Disk, &dir, IDENTITY, Index(400), SMALL).unwrap();
    assert_eq!((opened.applied, opened.warnings.len()), (Index(400), 0));
    model.check(&opened, &model.dead(Index(400)));
    store.trim(&model.dead(Index(400)).into_iter().collect::<Vec<_>>());
    assert_eq!(store.sizes(), sizes);
}

#[test]
fn a_failed_sync_or_write_poisons_the_store() {
    let model = Model::new(3, 60);
    for count in 0..12 {
        for fail_write in [false, true] {
            let disk = disk();
            let mut run = Run::new(&model, &disk, create(&disk, SMALL).unwrap());
            match fail_write {
                false => disk.fail_sync_after(count, count),
                true => disk.fail_write_after(count),
            }
            run.append(60);
            let failed = std::iter::from_fn(|| match run.store.write(300).and_then(|_| run.store.sync()) {
                Ok(durable) if durable.0 == 60 => None,
                result => Some(result),
            });
            let error = failed.filter_map(Result::err).next().expect("it fails on the way");
            assert!(matches!(error, StoreError::Io(_)), "{error}");
            for result in [run.store.sync().map(|_| ()), run.store.dump().map(|_| ()), run.store.write(1).map(|_| ())] {
                assert!(matches!(result, Err(StoreError::Poisoned)), "{result:?}");
            }
        }
    }
}
