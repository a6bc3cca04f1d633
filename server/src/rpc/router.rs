//! From a path to what handles it, and how a call is carried through: one task a call.
//!
//!   unary             message in ▶ decode ▶ handler ▶ encode ▶ message out, trailers
//!   server streaming  message in ▶ decode ▶ handler(request, replies) ▶ trailers
//!   bidi streaming    handler(requests, replies) ▶ trailers
//!
//! A handler that is not done when the client goes away, or when its deadline passes, is dropped where it waits. So is one
//! of a stream when the server stops: its client is told, rather than finding its connection torn.
//! A router belongs to one net thread: handlers may hold what only that thread touches.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::future::{pending, poll_fn};
use std::marker::PhantomData;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ferrite_observe::metrics::Registry;
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use tokio::sync::watch;
use tokio::task::spawn_local;
use tokio::time::{Sleep, sleep_until};

use super::caller::Caller;
use super::meter::{Begun, LazyMeter, Meter, Observing, Shape, split_path};
use super::outlet::{Gone, Outgoing, Outlet, send_or_give_up};
use super::reply::IntoReply;
use super::request::{Held, Messages, Request};
use super::status::{Code, Status};
use super::traffic::Traffic;

/// A call that has arrived and whose method is known.
pub(super) struct Call {
    pub messages: Messages,
    pub outlet: Outlet,
    pub caller: Caller,
    /// Counts the call on its connection for as long as it lives.
    pub ticket: Ticket,
}

/// One of the calls that a connection carries, and what its headers take up.
pub(super) struct Ticket {
    traffic: Rc<Traffic>,
    _headers: Held,
}

impl Ticket {
    pub fn new(traffic: Rc<Traffic>, headers: Held) -> Self {
        traffic.calls.set(traffic.calls.get() + 1);
        Self { traffic, _headers: headers }
    }

    pub fn traffic(&self) -> &Rc<Traffic> {
        &self.traffic
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.traffic.calls.set(self.traffic.calls.get() - 1);
    }
}

pub(super) trait Method {
    /// Starts the task that carries the call through.
    fn start(self: Rc<Self>, call: Call);
}

/// How streams end when the server stops.
#[derive(Clone, Debug)]
pub struct Stopping {
    pub signal: watch::Receiver<bool>,
    pub status: Status,
}

/// A stream of replies to one request may come to its end within this time of the server's stop.
const GRACE: Duration = Duration::from_millis(150);

impl Stopping {
    /// Waits until streams have to end.
    async fn due(mut self, grace: Duration) -> Status {
        if self.signal.wait_for(|stops| *stops).await.is_err() {
            pending::<()>().await;
        }
        if !grace.is_zero() {
            tokio::time::sleep(grace).await;
        }
        self.status
    }
}

/// Which method is behind which path.
pub struct Router {
    methods: HashMap<&'static str, Rc<dyn Method>>,
    services: HashSet<&'static str>,
    registry: Arc<Registry>,
    observing: Observing,
    stopping: Stopping,
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.methods.keys()).finish()
    }
}

impl Router {
    pub fn new(registry: Arc<Registry>, observing: Observing, stopping: Stopping) -> Self {
        Self { methods: HashMap::new(), services: HashSet::new(), registry, observing, stopping }
    }

    /// One request, one reply.
    pub fn unary<Q, R, F>(&mut self, path: &'static str, handler: F)
    where
        Q: Request,
        R: IntoReply + 'static,
        F: AsyncFn(Q, Caller) -> Result<R, Status> + 'static,
    {
        let meter = self.meter(path, Shape::Unary);
        self.add(path, Rc::new(Unary { handler, meter, shape: Q::shape(), types: PhantomData }));
    }

    /// One request, any number of replies.
    pub fn server_stream<Q, F>(&mut self, path: &'static str, handler: F)
    where
        Q: Request,
        F: AsyncFn(Q, Replies, Caller) -> Result<(), Status> + 'static,
    {
        let (meter, stopping) = (self.meter(path, Shape::ServerStream), self.stopping.clone());
        self.add(path, Rc::new(ServerStream { handler, meter, stopping, shape: Q::shape(), types: PhantomData }));
    }

    /// Any number of requests and replies, in any order.
    pub fn bidi_stream<Q, F>(&mut self, path: &'static str, handler: F)
    where
        Q: Request,
        F: AsyncFn(Requests<Q>, Replies, Caller) -> Result<(), Status> + 'static,
    {
        let (meter, stopping) = (self.meter(path, Shape::BidiStream), self.stopping.clone());
        self.add(path, Rc::new(BidiStream { handler, meter, stopping, shape: Q::shape(), types: PhantomData }));
    }

    fn meter(&self, path: &'static str, shape: Shape) -> LazyMeter {
        // Lock and election are registered later than the others in etcd, and so appear only once used.
        let seeded = path.starts_with("/etcdserverpb.") || path.starts_with("/grpc.health.");
        LazyMeter::new(&self.registry, path, shape, seeded, self.observing.clone())
    }

    fn add(&mut self, path: &'static str, method: Rc<dyn Method>) {
        let (service, _) = split_path(path).expect("a path is /service/method");
        self.services.insert(service);
        let before = self.methods.insert(path, method);
        assert!(before.is_none(), "{path} is registered twice");
    }

    pub(super) fn find(&self, path: &str) -> Result<Rc<dyn Method>, Status> {
        if let Some(method) = self.methods.get(path) {
            return Ok(method.clone());
        }
        let text = match split_path(path) {
            None => format!("malformed method name: {path:?}"),
            Some((service, method)) if self.services.contains(service) => {
                format!("unknown method {method} for service {service}")
            }
            Some((service, _)) => format!("unknown service {service}"),
        };
        Err(Status::new(Code::Unimplemented, text))
    }
}

/// A method of one shape.
struct Unary<F, Q: Request, R> {
    handler: F,
    meter: LazyMeter,
    shape: Q::Shape,
    types: PhantomData<fn() -> R>,
}
struct ServerStream<F, Q: Request> {
    handler: F,
    meter: LazyMeter,
    stopping: Stopping,
    shape: Q::Shape,
    types: PhantomData<fn() -> Q>,
}
struct BidiStream<F, Q: Request> {
    handler: F,
    meter: LazyMeter,
    stopping: Stopping,
    shape: Q::Shape,
    types: PhantomData<fn() -> Q>,
}

impl<Q, R, F> Method for Unary<F, Q, R>
where
    Q: Request,
    R: IntoReply + 'static,
    F: AsyncFn(Q, Caller) -> Result<R, Status> + 'static,
{
    fn start(self: Rc<Self>, call: Call) {
        spawn_local(async move {
            let Call { mut messages, mut outlet, caller, ticket } = call;
            let meter = self.meter.get();
            let begun = meter.begin(&caller);
            let deadline = caller.deadline;
            let answer = {
                let answer = async {
                    let request = only_message(&mut messages, meter, &begun, self.shape, UNARY_UNREADABLE).await?;
                    (self.handler)(request, caller).await
                };
                until_gone(answer, |cx| outlet.poll_gone(cx), deadline, pending()).await
            };
            let answer = match answer {
                Ok(Ok(reply)) => match reply.into_reply() {
                    Ok(reply) => {
                        meter.made(&reply);
                        let (traffic, mut out) = (outlet.traffic(), outlet.prepare(reply));
                        let sent = send_or_give_up(&traffic, &mut out, |cx, out| outlet.poll_send(cx, out)).await;
                        sent.map(|()| {
                            meter.sent.increment();
                            Ok(())
                        })
                    }
                    Err(status) => Ok(Err(status)),
                },
                Ok(Err(status)) => Ok(Err(status)),
                Err(gone) => Err(gone),
            };
            end(&mut outlet, meter, &begun, answer);
            drop(ticket);
        });
    }
}

impl<Q, F> Method for ServerStream<F, Q>
where
    Q: Request,
    F: AsyncFn(Q, Replies, Caller) -> Result<(), Status> + 'static,
{
    fn start(self: Rc<Self>, call: Call) {
        spawn_local(async move {
            let Call { mut messages, outlet, caller, ticket } = call;
            let meter = self.meter.get();
            let begun = meter.begin(&caller);
            let outlet = Rc::new(RefCell::new(outlet));
            let deadline = caller.deadline;
            let stops = self.stopping.clone().due(GRACE);
            let replies = Replies { outlet: outlet.clone(), meter: meter.clone() };
            let answer = async {
                let request = only_message(&mut messages, meter, &begun, self.shape, STREAM_UNREADABLE).await?;
                (self.handler)(request, replies, caller).await
            };
            let answer = until_gone(answer, |cx| outlet.borrow_mut().poll_gone(cx), deadline, stops).await;
            end(&mut outlet.borrow_mut(), meter, &begun, answer);
            drop(ticket);
        });
    }
}

impl<Q, F> Method for BidiStream<F, Q>
where
    Q: Request,
    F: AsyncFn(Requests<Q>, Replies, Caller) -> Result<(), Status> + 'static,
{
    fn start(self: Rc<Self>, call: Call) {
        spawn_local(async move {
            let Call { messages, outlet, caller, ticket } = call;
            let meter = self.meter.get();
            let begun = meter.begin(&caller);
            let outlet = Rc::new(RefCell::new(outlet));
            let deadline = caller.deadline;
            let stops = self.stopping.clone().due(Duration::ZERO);
            let requests = Requests { messages, meter: meter.clone(), shape: self.shape };
            let replies = Replies { outlet: outlet.clone(), meter: meter.clone() };
            let answer = (self.handler)(requests, replies, caller);
            let answer = until_gone(answer, |cx| outlet.borrow_mut().poll_gone(cx), deadline, stops).await;
            end(&mut outlet.borrow_mut(), meter, &begun, answer);
            drop(ticket);
        });
    }
}

/// What the client sends on a stream.
pub struct Requests<Q: Request> {
    messages: Messages,
    meter: Rc<Meter>,
    shape: Q::Shape,
}

impl<Q: Request> fmt::Debug for Requests<Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requests").finish_non_exhaustive()
    }
}

impl<Q: Request> Requests<Q> {
    /// The next request; `None` when the client will send no more. Nothing is lost if the future is dropped.
    pub async fn next(&mut self) -> Result<Option<Q>, Status> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Answers each request, in their order. At most so many are worked on at a time.
    pub async fn answer_each<R: IntoReply>(
        mut self,
        mut replies: Replies,
        most: usize,
        answer: impl AsyncFn(Q) -> Result<R, Status>,
    ) -> Result<(), Status> {
        let mut answers = FuturesOrdered::new();
        let mut end = None;
        loop {
            tokio::select! {
                biased;
                request = self.next(), if end.is_none() && answers.len() < most => match request {
                    Ok(Some(request)) => answers.push_back(answer(request)),
                    Ok(None) => end = Some(Ok(())),
                    // What came before it is answered first.
                    Err(status) => end = Some(Err(status)),
                },
                Some(reply) = answers.next() => replies.send(reply?).await?,
                else => return end.unwrap_or(Ok(())),
            }
        }
    }

    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Q>, Status>> {
        let message = std::task::ready!(self.messages.poll_next(cx));
        // The end of the stream counts, too: grpc-go counts each time it has waited for a message.
        self.meter.received_message(message.as_ref().map_or(0, |message| message.as_ref().map_or(0, Bytes::len)));
        let Some(message) = message? else { return Poll::Ready(Ok(None)) };
        let request = Q::read(message, self.shape).map_err(|error| {
            let text = format!("{STREAM_UNREADABLE}: {error}");
            Status::new(Code::Internal, text)
        });
        Poll::Ready(request.map(Some))
    }
}

/// Where a handler puts what it sends on a stream. Only one message is on its way at a time.
pub struct Replies {
    outlet: Rc<RefCell<Outlet>>,
    meter: Rc<Meter>,
}

impl fmt::Debug for Replies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replies").finish_non_exhaustive()
    }
}

impl Replies {
    /// Sends the headers now rather than with the first message.
    pub fn open(&mut self) -> Result<(), Gone> {
        self.outlet.borrow_mut().open()
    }

    /// Sends a message to a client that may take its time.
    pub async fn send(&mut self, reply: impl IntoReply) -> Result<(), Status> {
        let mut sending = self.begin(reply)?;
        Ok(poll_fn(|cx| self.poll_send(cx, &mut sending)).await?)
    }

    /// Sends a message to a client that must take some of it every ten seconds.
    pub async fn send_or_give_up(&mut self, reply: impl IntoReply) -> Result<(), Status> {
        let mut sending = self.begin(reply)?;
        let traffic = self.outlet.borrow().traffic();
        Ok(send_or_give_up(&traffic, &mut sending.0, |cx, out| self.poll_outgoing(cx, out)).await?)
    }

    /// Readies a message for [`Replies::poll_send`], for a handler that waits for several things at once.
    pub fn begin(&self, reply: impl IntoReply) -> Result<Sending, Status> {
        let reply = reply.into_reply()?;
        self.meter.made(&reply);
        Ok(Sending(self.outlet.borrow().prepare(reply)))
    }

    /// Goes on sending a message that was begun. It must be sent to its end before the next is begun.
    pub fn poll_send(&mut self, cx: &mut Context<'_>, sending: &mut Sending) -> Poll<Result<(), Gone>> {
        self.poll_outgoing(cx, &mut sending.0)
    }

    fn poll_outgoing(&mut self, cx: &mut Context<'_>, out: &mut Outgoing) -> Poll<Result<(), Gone>> {
        let sent = self.outlet.borrow_mut().poll_send(cx, out);
        if let Poll::Ready(Ok(())) = sent {
            self.meter.sent.increment();
        }
        sent
    }
}

/// A message that is being sent.
pub struct Sending(Outgoing);

impl fmt::Debug for Sending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sending").finish_non_exhaustive()
    }
}

/// A handler whose client is gone need not find words for it.
impl From<Gone> for Status {
    fn from(_: Gone) -> Self {
        Status::new(Code::Canceled, "context canceled")
    }
}

/// What grpc-go says before the reason.
const UNARY_UNREADABLE: &str = "grpc: error unmarshalling request";
const STREAM_UNREADABLE: &str = "grpc: failed to unmarshal the received message";

async fn only_message<Q: Request>(
    messages: &mut Messages,
    meter: &Meter,
    begun: &Begun,
    shape: Q::Shape,
    unreadable: &str,
) -> Result<Q, Status> {
    messages.must_come();
    let Some(message) = poll_fn(|cx| messages.poll_next(cx)).await? else {
        return Err(Status::new(Code::Internal, "unexpected EOF"));
    };
    meter.received_message(message.len());
    begun.request_is(message.len());
    Q::read(message, shape).map_err(|error| Status::new(Code::Internal, format!("{unreadable}: {error}")))
}

/// Runs a handler until it is done, the client is gone, the deadline has passed or the server stops.
async fn until_gone<R>(
    handler: impl Future<Output = Result<R, Status>>,
    mut poll_gone: impl FnMut(&mut Context<'_>) -> Poll<()>,
    deadline: Option<Instant>,
    stops: impl Future<Output = Status>,
) -> Result<Result<R, Status>, Gone> {
    let (mut handler, mut stops) = (pin!(handler), pin!(stops));
    let mut timer: Pin<&mut Option<Sleep>> = pin!(deadline.map(|deadline| sleep_until(deadline.into())));
    poll_fn(|cx| {
        if let Poll::Ready(answer) = handler.as_mut().poll(cx) {
            return Poll::Ready(Ok(answer));
        }
        if poll_gone(cx).is_ready() {
            return Poll::Ready(Err(Gone));
        }
        if let Poll::Ready(status) = stops.as_mut().poll(cx) {
            return Poll::Ready(Ok(Err(status)));
        }
        match timer.as_mut().as_pin_mut().map(|timer| timer.poll(cx)) {
            Some(Poll::Ready(())) => {
                Poll::Ready(Ok(Err(Status::new(Code::DeadlineExceeded, "context deadline exceeded"))))
            }
            Some(Poll::Pending) | None => Poll::Pending,
        }
    })
    .await
}

/// Says how the call ended, to the client and to the meter.
fn end(outlet: &mut Outlet, meter: &Meter, begun: &Begun, answer: Result<Result<(), Status>, Gone>) {
    let code = match &answer {
        Ok(Ok(())) => Code::Ok,
        Ok(Err(status)) => status.code,
        Err(Gone) => Code::Canceled,
    };
    meter.handled(code, begun);
    match answer {
        // The client may have gone in between; then nobody is left to be told.
        Ok(end) => {
            let _ = outlet.finish(end.as_ref().copied());
        }
        Err(Gone) => outlet.reset(),
    }
}
