//! The task that owns a watch stream: it moves messages between the stream, the table and the readers, and opens the stream again.

use std::time::Duration;

use ferrite_proto::etcdserverpb::WatchRequest;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryFutureExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::table::Table;
use super::{Command, WatchKey};
use crate::call::{Scope, SharedWire, rest};
use crate::error::Error;
use crate::known::Known;
use crate::stubs::watch_client::WatchClient;

/// Requests handed to the transport and not yet sent. Full: the table keeps them, at most a few for each watch.
const OUTGOING_REQUESTS: usize = 16;
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
const PAUSE_GROWTH: f64 = 1.25;

type Incoming = BoxStream<'static, Result<ferrite_proto::etcdserverpb::WatchResponse, Error>>;

pub(super) struct Session {
    wire: SharedWire,
    scope: Scope,
    table: Table,
    /// Weak: the task ends when neither client nor watch is left.
    commands: mpsc::WeakUnboundedSender<Command>,
}

/// A stream that is open, or about to be.
struct Open {
    outgoing: mpsc::Sender<WatchRequest>,
    incoming: Incoming,
}

impl Session {
    pub(super) fn new(wire: SharedWire, require_leader: bool, commands: mpsc::WeakUnboundedSender<Command>) -> Session {
        let scope = Scope { require_leader, deadline: None };
        Session { wire, scope, table: Table::default(), commands }
    }

    pub(super) async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        let mut stream: Option<Open> = None;
        let mut pause = FIRST_PAUSE;
        loop {
            if self.table.is_empty() {
                // Nobody watches: leave nothing open, and nothing half asked for.
                if stream.take().is_some() {
                    self.table.on_lost();
                }
            } else if stream.is_none() {
                stream = Some(self.open(Duration::ZERO));
            }
            let has_requests = self.table.has_requests();
            let ended = match &mut stream {
                None => match commands.recv().await {
                    Some(command) => {
                        self.take(command);
                        continue;
                    }
                    None => return,
                },
                Some(Open { outgoing, incoming }) => tokio::select! {
                    command = commands.recv() => match command {
                        Some(command) => {
                            self.take(command);
                            continue;
                        }
                        None => return,
                    },
                    Ok(permit) = outgoing.reserve(), if has_requests => {
                        permit.send(self.table.next_request().expect("there is one"));
                        continue;
                    }
                    message = incoming.next() => message,
                },
            };
            match ended {
                Some(Ok(message)) => {
                    for key in self.table.on_message(message) {
                        self.resume_when_drained(key);
                    }
                }
                Some(Err(error)) if error.is_halt() || error.is(Known::NoLeader) => self.table.fail(&error),
                lost => {
                    self.table.on_lost();
                    let wait = match lost {
                        Some(Err(error)) if error.code() == tonic::Code::Internal => Duration::ZERO,
                        _ => pause,
                    };
                    pause = pause.mul_f64(PAUSE_GROWTH).min(LONGEST_PAUSE);
                    stream = Some(self.open(wait));
                }
            }
        }
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Create { key, request, queue, created } => self.table.create(key, request, queue, created),
            Command::Cancel(key) => self.table.cancel(key),
            Command::Resume(key) => self.table.resume(key),
            Command::Progress(permit) => self.table.request_progress(permit),
        }
    }

    /// A stream whose opening is its reader's first wait. It must not be waited for here: a server answers only once it
    /// has got a request.
    fn open(&self, wait: Duration) -> Open {
        let (outgoing, requests) = mpsc::channel(OUTGOING_REQUESTS);
        let (wire, scope) = (self.wire.clone(), self.scope);
        let opening = async move {
            rest(wait).await;
            let max = wire.config.max_receive();
            let open =
                move |pool, r| async move { WatchClient::new(pool).max_decoding_message_size(max).watch(r).await };
            let messages = wire.stream(scope, ReceiverStream::new(requests), open).await?;
            Ok(messages.map(|message| message.map_err(Error::from)))
        };
        Open { outgoing, incoming: opening.try_flatten_stream().boxed() }
    }

    /// Asks for a watch again once its reader has taken all that was in its queue.
    fn resume_when_drained(&self, key: WatchKey) {
        let (Some(queue), Some(commands)) = (self.table.queue(key), self.commands.upgrade()) else { return };
        tokio::spawn(async move {
            // An error means that the reader is gone, and its watch with it.
            if queue.reserve_many(queue.max_capacity()).await.is_ok() {
                let _ = commands.send(Command::Resume(key));
            }
        });
    }
}
