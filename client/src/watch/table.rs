//! Who watches what, and from where: the part of a watch session that knows no stream, clock or task.
//!
//! A watch is *wanted* (its create request waits its turn), *asked for* (the request is out; only one is, at any time, because the answer
//! does not say which it belongs to), *standing* (the server has named it), or *parked* (its reader is behind, and the server has been told to stop).
//!
//! What holds: `start_revision` of a watch's request is always the revision from which on its reader has been handed nothing. A lost
//! stream makes every watch but the parked ones wanted, from there; so nothing is lost or repeated.

use std::collections::{HashMap, HashSet, VecDeque};

use ferrite_proto::etcdserverpb::watch_request::RequestUnion;
use ferrite_proto::etcdserverpb::{
    WatchCancelRequest, WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse as Message,
};
use ferrite_proto::mvccpb::Event;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::{WatchKey, WatchResponse};
use crate::error::Error;
use crate::known::Known;

#[derive(Debug, Default)]
pub(super) struct Table {
    watches: HashMap<WatchKey, Entry>,
    standing: HashMap<i64, WatchKey>,
    wanted: VecDeque<WatchKey>,
    asked_for: Option<WatchKey>,
    /// Watches that the server has been told to end, and about which it may still send what it had under way.
    ending: HashSet<i64>,
    outbox: VecDeque<Outgoing>,
}

/// What goes to the server before any new watch: an end for each watch that stood, and as many requests for progress as
/// there are permits.
#[derive(Debug)]
enum Outgoing {
    Cancel(WatchCancelRequest),
    Progress(OwnedSemaphorePermit),
}

#[derive(Debug)]
struct Entry {
    request: WatchCreateRequest,
    queue: mpsc::Sender<WatchResponse>,
    created: Option<oneshot::Sender<()>>,
    /// What the server calls it, while it stands.
    id: Option<i64>,
    /// The parts so far of a response that travels in fragments.
    fragments: Vec<Event>,
}

impl Table {
    pub(super) fn is_empty(&self) -> bool {
        self.watches.is_empty()
    }

    pub(super) fn queue(&self, key: WatchKey) -> Option<mpsc::Sender<WatchResponse>> {
        self.watches.get(&key).map(|entry| entry.queue.clone())
    }

    pub(super) fn create(
        &mut self,
        key: WatchKey,
        request: WatchCreateRequest,
        queue: mpsc::Sender<WatchResponse>,
        created: oneshot::Sender<()>,
    ) {
        let created = Some(created);
        self.watches.insert(key, Entry { request, queue, created, id: None, fragments: Vec::new() });
        self.wanted.push_back(key);
    }

    /// Its reader is gone.
    pub(super) fn cancel(&mut self, key: WatchKey) {
        if let Some(entry) = self.watches.remove(&key) {
            self.end_on_server(entry.id);
        }
        // If it is asked for, the answer will find no entry, and is then cancelled.
        self.wanted.retain(|wanted| *wanted != key);
    }

    /// The reader of a parked watch has taken all there was.
    pub(super) fn resume(&mut self, key: WatchKey) {
        let waiting = self.asked_for == Some(key) || self.wanted.contains(&key);
        if !waiting && self.watches.get(&key).is_some_and(|entry| entry.id.is_none()) {
            self.wanted.push_back(key);
        }
    }

    pub(super) fn request_progress(&mut self, permit: OwnedSemaphorePermit) {
        if !self.watches.is_empty() {
            self.outbox.push_back(Outgoing::Progress(permit));
        }
    }

    pub(super) fn has_requests(&self) -> bool {
        !self.outbox.is_empty() || (self.asked_for.is_none() && !self.wanted.is_empty())
    }

    /// What to send next. Handing out a create request makes its watch the one that is asked for.
    pub(super) fn next_request(&mut self) -> Option<WatchRequest> {
        let union = match self.outbox.pop_front() {
            Some(Outgoing::Cancel(request)) => RequestUnion::CancelRequest(request),
            Some(Outgoing::Progress(_permit)) => RequestUnion::ProgressRequest(WatchProgressRequest {}),
            None if self.asked_for.is_some() => return None,
            None => {
                let key = self.wanted.pop_front()?;
                self.asked_for = Some(key);
                let entry = self.watches.get(&key).expect("a wanted watch is in the table");
                RequestUnion::CreateRequest(entry.request.clone())
            }
        };
        Some(WatchRequest { request_union: Some(union) })
    }

    /// The stream is lost: what stood or was asked for is wanted again, in the order in which it came.
    pub(super) fn on_lost(&mut self) {
        let mut again: Vec<WatchKey> =
            self.asked_for.take().into_iter().chain(self.standing.drain().map(|(_, key)| key)).collect();
        again.retain(|key| self.watches.contains_key(key));
        again.sort();
        for key in again.into_iter().rev() {
            let entry = self.watches.get_mut(&key).expect("only those in the table were kept");
            entry.id = None;
            entry.fragments.clear();
            self.wanted.push_front(key);
        }
        self.ending.clear();
        // Cancellations belong to the old stream; a request for progress does not.
        self.outbox.retain(|outgoing| matches!(outgoing, Outgoing::Progress(_)));
    }

    /// The stream is lost for good.
    pub(super) fn fail(&mut self, error: &Error) {
        for (_, entry) in std::mem::take(self).watches {
            entry.hand_over_last(WatchResponse { error: Some(error.clone()), ..WatchResponse::default() });
        }
    }

    /// Takes in a message. Returns the watches that were parked because their readers are behind.
    pub(super) fn on_message(&mut self, message: Message) -> Vec<WatchKey> {
        let mut parked = Vec::new();
        if message.created {
            self.on_created(message);
        } else if message.watch_id == -1 && message.events.is_empty() && !message.canceled {
            for key in self.standing.values().copied().collect::<Vec<_>>() {
                parked.extend(self.on_news(key, message.clone()));
            }
        } else if let Some(&key) = self.standing.get(&message.watch_id) {
            if message.canceled {
                self.standing.remove(&message.watch_id);
                self.on_canceled(key, message);
            } else {
                parked.extend(self.on_news(key, message));
            }
        } else if message.canceled {
            self.ending.remove(&message.watch_id);
        } else if !self.ending.contains(&message.watch_id) {
            self.end_on_server(Some(message.watch_id));
        }
        parked
    }

    fn on_created(&mut self, message: Message) {
        let Some(key) = self.asked_for.take() else {
            // An answer to nothing we asked.
            return self.end_on_server(Some(message.watch_id));
        };
        let Some(entry) = self.watches.get_mut(&key) else {
            // Its reader left while it was asked for.
            if !message.canceled {
                self.end_on_server(Some(message.watch_id));
            }
            return;
        };
        if message.canceled || message.watch_id == -1 {
            return self.on_canceled(key, message);
        }
        if entry.request.start_revision == 0 {
            // "From now on" begins behind the revision of this answer. From here on it has a number.
            entry.request.start_revision = message.header.as_ref().map_or(0, |header| header.revision) + 1;
        }
        entry.id = Some(message.watch_id);
        if let Some(created) = entry.created.take() {
            let _ = created.send(()); // if nobody waits any more, the reader's `Drop` will cancel it
        }
        self.standing.insert(message.watch_id, key);
    }

    /// The server has ended a watch, or refused it.
    fn on_canceled(&mut self, key: WatchKey, message: Message) {
        let Some(entry) = self.watches.remove(&key) else { return };
        let error = if message.compact_revision != 0 {
            Error::Known(Known::Compacted)
        } else if message.cancel_reason.is_empty() {
            Error::Known(Known::FutureRev)
        } else {
            Known::from_text(&message.cancel_reason).map_or(Error::WatchCanceled(message.cancel_reason), Error::Known)
        };
        entry.hand_over_last(WatchResponse {
            header: message.header.unwrap_or_default(),
            events: Vec::new(),
            compact_revision: message.compact_revision,
            error: Some(error),
        });
    }

    /// Events or progress for a watch that stands. Returns it if it had to be parked.
    fn on_news(&mut self, key: WatchKey, message: Message) -> Option<WatchKey> {
        let entry = self.watches.get_mut(&key).expect("a standing watch is in the table");
        let header = message.header.unwrap_or_default();
        entry.fragments.extend(message.events);
        if message.fragment {
            return None; // the rest follows
        }
        let events = std::mem::take(&mut entry.fragments);
        let next = events.last().and_then(|event| event.kv.as_ref()).map_or(header.revision, |kv| kv.mod_revision) + 1;
        let response = WatchResponse { header, events, ..WatchResponse::default() };
        match entry.queue.try_send(response) {
            Ok(()) => {
                // A member that lags behind another may report less than is known already.
                entry.request.start_revision = entry.request.start_revision.max(next);
                None
            }
            Err(TrySendError::Full(_)) => {
                let id = entry.id.take();
                self.standing.remove(&id.expect("a standing watch has an id"));
                self.end_on_server(id);
                Some(key)
            }
            Err(TrySendError::Closed(_)) => None, // its `Cancel` is on the way
        }
    }

    fn end_on_server(&mut self, id: Option<i64>) {
        let Some(watch_id) = id else { return };
        self.standing.remove(&watch_id);
        self.ending.insert(watch_id);
        self.outbox.push_back(Outgoing::Cancel(WatchCancelRequest { watch_id }));
    }
}

impl Entry {
    /// Hands over the response that ends this watch, behind what its reader has yet to take.
    fn hand_over_last(self, response: WatchResponse) {
        if let Err(TrySendError::Full(response)) = self.queue.try_send(response) {
            // The reader is behind: wait for room without holding up the others. It ends with the reader at the latest.
            let queue = self.queue;
            tokio::spawn(async move { queue.send(response).await });
        }
    }
}
