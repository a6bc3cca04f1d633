//! What a request must look like. Checked at the door in etcd's order, before anything is asked of the member.

use std::collections::HashSet;
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

/// The keys that a list of operations puts, and the ranges that it deletes.
#[derive(Debug, Default)]
struct Writes {
    puts: HashSet<Bytes>,
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
        for key in &success.puts {
            self.put(key.clone())?;
        }
        for key in failure.puts {
            if success.puts.contains(&key) {
                if self.deletes.cover(&key) {
                    return Err(RequestError::DuplicateKey);
                }
            } else {
                self.put(key)?;
            }
        }
        self.deletes.extend(success.deletes);
        self.deletes.extend(failure.deletes);
        Ok(())
    }
}

/// Deleted intervals, merged where they touch, by their beginnings.
#[derive(Debug, Default)]
struct Deletes(std::collections::BTreeMap<Bytes, Bytes>);

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

    fn extend(&mut self, other: Deletes) {
        for (begin, end) in other.0 {
            self.merge(begin, end);
        }
    }

    fn cover(&self, key: &Bytes) -> bool {
        self.0.range::<Bytes, _>(..=key).next_back().is_some_and(|(_, end)| key < end)
    }
}
