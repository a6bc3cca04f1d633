//! Transactions: comparisons that decide which of two lists of operations is carried out.

use bytes::Bytes;
use ferrite_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use ferrite_proto::etcdserverpb::{Compare as CompareRequest, TxnRequest};

use crate::op::{Op, prefix_end};

/// If all comparisons hold, then these operations, or else those.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Txn {
    compares: Vec<Compare>,
    success: Vec<Op>,
    failure: Vec<Op>,
}

impl Txn {
    /// A transaction that does nothing yet.
    pub fn new() -> Txn {
        Txn::default()
    }

    /// What has to hold, all of it.
    pub fn when(mut self, compares: impl IntoIterator<Item = Compare>) -> Txn {
        self.compares.extend(compares);
        self
    }

    /// What to do if it holds.
    pub fn and_then(mut self, ops: impl IntoIterator<Item = Op>) -> Txn {
        self.success.extend(ops);
        self
    }

    /// What to do if it does not.
    pub fn or_else(mut self, ops: impl IntoIterator<Item = Op>) -> Txn {
        self.failure.extend(ops);
        self
    }
}

impl From<Txn> for TxnRequest {
    fn from(txn: Txn) -> TxnRequest {
        TxnRequest {
            compare: txn.compares.into_iter().map(|compare| compare.0).collect(),
            success: txn.success.into_iter().map(Into::into).collect(),
            failure: txn.failure.into_iter().map(Into::into).collect(),
        }
    }
}

/// A comparison of one property of a key with a given one. [`Compare::version`] and its siblings begin it:
/// `Compare::version("k").eq(0)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Compare(CompareRequest);

/// What of a key is compared; `N` is what it is compared with.
#[derive(Debug)]
pub struct Subject<N> {
    key: Bytes,
    target: CompareTarget,
    with: fn(N) -> TargetUnion,
}

impl Compare {
    /// How often the key was written since it was created; 0 if it does not exist.
    pub fn version(key: impl Into<Bytes>) -> Subject<i64> {
        Subject { key: key.into(), target: CompareTarget::Version, with: TargetUnion::Version }
    }

    /// When the key was created; 0 if it does not exist.
    pub fn create_revision(key: impl Into<Bytes>) -> Subject<i64> {
        Subject { key: key.into(), target: CompareTarget::Create, with: TargetUnion::CreateRevision }
    }

    /// When the key was last written; 0 if it does not exist.
    pub fn mod_revision(key: impl Into<Bytes>) -> Subject<i64> {
        Subject { key: key.into(), target: CompareTarget::Mod, with: TargetUnion::ModRevision }
    }

    /// The key's lease; 0 if it has none.
    pub fn lease(key: impl Into<Bytes>) -> Subject<i64> {
        Subject { key: key.into(), target: CompareTarget::Lease, with: TargetUnion::Lease }
    }

    /// The key's value.
    pub fn value(key: impl Into<Bytes>) -> Subject<Bytes> {
        Subject { key: key.into(), target: CompareTarget::Value, with: TargetUnion::Value }
    }

    /// Of every key from the key to `end`.
    pub fn range(mut self, end: impl Into<Bytes>) -> Compare {
        self.0.range_end = end.into();
        self
    }

    /// Of every key that starts with the key.
    pub fn prefix(mut self) -> Compare {
        self.0.range_end = prefix_end(&self.0.key);
        self
    }
}

impl<N> Subject<N> {
    /// Compares by `result`.
    pub fn compare(self, result: CompareResult, with: impl Into<N>) -> Compare {
        Compare(CompareRequest {
            result: result.into(),
            target: self.target.into(),
            key: self.key,
            target_union: Some((self.with)(with.into())),
            range_end: Bytes::new(),
        })
    }

    /// It is this.
    pub fn eq(self, with: impl Into<N>) -> Compare {
        self.compare(CompareResult::Equal, with)
    }

    /// It is not this.
    pub fn ne(self, with: impl Into<N>) -> Compare {
        self.compare(CompareResult::NotEqual, with)
    }

    /// It is less than this.
    pub fn lt(self, with: impl Into<N>) -> Compare {
        self.compare(CompareResult::Less, with)
    }

    /// It is greater than this.
    pub fn gt(self, with: impl Into<N>) -> Compare {
        self.compare(CompareResult::Greater, with)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::{Get, Put};

    #[test]
    fn what_is_compared_is_always_said_even_if_it_is_zero() {
        let Compare(request) = Compare::create_revision("k").eq(0);
        assert_eq!(request.target(), CompareTarget::Create);
        assert_eq!(request.target_union, Some(TargetUnion::CreateRevision(0)));
        let Compare(request) = Compare::value("p").gt("v").prefix();
        assert_eq!((request.result(), &request.range_end[..]), (CompareResult::Greater, &b"q"[..]));
    }

    #[test]
    fn the_branches_keep_their_order() {
        let request = TxnRequest::from(
            Txn::new()
                .when([Compare::version("a").eq(1), Compare::lease("b").ne(2)])
                .and_then([Put::new("a", "1").into(), Get::new("a").into()])
                .or_else([Op::from(Txn::new())]),
        );
        assert_eq!((request.compare.len(), request.success.len(), request.failure.len()), (2, 2, 1));
        assert_eq!(request.success[0], Op::from(Put::new("a", "1")).into());
    }
}
