//! A transaction, flat: its nested ones lie beside it in one list, so that reading, judging, running and dropping it need
//! no stack, however deep it nests.

use bytes::Bytes;
use ferrite_proto::etcdserverpb as pb;
use ferrite_proto::wire::{self, Fields, Malformed, Wire, shapes};

/// Which level of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LevelId(u32);

impl LevelId {
    /// The transaction itself.
    pub const OUTERMOST: LevelId = LevelId(0);

    /// Its place among the levels.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A transaction and all that are nested in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Txn {
    /// The outermost comes first, and a level before those that it holds.
    levels: Vec<Level>,
}

/// One transaction of a nest.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Level {
    pub compare: Vec<pb::Compare>,
    pub success: Vec<Op>,
    pub failure: Vec<Op>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    Range(pb::RangeRequest),
    Put(pb::PutRequest),
    DeleteRange(pb::DeleteRangeRequest),
    Txn(LevelId),
    /// No request is given. Refused before it is proposed; nothing happens should it come by the log.
    Unset,
}

/// How a transaction is to be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxnShape {
    /// It only reads, and nests nothing: it needs no entry of the log.
    pub read_only: bool,
    /// Besides, no read asks for more than local state. Also true when there are no operations at all.
    pub serializable: bool,
}

impl Txn {
    /// How many compares it begins with, those of nested ones aside.
    pub fn compares(&self) -> u64 {
        self.level(LevelId::OUTERMOST).compare.len() as u64
    }

    /// Parses an encoded `TxnRequest`.
    pub fn parse(bytes: Bytes) -> Result<Txn, Malformed> {
        let mut levels = vec![Level::default()];
        let mut waiting = vec![(LevelId::OUTERMOST, bytes)];
        while let Some((id, bytes)) = waiting.pop() {
            let mut level = Level::default();
            for field in Fields::new(&bytes) {
                let field = field?;
                let value = bytes.slice(field.value);
                match (field.number, field.wire) {
                    (1, Wire::Bytes) => level.compare.push(wire::decode(&shapes::etcdserverpb_Compare, value)?),
                    (2, Wire::Bytes) => level.success.push(parse_op(value, &mut levels, &mut waiting)?),
                    (3, Wire::Bytes) => level.failure.push(parse_op(value, &mut levels, &mut waiting)?),
                    _ => {}
                }
            }
            levels[id.0 as usize] = level;
        }
        Ok(Txn { levels })
    }

    pub fn level(&self, id: LevelId) -> &Level {
        &self.levels[id.0 as usize]
    }

    pub fn levels(&self) -> &[Level] {
        &self.levels
    }

    /// Whether it can be answered without the log.
    pub fn shape(&self) -> TxnShape {
        let outermost = self.level(LevelId::OUTERMOST);
        let mut shape = TxnShape { read_only: true, serializable: true };
        for op in outermost.success.iter().chain(&outermost.failure) {
            match op {
                Op::Range(range) => shape.serializable &= range.serializable,
                _ => return TxnShape { read_only: false, serializable: false },
            }
        }
        shape
    }

    /// What it may add to the store, as etcd reckons for the quota: the larger branch, puts only, nested ones too.
    pub fn cost(&self) -> u64 {
        let mut costs = vec![0; self.levels.len()];
        // A level lies before those it holds, so from behind all that a sum needs is known.
        for (at, level) in self.levels.iter().enumerate().rev() {
            let branch = |ops: &[Op]| -> u64 {
                let cost = |op: &Op| match op {
                    Op::Put(put) => put_cost(put),
                    Op::Txn(id) => costs[id.0 as usize],
                    Op::Range(_) | Op::DeleteRange(_) | Op::Unset => 0,
                };
                ops.iter().map(cost).sum()
            };
            costs[at] = branch(&level.success).max(branch(&level.failure));
        }
        costs[0]
    }
}

/// What a put may add to the store, as etcd reckons for the quota.
pub fn put_cost(put: &pb::PutRequest) -> u64 {
    256 + (put.key.len() + put.value.len()) as u64
}

type Waiting = Vec<(LevelId, Bytes)>;

fn parse_op(bytes: Bytes, levels: &mut Vec<Level>, waiting: &mut Waiting) -> Result<Op, Malformed> {
    // Of several requests the last one counts; one in several parts is the message of all parts.
    let mut request: Option<(u32, Bytes)> = None;
    for field in Fields::new(&bytes) {
        let field = field?;
        if let (1..=4, Wire::Bytes) = (field.number, field.wire) {
            let value = bytes.slice(field.value);
            request = Some(match request {
                Some((number, before)) if number == field.number => (number, [before, value].concat().into()),
                _ => (field.number, value),
            });
        }
    }
    Ok(match request {
        Some((1, bytes)) => Op::Range(wire::decode(&shapes::etcdserverpb_RangeRequest, bytes)?),
        Some((2, bytes)) => Op::Put(wire::decode(&shapes::etcdserverpb_PutRequest, bytes)?),
        Some((3, bytes)) => Op::DeleteRange(wire::decode(&shapes::etcdserverpb_DeleteRangeRequest, bytes)?),
        Some((_, bytes)) => {
            let id = LevelId(levels.len() as u32);
            levels.push(Level::default());
            waiting.push((id, bytes));
            Op::Txn(id)
        }
        None => Op::Unset,
    })
}

impl TryFrom<pb::TxnRequest> for Txn {
    type Error = Malformed;

    /// For a request that was made here. One that comes from elsewhere is to be parsed from its bytes: decoding it
    /// into nested messages needs a stack as deep as the nest.
    fn try_from(request: pb::TxnRequest) -> Result<Txn, Malformed> {
        Txn::parse(prost::Message::encode_to_vec(&request).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pb::request_op::Request;
    use prost::Message;

    fn op(request: Request) -> pb::RequestOp {
        pb::RequestOp { request: Some(request) }
    }

    fn put(key: &'static str, value: &'static str) -> pb::PutRequest {
        pb::PutRequest { key: key.into(), value: value.into(), ..Default::default() }
    }

    fn range(serializable: bool) -> pb::RequestOp {
        op(Request::RequestRange(pb::RangeRequest { key: "a".into(), serializable, ..Default::default() }))
    }

    fn txn(success: Vec<pb::RequestOp>, failure: Vec<pb::RequestOp>) -> pb::TxnRequest {
        pb::TxnRequest { success, failure, ..Default::default() }
    }

    #[test]
    fn nested_transactions_lie_side_by_side() {
        let inner = txn(vec![op(Request::RequestPut(put("b", "2")))], vec![]);
        let outer = txn(
            vec![op(Request::RequestPut(put("a", "1"))), op(Request::RequestTxn(inner))],
            vec![pb::RequestOp { request: None }],
        );
        let parsed = Txn::try_from(outer).unwrap();
        let outermost = parsed.level(LevelId::OUTERMOST);
        assert_eq!(outermost.success, [Op::Put(put("a", "1")), Op::Txn(LevelId(1))]);
        assert_eq!(outermost.failure, [Op::Unset]);
        assert_eq!(parsed.level(LevelId(1)).success, [Op::Put(put("b", "2"))]);
    }

    #[test]
    fn parts_of_a_request_are_one_request() {
        // An operation with `put {key: "a"}`, then `put {value: "b"}`, then one with a range before a put.
        let bytes = b"\x12\x0a\x12\x03\x0a\x01a\x12\x03\x12\x01b\x12\x0a\x0a\x03\x0a\x01a\x12\x03\x0a\x01c";
        let parsed = Txn::parse(Bytes::from_static(bytes)).unwrap();
        assert_eq!(parsed.level(LevelId::OUTERMOST).success, [Op::Put(put("a", "b")), Op::Put(put("c", ""))]);
    }

    #[test]
    fn what_needs_the_log() {
        let shape = |read_only, serializable| TxnShape { read_only, serializable };
        let nested = op(Request::RequestTxn(txn(vec![range(true)], vec![])));
        let cases = [
            (vec![], vec![], shape(true, true)),
            (vec![range(true)], vec![range(true)], shape(true, true)),
            (vec![range(true)], vec![range(false)], shape(true, false)),
            (vec![range(false)], vec![], shape(true, false)),
            (vec![op(Request::RequestPut(put("a", "")))], vec![], shape(false, false)),
            (vec![], vec![nested], shape(false, false)),
            (vec![pb::RequestOp { request: None }], vec![], shape(false, false)),
        ];
        for (success, failure, expected) in cases {
            assert_eq!(Txn::try_from(txn(success, failure)).unwrap().shape(), expected);
        }
    }

    #[test]
    fn cost_is_that_of_the_dearer_branch() {
        let put_of = |value| op(Request::RequestPut(put("k", value)));
        let nested = op(Request::RequestTxn(txn(vec![put_of("")], vec![put_of("12"), put_of("345")])));
        assert_eq!(Txn::try_from(txn(vec![range(false)], vec![])).unwrap().cost(), 0);
        assert_eq!(Txn::try_from(txn(vec![put_of("")], vec![nested.clone()])).unwrap().cost(), 2 * 257 + 5);
        assert_eq!(Txn::try_from(txn(vec![put_of(""), nested], vec![])).unwrap().cost(), 3 * 257 + 5);
    }

    /// The bytes of a nest of transactions, built from the innermost outwards.
    fn nest(levels: usize) -> Vec<u8> {
        // Written from behind: each level is wrapped by `success { request_txn { .. } }`.
        let mut reversed: Vec<u8> = Vec::new();
        for _ in 1..levels {
            for tag in [0x22, 0x12] {
                let mut length = Vec::new();
                prost::encoding::encode_varint(reversed.len() as u64, &mut length);
                reversed.extend(length.iter().rev());
                reversed.push(tag);
            }
        }
        reversed.reverse();
        reversed
    }

    #[test]
    fn a_deep_nest_needs_no_stack() {
        let two = pb::TxnRequest::decode(&nest(2)[..]).unwrap();
        assert_eq!(two, txn(vec![op(Request::RequestTxn(txn(vec![], vec![])))], vec![]));
        // On a thread with the smallest stack there is.
        std::thread::Builder::new()
            .stack_size(64 << 10)
            .spawn(|| {
                let parsed = Txn::parse(nest(100_000).into()).unwrap();
                assert_eq!(parsed.levels().len(), 100_000);
                assert_eq!((parsed.cost(), parsed.shape().read_only), (0, false));
                assert_eq!(parsed.clone(), parsed);
            })
            .unwrap()
            .join()
            .unwrap();
    }
}
