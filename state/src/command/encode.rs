//! The entry's bytes, as etcd writes them: fields in ascending order.

use bytes::{BufMut, Bytes, BytesMut};
use ferrite_proto::etcdserverpb as pb;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use super::{Caller, RequestId, field};

fn header(id: RequestId, caller: &Caller) -> pb::RequestHeader {
    pb::RequestHeader { id: id.0, username: caller.username.clone(), auth_revision: caller.auth_revision }
}

/// The entry for a request made here.
pub fn encode(id: RequestId, caller: &Caller, mut request: pb::InternalRaftRequest) -> Bytes {
    request.header = Some(header(id, caller));
    request.encode_to_vec().into()
}

/// The entry for a request that came encoded, `number` being its field in `InternalRaftRequest`. The bytes go in as they
/// are, so a deeply nested transaction needs no deep stack.
pub fn encode_parsed(id: RequestId, caller: &Caller, number: u32, payload: &[u8]) -> Bytes {
    let header = header(id, caller);
    let header_length = header.encoded_len();
    let length = key_len(number)
        + encoded_len_varint(payload.len() as u64)
        + payload.len()
        + key_len(field::HEADER)
        + encoded_len_varint(header_length as u64)
        + header_length;
    let mut bytes = BytesMut::with_capacity(length);
    let put_payload = |bytes: &mut BytesMut| {
        encode_key(number, WireType::LengthDelimited, bytes);
        encode_varint(payload.len() as u64, bytes);
        bytes.put_slice(payload);
    };
    if number < field::HEADER {
        put_payload(&mut bytes);
    }
    encode_key(field::HEADER, WireType::LengthDelimited, &mut bytes);
    encode_varint(header_length as u64, &mut bytes);
    header.encode_raw(&mut bytes);
    if number > field::HEADER {
        put_payload(&mut bytes);
    }
    bytes.freeze()
}
