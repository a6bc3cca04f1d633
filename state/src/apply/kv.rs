//! Put, delete, range and compaction.

use bytes::Bytes;
use ferrite_proto::etcdserverpb as pb;
use ferrite_storage::{self as storage, Effect};

use super::State;
use crate::answer::{AtMost, CompactionAnswer, DeleteAnswer, MAX_ANSWER_BYTES, PutAnswer, ReadFailure, Response};
use crate::lease::{LeaseError, LeaseId};
use crate::mvcc::{KeyRange, KeyValue, Reader, TxnFailure, Writer, range_in_txn};
use crate::tables;
use crate::{ApplyError, Executed, Outcome};

impl State {
    pub(super) fn writer(&self) -> Writer<'_> {
        Writer::new(&self.keyspace, &self.shared.lessor, self.revisions.current)
    }

    /// Takes what a writer has come to into the effect.
    pub(super) fn written(&mut self, records: Vec<storage::Record>, effect: &mut Effect) {
        self.revisions.current += u64::from(!records.is_empty());
        effect.records = records;
    }

    pub(super) fn reader(&self) -> Reader<'_> {
        Reader::new(&self.keyspace, self.revisions.current, self.revisions.current, &[])
    }

    /// A range that came by the log: older members propose some.
    pub(super) fn range(&self, request: &pb::RangeRequest) -> Result<Outcome, storage::ReadError> {
        if request.revision > 0 && request.revision < self.revisions.compacted {
            return Ok(Err(ApplyError::Compacted));
        }
        match range_in_txn(request, &self.reader(), &mut AtMost(MAX_ANSWER_BYTES)) {
            Ok(answer) => Ok(Ok(Response::Range(answer))),
            Err(TxnFailure::Revision(error)) => Ok(Err(error.into())),
            Err(TxnFailure::Read(ReadFailure::NoRoom { .. })) => {
                Ok(Ok(Response::TooLarge { revision: self.revisions.current as i64 }))
            }
            Err(TxnFailure::Read(ReadFailure::Storage(error))) => Err(error),
        }
    }

    pub(super) fn put(&mut self, put: &pb::PutRequest, effect: &mut Effect) -> Result<Outcome, storage::ReadError> {
        if let Err(error) = check_lease(self, put) {
            return Ok(Err(error));
        }
        let mut writer = self.writer();
        let before = before_put(&writer, put)?;
        if before.is_none() && (put.ignore_value || put.ignore_lease) {
            return Ok(Err(ApplyError::KeyNotFound));
        }
        let answer = run_put(&mut writer, put, before);
        let records = writer.finish();
        self.shared.counts.executed(Executed {
            ranges: u64::from(put.prev_kv || put.ignore_value || put.ignore_lease),
            puts: 1,
            put_bytes: (put.key.len() + put.value.len()) as u64,
            deletes: 0,
        });
        self.written(records, effect);
        Ok(Ok(Response::Put(answer)))
    }

    pub(super) fn delete_range(
        &mut self,
        delete: &pb::DeleteRangeRequest,
        effect: &mut Effect,
    ) -> Result<Response, storage::ReadError> {
        let mut writer = self.writer();
        let answer = run_delete(&mut writer, delete)?;
        let records = writer.finish();
        let ranges = u64::from(delete.prev_kv);
        self.shared.counts.executed(Executed { ranges, deletes: 1, ..Executed::default() });
        self.written(records, effect);
        Ok(Response::DeleteRange(answer))
    }

    pub(super) fn compact(&mut self, request: &pb::CompactionRequest, effect: &mut Effect) -> Outcome {
        let before = self.revisions.compacted;
        if request.revision <= before {
            return Err(ApplyError::Compacted);
        }
        if request.revision > self.revisions.current as i64 {
            return Err(ApplyError::FutureRevision);
        }
        self.revisions.compacted = request.revision;
        let compacted = request.revision as u64;
        self.tables.marks.scheduled = Some(compacted);
        self.tables_changed = true;
        effect.rows.push(tables::compaction(tables::SCHEDULED_COMPACTION, compacted));
        self.trimmer.add(compacted, before, effect.index);
        Ok(Response::Compaction(CompactionAnswer { revision: self.revisions.current as i64, compacted }))
    }
}

/// A lease that a put names must exist.
pub(super) fn check_lease(state: &State, put: &pb::PutRequest) -> Result<(), ApplyError> {
    match LeaseId::new(put.lease) {
        Some(lease) if !state.shared.lessor.lock().contains(lease) => Err(LeaseError::NotFound.into()),
        _ => Ok(()),
    }
}

/// The `KeyValue` before a put, as far as it matters.
pub(super) fn before_put(writer: &Writer<'_>, put: &pb::PutRequest) -> Result<Option<Bytes>, storage::ReadError> {
    if !(put.prev_kv || put.ignore_value || put.ignore_lease) {
        return Ok(None);
    }
    let reader = writer.reader();
    reader.find(&put.key).map(|found| reader.key_value(found.revision)).transpose()
}

/// Puts. What is to be kept from before is taken from there; it was checked that there is one.
pub(super) fn run_put(writer: &mut Writer<'_>, put: &pb::PutRequest, before: Option<Bytes>) -> PutAnswer {
    let kept = before.as_deref().map(KeyValue::stored).unwrap_or_default();
    let value = if put.ignore_value { kept.value } else { &put.value };
    let lease = if put.ignore_lease { kept.lease } else { put.lease };
    writer.put(&put.key, value, LeaseId::new(lease));
    PutAnswer { revision: writer.revision() as i64, prev_kv: before.filter(|_| put.prev_kv) }
}

pub(super) fn run_delete(
    writer: &mut Writer<'_>,
    delete: &pb::DeleteRangeRequest,
) -> Result<DeleteAnswer, storage::ReadError> {
    let range = KeyRange::new(delete.key.clone(), &delete.range_end);
    let mut prev_kvs = Vec::new();
    if delete.prev_kv {
        let everything =
            pb::RangeRequest { key: delete.key.clone(), range_end: delete.range_end.clone(), ..Default::default() };
        prev_kvs = writer.reader().range(&everything)?.kvs;
    }
    let deleted = writer.delete_range(&range) as i64;
    Ok(DeleteAnswer { revision: writer.revision() as i64, deleted, prev_kvs })
}
