//! Transactions that write.

use bytes::Bytes;
use ferrite_proto::etcdserverpb as pb;
use ferrite_storage::{self as storage, Effect};

use super::kv::{before_put, check_lease, run_delete, run_put};
use super::{State, Want};
use crate::answer::{AtMost, MAX_ANSWER_BYTES, OpAnswer, RangeAnswer, ReadFailure, Response};
use crate::command::{Op, Txn};
use crate::mvcc::{KeyRange, Path, TxnFailure, Writer, check_range, range_in_txn};
use crate::{ApplyError, Executed, Outcome};

impl State {
    pub(super) fn txn(&mut self, txn: &Txn, want: Want, effect: &mut Effect) -> Result<Outcome, storage::ReadError> {
        let path = Path::choose(txn, &self.reader())?;
        if let Err(error) = self.check(txn, &path) {
            return Ok(Err(error));
        }
        let mut writer = self.writer();
        let mut answer = path.answer(0);
        let mut room = AtMost(MAX_ANSWER_BYTES);
        let mut too_large = false;
        let mut executed = Executed { ranges: txn.compares() + path.ranges(txn).count() as u64, ..Executed::default() };
        for (step, op) in path.ops(txn) {
            let response = match op {
                Op::Range(_) if want == Want::Effect || too_large => {
                    OpAnswer::Range(RangeAnswer { revision: writer.revision() as i64, ..Default::default() })
                }
                Op::Range(range) => {
                    let found = checked_range(range, &writer, &mut room)?;
                    too_large = found.is_none();
                    OpAnswer::Range(found.unwrap_or_default())
                }
                Op::Put(put) => {
                    let before = before_put(&writer, put)?;
                    executed.puts += 1;
                    executed.put_bytes += (put.key.len() + put.value.len()) as u64;
                    OpAnswer::Put(run_put(&mut writer, put, before))
                }
                Op::DeleteRange(delete) => {
                    executed.deletes += 1;
                    OpAnswer::DeleteRange(run_delete(&mut writer, delete)?)
                }
                Op::Txn(_) => OpAnswer::Txn(step.inner()),
                Op::Unset => OpAnswer::Unset,
            };
            step.answer(&mut answer, response);
        }
        answer.revision = writer.revision() as i64;
        let records = writer.finish();
        self.shared.counts.executed(executed);
        self.written(records, effect);
        if too_large {
            return Ok(Ok(Response::TooLarge { revision: answer.revision }));
        }
        Ok(Ok(Response::Txn(answer)))
    }

    /// What could go wrong, in the order of the operations, against the state before all of them.
    fn check(&self, txn: &Txn, path: &Path) -> Result<(), ApplyError> {
        let before = self.reader();
        let mut changes = Vec::new();
        for (_, op) in path.ops(txn) {
            match op {
                Op::Range(range) => check_range(range, self.revisions.current, self.revisions.compacted)?,
                Op::Put(put) => {
                    check_lease(self, put)?;
                    if (put.ignore_value || put.ignore_lease)
                        && (before.find(&put.key).is_none() || is_deleted(&changes, &put.key))
                    {
                        return Err(ApplyError::KeyNotFound);
                    }
                    changes.push(Change::Put(&put.key));
                }
                Op::DeleteRange(delete) => {
                    changes.push(Change::Delete(KeyRange::new(delete.key.clone(), &delete.range_end)));
                }
                Op::Txn(_) | Op::Unset => {}
            }
        }
        Ok(())
    }
}

/// What an operation before this one does.
enum Change<'a> {
    Put(&'a Bytes),
    Delete(KeyRange),
}

/// Whether the transaction itself takes away a key whose value or lease is to stay. etcd does not ask, and crashes: its
/// check for duplicate keys lets a delete of all keys from one on pass beside a put. So no member of etcd's has a state
/// after such an entry, and refusing it agrees with all that live.
fn is_deleted(changes: &[Change<'_>], key: &Bytes) -> bool {
    let last = changes.iter().rev().find_map(|change| match change {
        Change::Put(put) if *put == key => Some(false),
        Change::Delete(range) if range.contains(key) => Some(true),
        _ => None,
    });
    last == Some(true)
}

/// A range whose revision was checked before the transaction began. `None` if there is no room for what it finds.
fn checked_range(
    range: &pb::RangeRequest,
    writer: &Writer<'_>,
    room: &mut AtMost,
) -> Result<Option<RangeAnswer>, storage::ReadError> {
    match range_in_txn(range, &writer.reader(), room) {
        Ok(answer) => Ok(Some(answer)),
        Err(TxnFailure::Read(ReadFailure::NoRoom { .. })) => Ok(None),
        Err(TxnFailure::Read(ReadFailure::Storage(error))) => Err(error),
        Err(TxnFailure::Revision(error)) => unreachable!("the revision was checked: {error}"),
    }
}
