//! What a stream's client is told, and its form on the wire.

use bytes::Bytes;
use ferrite_proto::etcdserverpb::{ResponseHeader, WatchResponse};
use prost::Message as _;

/// The id in messages that are about no single watcher: refusals, and progress of a whole stream.
pub const BROADCAST_ID: i64 = -1;

/// One message to a client, in full if the watcher did not ask for fragments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub watch_id: i64,
    /// `header.revision`.
    pub revision: u64,
    pub body: Body,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    Created,
    /// It was not created, and why.
    Refused(String),
    /// As the client wanted.
    Canceled,
    /// What the watcher needed next is gone. It keeps its id until the client cancels it.
    Compacted {
        compacted: u64,
    },
    /// Each in the form of `WatchResponse.events`, shared by all who watch it; `fragment`: large messages may be cut.
    Events {
        events: Vec<Bytes>,
        fragment: bool,
    },
    /// All events up to the revision have been sent.
    Progress,
}

/// What of a header does not come from the hub.
#[derive(Clone, Copy, Debug, Default)]
pub struct WatchHeader {
    pub cluster_id: u64,
    pub member_id: u64,
    pub raft_term: u64,
}

impl Message {
    /// Roughly what it takes up until it is sent.
    pub(super) fn bytes(&self) -> usize {
        64 + match &self.body {
            Body::Refused(reason) => reason.len(),
            Body::Events { events, .. } => events.iter().map(Bytes::len).sum(),
            Body::Created | Body::Canceled | Body::Compacted { .. } | Body::Progress => 0,
        }
    }

    /// The encoded `WatchResponse`s, each as the pieces it consists of: a beginning, then events that are not copied.
    /// There is one, or if fragments were asked for as many as it takes to keep each below `fragment_bytes`, as etcd cuts
    /// them: a response of a single event may have any size.
    pub fn encode(self, header: WatchHeader, fragment_bytes: usize) -> Vec<Vec<Bytes>> {
        let mut response = WatchResponse {
            header: Some(ResponseHeader {
                cluster_id: header.cluster_id,
                member_id: header.member_id,
                revision: self.revision as i64,
                raft_term: header.raft_term,
            }),
            watch_id: self.watch_id,
            ..Default::default()
        };
        let (events, fragment) = match self.body {
            Body::Created => {
                response.created = true;
                (Vec::new(), false)
            }
            Body::Refused(reason) => {
                response.created = true;
                response.canceled = true;
                response.cancel_reason = reason;
                (Vec::new(), false)
            }
            Body::Canceled => {
                response.canceled = true;
                (Vec::new(), false)
            }
            Body::Compacted { compacted } => {
                response.canceled = true;
                response.compact_revision = compacted as i64;
                (Vec::new(), false)
            }
            Body::Events { events, fragment } => (events, fragment),
            Body::Progress => (Vec::new(), false),
        };
        let size: usize = response.encoded_len() + events.iter().map(Bytes::len).sum::<usize>();
        if !fragment || size < fragment_bytes || events.len() < 2 {
            return vec![pieces(&response, events)];
        }
        cut(response, events, fragment_bytes)
    }
}

/// Fills one fragment after another, each up to the last event that keeps it below the bound.
fn cut(mut response: WatchResponse, events: Vec<Bytes>, fragment_bytes: usize) -> Vec<Vec<Bytes>> {
    response.fragment = true;
    let beginning = response.encoded_len();
    let mut fragments: Vec<Vec<Bytes>> = Vec::new();
    let mut fragment = Vec::new();
    let mut size = beginning;
    for event in events {
        if !fragment.is_empty() && size + event.len() >= fragment_bytes {
            fragments.push(pieces(&response, std::mem::take(&mut fragment)));
            size = beginning;
        }
        size += event.len();
        fragment.push(event);
    }
    response.fragment = false;
    fragments.push(pieces(&response, fragment));
    fragments
}

fn pieces(beginning: &WatchResponse, mut events: Vec<Bytes>) -> Vec<Bytes> {
    // Events are the last field, so they simply follow.
    events.insert(0, beginning.encode_to_vec().into());
    events
}

#[cfg(test)]
mod tests {
    use ferrite_storage::Revision;

    use super::super::event;
    use super::super::history::Change;
    use super::*;

    const HEADER: WatchHeader = WatchHeader { cluster_id: 1, member_id: 2, raft_term: 3 };

    fn decode(message: Message, fragment_bytes: usize) -> Vec<WatchResponse> {
        let responses = message.encode(HEADER, fragment_bytes);
        responses.iter().map(|pieces| WatchResponse::decode(pieces.concat().as_slice()).unwrap()).collect()
    }

    #[test]
    fn each_body_sets_its_fields() {
        let reason = || "no".to_string();
        //   body                              created canceled compact reason
        for (body, expected) in [
            (Body::Created, (true, false, 0, "")),
            (Body::Refused(reason()), (true, true, 0, "no")),
            (Body::Canceled, (false, true, 0, "")),
            (Body::Compacted { compacted: 9 }, (false, true, 9, "")),
            (Body::Progress, (false, false, 0, "")),
        ] {
            let [response] = &decode(Message { watch_id: -4, revision: 8, body }, 0)[..] else {
                panic!("one response")
            };
            let reason = response.cancel_reason.as_str();
            assert_eq!((response.created, response.canceled, response.compact_revision, reason), expected);
            assert_eq!((response.watch_id, response.fragment, response.events.len()), (-4, false, 0));
            let header = response.header.as_ref().unwrap();
            assert_eq!((header.cluster_id, header.member_id, header.revision, header.raft_term), (1, 2, 8, 3));
        }
    }

    #[test]
    fn fragments_stay_below_the_bound_with_one_event_at_least() {
        let event = |size: usize| {
            let key_value = [&[0x0a, 1, b'k', 0x2a, size as u8][..], &vec![0; size]].concat().into();
            event::encode(&Change { revision: Revision { main: 5, sub: 0 }, tombstone: false, key_value }, None)
        };
        let check = |sizes: &[usize], fragment, bound, expected: &[usize]| {
            let events: Vec<Bytes> = sizes.iter().map(|size| event(*size)).collect();
            let message = Message { watch_id: 1, revision: 5, body: Body::Events { events, fragment } };
            let responses = decode(message, bound);
            let counts: Vec<usize> = responses.iter().map(|response| response.events.len()).collect();
            assert_eq!(counts, expected, "{sizes:?} {fragment} {bound}");
            let last = responses.len() - 1;
            for (i, response) in responses.iter().enumerate() {
                assert_eq!(response.fragment, i < last);
                assert!(counts[i] == 1 || response.encoded_len() < bound || !fragment);
            }
        };
        // An event is its size and 9 bytes, a beginning 12 (14 with the flag of a fragment).
        check(&[10, 10, 10], false, 20, &[3]);
        check(&[10, 10, 10], true, 1000, &[3]);
        check(&[10, 10, 10], true, 12 + 3 * 19, &[2, 1]);
        check(&[10, 10, 10], true, 12 + 3 * 19 + 1, &[3]);
        check(&[10, 10, 10], true, 14 + 2 * 19, &[1, 1, 1]);
        check(&[10, 10, 10], true, 14 + 2 * 19 + 1, &[2, 1]);
        check(&[10, 10, 10], true, 20, &[1, 1, 1]);
        check(&[100, 10, 10, 100, 10], true, 60, &[1, 2, 1, 1]);
        check(&[100], true, 20, &[1]);
    }
}
