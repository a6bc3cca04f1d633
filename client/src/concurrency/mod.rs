//! Locks and elections, laid out in the store as etcd's own client does, so that holders in any language see each other.
//!
//! Whoever wants something puts a key under its name, attached to the lease of a [`Session`]; whose key was created first has it, the others wait for
//! those before them to go. A holder that dies loses its lease, and so its key.

mod election;
mod mutex;
mod session;

pub use election::{Election, Observer};
pub use mutex::Mutex;
pub use session::Session;

use bytes::Bytes;
use ferrite_proto::etcdserverpb::response_op::Response;
use ferrite_proto::etcdserverpb::{RangeResponse, ResponseHeader, TxnResponse};
use ferrite_proto::mvccpb::KeyValue;
use ferrite_proto::mvccpb::event::EventType;

use crate::client::Client;
use crate::error::Error;
use crate::op::{Get, Put, Watch};
use crate::txn::{Compare, Txn};

/// A place in the queue under a name.
#[derive(Clone, Debug)]
struct Place {
    key: Bytes,
    /// The revision that created the key, which says whose turn it is.
    created: i64,
    /// The revision at which the place was taken, or found taken already.
    header: ResponseHeader,
}

/// What taking a place came to.
struct Taken {
    place: Place,
    /// The value found, if the key was there already.
    found: Option<Bytes>,
    /// The first in the queue, if it is another.
    is_first: bool,
}

/// Puts the session's key under `prefix`, unless it is there already.
async fn take_place(session: &Session, prefix: &str, value: Bytes) -> Result<Taken, Error> {
    let key = Bytes::from(format!("{prefix}{:x}", session.lease()));
    let first = Get::new(prefix.to_string()).first_created();
    let txn = Txn::new()
        .when([Compare::create_revision(key.clone()).eq(0)])
        .and_then([Put::new(key.clone(), value).lease(session.lease()).into(), first.clone().into()])
        .or_else([Get::new(key.clone()).into(), first.into()]);
    let response = session.client().txn(txn).await?;
    let header = response.header.unwrap_or_default();
    let own = range(&response, 0).and_then(|range| range.kvs.first());
    let created = if response.succeeded { header.revision } else { own.map_or(0, |kv| kv.create_revision) };
    let found = own.map(|kv| kv.value.clone());
    let first = range(&response, 1).and_then(|range| range.kvs.first());
    let is_first = first.is_none_or(|first| first.create_revision == created);
    Ok(Taken { place: Place { key, created, header }, found, is_first })
}

/// The result of operation `at`, if it is a read.
fn range(response: &TxnResponse, at: usize) -> Option<&RangeResponse> {
    match response.responses.get(at)?.response.as_ref()? {
        Response::ResponseRange(range) => Some(range),
        _ => None,
    }
}

/// Waits until no key under `prefix` is older than `created`.
async fn wait_for_turn(client: &Client, prefix: &str, created: i64) -> Result<ResponseHeader, Error> {
    loop {
        let last = Get::new(prefix.to_string()).last_created().max_create_revision(created - 1);
        let response = client.get(last).await?;
        let header = response.header.unwrap_or_default();
        // The newest of those before us: when it has gone, we look again.
        let Some(before) = response.kvs.first() else { return Ok(header) };
        wait_for_delete(client, before.key.clone(), header.revision).await?;
    }
}

async fn wait_for_delete(client: &Client, key: Bytes, revision: i64) -> Result<(), Error> {
    let mut watcher = client.watch(Watch::new(key).revision(revision)).await?;
    while let Some(response) = watcher.next().await {
        if let Some(error) = response.error {
            return Err(error);
        }
        if response.events.iter().any(|event| event.r#type() == EventType::Delete) {
            return Ok(());
        }
    }
    Err(Error::Closed)
}

/// A read's answer that consists of one key.
fn answer(header: ResponseHeader, kv: KeyValue) -> RangeResponse {
    RangeResponse { header: Some(header), kvs: vec![kv], ..RangeResponse::default() }
}
