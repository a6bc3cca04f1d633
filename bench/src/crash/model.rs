//! What the store must hold: every key with its metadata, moved on one explained revision at a time.

use super::{Change, value};
use crate::ledger::WriteId;
use bytes::Bytes;
use ferrite_proto::mvccpb::{Event, KeyValue};
use std::collections::BTreeMap;

const DELETE: i32 = 1;

/// All keys at a revision.
#[derive(Clone, Debug)]
pub struct Model {
    pub keys: BTreeMap<Bytes, KeyValue>,
    pub revision: i64,
}

impl Model {
    /// An empty store, which is at revision 1.
    pub fn new() -> Model {
        Model { keys: BTreeMap::new(), revision: 1 }
    }

    /// Moves on to the next revision. Every field of every event is checked against what must follow.
    pub fn apply(&mut self, events: &[&Event]) -> Result<Vec<Change>, String> {
        self.revision += 1;
        let mut changes = Vec::new();
        for event in events {
            let Some(kv) = &event.kv else { return Err(format!("revision {}: an event without a key", self.revision)) };
            changes.push(match event.r#type {
                DELETE => self.delete(kv)?,
                _ => self.put(kv)?,
            });
        }
        Ok(changes)
    }

    fn put(&mut self, kv: &KeyValue) -> Result<Change, String> {
        let before = self.keys.get(&kv.key);
        let Some(id) = WriteId::of(&kv.value).filter(|&id| value(id, kv.value.len()) == kv.value) else {
            return Err(format!("revision {}: the value of {:?} is none that was written", self.revision, kv.key));
        };
        let expected = KeyValue {
            key: kv.key.clone(),
            value: kv.value.clone(),
            lease: kv.lease,
            mod_revision: self.revision,
            create_revision: before.map_or(self.revision, |b| b.create_revision),
            version: before.map_or(1, |b| b.version + 1),
        };
        if *kv != expected {
            return Err(format!("revision {}: {kv:?}, where {expected:?} must follow", self.revision));
        }
        self.keys.insert(kv.key.clone(), expected);
        Ok(Change::Put { key: kv.key.clone(), id, lease: kv.lease })
    }

    fn delete(&mut self, kv: &KeyValue) -> Result<Change, String> {
        if kv.mod_revision != self.revision {
            return Err(format!("revision {}: a delete that says {}", self.revision, kv.mod_revision));
        }
        match self.keys.remove(&kv.key) {
            Some(_) => Ok(Change::Delete { key: kv.key.clone() }),
            None => Err(format!("revision {}: {:?} is deleted, and was not there", self.revision, kv.key)),
        }
    }

    /// The keys attached to a lease, in order.
    pub fn attached(&self, lease: i64) -> Vec<Bytes> {
        self.keys.values().filter(|kv| kv.lease == lease).map(|kv| kv.key.clone()).collect()
    }

    /// What differs from an answer to a range over all keys.
    pub fn differs(&self, answer: &[KeyValue]) -> Option<String> {
        let expected: Vec<&KeyValue> = self.keys.values().collect();
        if let Some((want, got)) = expected.iter().zip(answer).find(|(want, got)| **want != *got) {
            return Some(format!("at revision {} {got:?}, where {want:?} must be", self.revision));
        }
        (expected.len() != answer.len())
            .then(|| format!("at revision {} {} keys, where {} must be", self.revision, answer.len(), expected.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: i32, key: &'static str, revision: i64, create: i64, version: i64) -> Event {
        let value = if kind == DELETE { Bytes::new() } else { value(WriteId(revision as u64), 20) };
        let key = Bytes::from_static(key.as_bytes());
        let kv = KeyValue { key, value, mod_revision: revision, create_revision: create, version, lease: 0 };
        Event { r#type: kind, kv: Some(kv), prev_kv: None }
    }

    #[test]
    fn only_what_follows_is_taken() {
        let table: [(&str, &[Event], bool); 7] = [
            (
                "put, put, delete, put",
                &[event(0, "a", 2, 2, 1), event(0, "a", 3, 2, 2), event(1, "a", 4, 0, 0), event(0, "a", 5, 5, 1)],
                true,
            ),
            ("version skipped", &[event(0, "a", 2, 2, 1), event(0, "a", 3, 2, 3)], false),
            ("created anew", &[event(0, "a", 2, 2, 1), event(0, "a", 3, 3, 1)], false),
            ("deleted twice", &[event(0, "a", 2, 2, 1), event(1, "a", 3, 0, 0), event(1, "a", 4, 0, 0)], false),
            ("never there", &[event(1, "a", 2, 0, 0)], false),
            ("another revision", &[event(0, "a", 3, 3, 1)], false),
            ("delete of another revision", &[event(0, "a", 2, 2, 1), event(1, "a", 2, 0, 0)], false),
        ];
        for (name, events, good) in table {
            let mut model = Model::new();
            let result: Result<Vec<_>, _> = events.iter().map(|e| model.apply(&[e])).collect();
            assert_eq!(result.is_ok(), good, "{name}: {result:?}");
        }
    }

    #[test]
    fn a_damaged_value_is_seen() {
        let mut damaged = event(0, "a", 2, 2, 1);
        let kv = damaged.kv.as_mut().unwrap();
        let mut bytes = kv.value.to_vec();
        bytes[19] ^= 1;
        kv.value = bytes.into();
        assert!(Model::new().apply(&[&damaged]).is_err());
    }
}
