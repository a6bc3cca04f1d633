//! Watches: what a program holds of one, and how it comes by it.
//!
//!   Watcher ◀── queue ◀── table (who watches what, from where) ◀── stream ◀── member
//!      │                    ▲
//!      └── drop: cancel ────┘
//!
//! All watches of a client share one stream, or two: one for those that want a member with a leader. A task owns the stream and the table;
//! when the stream breaks it opens another and asks for each watch again, from behind what it has handed over.

mod session;
mod table;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ferrite_proto::etcdserverpb::{ResponseHeader, WatchCreateRequest};
use ferrite_proto::mvccpb::Event;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::call::before;
use crate::client::Client;
use crate::error::Error;
use crate::op::Watch;

/// Responses that a watch may owe its reader. Once full, the watch is taken off the server, and asked for again from there when
/// the reader has taken all of them: a slow reader costs no memory and holds up nobody, but it can meet a compaction.
const QUEUE_RESPONSES: usize = 256;

/// Events, or a notice, or the end of a watch.
#[derive(Clone, Debug, Default)]
pub struct WatchResponse {
    /// The member that sent it, and its revision.
    pub header: ResponseHeader,
    /// What has changed; all events of one revision are in one response. Empty for a notice of progress.
    pub events: Vec<Event>,
    /// If the watch ended because it wanted revisions that are gone: the oldest there is.
    pub compact_revision: i64,
    /// Why this is the last response, if it is.
    pub error: Option<Error>,
}

impl WatchResponse {
    /// Whether it says only how far the watch has come.
    pub fn is_progress(&self) -> bool {
        self.events.is_empty() && self.error.is_none() && self.header.revision != 0
    }
}

/// A watch. Dropping it ends it.
#[derive(Debug)]
pub struct Watcher {
    key: WatchKey,
    responses: mpsc::Receiver<WatchResponse>,
    commands: Outlet,
}

impl Watcher {
    /// The next response; `None` after the last one.
    pub async fn next(&mut self) -> Option<WatchResponse> {
        self.responses.recv().await
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // If the task is gone, so is the watch.
        let _ = self.commands.send(Command::Cancel(self.key));
    }
}

impl Commands {
    fn new(outlet: Outlet) -> Commands {
        Commands { outlet, progress: Arc::new(Semaphore::new(PROGRESS_REQUESTS)) }
    }

    fn request_progress(self) -> Result<(), Error> {
        match self.progress.try_acquire_owned() {
            Ok(permit) => self.outlet.send(Command::Progress(permit)).map_err(|_| Error::Closed),
            Err(_) => Ok(()),
        }
    }
}

/// Names a watch for as long as the program runs; what servers call it changes with each stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct WatchKey(u64);

/// What a client asks of the task that owns the stream.
#[derive(Debug)]
enum Command {
    Create {
        key: WatchKey,
        request: WatchCreateRequest,
        queue: mpsc::Sender<WatchResponse>,
        created: oneshot::Sender<()>,
    },
    Cancel(WatchKey),
    /// The reader of a watch that was taken off the server has caught up.
    Resume(WatchKey),
    /// The permit goes back when the request is on its way to the server.
    Progress(OwnedSemaphorePermit),
}

/// Unbounded, because a `Drop` cannot wait. It holds at most a few commands for each watch, and as many requests for
/// progress as there are permits; the task takes them at once.
type Outlet = mpsc::UnboundedSender<Command>;

/// Requests for progress that are not on their way to the server. When there are so many, the next one asks for nothing
/// more than they do.
const PROGRESS_REQUESTS: usize = 16;

/// The way to the task that owns a stream.
#[derive(Clone, Debug)]
struct Commands {
    outlet: Outlet,
    progress: Arc<Semaphore>,
}

/// The streams of a client.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    any: Option<Commands>,
    with_leader: Option<Commands>,
}

impl Client {
    /// Watches what `watch` names. Waits until the server has taken note of it, so that no later change is missed.
    pub async fn watch(&self, watch: impl Into<Watch>) -> Result<Watcher, Error> {
        static NEXT_KEY: AtomicU64 = AtomicU64::new(0);
        let key = WatchKey(NEXT_KEY.fetch_add(1, Ordering::Relaxed));
        let (queue, responses) = mpsc::channel(QUEUE_RESPONSES);
        let (created, noted) = oneshot::channel();
        let commands = self.watch_commands().outlet;
        let watcher = Watcher { key, responses, commands: commands.clone() };
        let request = WatchCreateRequest::from(watch.into());
        commands.send(Command::Create { key, request, queue, created }).map_err(|_| Error::Closed)?;
        before(self.scope.deadline, async {
            // Refused: the reason is in the queue, and comes as the watch's only response.
            let _ = noted.await;
            Ok(())
        })
        .await?;
        Ok(watcher)
    }

    /// Asks how far this client's watches have come; the answer is a response without events to each of them.
    pub fn request_progress(&self) -> Result<(), Error> {
        self.watch_commands().request_progress()
    }

    /// The way to the task that owns the stream; starts it if there is none.
    fn watch_commands(&self) -> Commands {
        let mut streams = self.watches.lock().expect("nothing panics while it holds this lock");
        let slot = if self.scope.require_leader { &mut streams.with_leader } else { &mut streams.any };
        match slot {
            Some(commands) if !commands.outlet.is_closed() => commands.clone(),
            _ => {
                // Unbounded, because whoever calls does not wait: see `Commands` for why it stays short.
                let (outlet, commands) = mpsc::unbounded_channel();
                let session = session::Session::new(self.wire.clone(), self.scope.require_leader, outlet.downgrade());
                tokio::spawn(session.run(commands));
                slot.insert(Commands::new(outlet)).clone()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::table::Table;
    use super::*;

    #[test]
    fn requests_for_progress_that_are_not_sent_do_not_pile_up() {
        let (outlet, mut arrived) = mpsc::unbounded_channel();
        let commands = Commands::new(outlet);
        let ask_often = || (0..1000).for_each(|_| commands.clone().request_progress().expect("the task lives"));
        ask_often();
        assert_eq!(arrived.len(), PROGRESS_REQUESTS);

        // The task takes them, and cannot send them; then the stream is lost.
        let mut table = Table::default();
        let ((queue, _responses), (created, _noted)) = (mpsc::channel(1), oneshot::channel());
        table.create(WatchKey(1), WatchCreateRequest::default(), queue, created);
        let mut take_all = |table: &mut Table| {
            let mut count = 0;
            while let Ok(Command::Progress(permit)) = arrived.try_recv() {
                table.request_progress(permit);
                count += 1;
            }
            count
        };
        take_all(&mut table);
        table.on_lost();
        ask_often();
        assert_eq!(take_all(&mut table), 0);
        table.next_request().expect("a request for progress");
        ask_often();
        assert_eq!(take_all(&mut table), 1, "there is room for as many as were sent");
        table.fail(&Error::Closed);
        ask_often();
        assert_eq!(take_all(&mut table), PROGRESS_REQUESTS);
    }
}
