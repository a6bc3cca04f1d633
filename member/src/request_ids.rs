//! Names for what this member proposes, made as etcd makes them: a member finds its own waiters by them, and no two
//! members of a cluster, nor two lives of one, use the same one.

use std::sync::atomic::{AtomicU64, Ordering};

use ferrite_raft::NodeId;
use ferrite_state::RequestId;

const SUFFIX_BITS: u32 = 48;
const SUFFIX: u64 = (1 << SUFFIX_BITS) - 1;

/// Hands out ids: 16 bits of the member's id, then a number that starts at the time and goes up by one.
#[derive(Debug)]
pub struct RequestIds {
    prefix: u64,
    suffix: AtomicU64,
}

impl RequestIds {
    /// Ids of `member` in a life that began at `unix_ms`, milliseconds since 1970.
    pub fn new(member: NodeId, unix_ms: u64) -> RequestIds {
        let suffix = (unix_ms & ((1 << 40) - 1)) << 8;
        RequestIds { prefix: member.0 << SUFFIX_BITS, suffix: AtomicU64::new(suffix) }
    }

    /// An id that has not been used.
    pub fn take(&self) -> RequestId {
        let suffix = self.suffix.fetch_add(1, Ordering::Relaxed) + 1;
        RequestId(self.prefix | (suffix & SUFFIX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_member_time_and_count() {
        let ids = RequestIds::new(NodeId(0x1234_5678), 0x01_02_03_04_05_06);
        assert_eq!(ids.take(), RequestId(0x5678_0203_0405_0601));
        assert_eq!(ids.take(), RequestId(0x5678_0203_0405_0602));
    }

    #[test]
    fn the_count_carries_into_the_time_but_never_into_the_member() {
        let ids = RequestIds::new(NodeId(1), (1 << 40) - 1);
        let last = (0..256).map(|_| ids.take()).last();
        assert_eq!(last, Some(RequestId(1 << 48)));
    }
}
