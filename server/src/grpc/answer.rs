//! Answers of the state machine, put on the wire: stored bytes are copied or shared, not decoded.

use bytes::BytesMut;
use ferrite_proto::etcdserverpb::ResponseHeader;
use ferrite_state::answer::{DeleteAnswer, MAX_ANSWER_BYTES, PutAnswer, RangeAnswer, TxnAnswer};

use crate::rpc::Body;

/// A header takes less than this.
const HEADER_BYTES: usize = 64;

pub fn range(answer: &RangeAnswer, header: Option<&ResponseHeader>) -> Body {
    let stored: usize = answer.kvs.iter().map(|kv| kv.len() + 8).sum();
    let mut body = Body::with_capacity(HEADER_BYTES + stored);
    if let Some(header) = header {
        body.put_message(1, header);
    }
    for kv in &answer.kvs {
        body.put_field(2, kv);
    }
    put_number(&mut body, 3, answer.more.into());
    put_number(&mut body, 4, answer.count);
    body
}

pub fn put(answer: &PutAnswer, header: &ResponseHeader) -> Body {
    encoded(answer.encoded_len(header), |out| answer.write(header, out))
}

pub fn delete_range(answer: &DeleteAnswer, header: &ResponseHeader) -> Body {
    encoded(answer.encoded_len(header), |out| answer.write(header, out))
}

pub fn txn(answer: &TxnAnswer, header: &ResponseHeader) -> Body {
    encoded(answer.encoded_len(header), |out| answer.write(header, out))
}

fn encoded(length: usize, write: impl FnOnce(&mut BytesMut)) -> Body {
    if length as u64 > MAX_ANSWER_BYTES {
        return Body::too_long(length);
    }
    let mut out = BytesMut::with_capacity(length);
    write(&mut out);
    let mut body = Body::with_capacity(0);
    body.put_whole(out);
    body
}

/// A varint field, left out when it is zero.
fn put_number(body: &mut Body, tag: u32, value: i64) {
    if value != 0 {
        let mut field = Vec::with_capacity(11);
        prost::encoding::int64::encode(tag, &value, &mut field);
        body.put_encoded(&field);
    }
}
