//! What a request must look like. Checked at the door in etcd's order, before anything is asked of the member.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use bytes::Bytes;
use ferrite_proto::etcdserverpb as pb;
use ferrite_state::command::{LevelId, Op, Txn};

use super::error::RequestError;

/// Sort orders and targets are numbered from 0 up to these.
const LAST_SORT_ORDER: i32 = 2;
const LAST_SORT_TARGET: i32 = 4;

pub fn range(request: &pb::RangeRequest) -> Result<(), RequestError> {
    if request.key.is_empty() {
        return Err(RequestError::EmptyKey);
    }
    let sorts = (0..=LAST_SORT_ORDER).contains(&request.sort_order);
    let targets = (0..=LAST_SORT_TARGET).contains(&request.sort_target);
    if sorts && targets { Ok(()) } else { Err(RequestError::InvalidSort) }
}

/// A stream comes in the order of keys, unfiltered.
pub fn range_stream(request: &pb::RangeRequest) -> Result<(), RequestError> {
    use pb::range_request::{SortOrder, SortTarget};
    range(request)?;
    let ascending = request.sort_order == SortOrder::Ascend as i32 && request.sort_target == SortTarget::Key as i32;
    if request.sort_order != SortOrder::None as i32 && !ascending {
        return Err(RequestError::StreamSort);
    }
    let filters =
        [request.min_mod_revision, request.max_mod_revision, request.min_create_revision, request.max_create_revision];
    if filters == [0; 4] { Ok(()) } else { Err(RequestError::StreamFilter) }
}

pub fn put(request: &pb::PutRequest) -> Result<(), RequestError> {
    if request.key.is_empty() {
        Err(RequestError::EmptyKey)
    } else if request.ignore_value && !request.value.is_empty() {
        Err(RequestError::ValueProvided)
    } else if request.ignore_lease && request.lease != 0 {
        Err(RequestError::LeaseProvided)
    } else {
        Ok(())
    }
}

pub fn delete_range(request: &pb::DeleteRangeRequest) -> Result<(), RequestError> {
    if request.key.is_empty() { Err(RequestError::EmptyKey) } else { Ok(()) }
}

/// Judges a transaction and all that are nested in it: first how many operations there are and what they look like, then
/// whether a branch writes a key twice.
pub fn txn(txn: &Txn, max_ops: usize) -> Result<(), RequestError> {
    operations(txn, max_ops)?;
    no_duplicates(txn)
}

/// What is still to be looked at: levels are entered where they stand, as in a recursion.
enum Step {
    Level(LevelId, usize),
    /// The operations of a branch from this one on, with what is left for those nested in it.
    Ops(LevelId, Branch, usize, usize),
}

#[derive(Clone, Copy)]
enum Branch {
    Success,
    Failure,
}

fn branch(txn: &Txn, id: LevelId, branch: Branch) -> &[Op] {
    match branch {
        Branch::Success => &txn.level(id).success,
        Branch::Failure => &txn.level(id).failure,
    }
}

fn operations(txn: &Txn, max_ops: usize) -> Result<(), RequestError> {
    let mut steps = vec![Step::Level(LevelId::OUTERMOST, max_ops)];
    while let Some(step) = steps.pop() {
        match step {
            Step::Level(id, budget) => {
                let level = txn.level(id);
                let most = level.compare.len().max(level.success.len()).max(level.failure.len());
                let left = budget.checked_sub(most).ok_or(RequestError::TooManyOps)?;
                if level.compare.iter().any(|compare| compare.key.is_empty()) {
                    return Err(RequestError::EmptyKey);
                }
                steps.push(Step::Ops(id, Branch::Failure, 0, left));
                steps.push(Step::Ops(id, Branch::Success, 0, left));
            }
            Step::Ops(id, side, at, left) => {
                let Some(op) = branch(txn, id, side).get(at) else { continue };
                steps.push(Step::Ops(id, side, at + 1, left));
                match op {
                    Op::Range(request) => range(request)?,
                    Op::Put(request) => put(request)?,
                    Op::DeleteRange(request) => delete_range(request)?,
                    Op::Txn(nested) => steps.push(Step::Level(*nested, left)),
                    Op::Unset => return Err(RequestError::UnsetOp),
                }
            }
        }
    }
    Ok(())
}

/// The keys that a list of operations puts, and the ranges that it deletes. Joining two costs what there is in the smaller
/// one: a transaction may nest as deep as it may have operations, and all keys go up through all of its levels.
#[derive(Debug, Default)]
struct Writes {
    puts: BTreeSet<Bytes>,
    deletes: Deletes,
}

/// Whether any branch writes a key twice. A level lies before those it holds, so from behind the writes of what is nested
/// are known when they are needed.
fn no_duplicates(txn: &Txn) -> Result<(), RequestError> {
    let mut known: Vec<Option<[Writes; 2]>> = txn.levels().iter().map(|_| None).collect();
    for (at, level) in txn.levels().iter().enumerate().rev() {
        let success = Writes::of_branch(&level.success, &mut known)?;
        let failure = Writes::of_branch(&level.failure, &mut known)?;
        known[at] = Some([success, failure]);
    }
    Ok(())
}

impl Writes {
    /// etcd's rule, in its order: the deletes of this list, then what is nested, in turn, then the puts of this list.
    fn of_branch(ops: &[Op], known: &mut [Option<[Writes; 2]>]) -> Result<Writes, RequestError> {
        let mut writes = Writes::default();
        for op in ops {
            if let Op::DeleteRange(delete) = op {
                writes.deletes.add(&delete.key, &delete.range_end);
            }
        }
        for op in ops {
            if let Op::Txn(nested) = op {
                let [success, failure] = known[nested.index()].take().expect("a level is nested in one place");
                writes.nest(success, failure)?;
            }
        }
        for op in ops {
            if let Op::Put(put) = op {
                writes.put(put.key.clone())?;
            }
        }
        Ok(writes)
    }

    fn put(&mut self, key: Bytes) -> Result<(), RequestError> {
        if self.deletes.cover(&key) || !self.puts.insert(key) { Err(RequestError::DuplicateKey) } else { Ok(()) }
    }

    /// Only one branch of a nested transaction runs: both may put the same key.
    fn nest(&mut self, success: Writes, failure: Writes) -> Result<(), RequestError> {
        let mut puts = success.puts;
        let _in_both = join(&mut puts, failure.puts);
        if self.deletes.cover_any(&puts) || join(&mut self.puts, puts) {
            return Err(RequestError::DuplicateKey);
        }
        self.deletes.extend(success.deletes);
        self.deletes.extend(failure.deletes);
        Ok(())
    }
}

/// Adds the keys of one set to another. True: some were in both.
fn join(to: &mut BTreeSet<Bytes>, mut other: BTreeSet<Bytes>) -> bool {
    if to.len() < other.len() {
        std::mem::swap(to, &mut other);
    }
    let sum = to.len() + other.len();
    to.extend(other);
    to.len() < sum
}

/// Deleted intervals, merged where they touch, by their beginnings.
#[derive(Debug, Default)]
struct Deletes(BTreeMap<Bytes, Bytes>);

impl Deletes {
    /// `range_end` is taken literally here, as in etcd: "to the end" covers nothing.
    fn add(&mut self, key: &Bytes, range_end: &Bytes) {
        let end = match range_end.is_empty() {
            true => Bytes::from([&key[..], &[0]].concat()),
            false => range_end.clone(),
        };
        if *key < end {
            self.merge(key.clone(), end);
        }
    }

    fn merge(&mut self, mut begin: Bytes, mut end: Bytes) {
        if let Some((before, before_end)) = self.0.range::<Bytes, _>(..=&begin).next_back()
            && *before_end >= begin
        {
            (begin, end) = (before.clone(), end.max(before_end.clone()));
        }
        let swallowed: Vec<Bytes> = self
            .0
            .range::<Bytes, _>((Bound::Included(&begin), Bound::Included(&end)))
            .map(|(begin, _)| begin.clone())
            .collect();
        for begin in swallowed {
            let other = self.0.remove(&begin).expect("just seen");
            end = end.max(other);
        }
        self.0.insert(begin, end);
    }

    fn extend(&mut self, mut other: Deletes) {
        if self.0.len() < other.0.len() {
            std::mem::swap(self, &mut other);
        }
        for (begin, end) in other.0 {
            self.merge(begin, end);
        }
    }

    /// Whether any of these keys is in any of the intervals: the fewer are looked up among the more.
    fn cover_any(&self, keys: &BTreeSet<Bytes>) -> bool {
        if self.0.len() < keys.len() {
            return self.0.iter().any(|(begin, end)| keys.range::<Bytes, _>(begin..end).next().is_some());
        }
        keys.iter().any(|key| self.cover(key))
    }

    fn cover(&self, key: &Bytes) -> bool {
        self.0.range::<Bytes, _>(..=key).next_back().is_some_and(|(_, end)| key < end)
    }
}

#[cfg(test)]
mod tests {
    use super::RequestError::*;
    use super::*;
    use ferrite_proto::etcdserverpb::request_op::Request;
    use ferrite_proto::etcdserverpb::{Compare, RequestOp, TxnRequest};

    #[test]
    fn ranges() {
        let good = pb::RangeRequest { key: "k".into(), limit: -5, revision: -1, ..Default::default() };
        let with = |change: fn(&mut pb::RangeRequest)| {
            let mut request = good.clone();
            change(&mut request);
            request
        };
        for (request, whole, stream) in [
            (good.clone(), Ok(()), Ok(())),
            (with(|r| r.key.clear()), Err(EmptyKey), Err(EmptyKey)),
            (with(|r| r.sort_order = 3), Err(InvalidSort), Err(InvalidSort)),
            (with(|r| r.sort_order = -1), Err(InvalidSort), Err(InvalidSort)),
            (with(|r| r.sort_target = 5), Err(InvalidSort), Err(InvalidSort)),
            (with(|r| r.sort_target = 4), Ok(()), Ok(())),
            (with(|r| r.sort_order = 1), Ok(()), Ok(())),
            (with(|r| r.sort_order = 2), Ok(()), Err(StreamSort)),
            (with(|r| (r.sort_order, r.sort_target) = (1, 1)), Ok(()), Err(StreamSort)),
            (with(|r| r.max_create_revision = -1), Ok(()), Err(StreamFilter)),
            (with(|r| (r.sort_order, r.min_mod_revision) = (2, 1)), Ok(()), Err(StreamSort)),
        ] {
            assert_eq!((range(&request), range_stream(&request)), (whole, stream), "{request:?}");
        }
    }

    #[test]
    fn puts() {
        let put_of = |key: &str, value: &str, ignore_value, lease, ignore_lease| {
            let (key, value) = (Bytes::copy_from_slice(key.as_bytes()), Bytes::copy_from_slice(value.as_bytes()));
            put(&pb::PutRequest { key, value, lease, ignore_value, ignore_lease, ..Default::default() })
        };
        assert_eq!(put_of("k", "", false, 0, false), Ok(()));
        assert_eq!(put_of("", "v", true, 1, true), Err(EmptyKey));
        assert_eq!(put_of("k", "v", true, 1, true), Err(ValueProvided));
        assert_eq!(put_of("k", "", true, 1, true), Err(LeaseProvided));
        assert_eq!(put_of("k", "", true, 0, true), Ok(()));
    }

    /// A transaction from a script: `p k` puts, `d k` or `d k e` deletes, `r k` ranges, `u` is no operation,
    /// `( ... | ... )` is a nested transaction with its branches, words stand apart; `c k` compares.
    fn parse(words: &mut std::str::SplitWhitespace<'_>) -> TxnRequest {
        let mut txn = TxnRequest::default();
        let mut in_failure = false;
        while let Some(word) = words.next() {
            let mut key = || match words.next().expect("a key") {
                "-" => Bytes::new(),
                key => Bytes::copy_from_slice(key.as_bytes()),
            };
            let request = match word {
                "p" => Some(Request::RequestPut(pb::PutRequest { key: key(), ..Default::default() })),
                "r" => Some(Request::RequestRange(pb::RangeRequest { key: key(), ..Default::default() })),
                "d" => Some(Request::RequestDeleteRange(pb::DeleteRangeRequest { key: key(), ..Default::default() })),
                "D" => {
                    let (key, end) = (key(), key());
                    let range_end = if end == "0" { Bytes::from_static(&[0]) } else { end };
                    Some(Request::RequestDeleteRange(pb::DeleteRangeRequest { key, range_end, ..Default::default() }))
                }
                "u" => None,
                "c" => {
                    txn.compare.push(Compare { key: key(), ..Default::default() });
                    continue;
                }
                "(" => Some(Request::RequestTxn(parse(words))),
                "|" => {
                    in_failure = true;
                    continue;
                }
                ")" => break,
                _ => panic!("{word}"),
            };
            let branch = if in_failure { &mut txn.failure } else { &mut txn.success };
            branch.push(RequestOp { request });
        }
        txn
    }

    fn check(script: &str, max_ops: usize) -> Result<(), RequestError> {
        let request = parse(&mut script.split_whitespace());
        txn(&Txn::try_from(request).unwrap(), max_ops)
    }

    #[test]
    fn transactions() {
        for (script, max_ops, expected) in [
            ("", 0, Ok(())),
            ("p a", 0, Err(TooManyOps)),
            ("c a c b p a", 2, Ok(())),
            ("c a c b c d p a", 2, Err(TooManyOps)),
            ("p a | p b p c p d", 2, Err(TooManyOps)),
            ("c - p -", 5, Err(EmptyKey)),
            ("p a | r -", 5, Err(EmptyKey)),
            ("p a u", 5, Err(UnsetOp)),
            ("u p -", 5, Err(UnsetOp)),
            ("p - u", 5, Err(EmptyKey)),
            // The budget of a nested one is what its parent leaves.
            ("( p a )", 2, Ok(())),
            ("( p a )", 1, Err(TooManyOps)),
            ("( )", 1, Ok(())),
            ("( ( ) )", 1, Err(TooManyOps)),
            ("p x ( c - )", 5, Err(EmptyKey)),
            // Before an overlap, everything else is found.
            ("p a p a | p -", 5, Err(EmptyKey)),
            ("p a p a", 5, Err(DuplicateKey)),
            ("p b | p a p a", 5, Err(DuplicateKey)),
            ("p a | p a", 5, Ok(())),
            ("p a d a", 5, Err(DuplicateKey)),
            ("d a p a", 5, Err(DuplicateKey)),
            ("d a d a", 5, Ok(())),
            ("D a c p b", 5, Err(DuplicateKey)),
            ("D a c p c", 5, Ok(())),
            ("D a 0 p b", 5, Ok(())),
            ("D c a p b", 5, Ok(())),
            ("D a c D b d D x z p c", 9, Err(DuplicateKey)),
            ("D a c D b d D x z p d p w p z", 9, Ok(())),
            ("r a p a c a", 9, Ok(())),
            ("p a ( p a )", 9, Err(DuplicateKey)),
            ("( p a ) p a", 9, Err(DuplicateKey)),
            ("( p a | p a )", 9, Ok(())),
            ("( p a | p b ) ( p b )", 9, Err(DuplicateKey)),
            ("( p a ) ( d a )", 9, Ok(())),
            ("( d a ) ( p a )", 9, Err(DuplicateKey)),
            ("( d a ) p a", 9, Err(DuplicateKey)),
            ("p a ( d a )", 9, Err(DuplicateKey)),
            ("d a ( p a )", 9, Err(DuplicateKey)),
            ("d a ( | p a )", 9, Err(DuplicateKey)),
            ("( ( p a ) p a )", 9, Err(DuplicateKey)),
            ("( ( p a ) ) ( | ( p a ) )", 9, Err(DuplicateKey)),
        ] {
            assert_eq!(check(script, max_ops), expected, "{script:?}");
        }
    }

    #[test]
    fn depth_costs_no_stack() {
        // What a client can nest into a request of the largest size.
        let mut bytes: Vec<u8> = Vec::new();
        let mut lengths = Vec::new();
        let mut length = 0;
        while length < 1 << 21 {
            // success { request_txn { ... } }
            lengths.push(length);
            let inner = 1 + prost::encoding::encoded_len_varint(length as u64) + length;
            length = 1 + prost::encoding::encoded_len_varint(inner as u64) + inner;
        }
        for length in lengths.into_iter().rev() {
            let inner = 1 + prost::encoding::encoded_len_varint(length as u64) + length;
            bytes.push(0x12);
            prost::encoding::encode_varint(inner as u64, &mut bytes);
            bytes.push(0x22);
            prost::encoding::encode_varint(length as u64, &mut bytes);
        }
        let parsed = Txn::parse(bytes.into()).unwrap();
        assert!(parsed.levels().len() > 200_000);
        assert_eq!(txn(&parsed, 128), Err(TooManyOps));
        assert_eq!(txn(&parsed, usize::MAX), Ok(()));
    }

    #[test]
    fn depth_costs_hardly_any_time() {
        // A wide transaction of 40,000 puts, alone and at the bottom of 80 others that delete something, too.
        let request = |request| RequestOp { request: Some(request) };
        let put = |key: String| request(Request::RequestPut(pb::PutRequest { key: key.into(), ..Default::default() }));
        let nested = |txn| request(Request::RequestTxn(txn));
        let of = |success| TxnRequest { success, ..Default::default() };
        let wide = |level: usize| of((0..20).map(|key| put(format!("{level} {key}"))).collect());
        let wide = |level: usize| of((0..20).map(|key| nested(wide(level * 20 + key))).collect());
        let flat = of((0..100).map(|level| nested(wide(level))).collect());
        let mut deep = flat.clone();
        for level in 0..80 {
            let delete = pb::DeleteRangeRequest { key: format!("x{level}").into(), ..Default::default() };
            deep = of(vec![nested(deep), request(Request::RequestDeleteRange(delete))]);
        }
        let time = |request: &TxnRequest| {
            let parsed = Txn::try_from(request.clone()).unwrap();
            let begun = std::time::Instant::now();
            assert_eq!(no_duplicates(&parsed), Ok(()));
            begun.elapsed()
        };
        let (flat, deep) = (time(&flat), time(&deep));
        assert!(deep < flat * 10, "{deep:?} instead of {flat:?}");
    }
}
