//! The state machine on a store that lives in memory.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use ferrite_proto::etcdserverpb as pb;
use ferrite_raft::{Index, Term};
use ferrite_storage::{Effect, Revisions, Table, WindowWriter, in_memory};
use prost::Message;

use super::{Answer, Step, header};
use crate::answer::{Response, Unlimited};
use crate::command::{Command, Txn};
use crate::mvcc::RangeStream;
use crate::{ApplyError, ReadError, Settings, State, Want};

/// A state with its window, and the rows that its store would hold.
#[derive(Debug)]
pub struct Machine {
    pub state: State,
    writer: WindowWriter,
    revisions: Revisions,
    pub rows: BTreeMap<(Table, Bytes), Bytes>,
    pub effects: Vec<Effect>,
    want: Want,
}

impl Machine {
    pub fn new(want: Want) -> Machine {
        let (writer, revisions) = in_memory();
        let rows: [(Table, Bytes, Bytes); 0] = [];
        let (state, dead) = State::load(rows, revisions.clone(), Settings::default()).unwrap();
        assert_eq!(dead, []);
        Machine { state, writer, revisions, rows: BTreeMap::new(), effects: Vec::new(), want }
    }

    /// Opens the store again: nothing of the state is kept but what is in effects.
    pub fn restart(&mut self) {
        let rows = self.rows.iter().map(|((table, key), value)| (*table, key.clone(), value.clone()));
        self.state = State::load(rows, self.revisions.clone(), Settings::default()).unwrap().0;
    }

    /// Applies a command without publishing it.
    pub fn apply_unpublished(&mut self, command: &Command) -> Result<Response, ApplyError> {
        let index = Index(self.effects.len() as u64 + 1);
        let applied = self.state.apply(index, Term(1), command, self.want).unwrap();
        for row in &applied.effect.rows {
            let key = (row.table, row.key.clone());
            match row.value.clone() {
                Some(value) => self.rows.insert(key, value),
                None => self.rows.remove(&key),
            };
        }
        self.effects.push(applied.effect.clone());
        self.writer.append(applied.effect);
        applied.outcome
    }

    pub fn publish(&mut self) {
        self.writer.publish();
        self.state.publish();
    }

    pub fn apply(&mut self, command: &Command) -> Result<Response, ApplyError> {
        let outcome = self.apply_unpublished(command);
        self.publish();
        outcome
    }

    /// What effects have written is what the state means.
    pub fn check_rows(&self) {
        let written: Vec<_> =
            self.rows.iter().map(|((table, key), value)| (*table, key.clone(), value.clone())).collect();
        assert_eq!(self.state.shared().rows(), written);
    }

    /// Trims all that is compacted, in steps of so many keys.
    pub fn trim(&mut self, keys: usize) {
        while self.state.trim_step(keys).more {}
    }

    /// Takes a step of a history.
    pub fn step(&mut self, step: &Step) -> Answer {
        match step {
            Step::Put(put) => self.command(&Command::Put(put.clone())),
            Step::DeleteRange(delete) => self.command(&Command::DeleteRange(delete.clone())),
            Step::Txn(request) => {
                let txn = Txn::try_from(request.clone()).unwrap();
                match txn.shape().read_only {
                    true => self.read_txn(&txn),
                    false => self.command(&Command::Txn(txn)),
                }
            }
            Step::Compaction(compaction) => self.command(&Command::Compaction(*compaction)),
            Step::LeaseGrant(grant) => self.command(&Command::LeaseGrant(*grant)),
            Step::LeaseRevoke(revoke) => self.command(&Command::LeaseRevoke(*revoke)),
            Step::Range(range) => self.range(range),
            Step::HashKv(request) => self.hash(request.revision),
        }
    }

    fn command(&mut self, command: &Command) -> Answer {
        match self.apply(command) {
            Ok(response) => answer(&response),
            Err(error) => Answer::Refused(error),
        }
    }

    pub fn range(&self, request: &pb::RangeRequest) -> Answer {
        match self.state.shared().keyspace().range(request) {
            Ok(range) => answer(&Response::Range(range)),
            Err(error) => refused(error),
        }
    }

    fn read_txn(&self, txn: &Txn) -> Answer {
        match self.state.shared().keyspace().txn_read(txn, &mut Unlimited) {
            Ok(txn) => answer(&Response::Txn(txn)),
            Err(error) => refused(error),
        }
    }

    pub fn hash(&self, revision: i64) -> Answer {
        let keyspace = &self.state.shared().keyspace();
        match keyspace.hash_kv(revision) {
            Ok(hash) => Answer::HashKv(pb::HashKvResponse {
                header: header(keyspace.revision() as i64),
                hash: hash.hash,
                compact_revision: hash.compact_revision,
                hash_revision: hash.revision,
            }),
            Err(error) => refused(error.into()),
        }
    }

    /// The same range as a stream of parts, put together again.
    pub fn streamed(&self, request: &pb::RangeRequest, most_keys: u64) -> Answer {
        let keyspace = self.state.shared().keyspace();
        let view = match keyspace.view(request.revision) {
            Ok(view) => view,
            Err(error) => return refused(error.into()),
        };
        let mut stream = RangeStream::new(request);
        let mut kvs = Vec::new();
        loop {
            let mut chunk = stream.next(&view, most_keys, &mut Unlimited).unwrap();
            kvs.append(&mut chunk.kvs);
            if let Some(end) = chunk.end {
                let kvs = kvs.into_iter().map(|kv| Message::decode(kv).unwrap()).collect();
                let (more, count) = (end.more, end.count as i64);
                return Answer::Range(pb::RangeResponse { header: header(view.current() as i64), kvs, more, count });
            }
        }
    }
}

fn refused(error: ReadError) -> Answer {
    Answer::Refused(match error {
        ReadError::Compacted { .. } => ApplyError::Compacted,
        ReadError::Future { .. } => ApplyError::FutureRevision,
        error @ (ReadError::NoRoom { .. } | ReadError::Storage(_)) => panic!("{error}"),
    })
}

/// The answer as a client decodes it.
fn answer(response: &Response) -> Answer {
    let header = pb::ResponseHeader { revision: response.revision(), ..Default::default() };
    let mut out = BytesMut::new();
    match response {
        Response::Range(range) => {
            range.write(Some(&header), &mut out);
            Answer::Range(Message::decode(out).unwrap())
        }
        Response::Put(put) => {
            put.write(&header, &mut out);
            Answer::Put(Message::decode(out).unwrap())
        }
        Response::DeleteRange(delete) => {
            delete.write(&header, &mut out);
            Answer::DeleteRange(Message::decode(out).unwrap())
        }
        Response::Txn(txn) => {
            txn.write(&header, &mut out);
            Answer::Txn(Message::decode(out).unwrap())
        }
        Response::Compaction(_) => Answer::Compaction(pb::CompactionResponse { header: Some(header) }),
        Response::LeaseGrant(response) => Answer::LeaseGrant(response.clone()),
        Response::LeaseRevoke(response) => Answer::LeaseRevoke(*response),
        other => panic!("no step is answered by {other:?}"),
    }
}
