//! Snapshots between members: a message of Raft, and the whole database behind it.
//!
//!   member ──message──▶ store thread: cut ──▶ read thread: pieces ──▶ Transport ──▶ the other's peer port
//!   peer port ──▶ Database ──▶ read thread: file, store, state ──▶ Input::Snapshot ──▶ member
//!
//! Both sides take a piece at a time, as fast as the slower one is, and hold no more than a few.

use std::fmt::Debug;
use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use ferrite_member::{Arriving, Cut, Input, Outlet, Prepared, ReceiveError, Receiver, StoreJob, transfer};
use ferrite_peer::{Database, ReceiveSnapshot, Transport};
use ferrite_raft::{Body, Message, SnapshotMeta};
use ferrite_storage::store::Plan;
use ferrite_storage::vfs::Vfs;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::Transfers;
use crate::halt::Halt;
use crate::handle::MemberInput;
use crate::loops::Defragmented;
use crate::read_pool::ReadPool;

/// Pieces that wait for the network. Full means that no other is made.
const PIECES: usize = 4;

/// Records that are laid out while the pieces of other snapshots wait: no connection may be silent for long.
const PLAN_RECORDS: usize = 100_000;

/// What arrives is written in pieces of about this length.
const WRITE_BYTES: usize = 256 << 10;

/// Sends snapshots.
#[derive(Clone, Debug)]
pub struct SnapshotSender {
    pub transport: Transport,
    pub store: Outlet<StoreJob<Defragmented>>,
    pub member: Outlet<MemberInput>,
    pub reads: ReadPool,
    pub runtime: Handle,
    pub halt: Halt,
    pub transfers: Arc<Transfers>,
}

impl SnapshotSender {
    /// Sends the database as it is to whom Raft wants to send a snapshot. The member is told how it ended.
    pub fn send(&self, message: Message) {
        let (to, sender) = (message.to, self.clone());
        let cut = Cut::new(move |snapshot| {
            // The store has other work.
            let runtime = sender.runtime.clone();
            runtime.spawn(async move {
                match sender.reads.work(move || transfer(&message, snapshot)).await {
                    Some(Ok((message, plan))) => sender.send_database(message, plan).await,
                    Some(Err(error)) => sender.halt.halt(&error),
                    // The process is ending.
                    None => {}
                }
            });
        });
        if self.store.push(StoreJob::Cut(cut)).is_err() {
            let _ = self.member.push(Input::SnapshotSent { to, arrived: false });
        }
    }

    async fn send_database(self, message: Message, mut plan: Plan) {
        let mut is_planned = false;
        while !is_planned {
            let step = move || {
                let is_planned = plan.step(PLAN_RECORDS);
                (plan, is_planned)
            };
            let Some(stepped) = self.reads.work(step).await else { return };
            (plan, is_planned) = stepped;
        }
        let mut export = plan.finish();
        let (pieces, receiver) = mpsc::channel(PIECES);
        self.transfers.sending(message.to, export.applied(), export.bytes());
        self.transport.send_snapshot(message, receiver);
        loop {
            let step = move || {
                let piece = export.next_piece();
                (export, piece)
            };
            let Some((back, piece)) = self.reads.work(step).await else { return };
            export = back;
            let piece: io::Result<Bytes> = match piece {
                Ok(Some(piece)) => Ok(piece),
                Ok(None) => return,
                Err(error) => {
                    // What else is damaged, nobody knows.
                    self.halt.halt(&error);
                    Err(io::Error::other(error))
                }
            };
            let is_broken = piece.is_err();
            if pieces.send(piece).await.is_err() || is_broken {
                return;
            }
        }
    }
}

/// Takes snapshots in. What kind of files it writes does not matter to who calls it.
pub trait TakeSnapshot: Debug + Send + Sync {
    fn take(self: Arc<Self>, message: Message, database: Database) -> ReceiveSnapshot;
}

/// Receives snapshots for the member.
#[derive(Debug)]
pub struct SnapshotTaker<V: Vfs> {
    pub receiver: Receiver<V>,
    pub member: Outlet<MemberInput>,
    pub reads: ReadPool,
    pub transfers: Arc<Transfers>,
}

impl<V: Vfs> TakeSnapshot for SnapshotTaker<V> {
    fn take(self: Arc<Self>, message: Message, database: Database) -> ReceiveSnapshot {
        Box::pin(async move {
            let Body::Snapshot(snapshot) = &message.body else { return Err("there is no snapshot in it".to_owned()) };
            let receiving = self.transfers.receiving(message.from, snapshot.meta.index);
            let (prepared, bytes) = match self.prepare(snapshot.meta.clone(), database).await {
                Ok(prepared) => prepared,
                Err(why) => {
                    receiving.failed(&why);
                    return Err(why);
                }
            };
            let input = Input::Snapshot { message, prepared: Box::new(prepared) };
            self.member.push(input).map_err(|_| "the member is stopping".to_owned())?;
            receiving.received(bytes);
            Ok(())
        })
    }
}

/// A database on its way, between two pieces. Dropped, it goes where its pieces were written: to free gigabytes takes long,
/// and here heartbeats wait.
#[derive(Debug)]
struct Arrival<V: Vfs> {
    arriving: Option<Arriving<V>>,
    reads: ReadPool,
}

impl<V: Vfs> Drop for Arrival<V> {
    fn drop(&mut self) {
        if let Some(arriving) = self.arriving.take() {
            self.reads.discard(arriving);
        }
    }
}

impl<V: Vfs> SnapshotTaker<V> {
    /// What came of it, and how many bytes it had.
    async fn prepare(&self, meta: SnapshotMeta, mut database: Database) -> Result<(Prepared, u64), String> {
        let receiver = self.receiver.clone();
        let begun = self.work(move || receiver.begin(&meta)).await?;
        let mut arrival = Arrival { arriving: Some(begun), reads: self.reads.clone() };
        let (mut gathered, mut bytes) = (BytesMut::new(), 0);
        while let Some(piece) = database.next().await {
            let piece = piece.map_err(|error| error.to_string())?;
            bytes += piece.len() as u64;
            gathered.extend_from_slice(&piece);
            if gathered.len() >= WRITE_BYTES {
                self.write(&mut arrival, gathered.split()).await?;
            }
        }
        self.write(&mut arrival, gathered).await?;
        let Some(arriving) = arrival.arriving.take() else { return Err("nothing has arrived".to_owned()) };
        let prepared = self.work(move || arriving.finish()).await?;
        Ok((prepared, bytes))
    }

    async fn write(&self, arrival: &mut Arrival<V>, piece: BytesMut) -> Result<(), String> {
        if let Some(mut arriving) = arrival.arriving.take() {
            arrival.arriving = Some(self.work(move || arriving.write(&piece).map(|()| arriving)).await?);
        }
        Ok(())
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, ReceiveError> + Send + 'static,
    ) -> Result<T, String> {
        let done = self.reads.work(work).await.ok_or("the member is stopping")?;
        done.map_err(|error| error.to_string())
    }
}
