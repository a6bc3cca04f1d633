//! What comes of a command or a read: answers that know their encoded size before a byte is copied.
//!
//! Stored `KeyValue`s are encoded as they go on the wire, so an answer holds them as bytes, and writing it copies them: no
//! value is decoded on the way from the store to the client. The header is filled in by who answers: only a revision is
//! ours to say.

mod room;
mod write;

use bytes::{Bytes, BytesMut};
use ferrite_proto::etcdserverpb as pb;
use ferrite_proto::etcdserverpb::ResponseHeader;

use crate::ApplyError;
use crate::cluster::Member;
use write::Fields;

pub use room::{AtMost, MAX_ANSWER_BYTES, ReadFailure, Room, Unlimited};

/// What applying a command came to, the same on every member.
pub type Outcome = Result<Response, ApplyError>;

/// The answer to a command.
#[derive(Clone, Debug, PartialEq)]
pub enum Response {
    /// Nothing to say: the command was carried out.
    Done,
    Range(RangeAnswer),
    Put(PutAnswer),
    DeleteRange(DeleteAnswer),
    Txn(TxnAnswer),
    Compaction(CompactionAnswer),
    LeaseGrant(pb::LeaseGrantResponse),
    LeaseRevoke(pb::LeaseRevokeResponse),
    LeaseCheckpoint(pb::LeaseCheckpointResponse),
    Alarm(pb::AlarmResponse),
    /// All members after a change of one.
    Members(Vec<Member>),
    /// It was carried out, but what it read is more than a message may hold.
    TooLarge {
        revision: i64,
    },
}

/// `RangeResponse`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RangeAnswer {
    /// The revision the header tells: the newest, whatever was read.
    pub revision: i64,
    /// Encoded `KeyValue`s.
    pub kvs: Vec<Bytes>,
    pub more: bool,
    pub count: i64,
}

/// `PutResponse`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PutAnswer {
    pub revision: i64,
    pub prev_kv: Option<Bytes>,
}

/// `DeleteRangeResponse`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeleteAnswer {
    pub revision: i64,
    pub deleted: i64,
    pub prev_kvs: Vec<Bytes>,
}

/// `CompactionResponse`. Who asked for `physical` answers when the compaction to `compacted` is finished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompactionAnswer {
    pub revision: i64,
    pub compacted: u64,
}

/// `TxnResponse`, flat as the request is: nested ones lie beside it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TxnAnswer {
    pub revision: i64,
    /// The outermost comes first, and a level before those that it holds.
    pub levels: Vec<TxnLevel>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct TxnLevel {
    pub succeeded: bool,
    pub responses: Vec<OpAnswer>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum OpAnswer {
    Range(RangeAnswer),
    Put(PutAnswer),
    DeleteRange(DeleteAnswer),
    /// Its place among the levels.
    Txn(usize),
    Unset,
}

impl Response {
    /// The revision that the header tells; 0 when the answer says none, and the newest is to be told.
    pub fn revision(&self) -> i64 {
        let of = |header: &Option<ResponseHeader>| header.as_ref().map_or(0, |header| header.revision);
        match self {
            Response::Range(answer) => answer.revision,
            Response::Put(answer) => answer.revision,
            Response::DeleteRange(answer) => answer.revision,
            Response::Txn(answer) => answer.revision,
            Response::Compaction(answer) => answer.revision,
            Response::LeaseGrant(response) => of(&response.header),
            Response::LeaseRevoke(response) => of(&response.header),
            Response::LeaseCheckpoint(response) => of(&response.header),
            Response::TooLarge { revision } => *revision,
            Response::Done | Response::Alarm(_) | Response::Members(_) => 0,
        }
    }
}

/// The header inside a transaction's answers, which tells a revision and no more.
fn revision_only(revision: i64) -> ResponseHeader {
    ResponseHeader { revision, ..Default::default() }
}

impl RangeAnswer {
    /// How many bytes `write` will append.
    pub fn encoded_len(&self, header: Option<&ResponseHeader>) -> usize {
        self.fields(header).len()
    }

    /// Appends the encoded `RangeResponse`. No header is written where there is none, as in the parts of a stream.
    pub fn write(&self, header: Option<&ResponseHeader>, out: &mut BytesMut) {
        self.fields(header).write(out);
    }

    fn fields<'a>(&'a self, header: Option<&'a ResponseHeader>) -> Fields<'a> {
        let mut fields = Fields::default();
        fields.message(1, header).all_bytes(2, &self.kvs).number(3, self.more.into()).number(4, self.count);
        fields
    }
}

impl PutAnswer {
    pub fn encoded_len(&self, header: &ResponseHeader) -> usize {
        self.fields(header).len()
    }

    /// Appends the encoded `PutResponse`.
    pub fn write(&self, header: &ResponseHeader, out: &mut BytesMut) {
        self.fields(header).write(out);
    }

    fn fields<'a>(&'a self, header: &'a ResponseHeader) -> Fields<'a> {
        let mut fields = Fields::default();
        fields.message(1, Some(header)).all_bytes(2, self.prev_kv.as_slice());
        fields
    }
}

impl DeleteAnswer {
    pub fn encoded_len(&self, header: &ResponseHeader) -> usize {
        self.fields(header).len()
    }

    /// Appends the encoded `DeleteRangeResponse`.
    pub fn write(&self, header: &ResponseHeader, out: &mut BytesMut) {
        self.fields(header).write(out);
    }

    fn fields<'a>(&'a self, header: &'a ResponseHeader) -> Fields<'a> {
        let mut fields = Fields::default();
        fields.message(1, Some(header)).number(2, self.deleted).all_bytes(3, &self.prev_kvs);
        fields
    }
}

impl TxnAnswer {
    pub fn encoded_len(&self, header: &ResponseHeader) -> usize {
        let nested = ResponseHeader::default();
        self.sizes(header, &nested)[0]
    }

    /// Appends the encoded `TxnResponse`, without recursion.
    pub fn write(&self, header: &ResponseHeader, out: &mut BytesMut) {
        let nested = ResponseHeader::default();
        let sizes = self.sizes(header, &nested);
        out.reserve(sizes[0]);
        // What is still to be written: of which level, which response.
        let mut open = vec![(0, 0)];
        while let Some((at, response)) = open.pop() {
            let level = &self.levels[at];
            if response == 0 {
                level.head(if at == 0 { header } else { &nested }).write(out);
            }
            let Some(answer) = level.responses.get(response) else { continue };
            open.push((at, response + 1));
            write::key(3, out);
            write::varint(answer.op_len(&sizes) as u64, out);
            answer.write_op(&sizes, out);
            if let OpAnswer::Txn(inner) = answer {
                open.push((*inner, 0));
            }
        }
    }

    /// How long each level is when encoded.
    fn sizes(&self, header: &ResponseHeader, nested: &ResponseHeader) -> Vec<usize> {
        let mut sizes = vec![0; self.levels.len()];
        for (at, level) in self.levels.iter().enumerate().rev() {
            let responses = level.responses.iter().map(|answer| write::field_len(3, answer.op_len(&sizes)));
            sizes[at] = level.head(if at == 0 { header } else { nested }).len() + responses.sum::<usize>();
        }
        sizes
    }
}

impl TxnLevel {
    /// All fields before the responses.
    fn head<'a>(&self, header: &'a ResponseHeader) -> Fields<'a> {
        let mut fields = Fields::default();
        fields.message(1, Some(header)).number(2, self.succeeded.into());
        fields
    }
}

impl OpAnswer {
    /// The length of the `ResponseOp`.
    fn op_len(&self, sizes: &[usize]) -> usize {
        match self {
            OpAnswer::Range(answer) => write::field_len(1, answer.encoded_len(Some(&revision_only(answer.revision)))),
            OpAnswer::Put(answer) => write::field_len(2, answer.encoded_len(&revision_only(answer.revision))),
            OpAnswer::DeleteRange(answer) => write::field_len(3, answer.encoded_len(&revision_only(answer.revision))),
            OpAnswer::Txn(level) => write::field_len(4, sizes[*level]),
            OpAnswer::Unset => 0,
        }
    }

    /// Writes the `ResponseOp`; of a nested transaction, what stands before it.
    fn write_op(&self, sizes: &[usize], out: &mut BytesMut) {
        let begin = |number, length: usize, out: &mut BytesMut| {
            write::key(number, out);
            write::varint(length as u64, out);
        };
        match self {
            OpAnswer::Range(answer) => {
                let header = revision_only(answer.revision);
                begin(1, answer.encoded_len(Some(&header)), out);
                answer.write(Some(&header), out);
            }
            OpAnswer::Put(answer) => {
                let header = revision_only(answer.revision);
                begin(2, answer.encoded_len(&header), out);
                answer.write(&header, out);
            }
            OpAnswer::DeleteRange(answer) => {
                let header = revision_only(answer.revision);
                begin(3, answer.encoded_len(&header), out);
                answer.write(&header, out);
            }
            OpAnswer::Txn(level) => begin(4, sizes[*level], out),
            OpAnswer::Unset => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ferrite_proto::mvccpb::KeyValue;
    use pb::response_op::Response as Op;
    use prost::Message;

    fn header() -> ResponseHeader {
        ResponseHeader { cluster_id: 1 << 60, member_id: 3, revision: 300, raft_term: 2 }
    }

    fn kv(key: &'static str, lease: i64) -> KeyValue {
        let value = Bytes::from(vec![b'v'; 200]);
        KeyValue { key: key.into(), create_revision: 2, mod_revision: 300, version: 2, value, lease }
    }

    fn stored(kv: &KeyValue) -> Bytes {
        kv.encode_to_vec().into()
    }

    /// What is written must be as long as announced, and be what prost writes for the message.
    fn check<M: Message>(length: usize, write: impl FnOnce(&mut BytesMut), expected: M) {
        let mut out = BytesMut::new();
        write(&mut out);
        assert_eq!(out, expected.encode_to_vec());
        assert_eq!(out.len(), length);
    }

    #[test]
    fn answers_are_encoded_as_their_messages() {
        let kvs = [kv("a", 0), kv("b", -1)];
        let header = header();
        for (more, count) in [(false, 0), (true, 70_000)] {
            let answer = RangeAnswer { revision: 5, kvs: kvs.iter().map(stored).collect(), more, count };
            for header in [Some(&header), None] {
                let message = pb::RangeResponse { header: header.cloned(), kvs: kvs.to_vec(), more, count };
                check(answer.encoded_len(header), |out| answer.write(header, out), message);
            }
        }
        for prev_kv in [None, Some(kvs[1].clone())] {
            let answer = PutAnswer { revision: 5, prev_kv: prev_kv.as_ref().map(stored) };
            let message = pb::PutResponse { header: Some(header), prev_kv };
            check(answer.encoded_len(&header), |out| answer.write(&header, out), message);
        }
        let answer = DeleteAnswer { revision: 5, deleted: 2, prev_kvs: kvs.iter().map(stored).collect() };
        let message = pb::DeleteRangeResponse { header: Some(header), deleted: 2, prev_kvs: kvs.to_vec() };
        check(answer.encoded_len(&header), |out| answer.write(&header, out), message);
    }

    #[test]
    fn a_transaction_is_encoded_with_all_that_it_nests() {
        let header = header();
        let op = |response| pb::ResponseOp { response: Some(response) };
        let only = |revision| Some(revision_only(revision));
        let range = RangeAnswer { revision: 7, kvs: vec![stored(&kv("a", 0))], more: true, count: 9 };
        let answer = TxnAnswer {
            revision: 8,
            levels: vec![
                TxnLevel {
                    succeeded: true,
                    responses: vec![
                        OpAnswer::Txn(1),
                        OpAnswer::Range(range),
                        OpAnswer::Unset,
                        OpAnswer::Txn(2),
                        OpAnswer::Put(PutAnswer { revision: 8, prev_kv: None }),
                    ],
                },
                TxnLevel::default(),
                TxnLevel {
                    succeeded: false,
                    responses: vec![OpAnswer::DeleteRange(DeleteAnswer { revision: 8, deleted: 3, prev_kvs: vec![] })],
                },
            ],
        };
        let nested =
            |responses| pb::TxnResponse { header: Some(ResponseHeader::default()), succeeded: false, responses };
        let deleted = pb::DeleteRangeResponse { header: only(8), deleted: 3, prev_kvs: vec![] };
        let message = pb::TxnResponse {
            header: Some(header),
            succeeded: true,
            responses: vec![
                op(Op::ResponseTxn(nested(vec![]))),
                op(Op::ResponseRange(pb::RangeResponse {
                    header: only(7),
                    kvs: vec![kv("a", 0)],
                    more: true,
                    count: 9,
                })),
                pb::ResponseOp { response: None },
                op(Op::ResponseTxn(nested(vec![op(Op::ResponseDeleteRange(deleted))]))),
                op(Op::ResponsePut(pb::PutResponse { header: only(8), prev_kv: None })),
            ],
        };
        check(answer.encoded_len(&header), |out| answer.write(&header, out), message);
    }
}
