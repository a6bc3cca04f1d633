//! The content of a `.snap` file: `snappb.snapshot { crc, data }`, data being `raftpb.Snapshot`.

use bytes::Bytes;
use ferrite_proto::{raftpb, snappb};
use ferrite_raft::Snapshot;
use prost::Message;

pub(super) fn encode(snapshot: &Snapshot) -> Vec<u8> {
    let data = raftpb::Snapshot::from(snapshot).encode_to_vec();
    let crc = crc32c::crc32c(&data);
    snappb::Snapshot { crc: Some(crc), data: Some(data.into()) }.encode_to_vec()
}

/// What is wrong is said as etcd says it.
pub(super) fn decode(bytes: Vec<u8>) -> Result<Snapshot, &'static str> {
    if bytes.is_empty() {
        return Err("the file is empty");
    }
    let envelope = snappb::Snapshot::decode(Bytes::from(bytes)).map_err(|_| "its envelope is malformed")?;
    let (crc, data) = (envelope.crc.unwrap_or_default(), envelope.data.unwrap_or_default());
    if data.is_empty() || crc == 0 {
        return Err("it holds no snapshot");
    }
    if crc32c::crc32c(&data) != crc {
        return Err("its checksum does not match");
    }
    Ok(raftpb::Snapshot::decode(data).map_err(|_| "the snapshot in it is malformed")?.into())
}

#[cfg(test)]
mod tests {
    use ferrite_raft::{ConfState, Index, NodeId, SnapshotMeta, Term};

    use super::*;

    fn snapshot() -> Snapshot {
        let conf = ConfState { voters: vec![NodeId(1)], ..ConfState::default() };
        Snapshot { meta: SnapshotMeta { index: Index(1), term: Term(2), conf }, data: Bytes::from_static(b"{}") }
    }

    #[test]
    fn the_bytes_are_those_of_etcd() {
        let bytes = encode(&snapshot());
        let data = [10, 2, b'{', b'}', 18, 10, 10, 4, 8, 1, 40, 0, 16, 1, 24, 2];
        let crc_field = &bytes[..bytes.len() - data.len() - 2];
        assert_eq!(&bytes[crc_field.len()..], [&[18, 16][..], &data].concat());
        assert_eq!(crc_field[0], 8);
        assert_eq!(decode(bytes), Ok(snapshot()));
    }

    #[test]
    fn damage_is_seen() {
        let good = encode(&snapshot());
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            // The top bits of the CRC's last byte are beyond 32 bits, and mean nothing.
            if let Ok(found) = decode(bytes) {
                assert!(found == snapshot() && bit / 8 == 5, "bit {bit}");
            }
        }
        for length in 0..good.len() {
            decode(good[..length].to_vec()).unwrap_err();
        }
        decode(vec![0; good.len()]).unwrap_err();
    }
}
