//! What a log comes to, in the simplest way: a list of all versions. It knows nothing of indexes, windows or stores.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ferrite_proto::etcdserverpb as pb;
use ferrite_proto::mvccpb::KeyValue;
use ferrite_raft::Entry;
use ferrite_state::command::{LevelId, Op, Proposal};
use ferrite_state::lease::LeaseId;
use ferrite_state::{Command, Shared};
use prost::Message;

/// The state after some entry.
#[derive(Clone, Debug)]
pub struct Model {
    versions: Vec<Version>,
    current: i64,
    compacted: i64,
    /// Granted seconds.
    leases: BTreeMap<i64, i64>,
    /// Members that have raised NOSPACE.
    nospace: BTreeSet<u64>,
    /// What the last entry came to.
    pub outcome: Outcome,
}

/// What a client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done, and at this revision if the answer has one.
    Done(Option<i64>),
    Refused,
}

#[derive(Clone, Debug)]
struct Version {
    main: i64,
    sub: i64,
    key: Bytes,
    /// `None` is a delete.
    kv: Option<KeyValue>,
}

impl Default for Model {
    fn default() -> Model {
        Model {
            versions: Vec::new(),
            current: 1,
            compacted: -1,
            leases: BTreeMap::new(),
            nospace: BTreeSet::new(),
            outcome: Outcome::Done(None),
        }
    }
}

impl Model {
    pub fn current(&self) -> i64 {
        self.current
    }

    pub fn compacted(&self) -> i64 {
        self.compacted
    }

    pub fn leases(&self) -> Vec<i64> {
        self.leases.keys().copied().collect()
    }

    pub fn has_nospace(&self) -> bool {
        !self.nospace.is_empty()
    }

    /// The state after one more entry.
    pub fn after(&self, entry: &Entry) -> Model {
        let mut next = self.clone();
        let command = Proposal::parse(entry).expect("an entry that was proposed").command;
        next.outcome = next.apply(&command);
        next
    }

    fn apply(&mut self, command: &Command) -> Outcome {
        let main = self.current + 1;
        match command {
            Command::Put(_) | Command::LeaseGrant(_) if self.has_nospace() => return Outcome::Refused,
            Command::Txn(txn) if self.has_nospace() && txn.cost() > 0 => return Outcome::Refused,
            Command::Put(put) => {
                if put.lease != 0 && !self.leases.contains_key(&put.lease) {
                    return Outcome::Refused;
                }
                self.put(put, main);
            }
            Command::DeleteRange(delete) => self.delete(&delete.key, &delete.range_end, main),
            Command::Txn(txn) => {
                for op in &txn.level(LevelId::OUTERMOST).success {
                    match op {
                        Op::Put(put) => self.put(put, main),
                        Op::DeleteRange(delete) => self.delete(&delete.key, &delete.range_end, main),
                        other => panic!("the workload has no {other:?}"),
                    }
                }
            }
            Command::Compaction(request) => {
                if request.revision <= self.compacted || request.revision > self.current {
                    return Outcome::Refused;
                }
                self.compacted = request.revision;
            }
            Command::LeaseGrant(grant) => {
                if self.leases.contains_key(&grant.id) {
                    return Outcome::Refused;
                }
                self.leases.insert(grant.id, grant.ttl.max(2));
                return Outcome::Done(None);
            }
            Command::LeaseRevoke(revoke) => {
                if self.leases.remove(&revoke.id).is_none() {
                    return Outcome::Refused;
                }
                for key in self.keys_of(revoke.id) {
                    self.delete(&key, b"", main);
                }
            }
            Command::Alarm(alarm) if alarm.alarm == pb::AlarmType::Nospace as i32 => {
                match alarm.action {
                    1 => self.nospace.insert(alarm.member_id),
                    _ => self.nospace.remove(&alarm.member_id),
                };
                return Outcome::Done(None);
            }
            _ => return Outcome::Done(None),
        }
        self.current = self.versions.last().map_or(self.current, |version| version.main.max(self.current));
        Outcome::Done(Some(self.current))
    }

    fn put(&mut self, put: &pb::PutRequest, main: i64) {
        let before = self.at(main).remove(&put.key);
        let kv = KeyValue {
            key: put.key.clone(),
            create_revision: before.as_ref().map_or(main, |kv| kv.create_revision),
            mod_revision: main,
            version: before.map_or(0, |kv| kv.version) + 1,
            value: put.value.clone(),
            lease: put.lease,
        };
        self.add(main, &put.key, Some(kv));
    }

    fn delete(&mut self, key: &[u8], range_end: &[u8], main: i64) {
        let is_selected = |each: &Bytes| match range_end {
            b"" => each == key,
            end => &each[..] >= key && (end == b"\0" || &each[..] < end),
        };
        for key in self.at(main).into_keys().filter(is_selected) {
            self.add(main, &key, None);
        }
    }

    fn add(&mut self, main: i64, key: &Bytes, kv: Option<KeyValue>) {
        let sub = self.versions.iter().rev().take_while(|version| version.main == main).count() as i64;
        self.versions.push(Version { main, sub, key: key.clone(), kv });
    }

    fn keys_of(&self, lease: i64) -> Vec<Bytes> {
        self.at(self.current).into_values().filter(|kv| kv.lease == lease).map(|kv| kv.key).collect()
    }

    fn at(&self, main: i64) -> BTreeMap<Bytes, KeyValue> {
        let mut keys = BTreeMap::new();
        for version in self.versions.iter().take_while(|version| version.main <= main) {
            match &version.kv {
                Some(kv) => keys.insert(version.key.clone(), kv.clone()),
                None => keys.remove(&version.key),
            };
        }
        keys
    }

    /// CRC-32C over what etcd hashes, byte after byte.
    fn hash(&self) -> u32 {
        let mut seen = self.at(self.current);
        if seen.is_empty() {
            // etcd then hashes whatever is there: after a finished compaction, this.
            seen = self.at(self.compacted);
        }
        let is_seen = |version: &Version| version.kv.as_ref().is_some_and(|kv| seen.get(&kv.key) == Some(kv));
        let mut bytes = b"key".to_vec();
        for version in self.versions.iter().filter(|version| version.main > self.compacted || is_seen(version)) {
            bytes.extend(version.main.to_be_bytes());
            bytes.push(b'_');
            bytes.extend(version.sub.to_be_bytes());
            bytes.extend(version.kv.is_none().then_some(b't'));
            let deleted = KeyValue { key: version.key.clone(), ..Default::default() };
            bytes.extend(version.kv.as_ref().unwrap_or(&deleted).encode_to_vec());
        }
        crc32c::crc32c(&bytes)
    }

    /// Panics unless what readers see is this; besides now and the compacted revision they look at `moment`, a revision.
    pub fn check(&self, shared: &Shared, moment: u64) {
        let keyspace = &shared.keyspace();
        assert_eq!((keyspace.revision() as i64, keyspace.compacted()), (self.current, self.compacted));
        let oldest = self.compacted.max(1);
        let moment = oldest + (moment % (self.current - oldest + 1) as u64) as i64;
        for revision in [self.current, moment, oldest] {
            let all = Bytes::from_static(b"\0");
            let request = pb::RangeRequest { key: all.clone(), range_end: all, revision, ..Default::default() };
            let range = keyspace.range(&request).unwrap_or_else(|error| panic!("at {revision}: {error:?}"));
            let found: Vec<KeyValue> = range.kvs.into_iter().map(|kv| Message::decode(kv).unwrap()).collect();
            let expected: Vec<KeyValue> = self.at(revision).into_values().collect();
            assert_eq!(found, expected, "at revision {revision}");
        }
        // Hashes of compactions are remembered: they would be of another compacted revision.
        if self.current > self.compacted {
            let hash = keyspace.hash_kv(0).unwrap();
            assert_eq!((hash.hash, hash.compact_revision), (self.hash(), self.compacted), "HashKV");
        }
        let lessor = shared.lessor.lock();
        assert_eq!(lessor.len(), self.leases.len(), "leases {:?}", self.leases);
        for (id, granted) in &self.leases {
            let lease = LeaseId::new(*id).unwrap();
            let row = lessor.row(lease).unwrap_or_else(|| panic!("lease {id} is lost"));
            assert_eq!(ferrite_proto::leasepb::Lease::decode(row).unwrap().ttl, *granted);
            let keys: Vec<Bytes> = lessor.keys(lease).unwrap().iter().map(|key| Bytes::copy_from_slice(key)).collect();
            assert_eq!(keys, self.keys_of(*id), "keys of lease {id}");
        }
        drop(lessor);
        let raised: BTreeSet<u64> = shared.tables().alarms.all().map(|alarm| alarm.member_id).collect();
        assert_eq!(raised, self.nospace, "alarms");
    }
}
