//! A backup: the whole database of this member, as a stream.
//!
//!   store thread: cut ──▶ read thread: lay out, then a piece at a time ──▶ blobs, as fast as the client takes them ──▶ hash
//!
//! The store goes on meanwhile, and the pieces are made as they are sent: a slow client delays nobody, and holds files
//! only.

use bytes::BytesMut;
use ferrite_proto::etcdserverpb as pb;
use ferrite_state::ReadError;
use ferrite_storage::store::Plan;
use ring::digest::{Context, SHA256};

use super::Services;
use crate::rpc::{Caller, Replies, Status};

/// Records that are laid out while other reads wait.
const PLAN_RECORDS: usize = 100_000;

/// etcd's size of a blob.
const BLOB_BYTES: usize = 32 << 10;

/// Sends the database, then its SHA-256.
pub async fn send(services: &Services, replies: Replies, caller: &Caller) -> Result<(), Status> {
    services.admit_at_learner(caller)?;
    services.serve_stream(caller, send_database(services, replies)).await
}

async fn send_database(services: &Services, mut replies: Replies) -> Result<(), Status> {
    let handle = &services.handle;
    let version = handle.state().tables().cluster.storage_version().map_or_else(String::new, ToString::to_string);
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
    let mut export = plan.finish();
    let mut remaining_bytes = export.bytes();
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
        replies.send(pb::SnapshotResponse { remaining_bytes, blob, version: version.clone(), header: None }).await?;
    }
    let blob = digest.finish().as_ref().to_vec().into();
    replies.send(pb::SnapshotResponse { remaining_bytes: 0, blob, version, header: None }).await
}
