//! The plainest history there can be, for tests: a list of all versions, and a list of what compaction has left of it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::Bytes;
use ferrite_proto::mvccpb::KeyValue;
use ferrite_storage::{ReadError, Revision};
use prost::Message;

use super::event::key_of;
use super::history::{Change, History, Step};

#[derive(Default)]
pub struct Naive {
    /// Every change ever made.
    pub all: Vec<Change>,
    left: RefCell<Vec<Change>>,
    pub published: u64,
    compacted: Cell<u64>,
    /// Who keeps what is compacted.
    pins: Rc<RefCell<Vec<u64>>>,
    /// A compaction that will strike in the middle of the next read.
    pub strikes: Cell<Option<u64>>,
    /// How many changes were read, for tests of cost.
    pub reads: Cell<usize>,
}

#[derive(Debug)]
pub struct NaivePin {
    pins: Rc<RefCell<Vec<u64>>>,
    from: u64,
}

impl Drop for NaivePin {
    fn drop(&mut self) {
        let mut pins = self.pins.borrow_mut();
        let place = pins.iter().position(|pin| *pin == self.from).expect("the pin was set");
        pins.swap_remove(place);
    }
}

impl Naive {
    pub fn new() -> Naive {
        Naive { published: 1, ..Naive::default() }
    }

    /// The revision of the last change.
    pub fn last(&self) -> u64 {
        self.all.last().map_or(1, |change| change.revision.main)
    }

    /// One transaction; a value of `None` deletes. Keys that are not there are not deleted. It is not published.
    pub fn write(&mut self, writes: &[(&[u8], Option<&[u8]>)]) {
        let main = self.last() + 1;
        let mut sub = 0;
        for (key, value) in writes {
            let before = self.version(key, main).map(|kv| KeyValue::decode(kv).expect("our own bytes"));
            let kv = match (value, before) {
                (None, None) => continue,
                (None, Some(_)) => KeyValue { key: Bytes::copy_from_slice(key), ..Default::default() },
                (Some(value), before) => KeyValue {
                    key: Bytes::copy_from_slice(key),
                    create_revision: before.as_ref().map_or(main as i64, |kv| kv.create_revision),
                    mod_revision: main as i64,
                    version: before.map_or(1, |kv| kv.version + 1),
                    value: Bytes::copy_from_slice(value),
                    lease: 0,
                },
            };
            let change = Change {
                revision: Revision { main, sub },
                tombstone: value.is_none(),
                key_value: kv.encode_to_vec().into(),
            };
            self.all.push(change.clone());
            self.left.borrow_mut().push(change);
            sub += 1;
        }
    }

    /// One transaction of one put, published.
    pub fn put(&mut self, key: &str, value: &str) {
        self.write(&[(key.as_bytes(), Some(value.as_bytes()))]);
        self.published = self.last();
    }

    pub fn delete(&mut self, key: &str) {
        self.write(&[(key.as_bytes(), None)]);
        self.published = self.last();
    }

    /// What a key had at a revision, compacted or not.
    pub fn version(&self, key: &[u8], revision: u64) -> Option<Bytes> {
        let of_key = |change: &&Change| change.revision.main <= revision && key_of(&change.key_value) == key;
        let change = self.all.iter().rev().find(of_key)?;
        (!change.tombstone).then(|| change.key_value.clone())
    }

    /// Whether a compaction may have taken out a change of a revision whose last changes are still there: of the compacted
    /// revision itself only the last change of each key stays.
    pub fn is_superseded(&self, change: &Change) -> bool {
        let from = self.all.partition_point(|other| other.revision <= change.revision);
        let same_main = self.all[from..].iter().take_while(|other| other.revision.main == change.revision.main);
        let mut of_key = same_main.filter(|other| key_of(&other.key_value) == key_of(&change.key_value));
        change.revision.main <= self.compacted.get() && of_key.next().is_some()
    }

    pub fn compact(&self, revision: u64) {
        self.compacted.set(revision.max(self.compacted.get()));
    }

    /// Another history takes the place of this one: it has the same revisions, and knows nobody's pins.
    pub fn swap(&mut self) {
        self.pins = Rc::default();
    }

    /// Takes out what compaction and pins allow.
    pub fn trim(&self) {
        let compacted = self.compacted.get();
        if self.pins.borrow().iter().any(|pin| *pin < compacted) {
            return;
        }
        let mut left = self.left.borrow_mut();
        let mut newest: std::collections::HashMap<Vec<u8>, Revision> = std::collections::HashMap::new();
        for change in left.iter().filter(|change| change.revision.main <= compacted) {
            newest.insert(key_of(&change.key_value).to_vec(), change.revision);
        }
        left.retain(|change| {
            let main = change.revision.main;
            main > compacted
                || (newest[key_of(&change.key_value)] == change.revision && (!change.tombstone || main == compacted))
        });
    }

    fn pick(
        &self,
        from: u64,
        until: u64,
        step: Step,
        wanted: impl Fn(&Change) -> bool,
        changes: &mut Vec<Change>,
    ) -> u64 {
        if let Some(revision) = self.strikes.take() {
            self.compact(revision.min(self.published));
            self.trim();
        }
        let left = self.left.borrow();
        let start = left.partition_point(|change| change.revision.main < from);
        let (mut count, mut bytes, mut last) = (0, 0, 0);
        for change in left[start..].iter().filter(|change| wanted(change)) {
            let main = change.revision.main;
            if main > until {
                break;
            }
            if main != last && count > 0 && (count >= step.changes || bytes >= step.bytes) {
                return main - 1;
            }
            last = main;
            count += 1;
            bytes += change.key_value.len();
            changes.push(change.clone());
            self.reads.set(self.reads.get() + 1);
        }
        until
    }
}

impl History for Naive {
    type Pin = NaivePin;

    fn published(&self) -> u64 {
        self.published
    }

    fn compacted(&self) -> u64 {
        self.compacted.get()
    }

    fn pin(&self, from: u64) -> Option<NaivePin> {
        if from < self.compacted.get() {
            return None;
        }
        self.pins.borrow_mut().push(from);
        Some(NaivePin { pins: self.pins.clone(), from })
    }

    fn is_kept_by(&self, pin: &NaivePin) -> bool {
        Rc::ptr_eq(&pin.pins, &self.pins)
    }

    fn read(&self, from: u64, until: u64, step: Step, changes: &mut Vec<Change>) -> Result<u64, ReadError> {
        Ok(self.pick(from, until, step, |_| true, changes))
    }

    fn read_key(
        &self,
        key: &[u8],
        from: u64,
        until: u64,
        step: Step,
        changes: &mut Vec<Change>,
    ) -> Result<u64, ReadError> {
        Ok(self.pick(from, until, step, |change| key_of(&change.key_value) == key, changes))
    }

    fn value_at(&self, key: &[u8], revision: u64) -> Result<Option<Bytes>, ReadError> {
        let left = self.left.borrow();
        let change = left.iter().rev().find(|c| c.revision.main <= revision && key_of(&c.key_value) == key);
        Ok(change.filter(|change| !change.tombstone).map(|change| change.key_value.clone()))
    }
}
