//! What tests of the state machine share: the machine on a store in memory, a naive model of it, and random histories
//! that both go through, and that can be written down for a real etcd to go through, too.

mod history;
mod machine;
mod model;

pub use history::{Generator, Step, Validity, write_history};
pub use machine::Machine;
pub use model::Model;

use ferrite_proto::etcdserverpb as pb;

use crate::ApplyError;

/// What came of a step, in the words of the wire; headers tell a revision only.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Range(pb::RangeResponse),
    Put(pb::PutResponse),
    DeleteRange(pb::DeleteRangeResponse),
    Txn(pb::TxnResponse),
    Compaction(pb::CompactionResponse),
    LeaseGrant(pb::LeaseGrantResponse),
    LeaseRevoke(pb::LeaseRevokeResponse),
    HashKv(pb::HashKvResponse),
    Refused(ApplyError),
}

pub fn header(revision: i64) -> Option<pb::ResponseHeader> {
    Some(pb::ResponseHeader { revision, ..Default::default() })
}
