//! What can be asked of keys: `Get`, `Put`, `Delete`, `Watch`, each a request that is built up.
//!
//! Options act in the order in which they are given, and of several ranges the last one counts. What makes no sense for an operation
//! cannot be said here.

use bytes::Bytes;
use ferrite_proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use ferrite_proto::etcdserverpb::request_op::Request;
use ferrite_proto::etcdserverpb::watch_create_request::FilterType;
use ferrite_proto::etcdserverpb::{
    DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, RangeRequest, RangeResponse, RequestOp,
    TxnRequest, TxnResponse, WatchCreateRequest,
};

use crate::txn::Txn;

/// The end of the range of all keys that start with `prefix`; a zero byte, which means "to the last key", if there is no smaller one.
pub fn prefix_end(prefix: &[u8]) -> Bytes {
    match prefix.iter().rposition(|&byte| byte < 0xff) {
        Some(last) => {
            let mut end = prefix[..=last].to_vec();
            end[last] += 1;
            end.into()
        }
        None => TO_THE_LAST,
    }
}

/// As a range's end: no end. As a key: the first key there can be.
const TO_THE_LAST: Bytes = Bytes::from_static(&[0]);

/// Makes `key` and `range_end` mean all keys that start with `key`.
fn set_prefix(key: &mut Bytes, range_end: &mut Bytes) {
    if key.is_empty() {
        (*key, *range_end) = (TO_THE_LAST, TO_THE_LAST);
    } else {
        *range_end = prefix_end(key);
    }
}

/// Makes `key` and `range_end` mean `key` and all keys behind it.
fn set_from_key(key: &mut Bytes, range_end: &mut Bytes) {
    if key.is_empty() {
        *key = TO_THE_LAST;
    }
    *range_end = TO_THE_LAST;
}

macro_rules! ranges {
    ($($name:ident($request:ident);)*) => { $(
        impl $name {
            /// All keys that start with the key.
            pub fn prefix(mut self) -> Self {
                set_prefix(&mut self.0.key, &mut self.0.range_end);
                self
            }

            /// The key and all keys behind it.
            pub fn from_key(mut self) -> Self {
                set_from_key(&mut self.0.key, &mut self.0.range_end);
                self
            }

            /// The keys from the key to `end`, without `end`.
            pub fn range(mut self, end: impl Into<Bytes>) -> Self {
                self.0.range_end = end.into();
                self
            }
        }

        impl<K: Into<Bytes>> From<K> for $name {
            fn from(key: K) -> Self {
                $name::new(key)
            }
        }

        impl From<$name> for $request {
            fn from(op: $name) -> $request {
                op.0
            }
        }
    )* };
}

ranges! {
    Get(RangeRequest);
    Delete(DeleteRangeRequest);
    Watch(WatchCreateRequest);
}

/// A read.
#[derive(Clone, Debug, PartialEq)]
pub struct Get(RangeRequest);

impl Get {
    /// Reads `key`.
    pub fn new(key: impl Into<Bytes>) -> Get {
        Get(RangeRequest { key: key.into(), ..RangeRequest::default() })
    }

    /// At this revision rather than the latest.
    pub fn revision(mut self, revision: i64) -> Get {
        self.0.revision = revision;
        self
    }

    /// At most so many keys; 0 is no limit.
    pub fn limit(mut self, limit: i64) -> Get {
        self.0.limit = limit;
        self
    }

    /// In this order. By key ascending is how keys are stored, and so is sent as no order at all.
    pub fn sort(mut self, target: SortTarget, order: SortOrder) -> Get {
        let order = if (target, order) == (SortTarget::Key, SortOrder::Ascend) { SortOrder::None } else { order };
        self.0.sort_target = target.into();
        self.0.sort_order = order.into();
        self
    }

    /// From what the member asked knows, which may be old, without asking a quorum.
    pub fn serializable(mut self) -> Get {
        self.0.serializable = true;
        self
    }

    /// Without values.
    pub fn keys_only(mut self) -> Get {
        self.0.keys_only = true;
        self
    }

    /// Only how many keys there are.
    pub fn count_only(mut self) -> Get {
        self.0.count_only = true;
        self
    }

    /// Only keys last changed at `min` or later; 0 is no bound.
    pub fn min_mod_revision(mut self, min: i64) -> Get {
        self.0.min_mod_revision = min;
        self
    }

    /// Only keys last changed at `max` or earlier; 0 is no bound.
    pub fn max_mod_revision(mut self, max: i64) -> Get {
        self.0.max_mod_revision = max;
        self
    }

    /// Only keys created at `min` or later; 0 is no bound.
    pub fn min_create_revision(mut self, min: i64) -> Get {
        self.0.min_create_revision = min;
        self
    }

    /// Only keys created at `max` or earlier; 0 is no bound.
    pub fn max_create_revision(mut self, max: i64) -> Get {
        self.0.max_create_revision = max;
        self
    }

    /// The first key, by `target` in `order`, of those that start with the key.
    fn top(self, target: SortTarget, order: SortOrder) -> Get {
        self.prefix().sort(target, order).limit(1)
    }

    /// The key, of those with this prefix, that was created first.
    pub fn first_created(self) -> Get {
        self.top(SortTarget::Create, SortOrder::Ascend)
    }

    /// The key, of those with this prefix, that was created last.
    pub fn last_created(self) -> Get {
        self.top(SortTarget::Create, SortOrder::Descend)
    }
}

/// A write.
#[derive(Clone, Debug, PartialEq)]
pub struct Put(PutRequest);

impl Put {
    /// Sets `key` to `value`.
    pub fn new(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Put {
        Put(PutRequest { key: key.into(), value: value.into(), ..PutRequest::default() })
    }

    /// Deletes the key when this lease ends. 0 is no lease.
    pub fn lease(mut self, lease: i64) -> Put {
        self.0.lease = lease;
        self
    }

    /// Answers with what was there before.
    pub fn prev_kv(mut self) -> Put {
        self.0.prev_kv = true;
        self
    }

    /// Keeps the value, and changes only the lease.
    pub fn ignore_value(mut self) -> Put {
        self.0.ignore_value = true;
        self
    }

    /// Keeps the lease, and changes only the value.
    pub fn ignore_lease(mut self) -> Put {
        self.0.ignore_lease = true;
        self
    }
}

impl From<Put> for PutRequest {
    fn from(put: Put) -> PutRequest {
        put.0
    }
}

/// A deletion.
#[derive(Clone, Debug, PartialEq)]
pub struct Delete(DeleteRangeRequest);

impl Delete {
    /// Deletes `key`.
    pub fn new(key: impl Into<Bytes>) -> Delete {
        Delete(DeleteRangeRequest { key: key.into(), ..DeleteRangeRequest::default() })
    }

    /// Answers with what was there before.
    pub fn prev_kv(mut self) -> Delete {
        self.0.prev_kv = true;
        self
    }
}

/// A wish to hear of changes.
#[derive(Clone, Debug, PartialEq)]
pub struct Watch(WatchCreateRequest);

impl Watch {
    /// Watches `key`.
    pub fn new(key: impl Into<Bytes>) -> Watch {
        Watch(WatchCreateRequest { key: key.into(), ..WatchCreateRequest::default() })
    }

    /// From this revision on; 0 is from now on.
    pub fn revision(mut self, revision: i64) -> Watch {
        self.0.start_revision = revision;
        self
    }

    /// With what was there before each change.
    pub fn prev_kv(mut self) -> Watch {
        self.0.prev_kv = true;
        self
    }

    /// With a response now and then that only says how far the watch has come.
    pub fn progress_notify(mut self) -> Watch {
        self.0.progress_notify = true;
        self
    }

    /// Large sets of events may travel in parts; they arrive as one response.
    pub fn fragment(mut self) -> Watch {
        self.0.fragment = true;
        self
    }

    /// Without puts.
    pub fn filter_put(mut self) -> Watch {
        self.0.filters.push(FilterType::Noput.into());
        self
    }

    /// Without deletions.
    pub fn filter_delete(mut self) -> Watch {
        self.0.filters.push(FilterType::Nodelete.into());
        self
    }
}

/// Any operation on keys.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// A read.
    Get(Get),
    /// A write.
    Put(Put),
    /// A deletion.
    Delete(Delete),
    /// A transaction.
    Txn(Txn),
}

/// What an [`Op`] came to.
#[derive(Clone, Debug, PartialEq)]
pub enum OpResponse {
    /// What was read.
    Get(RangeResponse),
    /// That it was written.
    Put(PutResponse),
    /// What was deleted.
    Delete(DeleteRangeResponse),
    /// Which branch was taken, and what its operations came to.
    Txn(TxnResponse),
}

impl From<Op> for RequestOp {
    fn from(op: Op) -> RequestOp {
        let request = match op {
            Op::Get(Get(request)) => Request::RequestRange(request),
            Op::Put(Put(request)) => Request::RequestPut(request),
            Op::Delete(Delete(request)) => Request::RequestDeleteRange(request),
            Op::Txn(txn) => Request::RequestTxn(TxnRequest::from(txn)),
        };
        RequestOp { request: Some(request) }
    }
}

macro_rules! ops {
    ($($name:ident)*) => { $(
        impl From<$name> for Op {
            fn from(op: $name) -> Op {
                Op::$name(op)
            }
        }
    )* };
}
ops!(Get Put Delete Txn);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_key_that_lacks_it() {
        //    prefix               end
        for (prefix, end) in [
            (&b"foo"[..], &b"fop"[..]),
            (b"a\xff", b"b"),
            (b"a\xfe\xff\xff", b"a\xff"),
            (b"\xff\xff", b"\0"),
            (b"", b"\0"),
        ] {
            assert_eq!(prefix_end(prefix), end, "{prefix:?}");
        }
    }

    #[test]
    fn ranges_of_the_empty_key_start_at_the_first() {
        let range = |get: Get| (get.0.key, get.0.range_end);
        let all = (Bytes::from_static(b"\0"), Bytes::from_static(b"\0"));
        assert_eq!(range(Get::new("").prefix()), all);
        assert_eq!(range(Get::new("").from_key()), all);
        assert_eq!(range(Get::new("k").from_key()), ("k".into(), "\0".into()));
        assert_eq!(range(Get::new("k").prefix().range("z")), ("k".into(), "z".into()), "the last range counts");
    }

    #[test]
    fn ascending_by_key_is_no_order() {
        for (target, order, sent) in [
            (SortTarget::Key, SortOrder::Ascend, SortOrder::None),
            (SortTarget::Key, SortOrder::Descend, SortOrder::Descend),
            (SortTarget::Mod, SortOrder::Ascend, SortOrder::Ascend),
        ] {
            assert_eq!(Get::new("k").sort(target, order).0.sort_order(), sent);
        }
    }
}
