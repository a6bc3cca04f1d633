//! What a client asks for when it creates a watcher, parsed once.

use bytes::Bytes;
use ferrite_proto::etcdserverpb::WatchCreateRequest;
use ferrite_proto::etcdserverpb::watch_create_request::FilterType;

/// Which keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyRange {
    pub start: Bytes,
    pub end: RangeEnd,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RangeEnd {
    /// The start alone.
    Single,
    /// From the start up to here, without it.
    Before(Bytes),
    /// From the start on.
    Unbounded,
}

impl KeyRange {
    pub fn contains(&self, key: &[u8]) -> bool {
        match &self.end {
            RangeEnd::Single => self.start == key,
            RangeEnd::Before(end) => self.start <= key && key < end.as_ref(),
            RangeEnd::Unbounded => self.start <= key,
        }
    }

    fn is_empty(&self) -> bool {
        matches!(&self.end, RangeEnd::Before(end) if self.start >= end)
    }
}

/// A watcher as a client wants it.
#[derive(Clone, Debug)]
pub struct WatcherSpec {
    pub range: KeyRange,
    /// The first revision it wants to see; `None` = what comes next.
    pub start: Option<u64>,
    /// The id it wants to have; `None` = the next free one of its stream.
    pub watch_id: Option<i64>,
    pub wants: Wants,
}

/// What a watcher is told, and how.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wants {
    pub puts: bool,
    pub deletes: bool,
    pub prev_kv: bool,
    pub progress_notify: bool,
    pub fragment: bool,
}

/// Why a watcher is not created. The stream goes on, and the client is told these words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("etcdserver: mvcc: required revision has been compacted")]
    NegativeStart,
    #[error("mvcc: watcher range is empty")]
    EmptyRange,
    #[error("mvcc: duplicate watch ID provided on the WatchStream")]
    DuplicateId,
}

impl WatcherSpec {
    /// Reads a request. The only refusal here is [`Refusal::NegativeStart`], the one that comes before the question whether
    /// the client may read the range; the others come after it, from [`Hub::create`](super::Hub::create).
    pub fn parse(request: &WatchCreateRequest) -> Result<WatcherSpec, Refusal> {
        let start = u64::try_from(request.start_revision).map_err(|_| Refusal::NegativeStart)?;
        let range = KeyRange {
            // No key at all means the smallest one. A watcher stays: it must not keep the memory that its request came in.
            start: if request.key.is_empty() { Bytes::from_static(&[0]) } else { own(&request.key) },
            end: match request.range_end.as_ref() {
                [] => RangeEnd::Single,
                [0] => RangeEnd::Unbounded,
                _ => RangeEnd::Before(own(&request.range_end)),
            },
        };
        let filtered = |filter: FilterType| request.filters.contains(&(filter as i32));
        Ok(WatcherSpec {
            range,
            start: (start > 0).then_some(start),
            watch_id: (request.watch_id != 0).then_some(request.watch_id),
            wants: Wants {
                puts: !filtered(FilterType::Noput),
                deletes: !filtered(FilterType::Nodelete),
                prev_kv: request.prev_kv,
                progress_notify: request.progress_notify,
                fragment: request.fragment,
            },
        })
    }

    pub(super) fn check(&self) -> Result<(), Refusal> {
        if self.range.is_empty() { Err(Refusal::EmptyRange) } else { Ok(()) }
    }
}

fn own(key: &Bytes) -> Bytes {
    Bytes::copy_from_slice(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watcher_does_not_keep_the_memory_of_its_request() {
        let read = Bytes::from(vec![7; 64 << 10]);
        let (key, range_end) = (read.slice(..10), read.slice(10..30));
        let spec = WatcherSpec::parse(&WatchCreateRequest { key, range_end, ..Default::default() }).unwrap();
        assert!(read.is_unique());
        assert_eq!(spec.range.start, read[..10]);
    }
}
