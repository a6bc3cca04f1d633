//! The other members: what they send goes to the node.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use ferrite_observe::log::GoTime;
use ferrite_peer::{Database, Delivery, Door, Impatient, ReceiveSnapshot, Transport};
use ferrite_raft::{Body, Message, NodeId};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::RwLock;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::node::Input;
use crate::state::State;

/// A larger state is not taken: it has to fit into memory.
const MAX_SNAPSHOT_BYTES: usize = 1 << 30;

/// The node, as the transport sees it.
pub struct Owner {
    pub inputs: SyncSender<Input>,
    pub state: Arc<RwLock<State>>,
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Owner").finish_non_exhaustive()
    }
}

impl Owner {
    /// Tells the node what it must hear, even if it has to be waited for.
    fn tell(&self, input: Input) {
        let inputs = self.inputs.clone();
        // A node that has ended need not hear it.
        tokio::task::spawn_blocking(move || _ = inputs.send(input));
    }
}

impl ferrite_peer::Owner for Owner {
    fn deliver(&self, message: Message) -> Delivery {
        match self.inputs.try_send(Input::Message(message)) {
            Ok(()) => Delivery::Taken,
            Err(_) => Delivery::Full,
        }
    }

    fn is_removed(&self, id: NodeId) -> bool {
        self.state.read().is_removed(id)
    }

    fn unreachable(&self, id: NodeId) {
        // A hint: if there is no room for it, the next message says the same.
        let _ = self.inputs.try_send(Input::Unreachable(id));
    }

    fn gone(&self, id: NodeId) {
        // A hint: without it, an election takes a random time longer.
        let _ = self.inputs.try_send(Input::Gone(id));
    }

    fn snapshot_sent(&self, id: NodeId, arrived: bool) {
        self.tell(Input::SnapshotSent { to: id, arrived });
    }

    fn removed(&self, _by: NodeId) {
        self.tell(Input::Removed);
    }

    fn receive_snapshot(&self, mut message: Message, mut database: Database) -> ReceiveSnapshot {
        let inputs = self.inputs.clone();
        Box::pin(async move {
            let mut data = BytesMut::new();
            while let Some(piece) = database.next().await {
                data.extend_from_slice(&piece.map_err(|error| error.to_string())?);
                if data.len() > MAX_SNAPSHOT_BYTES {
                    return Err(format!("it is larger than {MAX_SNAPSHOT_BYTES} bytes"));
                }
            }
            let data = data.freeze();
            State::decode(data.clone()).map_err(|error| error.to_string())?;
            if let Body::Snapshot(snapshot) = &mut message.body {
                snapshot.data = data;
            }
            let (sender, taken) = oneshot::channel();
            let full = |_| "there is no room: try again".to_owned();
            inputs.try_send(Input::Snapshot { message, taken: sender }).map_err(full)?;
            taken.await.map_err(|_| "the member has ended".to_owned())
        })
    }
}

/// Serves the peer port.
pub async fn serve(socket: TcpListener, transport: Transport) {
    let patience = transport.timeouts().write;
    let door = Door::new(transport);
    let service = move |stream: TcpStream| {
        let door = door.clone();
        async move {
            let answer = service_fn(|request| async {
                Ok::<_, Infallible>(door.answer(request, &GoTime(SystemTime::now()).to_string()).await)
            });
            let stream = TokioIo::new(Impatient::new(stream, patience));
            // A connection that breaks is the business of whoever made it.
            drop(http1::Builder::new().serve_connection(stream, answer).await);
        }
    };
    accept(socket, service).await;
}

/// Accepts connections, and serves each in a task of its own. When this is dropped, they end.
pub async fn accept<S: Future<Output = ()> + Send + 'static>(socket: TcpListener, serve: impl Fn(TcpStream) -> S) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = socket.accept() => match accepted {
                Ok((stream, _)) => _ = connections.spawn(serve(stream)),
                // Too many files, say: some have to close first.
                Err(error) => {
                    eprintln!("cannot accept a connection: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}
