//! A range in parts: each goes on behind the last key of the one before, all at one revision.

use std::cmp::Ordering;
use std::ops::ControlFlow;
use std::ops::Deref;

use bytes::Bytes;
use ferrite_proto::etcdserverpb::RangeRequest;
use ferrite_proto::etcdserverpb::range_request::SortTarget;

use super::range::KEPT_BYTES;
use super::{KeyRange, KeyValue, Keyspace, View};
use crate::answer::{ReadFailure, Room};

/// Where a stream of a range stands. It holds no pin: each part is read through a view at the stream's revision.
#[derive(Clone, Debug)]
pub struct RangeStream {
    all: KeyRange,
    rest: KeyRange,
    /// Keys that may still come; `None` is no limit.
    left: Option<u64>,
    keys_only: bool,
    /// By what each part is sorted, upwards.
    target: SortTarget,
}

/// One part.
#[derive(Debug)]
pub struct StreamChunk {
    /// Encoded `KeyValue`s, in key order unless the request names another target.
    pub kvs: Vec<Bytes>,
    /// What the last part tells besides.
    pub end: Option<StreamEnd>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamEnd {
    /// Whether the limit left something out.
    pub more: bool,
    /// All keys of the range.
    pub count: u64,
}

impl RangeStream {
    /// A stream for a request without an order and without filters. A target that is not the key sorts within each part: that
    /// is all that can be done without holding the whole range, and it is what etcd does.
    pub fn new(request: &RangeRequest) -> RangeStream {
        let all = KeyRange::new(request.key.clone(), &request.range_end);
        let left = u64::try_from(request.limit).ok().filter(|limit| *limit > 0);
        RangeStream { rest: all.clone(), all, left, keys_only: request.keys_only, target: request.sort_target() }
    }

    /// The next part, of at most so many keys, and at least one if any is left. All parts must be read at one revision.
    /// If there is no room for it, it may be asked for again.
    pub fn next<K: Deref<Target = Keyspace>>(
        &mut self,
        view: &View<K>,
        most_keys: u64,
        room: &mut dyn Room,
    ) -> Result<StreamChunk, ReadFailure> {
        let reader = view.reader();
        let wanted = self.left.map_or(most_keys, |left| most_keys.min(left)).max(1);
        let mut found = Vec::new();
        let mut last_key = Bytes::new();
        let mut is_last = true;
        reader.visit(&self.rest, |key, each| {
            if found.len() as u64 == wanted {
                is_last = false;
                return ControlFlow::Break(());
            }
            let key_only = (self.keys_only && self.target != SortTarget::Value).then(|| {
                let (create_revision, mod_revision) = (each.created as i64, each.revision.main as i64);
                KeyValue { key, create_revision, mod_revision, version: each.version as i64, ..Default::default() }
                    .encode()
            });
            if found.len() as u64 + 1 == wanted {
                last_key = Bytes::copy_from_slice(key);
            }
            found.push((each.revision, key_only));
            ControlFlow::Continue(())
        });
        let mut kvs = Vec::with_capacity(found.len());
        let (mut bytes, all) = (0, found.len() as u64);
        for (revision, key_only) in found {
            kvs.push(match key_only {
                Some(encoded) => encoded,
                None => reader.key_value(revision)?,
            });
            let last = kvs.last().map_or(0, |kv: &Bytes| kv.len() as u64 + KEPT_BYTES);
            bytes += last;
            if !room.take(last) {
                return Err(ReadFailure::NoRoom { bytes: bytes / kvs.len() as u64 * all });
            }
        }
        if self.target != SortTarget::Key {
            kvs.sort_by(|a, b| compare(self.target, &KeyValue::stored(a), &KeyValue::stored(b)));
        }
        if self.keys_only && self.target == SortTarget::Value {
            kvs.iter_mut().for_each(|kv| *kv = KeyValue { value: &[], ..KeyValue::stored(kv) }.encode());
        }
        if let Some(left) = &mut self.left {
            *left -= kvs.len() as u64;
        }
        let more = !is_last;
        is_last |= self.left == Some(0);
        if !is_last {
            self.rest = self.all.behind(&last_key);
        }
        let end = is_last.then(|| StreamEnd { more, count: view.count(&self.all) });
        Ok(StreamChunk { kvs, end })
    }
}

fn compare(target: SortTarget, a: &KeyValue<'_>, b: &KeyValue<'_>) -> Ordering {
    match target {
        SortTarget::Key => a.key.cmp(b.key),
        SortTarget::Version => a.version.cmp(&b.version),
        SortTarget::Create => a.create_revision.cmp(&b.create_revision),
        SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
        SortTarget::Value => a.value.cmp(b.value),
    }
}
