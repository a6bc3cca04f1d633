//! A range request: which keys, in which order, and how much of each.
//!
//! As in etcd the walk stops behind `limit` keys when they come in key order and none is filtered; otherwise all keys of
//! the range are looked at. Filters and most orders need only the index, so values are read for what is returned.

use std::cmp::Ordering;
use std::ops::ControlFlow;

use bytes::Bytes;
use ferrite_proto::etcdserverpb::RangeRequest;
use ferrite_proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use ferrite_storage as storage;

use super::index::Found;
use super::{KeyRange, KeyValue, Reader};
use crate::answer::{RangeAnswer, ReadFailure, Room, Unlimited};

/// What an answer holds of a key besides its `KeyValue`.
pub(super) const KEPT_BYTES: u64 = 8;

/// A key on its way into the answer.
struct Item {
    found: Found,
    /// Its `KeyValue`: when the index was enough, or the value was needed to sort.
    key_value: Option<Bytes>,
}

impl Reader<'_> {
    /// Answers a range request at this reader's revision, whichever the request asks for.
    pub fn range(&self, request: &RangeRequest) -> Result<RangeAnswer, storage::ReadError> {
        self.range_within(request, &mut Unlimited).map_err(ReadFailure::of_storage)
    }

    /// The same, if there is room for it. A single key is always answered.
    pub fn range_within(&self, request: &RangeRequest, room: &mut dyn Room) -> Result<RangeAnswer, ReadFailure> {
        let range = KeyRange::new(request.key.clone(), &request.range_end);
        let answer = RangeAnswer { revision: self.current() as i64, ..Default::default() };
        if request.count_only {
            return Ok(RangeAnswer { count: self.count(&range) as i64, ..answer });
        }
        let plan = Plan::of(request);
        // A point read, the most frequent request of all: no lists, no order.
        if let Some(key) = range.as_single()
            && !(request.keys_only || plan.filters)
        {
            let kv = self.find(key).map(|found| self.key_value(found.revision)).transpose()?;
            return Ok(RangeAnswer { count: kv.is_some().into(), kvs: kv.into_iter().collect(), ..answer });
        }
        let (mut items, complete) = self.collect(&range, request, &plan);
        let count = if complete && !plan.filters { items.len() as u64 } else { self.count(&range) };
        if plan.order == Some(SortTarget::Value) {
            self.read_values(&mut items, room)?;
        }
        plan.sort(&mut items, request.sort_order());
        let limit = usize::try_from(request.limit).unwrap_or(0);
        let more = limit > 0 && items.len() > limit;
        if more {
            items.truncate(limit);
        }
        if plan.index_is_enough {
            let bytes = items.iter().flat_map(|item| &item.key_value).map(|kv| kv.len() as u64 + KEPT_BYTES).sum();
            if !room.take(bytes) {
                return Err(ReadFailure::NoRoom { bytes });
            }
        }
        self.read_values(&mut items, room)?;
        let kvs = items.into_iter().map(|item| item.key_value.expect("was read"));
        let kvs = match plan.strips {
            true => kvs.map(|bytes| KeyValue { value: b"", ..KeyValue::stored(&bytes) }.encode()).collect(),
            false => kvs.collect(),
        };
        Ok(RangeAnswer { kvs, more, count: count as i64, ..answer })
    }

    /// The keys that pass the filters, with whether they are all there are.
    fn collect(&self, range: &KeyRange, request: &RangeRequest, plan: &Plan) -> (Vec<Item>, bool) {
        let mut items = Vec::new();
        let mut complete = true;
        self.visit(range, |key, found| {
            if plan.fetch.is_some_and(|fetch| items.len() as u64 == fetch) {
                complete = false;
                return ControlFlow::Break(());
            }
            if !plan.filters || passes(request, found) {
                let key_value = plan.index_is_enough.then(|| {
                    let (create_revision, mod_revision) = (found.created as i64, found.revision.main as i64);
                    let version = found.version as i64;
                    KeyValue { key, create_revision, mod_revision, version, ..Default::default() }.encode()
                });
                items.push(Item { found, key_value });
            }
            ControlFlow::Continue(())
        });
        (items, complete)
    }

    fn read_values(&self, items: &mut [Item], room: &mut dyn Room) -> Result<(), ReadFailure> {
        let (mut read_bytes, all) = (0, items.len() as u64);
        for (before, item) in items.iter_mut().enumerate().filter(|(_, item)| item.key_value.is_none()) {
            let key_value = self.key_value(item.found.revision)?;
            let bytes = key_value.len() as u64 + KEPT_BYTES;
            read_bytes += bytes;
            if !room.take(bytes) {
                // The others are about as long as those that were read.
                return Err(ReadFailure::NoRoom { bytes: read_bytes / (before as u64 + 1) * all });
            }
            item.key_value = Some(key_value);
        }
        Ok(())
    }
}

/// What a request makes necessary.
struct Plan {
    /// So many keys are looked at, one more than are wanted, so that `more` is known.
    fetch: Option<u64>,
    filters: bool,
    /// By what to sort; `None` is as they come.
    order: Option<SortTarget>,
    /// Only keys are wanted, without their lease: nothing has to be read.
    index_is_enough: bool,
    /// Only keys are wanted, with their lease.
    strips: bool,
}

impl Plan {
    fn of(request: &RangeRequest) -> Plan {
        let (order, target) = (request.sort_order(), request.sort_target());
        let comes_in_order = order == SortOrder::None || (target == SortTarget::Key && order == SortOrder::Ascend);
        let filters = [
            request.min_mod_revision,
            request.max_mod_revision,
            request.min_create_revision,
            request.max_create_revision,
        ];
        let filters = filters.iter().any(|bound| *bound != 0);
        let limit = u64::try_from(request.limit).ok().filter(|limit| *limit > 0);
        Plan {
            fetch: limit.filter(|_| comes_in_order && !filters).map(|limit| limit + 1),
            filters,
            // Without an order, another target than the key sorts upwards.
            order: (!(target == SortTarget::Key && comes_in_order)).then_some(target),
            index_is_enough: request.keys_only && target != SortTarget::Value,
            strips: request.keys_only && target == SortTarget::Value,
        }
    }

    /// Sorts; keys that are equal in it stay in key order.
    fn sort(&self, items: &mut [Item], order: SortOrder) {
        let Some(target) = self.order else { return };
        let compare: fn(&Item, &Item) -> Ordering = match target {
            SortTarget::Key => {
                // They came in key order, so it must be the other one.
                items.reverse();
                return;
            }
            SortTarget::Version => |a, b| a.found.version.cmp(&b.found.version),
            SortTarget::Create => |a, b| a.found.created.cmp(&b.found.created),
            SortTarget::Mod => |a, b| a.found.revision.main.cmp(&b.found.revision.main),
            SortTarget::Value => |a, b| value_of(a).cmp(value_of(b)),
        };
        match order {
            SortOrder::Descend => items.sort_by(|a, b| compare(b, a)),
            SortOrder::None | SortOrder::Ascend => items.sort_by(compare),
        }
    }
}

fn value_of(item: &Item) -> &[u8] {
    KeyValue::stored(item.key_value.as_ref().expect("was read to sort by it")).value
}

/// Bounds are inclusive; 0 is none.
fn passes(request: &RangeRequest, found: Found) -> bool {
    let (modified, created) = (found.revision.main as i64, found.created as i64);
    let below = |max: i64, revision: i64| max == 0 || revision <= max;
    let above = |min: i64, revision: i64| min == 0 || revision >= min;
    below(request.max_mod_revision, modified)
        && above(request.min_mod_revision, modified)
        && below(request.max_create_revision, created)
        && above(request.min_create_revision, created)
}
