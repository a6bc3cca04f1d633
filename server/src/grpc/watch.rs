//! Watch: each net thread has a hub for its streams; this drives it, and carries its messages to the clients.
//!
//!   published ──▶ drive ──hub.step──▶ streams that are ready ──wake──▶ their tasks ──hub.take──▶ encode ──▶ client
//!                   ▲ nudge: a queue was drained and lagging watchers may go on ──────┘
//!   client ──create, cancel, progress──▶ hub
//!
//! A stream asks its client for nothing more while its queue is full, so what a slow client is owed stays bounded.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ferrite_proto::etcdserverpb as pb;
use ferrite_proto::etcdserverpb::watch_request::RequestUnion;
use ferrite_state::mvcc::Keyspace;
use ferrite_state::watch::{Body as MessageBody, Config, Counts, Hub, StreamId, WatchHeader, WatcherSpec};
use ferrite_storage::ReadError;
use tokio::sync::Notify;

use super::Services;
use super::error::RequestError;
use crate::call_metrics::WatchMetrics;
use crate::handle::Handle;
use crate::rpc::{Body, Replies, Requests, Router, Sending, Status};

/// A response of so many bytes more than a request may have is cut, if the client asked for that.
const FRAGMENT_MARGIN: usize = 512 << 10;

/// While somebody writes, there is a pause behind each piece of history, which leaves those who lag some two hundred thousand
/// events a second: at full speed they, and the clients that take them in, would keep writers waiting.
const PAUSE: Duration = Duration::from_millis(1);

/// Somebody writes if something has been published so lately.
const LATELY: Duration = Duration::from_millis(100);

/// Watchers and streams of one net thread.
pub struct Watches {
    hub: RefCell<Hub<Arc<Keyspace>>>,
    /// Tasks that wait until their stream is ready.
    waiting: RefCell<HashMap<StreamId, Waker>>,
    streams: Cell<usize>,
    /// What of the hub's counts has been added to the metrics of all net threads.
    shown: Cell<Counts>,
    nudged: Notify,
}

impl fmt::Debug for Watches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watches").field("streams", &self.streams).finish_non_exhaustive()
    }
}

impl Watches {
    pub fn new(config: Config, keyspace: &Arc<Keyspace>) -> Watches {
        Watches {
            hub: RefCell::new(Hub::new(config, keyspace)),
            waiting: RefCell::default(),
            streams: Cell::new(0),
            shown: Cell::default(),
            nudged: Notify::new(),
        }
    }

    /// Follows what is published, for as long as the net thread serves.
    pub async fn drive(&self, handle: &Handle) -> ReadError {
        let mut last_write = (0, Instant::now());
        loop {
            let stepped = self.hub.borrow_mut().step(handle.now(), &handle.state().keyspace());
            self.wake_ready();
            self.show(&handle.metrics().watch);
            match stepped {
                Err(error) => return error,
                Ok(true) => {
                    let revision = handle.state().keyspace().revision();
                    if revision != last_write.0 {
                        last_write = (revision, Instant::now());
                    }
                    // Others of this thread have their turn between two steps.
                    match last_write.1.elapsed() < LATELY {
                        true => tokio::time::sleep(PAUSE).await,
                        false => tokio::task::yield_now().await,
                    }
                    continue;
                }
                Ok(false) => {}
            }
            let tick = self.hub.borrow().next_tick().map(|at| at.since(handle.now()));
            let tick = async {
                match tick {
                    Some(millis) => tokio::time::sleep(Duration::from_millis(millis.max(0) as u64)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = handle.post().published() => {}
                () = self.nudged.notified() => {}
                () = tick => {}
            }
        }
    }

    /// Adds to the metrics what has changed since the last time.
    fn show(&self, metrics: &WatchMetrics) {
        let now = self.hub.borrow().counts();
        let before = self.shown.replace(now);
        if now == before {
            return;
        }
        let change = |now: usize, before: usize| now as f64 - before as f64;
        metrics.streams.add(change(now.streams, before.streams));
        metrics.watchers.add(change(now.watchers, before.watchers));
        metrics.lagging.add(change(now.lagging, before.lagging));
        metrics.events.add(now.events - before.events);
    }

    fn wake_ready(&self) {
        let ready = self.hub.borrow_mut().ready();
        let mut waiting = self.waiting.borrow_mut();
        ready.iter().filter_map(|id| waiting.remove(id)).for_each(Waker::wake);
    }
}

/// A stream of the hub for as long as its call lives.
struct Open<'a> {
    services: &'a Services,
    watches: &'a Watches,
    id: StreamId,
}

impl<'a> Open<'a> {
    fn new(services: &'a Services, watches: &'a Watches) -> Open<'a> {
        // Before the hub looks: what is published from now on is announced.
        services.handle.post().follow(true);
        watches.streams.set(watches.streams.get() + 1);
        let id = watches.hub.borrow_mut().open(services.handle.now());
        // The tick of this stream may be the next one.
        watches.nudged.notify_one();
        Open { services, watches, id }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let watches = self.watches;
        watches.hub.borrow_mut().close(self.id);
        watches.show(&self.services.handle.metrics().watch);
        watches.waiting.borrow_mut().remove(&self.id);
        watches.streams.set(watches.streams.get() - 1);
        if watches.streams.get() == 0 {
            self.services.handle.post().follow(false);
        }
    }
}

/// Registers the service. Its watchers are followed by a task of their own, which lives as long as the net thread.
pub fn register(router: &mut Router, services: &Rc<Services>) {
    let progress_interval_millis = match services.settings.watch_progress_interval.as_millis() as u64 {
        0 => Config::default().progress_interval_millis,
        interval => interval,
    };
    let config = Config { progress_interval_millis, seed: services.handle.next_id().0, ..Config::default() };
    let watches = Rc::new(Watches::new(config, &services.handle.state().keyspace()));
    let (s, w) = (services.clone(), watches.clone());
    tokio::task::spawn_local(async move {
        let error = w.drive(&s.handle).await;
        // Our disk is wrong: the member stops, before it tells somebody a history with a gap.
        s.handle.sound::<()>(Err(error.into())).expect_err("an error stays one");
    });
    let s = services.clone();
    router.bidi_stream("/etcdserverpb.Watch/Watch", async move |requests, replies, caller| {
        s.admit(&caller)?;
        s.serve_stream(&caller, watch(&s, &watches, requests, replies)).await
    });
}

async fn watch(
    services: &Services,
    watches: &Watches,
    mut requests: Requests<pb::WatchRequest>,
    replies: Replies,
) -> Result<(), Status> {
    let stream = Open::new(services, watches);
    let mut out = Out { replies, sending: None, fragments: VecDeque::new(), begun: None };
    let mut listening = true;
    poll_fn(|cx| {
        loop {
            let sent = out.poll(cx, &stream)?;
            let heard = listening && !watches.hub.borrow().is_full(stream.id);
            let heard = if heard { requests.poll_next(cx)? } else { Poll::Pending };
            match heard {
                Poll::Ready(Some(request)) => stream.take_in(request)?,
                // The client may close its side and listen on.
                Poll::Ready(None) => listening = false,
                Poll::Pending if sent.is_pending() => return Poll::Pending,
                Poll::Pending => {
                    // Nothing to send: the hub wakes this task when there is. Full or not, it may ask again then.
                    watches.waiting.borrow_mut().insert(stream.id, cx.waker().clone());
                    return Poll::Pending;
                }
            }
        }
    })
    .await
}

impl Open<'_> {
    fn take_in(&self, request: pb::WatchRequest) -> Result<(), Status> {
        let keyspace = &self.services.handle.state().keyspace();
        let mut hub = self.watches.hub.borrow_mut();
        let done = match request.request_union {
            Some(RequestUnion::CreateRequest(create)) => match WatcherSpec::parse(&create) {
                Ok(spec) => hub.create(self.id, spec, keyspace),
                Err(refusal) => hub.refuse(self.id, refusal.to_string(), keyspace),
            },
            Some(RequestUnion::CancelRequest(cancel)) => hub.cancel(self.id, cancel.watch_id, keyspace),
            Some(RequestUnion::ProgressRequest(_)) => hub.progress_request(self.id, keyspace),
            None => Ok(()),
        };
        // What was just created may lag, and is carried on by the driver; and following may have made others ready.
        self.watches.nudged.notify_one();
        Ok(self.services.handle.sound(done.map_err(ferrite_state::ReadError::from))?)
    }

    /// The next messages on the wire, if there is something to say, and what it is.
    fn take(&self) -> Option<(VecDeque<Vec<Bytes>>, What)> {
        let watches = self.watches;
        let message = watches.hub.borrow_mut().take(self.id)?;
        if watches.hub.borrow().wants_step(self.id) {
            watches.nudged.notify_one();
        }
        let what = match &message.body {
            MessageBody::Events { events, .. } => What::Events(events.len()),
            MessageBody::Progress => What::Progress,
            MessageBody::Created | MessageBody::Refused(_) | MessageBody::Canceled | MessageBody::Compacted { .. } => {
                What::Control
            }
        };
        let header = self.services.handle.header_without_revision();
        let header =
            WatchHeader { cluster_id: header.cluster_id, member_id: header.member_id, raft_term: header.raft_term };
        let bound = self.services.settings.max_request_bytes + FRAGMENT_MARGIN;
        Some((message.encode(header, bound).into(), what))
    }

    /// A message has been handed over, begun at that time.
    fn sent(&self, what: What, begun: Instant) {
        let (metrics, took) = (&self.services.handle.metrics().watch, begun.elapsed());
        match what {
            What::Events(events) => {
                metrics.send_events.observe_seconds(took);
                metrics.send_event.observe(took.as_secs_f64() / events as f64);
            }
            What::Progress => metrics.send_progress.observe_seconds(took),
            What::Control => metrics.send_control.observe_seconds(took),
        }
    }
}

/// What a client is told, for metrics.
#[derive(Clone, Copy, Debug)]
enum What {
    Events(usize),
    Progress,
    Control,
}

/// What is on its way to the client.
struct Out {
    replies: Replies,
    sending: Option<Sending>,
    fragments: VecDeque<Vec<Bytes>>,
    /// The message whose fragments these are, and when it was begun.
    begun: Option<(What, Instant)>,
}

impl Out {
    /// Sends as much as the client takes. Ready when nothing is left.
    fn poll(&mut self, cx: &mut Context<'_>, stream: &Open<'_>) -> Result<Poll<()>, Status> {
        loop {
            if let Some(sending) = &mut self.sending {
                match self.replies.poll_send(cx, sending) {
                    Poll::Ready(Ok(())) => self.sending = None,
                    Poll::Ready(Err(_)) => return Err(RequestError::WatchCanceled.into()),
                    Poll::Pending => return Ok(Poll::Pending),
                }
            }
            if self.fragments.is_empty() {
                if let Some((what, begun)) = self.begun.take() {
                    stream.sent(what, begun);
                }
                match stream.take() {
                    Some((fragments, what)) => {
                        self.fragments = fragments;
                        self.begun = Some((what, Instant::now()));
                    }
                    None => return Ok(Poll::Ready(())),
                }
            }
            if let Some(pieces) = self.fragments.pop_front() {
                let mut body = Body::with_capacity(pieces.iter().map(Bytes::len).sum());
                pieces.iter().for_each(|piece| body.put_bytes(piece));
                self.sending = Some(self.replies.begin(body)?);
            }
        }
    }
}
