//! A backup: the whole database of this member, as a stream.
//!
//!   store thread: cut ──▶ read thread: lay out, then a piece at a time ──▶ blobs, as fast as the client takes them ──▶ hash
//!
//! The store goes on meanwhile, and the pieces are made as they are sent: a slow client delays nobody, and holds files
//! only. One that stalls holds them for a minute, and then its backup ends.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ferrite_proto::etcdserverpb as pb;
use ferrite_state::ReadError;
use ferrite_storage::store::{Export, Plan};
use ring::digest::{Context, SHA256};
use tokio::time::timeout;

use super::Services;
use super::error::RequestError;
use crate::handle::Handle;
use crate::rpc::{Caller, Replies, Status};

/// Records that are laid out while other reads wait.
const PLAN_RECORDS: usize = 100_000;

/// etcd's size of a blob.
const BLOB_BYTES: usize = 32 << 10;

/// A client must take a blob within this time: long enough for one that waits for a slow disk of its own.
const STALL: Duration = Duration::from_secs(60);

/// Sends the database, then its SHA-256.
pub async fn send(services: &Services, replies: Replies, caller: &Caller) -> Result<(), Status> {
    services.admit_at_learner(caller)?;
    services.serve_stream(caller, send_database(services, replies)).await
}

async fn send_database(services: &Services, replies: Replies) -> Result<(), Status> {
    let mut backup = services.backups.begin()?;
    let handle = &services.handle;
    let version = handle.state().tables().cluster.storage_version().map_or_else(String::new, ToString::to_string);
    let mut export = lay_out(handle).await?;
    let mut remaining_bytes = export.bytes();
    backup.sending(remaining_bytes, &version);
    let mut blobs = Blobs { replies, version };
    let mut digest = Context::new(&SHA256);
    let mut pending = BytesMut::new();
    while remaining_bytes > 0 {
        while pending.len() < BLOB_BYTES.min(remaining_bytes as usize) {
            let step = handle.read(move |_| {
                let piece = export.next_piece();
                piece.iter().flatten().for_each(|piece| digest.update(piece));
                (export, digest, piece)
            });
            let piece;
            (export, digest, piece) = step.await?;
            let piece = handle.sound(piece.map_err(ReadError::Storage))?;
            pending.extend_from_slice(&piece.expect("a database is as long as it was said to be"));
        }
        let blob = pending.split_to(BLOB_BYTES.min(pending.len())).freeze();
        remaining_bytes -= blob.len() as u64;
        blobs.send(remaining_bytes, blob).await?;
    }
    let digest = digest.finish();
    backup.sending_checksum(digest.as_ref().len());
    blobs.send(0, Bytes::copy_from_slice(digest.as_ref())).await?;
    backup.sent();
    Ok(())
}

async fn lay_out(handle: &Handle) -> Result<Export, Status> {
    let cut = handle.cut().await?;
    let mut plan = handle.read(move |_| Plan::new(cut)).await?;
    let mut is_planned = false;
    while !is_planned {
        let step = handle.read(move |_| {
            let is_planned = plan.step(PLAN_RECORDS);
            (plan, is_planned)
        });
        (plan, is_planned) = step.await?;
    }
    Ok(plan.finish())
}

/// Where the blobs go.
struct Blobs {
    replies: Replies,
    version: String,
}

impl Blobs {
    async fn send(&mut self, remaining_bytes: u64, blob: Bytes) -> Result<(), Status> {
        let version = self.version.clone();
        let reply = pb::SnapshotResponse { remaining_bytes, blob, version, header: None };
        timeout(STALL, self.replies.send(reply)).await.map_err(|_| RequestError::BackupStalled)?
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::sync::Arc;

    use ferrite_observe::log::Logger;
    use tokio::runtime::{Builder, LocalOptions};
    use tokio::sync::watch;
    use tokio::task::spawn_local;

    use super::*;
    use crate::rpc::{Budget, Code, Observing, Router, Service, Settings, Stopping};

    const PATH: &str = "/etcdserverpb.Maintenance/Snapshot";

    /// More than the client lets come without having taken any.
    const BLOBS: u64 = 64;

    /// Sends blobs to a client that takes one each so many seconds; how many it got, and the status behind them.
    fn status_of_one_who_takes_a_blob_every(seconds: u64) -> (usize, String, String) {
        let runtime =
            Builder::new_current_thread().enable_all().start_paused(true).build_local(LocalOptions::default());
        runtime.unwrap().block_on(async {
            let observing = Observing { extensive: false, slow_after: Duration::MAX, logger: Logger::silent() };
            let (_stop, signal) = watch::channel(false);
            let stopping = Stopping { signal: signal.clone(), status: Status::new(Code::Unavailable, "stopped") };
            let mut router = Router::new(Arc::default(), observing, stopping);
            router.server_stream(PATH, async |_: pb::SnapshotRequest, replies, _: Caller| {
                let mut blobs = Blobs { replies, version: String::new() };
                for blob in 0..BLOBS {
                    blobs.send(BLOBS - blob, vec![7; BLOB_BYTES].into()).await?;
                }
                Ok(())
            });
            let (budget, settings) = (Arc::<Budget>::default(), Settings::default());
            let service = Rc::new(Service::new(Some(Rc::new(router)), None, settings, budget));
            let (ours, theirs) = tokio::io::duplex(1 << 20);
            spawn_local(service.serve(theirs, None, signal));
            let (send, connection) = h2::client::handshake(ours).await.unwrap();
            spawn_local(connection);
            let request = http::Request::post(PATH).header("content-type", "application/grpc").body(()).unwrap();
            let (response, mut body) = send.ready().await.unwrap().send_request(request, false).unwrap();
            body.send_data(Bytes::from_static(&[0; 5]), true).unwrap();
            let mut answer = response.await.unwrap().into_body();
            let mut got = 0;
            loop {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                let before = got / BLOB_BYTES;
                while got / BLOB_BYTES == before
                    && let Some(data) = answer.data().await
                {
                    let data = data.unwrap();
                    got += data.len();
                    answer.flow_control().release_capacity(data.len()).unwrap();
                }
                if got / BLOB_BYTES == before {
                    break;
                }
            }
            let trailers = answer.trailers().await.unwrap().unwrap();
            let text = |name| trailers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
            (got / BLOB_BYTES, text("grpc-status"), text("grpc-message"))
        })
    }

    #[test]
    fn a_client_may_be_slow_but_not_stall() {
        let (got, code, _) = status_of_one_who_takes_a_blob_every(50);
        assert_eq!((got, &*code), (BLOBS as usize, "0"));
        let (got, code, message) = status_of_one_who_takes_a_blob_every(200);
        assert!(got < BLOBS as usize);
        assert_eq!((&*code, &*message), ("4", "etcdserver: the client took nothing of the snapshot for a minute"));
    }
}
