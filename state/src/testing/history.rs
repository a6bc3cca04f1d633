//! Random histories, and the file in which they are written down.
//!
//! A line of the file is a call: the gRPC method, the encoded request, and what the model says comes of it, the encoded
//! response (its header telling the revision only) or `!` and the error. Bytes are hexadecimal. So whatever can send bytes to
//! a gRPC method can take a real etcd through a history.

use std::fmt::Write as _;
use std::path::Path;

use bytes::Bytes;
use ferrite_proto::etcdserverpb as pb;
use ferrite_proto::etcdserverpb::compare::TargetUnion;
use ferrite_proto::etcdserverpb::request_op::Request;
use prost::Message;

use super::Answer;
use crate::random::Random;

/// One request.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Put(pb::PutRequest),
    DeleteRange(pb::DeleteRangeRequest),
    Txn(pb::TxnRequest),
    Compaction(pb::CompactionRequest),
    LeaseGrant(pb::LeaseGrantRequest),
    LeaseRevoke(pb::LeaseRevokeRequest),
    Range(pb::RangeRequest),
    HashKv(pb::HashKvRequest),
}

/// Which transactions there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// Those that pass the checks before proposing.
    Valid,
    /// All: applying does not rely on these checks.
    Any,
}

/// Makes requests about few keys, so that they meet.
pub struct Generator {
    random: Random,
    validity: Validity,
}

/// What a transaction has touched so far, so that it stays valid.
#[derive(Default)]
struct Touched {
    puts: Vec<Bytes>,
    deletes: Vec<(Bytes, Bytes)>,
}

const LEASES: u64 = 4;

impl Generator {
    pub fn new(seed: u64, validity: Validity) -> Generator {
        Generator { random: Random::new(seed), validity }
    }

    pub fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.random.below(100) < percent
    }

    fn key(&mut self) -> Bytes {
        let letter = (b'a' + self.random.below(6) as u8) as char;
        match self.random.below(3) {
            0 => format!("{letter}"),
            1 => format!("{letter}{}", self.random.below(3)),
            _ => format!("{letter}/long/{}", self.random.below(2)),
        }
        .into()
    }

    fn range(&mut self) -> (Bytes, Bytes) {
        let key = self.key();
        match self.random.below(6) {
            0 => (key, Bytes::from_static(b"\0")),
            1 => (Bytes::from_static(b"\0"), Bytes::from_static(b"\0")),
            2 | 3 => {
                let end = self.key();
                (key, end)
            }
            _ => (key, Bytes::new()),
        }
    }

    fn value(&mut self) -> Bytes {
        match self.random.below(8) {
            0 => Bytes::new(),
            1 => vec![b'v'; 200].into(),
            _ => self.random.below(20).to_string().into(),
        }
    }

    fn lease(&mut self) -> i64 {
        // Negative ids are ids, too.
        1 + self.random.below(LEASES) as i64 - LEASES as i64 / 2 - 1
    }

    fn put(&mut self, key: Bytes) -> pb::PutRequest {
        let mut put = pb::PutRequest { key, prev_kv: self.chance(40), ..Default::default() };
        put.ignore_value = self.chance(10);
        put.ignore_lease = self.chance(10);
        if !put.ignore_value {
            put.value = self.value();
        }
        if !put.ignore_lease && self.chance(30) {
            put.lease = self.lease();
        }
        put
    }

    fn delete(&mut self) -> pb::DeleteRangeRequest {
        let (key, range_end) = match self.chance(60) {
            true => (self.key(), Bytes::new()),
            false => self.range(),
        };
        pb::DeleteRangeRequest { key, range_end, prev_kv: self.chance(40) }
    }

    fn revision(&mut self, current: i64) -> i64 {
        self.random.below(current as u64 + 2) as i64
    }

    fn range_request(&mut self, current: i64) -> pb::RangeRequest {
        let (key, range_end) = self.range();
        let mut range = pb::RangeRequest { key, range_end, ..Default::default() };
        if self.chance(50) {
            range.limit = self.random.below(6) as i64;
        }
        if self.chance(40) {
            range.revision = self.revision(current);
        }
        range.sort_order = self.random.below(3) as i32 * i32::from(self.chance(50));
        range.sort_target = self.random.below(5) as i32 * i32::from(self.chance(50));
        range.keys_only = self.chance(20);
        range.count_only = self.chance(10);
        if self.chance(20) {
            range.min_mod_revision = self.revision(current);
            range.max_create_revision = self.revision(current);
        }
        if self.chance(20) {
            range.max_mod_revision = self.revision(current);
            range.min_create_revision = self.revision(current);
        }
        range
    }

    fn compare(&mut self, current: i64) -> pb::Compare {
        let (key, range_end) = self.range();
        let target = self.random.below(5) as i32;
        // Now and then the operand is one of another target.
        let operand = if self.chance(95) { target as u64 } else { self.random.below(5) };
        let target_union = match operand {
            0 => TargetUnion::Version(self.random.below(4) as i64),
            1 => TargetUnion::CreateRevision(self.revision(current)),
            2 => TargetUnion::ModRevision(self.revision(current)),
            3 => TargetUnion::Value(self.value()),
            _ => TargetUnion::Lease(self.lease()),
        };
        let result = self.random.below(4) as i32;
        pb::Compare { result, target, key, target_union: Some(target_union), range_end }
    }

    fn txn(&mut self, current: i64, depth: u64, touched: &mut Touched) -> pb::TxnRequest {
        let compare = (0..self.random.below(3)).map(|_| self.compare(current)).collect();
        let ops = |generator: &mut Generator, touched: &mut Touched| -> Vec<pb::RequestOp> {
            (0..generator.random.below(4)).map(|_| generator.op(current, depth, touched)).collect()
        };
        let (success, failure) = (ops(self, touched), ops(self, touched));
        pb::TxnRequest { compare, success, failure }
    }

    fn op(&mut self, current: i64, depth: u64, touched: &mut Touched) -> pb::RequestOp {
        let request = match self.random.below(8) {
            0..=2 => {
                let key = self.key();
                let covered = touched.deletes.iter().any(|(from, to)| key >= from && (key < to || key == from));
                if self.validity == Validity::Valid && (covered || touched.puts.contains(&key)) {
                    return self.op(current, depth, touched);
                }
                touched.puts.push(key.clone());
                Request::RequestPut(self.put(key))
            }
            3 | 4 => {
                let delete = self.delete();
                let (from, to) = (&delete.key, &delete.range_end);
                let covers = |key: &Bytes| key == from || (key >= from && (to == "\0" || key < to));
                if self.validity == Validity::Valid && touched.puts.iter().any(covers) {
                    return self.op(current, depth, touched);
                }
                let end = if to == "\0" { Bytes::from_static(b"\xff") } else { to.clone() };
                touched.deletes.push((from.clone(), end));
                Request::RequestDeleteRange(delete)
            }
            5 if depth > 0 => Request::RequestTxn(self.txn(current, depth - 1, touched)),
            _ => {
                let mut range = self.range_request(current);
                if self.chance(60) {
                    range.revision = 0;
                }
                Request::RequestRange(range)
            }
        };
        pb::RequestOp { request: Some(request) }
    }

    /// The next request, at a revision.
    pub fn step(&mut self, current: i64) -> Step {
        match self.random.below(100) {
            0..=29 => {
                let key = self.key();
                Step::Put(self.put(key))
            }
            30..=39 => Step::DeleteRange(self.delete()),
            40..=64 => Step::Txn(self.txn(current, 3, &mut Touched::default())),
            65..=68 => Step::Compaction(pb::CompactionRequest { revision: self.revision(current), physical: true }),
            69..=74 => loop {
                // 0 would let the server choose.
                let id = self.lease();
                if id != 0 {
                    break Step::LeaseGrant(pb::LeaseGrantRequest { id, ttl: 1000 });
                }
            },
            75..=77 => loop {
                let id = self.lease();
                if id != 0 {
                    break Step::LeaseRevoke(pb::LeaseRevokeRequest { id });
                }
            },
            78..=94 => Step::Range(self.range_request(current)),
            _ => Step::HashKv(pb::HashKvRequest { revision: self.revision(current) }),
        }
    }
}

/// Writes down a history with what the model says of it.
pub fn write_history(path: &Path, steps: &[(Step, Answer)]) {
    let hex = |bytes: Vec<u8>| bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    let mut text = String::new();
    for (step, answer) in steps {
        let (method, request) = match step {
            Step::Put(request) => ("/etcdserverpb.KV/Put", request.encode_to_vec()),
            Step::DeleteRange(request) => ("/etcdserverpb.KV/DeleteRange", request.encode_to_vec()),
            Step::Txn(request) => ("/etcdserverpb.KV/Txn", request.encode_to_vec()),
            Step::Compaction(request) => ("/etcdserverpb.KV/Compact", request.encode_to_vec()),
            Step::LeaseGrant(request) => ("/etcdserverpb.Lease/LeaseGrant", request.encode_to_vec()),
            Step::LeaseRevoke(request) => ("/etcdserverpb.Lease/LeaseRevoke", request.encode_to_vec()),
            Step::Range(request) => ("/etcdserverpb.KV/Range", request.encode_to_vec()),
            Step::HashKv(request) => ("/etcdserverpb.Maintenance/HashKV", request.encode_to_vec()),
        };
        let answer = match answer {
            Answer::Range(response) => hex(response.encode_to_vec()),
            Answer::Put(response) => hex(response.encode_to_vec()),
            Answer::DeleteRange(response) => hex(response.encode_to_vec()),
            Answer::Txn(response) => hex(response.encode_to_vec()),
            Answer::Compaction(response) => hex(response.encode_to_vec()),
            Answer::LeaseGrant(response) => hex(response.encode_to_vec()),
            Answer::LeaseRevoke(response) => hex(response.encode_to_vec()),
            Answer::HashKv(response) => hex(response.encode_to_vec()),
            Answer::Refused(error) => format!("!{error:?}"),
        };
        writeln!(text, "{method} {} {answer}", hex(request)).expect("a string takes all");
    }
    std::fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
