//! A transaction: first all compares, then all checks, then the operations.
//!
//! The compares, of nested transactions too, look at the state before the transaction, and fix which operations there are:
//! the path. So do the checks. What passes them cannot fail: so a transaction is applied whole or not at all.
//!
//! Nests may be deep, so nothing here recurses: the path is a list of operations in the order in which they are run.

use std::cmp::Ordering;
use std::ops::ControlFlow;

use ferrite_proto::etcdserverpb as pb;
use ferrite_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use ferrite_storage as storage;

use super::index::Found;
use super::{KeyRange, KeyValue, Reader};
use crate::RevisionError;
use crate::answer::{OpAnswer, RangeAnswer, ReadFailure, Room, TxnAnswer, TxnLevel};
use crate::command::{Level, LevelId, Op, Txn};

/// The operations that a transaction's compares have chosen.
#[derive(Debug)]
pub struct Path {
    /// In the order in which they are run: a nested transaction before its operations, these before what follows it.
    steps: Vec<Step>,
    /// For each level on the path what its compares said; in the order in which the levels are met.
    succeeded: Vec<bool>,
}

/// One operation on the path.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    level: LevelId,
    op: usize,
    /// The place of its level among those on the path.
    answer: usize,
    /// For a nested transaction: the place of that one.
    inner: usize,
}

/// Why a transaction has no answer.
#[derive(Debug)]
pub enum TxnFailure {
    Revision(RevisionError),
    Read(ReadFailure),
}

impl From<storage::ReadError> for TxnFailure {
    fn from(error: storage::ReadError) -> Self {
        TxnFailure::Read(error.into())
    }
}

impl From<ReadFailure> for TxnFailure {
    fn from(failure: ReadFailure) -> Self {
        TxnFailure::Read(failure)
    }
}

impl From<RevisionError> for TxnFailure {
    fn from(error: RevisionError) -> Self {
        TxnFailure::Revision(error)
    }
}

impl Path {
    /// Runs the compares.
    pub fn choose(txn: &Txn, reader: &Reader<'_>) -> Result<Path, storage::ReadError> {
        let mut path = Path { steps: Vec::new(), succeeded: Vec::new() };
        // Levels that have begun: which one, its next operation, its place among the levels on the path.
        let mut open = vec![path.enter(txn, LevelId::OUTERMOST, reader)?];
        while let Some((level, op, answer)) = open.pop() {
            let Some(operation) = ops(txn.level(level), path.succeeded[answer]).get(op) else { continue };
            open.push((level, op + 1, answer));
            let mut step = Step { level, op, answer, inner: 0 };
            if let Op::Txn(inner) = operation {
                let entered = path.enter(txn, *inner, reader)?;
                step.inner = entered.2;
                open.push(entered);
            }
            path.steps.push(step);
        }
        Ok(path)
    }

    fn enter(
        &mut self,
        txn: &Txn,
        level: LevelId,
        reader: &Reader<'_>,
    ) -> Result<(LevelId, usize, usize), storage::ReadError> {
        let mut succeeded = true;
        for compare in &txn.level(level).compare {
            if !holds(compare, reader)? {
                succeeded = false;
                break;
            }
        }
        self.succeeded.push(succeeded);
        Ok((level, 0, self.succeeded.len() - 1))
    }

    /// The operations in the order in which they are run.
    pub fn ops<'a>(&'a self, txn: &'a Txn) -> impl Iterator<Item = (Step, &'a Op)> {
        self.steps.iter().map(|step| (*step, &ops(txn.level(step.level), self.succeeded[step.answer])[step.op]))
    }

    pub fn ranges<'a>(&'a self, txn: &'a Txn) -> impl Iterator<Item = &'a pb::RangeRequest> {
        self.ops(txn).filter_map(|(_, op)| match op {
            Op::Range(range) => Some(range),
            _ => None,
        })
    }

    /// An answer without responses, to be filled in the order of the path.
    pub fn answer(&self, revision: i64) -> TxnAnswer {
        let levels = self.succeeded.iter().map(|succeeded| TxnLevel { succeeded: *succeeded, responses: Vec::new() });
        TxnAnswer { revision, levels: levels.collect() }
    }

    /// Runs a path that only reads.
    pub fn read(&self, txn: &Txn, reader: &Reader<'_>, room: &mut dyn Room) -> Result<TxnAnswer, TxnFailure> {
        let mut answer = self.answer(reader.current() as i64);
        for (step, op) in self.ops(txn) {
            let response = match op {
                Op::Range(range) => OpAnswer::Range(range_in_txn(range, reader, room)?),
                Op::Txn(_) => OpAnswer::Txn(step.inner),
                Op::Unset => OpAnswer::Unset,
                Op::Put(_) | Op::DeleteRange(_) => unreachable!("the transaction only reads"),
            };
            step.answer(&mut answer, response);
        }
        Ok(answer)
    }
}

impl Step {
    pub fn answer(&self, answer: &mut TxnAnswer, response: OpAnswer) {
        answer.levels[self.answer].responses.push(response);
    }

    /// The place of the nested transaction's answer.
    pub fn inner(&self) -> usize {
        self.inner
    }
}

fn ops(level: &Level, succeeded: bool) -> &[Op] {
    if succeeded { &level.success } else { &level.failure }
}

/// A range inside a transaction, which may ask for an older revision.
pub fn range_in_txn(
    range: &pb::RangeRequest,
    reader: &Reader<'_>,
    room: &mut dyn Room,
) -> Result<RangeAnswer, TxnFailure> {
    let current = reader.current() as i64;
    if range.revision > current {
        return Err(RevisionError::Future { asked: range.revision, newest: current }.into());
    }
    let reader = match u64::try_from(range.revision) {
        Ok(main @ 1..) => reader.at(main),
        _ => *reader,
    };
    Ok(reader.range_within(range, room)?)
}

/// Whether a range may be asked for, before anything is run.
pub fn check_range(range: &pb::RangeRequest, current: u64, compacted: i64) -> Result<(), RevisionError> {
    let asked = range.revision;
    match asked {
        0 => Ok(()),
        _ if asked > current as i64 => Err(RevisionError::Future { asked, newest: current as i64 }),
        _ if asked < compacted => Err(RevisionError::Compacted { asked, oldest: compacted }),
        _ => Ok(()),
    }
}

/// Whether every key of a compare's range is as it says.
fn holds(compare: &pb::Compare, reader: &Reader<'_>) -> Result<bool, storage::ReadError> {
    let range = KeyRange::new(compare.key.clone(), &compare.range_end);
    let needs_value = [CompareTarget::Value as i32, CompareTarget::Lease as i32].contains(&compare.target);
    let (mut any, mut all, mut to_read) = (false, true, Vec::new());
    reader.visit(&range, |_, found| {
        any = true;
        if needs_value {
            to_read.push(found.revision);
            return ControlFlow::Continue(());
        }
        all = key_holds(compare, &from_index(found));
        if all { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    for revision in to_read {
        let stored = reader.key_value(revision)?;
        if !key_holds(compare, &KeyValue::stored(&stored)) {
            return Ok(false);
        }
    }
    Ok(match any {
        true => all,
        // There is no telling a missing value from an empty one.
        false => compare.target != CompareTarget::Value as i32 && key_holds(compare, &KeyValue::default()),
    })
}

fn from_index(found: Found) -> KeyValue<'static> {
    KeyValue {
        create_revision: found.created as i64,
        mod_revision: found.revision.main as i64,
        version: found.version as i64,
        ..Default::default()
    }
}

/// An operand that does not belong to the target counts as zero or empty; a target or a result that is none of etcd's
/// compares as equal or holds.
fn key_holds(compare: &pb::Compare, kv: &KeyValue<'_>) -> bool {
    use TargetUnion as Operand;
    let operand = compare.target_union.as_ref();
    let number = |of: fn(&Operand) -> Option<i64>| operand.and_then(of).unwrap_or(0);
    let ordering = match CompareTarget::try_from(compare.target) {
        Ok(CompareTarget::Value) => {
            let given = match operand {
                Some(Operand::Value(value)) => &value[..],
                _ => b"",
            };
            kv.value.cmp(given)
        }
        Ok(CompareTarget::Create) => kv.create_revision.cmp(&number(|operand| match operand {
            Operand::CreateRevision(revision) => Some(*revision),
            _ => None,
        })),
        Ok(CompareTarget::Mod) => kv.mod_revision.cmp(&number(|operand| match operand {
            Operand::ModRevision(revision) => Some(*revision),
            _ => None,
        })),
        Ok(CompareTarget::Version) => kv.version.cmp(&number(|operand| match operand {
            Operand::Version(version) => Some(*version),
            _ => None,
        })),
        Ok(CompareTarget::Lease) => kv.lease.cmp(&number(|operand| match operand {
            Operand::Lease(lease) => Some(*lease),
            _ => None,
        })),
        Err(_) => Ordering::Equal,
    };
    match CompareResult::try_from(compare.result) {
        Ok(CompareResult::Equal) => ordering.is_eq(),
        Ok(CompareResult::NotEqual) => ordering.is_ne(),
        Ok(CompareResult::Greater) => ordering.is_gt(),
        Ok(CompareResult::Less) => ordering.is_lt(),
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_compared_as_in_etcd() {
        use CompareResult::*;
        let kv = KeyValue { create_revision: 3, mod_revision: 7, version: 2, value: b"m", lease: -5, key: b"k" };
        let value = |value: &'static str| Some(TargetUnion::Value(value.into()));
        let cases: &[(i32, Option<TargetUnion>, [bool; 4])] = &[
            // target                              equal, greater, less, not equal
            (CompareTarget::Version as i32, Some(TargetUnion::Version(2)), [true, false, false, false]),
            (CompareTarget::Create as i32, Some(TargetUnion::CreateRevision(4)), [false, false, true, true]),
            (CompareTarget::Mod as i32, Some(TargetUnion::ModRevision(6)), [false, true, false, true]),
            (CompareTarget::Lease as i32, Some(TargetUnion::Lease(-5)), [true, false, false, false]),
            (CompareTarget::Lease as i32, None, [false, false, true, true]),
            (CompareTarget::Mod as i32, Some(TargetUnion::Version(7)), [false, true, false, true]),
            (CompareTarget::Value as i32, value("m"), [true, false, false, false]),
            (CompareTarget::Value as i32, value("ma"), [false, false, true, true]),
            (CompareTarget::Value as i32, Some(TargetUnion::Lease(1)), [false, true, false, true]),
            (99, value("x"), [true, false, false, false]),
        ];
        for (target, target_union, expected) in cases {
            for (result, expected) in [Equal, Greater, Less, NotEqual].into_iter().zip(expected) {
                let compare = pb::Compare {
                    result: result as i32,
                    target: *target,
                    target_union: target_union.clone(),
                    ..Default::default()
                };
                assert_eq!(key_holds(&compare, &kv), *expected, "{compare:?}");
            }
        }
        let compare = pb::Compare { result: 9, ..Default::default() };
        assert!(key_holds(&compare, &kv), "a result that is none holds");
    }
}
