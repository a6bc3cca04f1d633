//! The state machine as simple as can be: a list of all versions that ever were, walked for each question.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ferrite_proto::etcdserverpb as pb;
use ferrite_proto::etcdserverpb::compare::TargetUnion;
use ferrite_proto::etcdserverpb::request_op::Request;
use ferrite_proto::etcdserverpb::response_op::Response;
use ferrite_proto::mvccpb::KeyValue;
use prost::Message;

use super::{Answer, Step, header};
use crate::ApplyError;
use crate::lease::LeaseError;

#[derive(Clone, Debug)]
struct Version {
    main: i64,
    sub: i64,
    key: Bytes,
    /// `None` is a delete.
    kv: Option<KeyValue>,
}

type Keys = BTreeMap<Bytes, KeyValue>;

/// All that was ever written.
#[derive(Clone, Debug)]
pub struct Model {
    versions: Vec<Version>,
    current: i64,
    compacted: i64,
    leases: BTreeSet<i64>,
    /// Hashes of compactions: revision, compacted before, hash.
    hashes: BTreeMap<i64, (i64, u32)>,
}

impl Model {
    pub fn new() -> Model {
        let (versions, leases, hashes) = (Vec::new(), BTreeSet::new(), BTreeMap::new());
        Model { versions, current: 1, compacted: -1, leases, hashes }
    }

    pub fn current(&self) -> i64 {
        self.current
    }

    pub fn compacted(&self) -> i64 {
        self.compacted
    }

    pub fn leases(&self) -> impl Iterator<Item = i64> {
        self.leases.iter().copied()
    }

    pub fn keys_of(&self, lease: i64) -> Vec<Bytes> {
        self.at(self.current).into_values().filter(|kv| kv.lease == lease).map(|kv| kv.key).collect()
    }

    /// A restart forgets the hashes of compactions.
    pub fn restart(&mut self) {
        self.hashes.clear();
    }

    fn at(&self, main: i64) -> Keys {
        let mut keys = Keys::new();
        for version in self.versions.iter().filter(|version| version.main <= main) {
            match &version.kv {
                Some(kv) => keys.insert(version.key.clone(), kv.clone()),
                None => keys.remove(&version.key),
            };
        }
        keys
    }

    pub fn step(&mut self, step: &Step) -> Answer {
        let result = match step {
            Step::Put(put) => self.check_put(put).map(|()| {
                let main = self.current + 1;
                let response = self.put(put, main);
                self.current = main;
                Answer::Put(response)
            }),
            Step::DeleteRange(delete) => {
                let response = self.delete(delete, self.current + 1);
                self.advance();
                Ok(Answer::DeleteRange(response))
            }
            Step::Txn(txn) => self.txn(txn).map(Answer::Txn),
            Step::Compaction(compaction) => self.compact(compaction.revision).map(Answer::Compaction),
            Step::LeaseGrant(grant) => match self.leases.insert(grant.id) {
                true => Ok(Answer::LeaseGrant(pb::LeaseGrantResponse {
                    header: header(self.current),
                    id: grant.id,
                    ttl: grant.ttl.max(2),
                    error: String::new(),
                })),
                false => Err(LeaseError::Exists.into()),
            },
            Step::LeaseRevoke(revoke) => match self.leases.remove(&revoke.id) {
                true => {
                    for key in self.keys_of(revoke.id) {
                        let delete = pb::DeleteRangeRequest { key, ..Default::default() };
                        self.delete(&delete, self.current + 1);
                    }
                    self.advance();
                    Ok(Answer::LeaseRevoke(pb::LeaseRevokeResponse { header: header(self.current) }))
                }
                false => Err(LeaseError::NotFound.into()),
            },
            Step::Range(range) => self.range(range).map(Answer::Range),
            Step::HashKv(request) => self.hash(request.revision),
        };
        result.unwrap_or_else(Answer::Refused)
    }

    /// Takes the next revision, if something was written with it.
    fn advance(&mut self) {
        self.current = self.versions.last().map_or(self.current, |version| version.main.max(self.current));
    }

    fn add(&mut self, main: i64, key: &Bytes, kv: Option<KeyValue>) {
        let sub = self.versions.iter().filter(|version| version.main == main).count() as i64;
        self.versions.push(Version { main, sub, key: key.clone(), kv });
    }

    fn check_put(&self, put: &pb::PutRequest) -> Result<(), ApplyError> {
        if put.lease != 0 && !self.leases.contains(&put.lease) {
            return Err(LeaseError::NotFound.into());
        }
        if (put.ignore_value || put.ignore_lease) && !self.at(self.current).contains_key(&put.key) {
            return Err(ApplyError::KeyNotFound);
        }
        Ok(())
    }

    fn put(&mut self, put: &pb::PutRequest, main: i64) -> pb::PutResponse {
        let before = self.at(main).remove(&put.key);
        let old = before.clone().unwrap_or_default();
        let kv = KeyValue {
            key: put.key.clone(),
            create_revision: before.as_ref().map_or(main, |kv| kv.create_revision),
            mod_revision: main,
            version: old.version + 1,
            value: if put.ignore_value { old.value } else { put.value.clone() },
            lease: if put.ignore_lease { old.lease } else { put.lease },
        };
        self.add(main, &put.key, Some(kv));
        pb::PutResponse { header: header(main), prev_kv: before.filter(|_| put.prev_kv) }
    }

    fn delete(&mut self, delete: &pb::DeleteRangeRequest, main: i64) -> pb::DeleteRangeResponse {
        let found: Vec<_> = selected(self.at(main), &delete.key, &delete.range_end);
        for kv in &found {
            self.add(main, &kv.key, None);
        }
        let wrote = self.versions.last().is_some_and(|version| version.main == main);
        pb::DeleteRangeResponse {
            header: header(if wrote { main } else { self.current }),
            deleted: found.len() as i64,
            prev_kvs: if delete.prev_kv { found } else { vec![] },
        }
    }

    fn compact(&mut self, revision: i64) -> Result<pb::CompactionResponse, ApplyError> {
        if revision <= self.compacted {
            return Err(ApplyError::Compacted);
        }
        if revision > self.current {
            return Err(ApplyError::FutureRevision);
        }
        let hash = self.hash_of(revision, self.compacted);
        self.hashes.insert(revision, (self.compacted, hash));
        if self.hashes.len() > 10 {
            self.hashes.pop_first();
        }
        self.compacted = revision;
        Ok(pb::CompactionResponse { header: header(self.current) })
    }

    fn range(&self, range: &pb::RangeRequest) -> Result<pb::RangeResponse, ApplyError> {
        if range.revision > self.current {
            return Err(ApplyError::FutureRevision);
        }
        let at = if range.revision <= 0 { self.current } else { range.revision };
        if at < self.compacted {
            return Err(ApplyError::Compacted);
        }
        Ok(ranged(&self.at(at), range, self.current))
    }

    fn txn(&mut self, txn: &pb::TxnRequest) -> Result<pb::TxnResponse, ApplyError> {
        let before = self.at(self.current);
        self.check_txn(txn, &before, &mut before.clone())?;
        let main = self.current + 1;
        let mut response = self.run_txn(txn, &before, main);
        self.advance();
        response.header = header(self.current);
        Ok(response)
    }

    /// `then` follows which keys there are as the transaction goes on.
    fn check_txn(&self, txn: &pb::TxnRequest, before: &Keys, then: &mut Keys) -> Result<(), ApplyError> {
        for op in chosen(txn, before) {
            match op.request.as_ref().unwrap() {
                Request::RequestRange(range) if range.revision != 0 => {
                    if range.revision > self.current {
                        return Err(ApplyError::FutureRevision);
                    }
                    if range.revision < self.compacted {
                        return Err(ApplyError::Compacted);
                    }
                }
                Request::RequestRange(_) => {}
                Request::RequestPut(put) => {
                    self.check_put(put)?;
                    if (put.ignore_value || put.ignore_lease) && !then.contains_key(&put.key) {
                        return Err(ApplyError::KeyNotFound);
                    }
                    then.insert(put.key.clone(), KeyValue { key: put.key.clone(), ..Default::default() });
                }
                Request::RequestDeleteRange(delete) => {
                    for kv in selected(then.clone(), &delete.key, &delete.range_end) {
                        then.remove(&kv.key);
                    }
                }
                Request::RequestTxn(inner) => self.check_txn(inner, before, then)?,
            }
        }
        Ok(())
    }

    fn run_txn(&mut self, txn: &pb::TxnRequest, before: &Keys, main: i64) -> pb::TxnResponse {
        let responses = chosen(txn, before).iter().map(|op| {
            let response = match op.request.as_ref().unwrap() {
                Request::RequestRange(range) => {
                    let wrote = self.versions.last().is_some_and(|version| version.main == main);
                    let now = if wrote { main } else { self.current };
                    let at = if range.revision <= 0 { now } else { range.revision };
                    Response::ResponseRange(ranged(&self.at(at), range, now))
                }
                Request::RequestPut(put) => Response::ResponsePut(self.put(put, main)),
                Request::RequestDeleteRange(delete) => Response::ResponseDeleteRange(self.delete(delete, main)),
                Request::RequestTxn(inner) => Response::ResponseTxn(self.run_txn(inner, before, main)),
            };
            pb::ResponseOp { response: Some(response) }
        });
        let responses = responses.collect();
        pb::TxnResponse { header: header(0), succeeded: holds_all(txn, before), responses }
    }

    fn hash(&self, revision: i64) -> Result<Answer, ApplyError> {
        let answer = |hash, compact_revision, hash_revision| {
            let header = header(self.current);
            Ok(Answer::HashKv(pb::HashKvResponse { header, hash, compact_revision, hash_revision }))
        };
        if let Some((before, hash)) = self.hashes.get(&revision) {
            return answer(*hash, *before, revision);
        }
        if revision > 0 && revision < self.compacted {
            return Err(ApplyError::Compacted);
        }
        if revision > self.current {
            return Err(ApplyError::FutureRevision);
        }
        let revision = if revision == 0 { self.current } else { revision };
        answer(self.hash_of(revision, self.compacted), self.compacted, revision)
    }

    /// CRC-32C over what etcd hashes, byte after byte.
    fn hash_of(&self, revision: i64, compacted: i64) -> u32 {
        let visible = |at: i64| -> BTreeSet<(i64, i64)> {
            let newest = |key: &Bytes| {
                let last = self.versions.iter().rfind(|version| version.main <= at && version.key == key).unwrap();
                (last.main, last.sub)
            };
            self.at(at).keys().map(newest).collect()
        };
        let mut keep = visible(revision);
        if keep.is_empty() {
            // etcd then hashes whatever is there: after a finished compaction, this.
            keep = visible(compacted);
        }
        let mut bytes = b"key".to_vec();
        for version in &self.versions {
            let old = version.main <= compacted;
            if version.main > revision || (old && !keep.contains(&(version.main, version.sub))) {
                continue;
            }
            bytes.extend(version.main.to_be_bytes());
            bytes.push(b'_');
            bytes.extend(version.sub.to_be_bytes());
            bytes.extend(version.kv.is_none().then_some(b't'));
            let deleted = KeyValue { key: version.key.clone(), ..Default::default() };
            bytes.extend(version.kv.as_ref().unwrap_or(&deleted).encode_to_vec());
        }
        crc32c::crc32c(&bytes)
    }
}

fn selected(keys: Keys, key: &Bytes, range_end: &Bytes) -> Vec<KeyValue> {
    let is_selected = |each: &Bytes| match &range_end[..] {
        b"" => each == key,
        b"\0" => each >= key,
        end => each >= key && &each[..] < end,
    };
    keys.into_values().filter(|kv| is_selected(&kv.key)).collect()
}

fn ranged(keys: &Keys, range: &pb::RangeRequest, current: i64) -> pb::RangeResponse {
    let mut kvs = selected(keys.clone(), &range.key, &range.range_end);
    let mut response = pb::RangeResponse { header: header(current), count: kvs.len() as i64, ..Default::default() };
    if range.count_only {
        return response;
    }
    let by_key = range.sort_target == 0;
    let filtered =
        [range.min_mod_revision, range.max_mod_revision, range.min_create_revision, range.max_create_revision]
            .iter()
            .any(|bound| *bound != 0);
    if range.limit > 0 && !filtered && (range.sort_order == 0 || (by_key && range.sort_order == 1)) {
        kvs.truncate(range.limit as usize + 1);
    }
    kvs.retain(|kv| {
        (range.max_mod_revision == 0 || kv.mod_revision <= range.max_mod_revision)
            && (range.min_mod_revision == 0 || kv.mod_revision >= range.min_mod_revision)
            && (range.max_create_revision == 0 || kv.create_revision <= range.max_create_revision)
            && (range.min_create_revision == 0 || kv.create_revision >= range.min_create_revision)
    });
    let number = |kv: &KeyValue| match range.sort_target {
        1 => kv.version,
        2 => kv.create_revision,
        3 => kv.mod_revision,
        _ => 0,
    };
    let order = |a: &KeyValue, b: &KeyValue| match range.sort_target {
        0 => a.key.cmp(&b.key),
        4 => a.value.cmp(&b.value),
        _ => number(a).cmp(&number(b)),
    };
    kvs.sort_by(|a, b| if range.sort_order == 2 { order(b, a) } else { order(a, b) });
    if range.limit > 0 && kvs.len() as i64 > range.limit {
        kvs.truncate(range.limit as usize);
        response.more = true;
    }
    if range.keys_only {
        for kv in &mut kvs {
            kv.value = Bytes::new();
            if range.sort_target != 4 {
                kv.lease = 0;
            }
        }
    }
    response.kvs = kvs;
    response
}

fn chosen<'a>(txn: &'a pb::TxnRequest, before: &Keys) -> &'a [pb::RequestOp] {
    if holds_all(txn, before) { &txn.success } else { &txn.failure }
}

fn holds_all(txn: &pb::TxnRequest, before: &Keys) -> bool {
    txn.compare.iter().all(|compare| {
        let found = selected(before.clone(), &compare.key, &compare.range_end);
        match found.is_empty() {
            true => compare.target != 3 && holds(compare, &KeyValue::default()),
            false => found.iter().all(|kv| holds(compare, kv)),
        }
    })
}

fn holds(compare: &pb::Compare, kv: &KeyValue) -> bool {
    let ordering = match (compare.target, compare.target_union.clone()) {
        (0, Some(TargetUnion::Version(given))) => kv.version.cmp(&given),
        (0, _) => kv.version.cmp(&0),
        (1, Some(TargetUnion::CreateRevision(given))) => kv.create_revision.cmp(&given),
        (1, _) => kv.create_revision.cmp(&0),
        (2, Some(TargetUnion::ModRevision(given))) => kv.mod_revision.cmp(&given),
        (2, _) => kv.mod_revision.cmp(&0),
        (3, Some(TargetUnion::Value(given))) => kv.value.cmp(&given),
        (3, _) => kv.value.cmp(&Bytes::new()),
        (4, Some(TargetUnion::Lease(given))) => kv.lease.cmp(&given),
        (4, _) => kv.lease.cmp(&0),
        _ => std::cmp::Ordering::Equal,
    };
    match compare.result {
        0 => ordering.is_eq(),
        1 => ordering.is_gt(),
        2 => ordering.is_lt(),
        3 => ordering.is_ne(),
        _ => true,
    }
}
