//! Linearizable reads (thesis, 6.4): the commit index at the time of asking, once it is sure that this node
//! still led then.
//!
//! ```text
//!   asked ──▶ waiting: nothing of our term is committed yet
//!               │ first commit
//!               ▼
//!             unconfirmed, numbered ── heartbeat carries the newest number ── a quorum echoed it ──▶ answered, in order
//! ```
//!
//! One round confirms all reads up to its number. The queues are as long as their owner and the followers ask; a leader
//! without a quorum drops them when it steps down.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::quorum::JointQuorum;
use crate::types::{Index, NodeId};

/// Who asked, and what the answer is to carry.
#[derive(Clone, Debug)]
pub struct ReadRequest {
    pub from: NodeId,
    pub context: Bytes,
}

#[derive(Debug, Default)]
pub struct Reads {
    waiting: Vec<ReadRequest>,
    unconfirmed: VecDeque<(Index, ReadRequest)>,
    /// How many were confirmed before those in the queue.
    confirmed: u64,
    /// The newest number that each node echoed.
    echoed: Vec<(NodeId, u64)>,
}

impl Reads {
    /// Keeps a read until something of our term is committed.
    pub fn wait(&mut self, request: ReadRequest) {
        self.waiting.push(request);
    }

    /// The reads that waited.
    pub fn take_waiting(&mut self) -> Vec<ReadRequest> {
        std::mem::take(&mut self.waiting)
    }

    /// Numbers a read that must be confirmed.
    pub fn push(&mut self, commit: Index, request: ReadRequest) {
        self.unconfirmed.push_back((commit, request));
    }

    /// The number of the newest unconfirmed read, as a heartbeat carries it. Empty if there is none.
    pub fn heartbeat_context(&self) -> Bytes {
        if self.unconfirmed.is_empty() { Bytes::new() } else { Bytes::copy_from_slice(&self.newest().to_le_bytes()) }
    }

    fn newest(&self) -> u64 {
        self.confirmed + self.unconfirmed.len() as u64
    }

    /// Notes that a node heard us as its leader after all reads up to the newest one were asked.
    pub fn echo_newest(&mut self, from: NodeId) {
        self.echo(from, self.newest());
    }

    /// Notes what a node echoed, and returns what is now confirmed. A context that is not a number of ours is ignored.
    pub fn echoed(
        &mut self,
        from: NodeId,
        context: &[u8],
        voters: &JointQuorum,
    ) -> impl Iterator<Item = (Index, ReadRequest)> {
        if let Ok(number) = context.try_into().map(u64::from_le_bytes)
            && number <= self.newest()
        {
            self.echo(from, number);
        }
        let by = |id| self.echoed.iter().find(|(node, _)| *node == id).map(|(_, number)| *number);
        let confirmed = voters.acknowledged(by).clamp(self.confirmed, self.newest());
        let count = (confirmed - self.confirmed) as usize;
        self.confirmed = confirmed;
        self.unconfirmed.drain(..count)
    }

    fn echo(&mut self, from: NodeId, number: u64) {
        match self.echoed.iter_mut().find(|(node, _)| *node == from) {
            Some((_, newest)) => *newest = number.max(*newest),
            None => self.echoed.push((from, number)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quorum::Majority;

    #[test]
    fn a_quorum_of_echoes_confirms_all_up_to_the_number() {
        let voters = JointQuorum {
            incoming: Majority::new(vec![NodeId(1), NodeId(2), NodeId(3)]),
            outgoing: Majority::default(),
        };
        let mut reads = Reads::default();
        for read in 1..=3_u8 {
            reads.push(
                Index(10 + u64::from(read)),
                ReadRequest { from: NodeId(1), context: Bytes::copy_from_slice(&[read]) },
            );
            reads.echo_newest(NodeId(1));
        }
        let mut check = |from, context: &[u8], expected: &[u64]| {
            let confirmed: Vec<u64> = reads.echoed(NodeId(from), context, &voters).map(|(index, _)| index.0).collect();
            assert_eq!(confirmed, expected, "after {from} echoed {context:?}");
        };
        //    from, context                    confirmed at
        check(9, &3_u64.to_le_bytes(), &[]); // no voter
        check(2, b"other", &[]);
        check(2, &9_u64.to_le_bytes(), &[]); // was never asked
        check(2, &2_u64.to_le_bytes(), &[11, 12]);
        check(3, &1_u64.to_le_bytes(), &[]);
        check(3, &3_u64.to_le_bytes(), &[13]);
        assert!(reads.heartbeat_context().is_empty());
    }
}
