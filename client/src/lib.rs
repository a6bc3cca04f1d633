//! A client of etcd and of every server that speaks its API.
//!
//!   Client ──▶ call (deadline, metadata, retries) ──▶ pool (one connection an endpoint, in turn) ──▶ server
//!     │                        ▲
//!     └─▶ watch, lease ────────┘  one background task each, which opens its stream again after a failure
//!
//! A [`Client`] is cheap to clone, and its clones share connections. What one call needs beside its request (a deadline, that the
//! member must know a leader) is set on a clone: [`Client::with_timeout`], [`Client::with_require_leader`].
//! Creating a client does not wait for a connection: calls wait for one, until their deadline.
//!
//! ```no_run
//! use ferrite_client::{Client, Compare, Config, Get, Put, Txn, Watch};
//!
//! # async fn run() -> Result<(), ferrite_client::Error> {
//! let client = Client::connect(Config::new(["127.0.0.1:2379"])).await?;
//! client.put(Put::new("service/a", "10.0.0.1:80")).await?;
//! for kv in client.get(Get::new("service/").prefix()).await?.kvs {
//!     println!("{:?} = {:?}", kv.key, kv.value);
//! }
//! let txn = Txn::new()
//!     .when([Compare::create_revision("lock").eq(0)])
//!     .and_then([Put::new("lock", "mine").into()])
//!     .or_else([Get::new("lock").into()]);
//! println!("taken: {}", client.txn(txn).await?.succeeded);
//!
//! let mut watcher = client.watch(Watch::new("service/").prefix()).await?;
//! while let Some(response) = watcher.next().await {
//!     println!("{} events", response.events.len());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! What holds: a read may be repeated behind the caller's back, a write only if it surely was not processed or the server itself gave up on it
//! ([`retry`](crate::retry) says which); a watch neither loses nor repeats an event when its stream breaks.

mod client;
mod config;
mod error;
mod known;

mod op;
mod txn;

mod auth;
mod call;
mod cluster;
pub mod concurrency;
mod kv;
mod lease;
mod maintenance;
mod watch;

mod endpoint;
mod greeting;
mod pool;
pub mod retry;
#[cfg(feature = "srv")]
pub mod srv;
mod tls;
mod token;

pub use client::Client;
pub use config::{Config, Credentials};
pub use endpoint::{Endpoint, EndpointError};
pub use error::Error;
pub use ferrite_proto as proto;
pub use known::Known;
pub use kv::RangeStream;
pub use lease::KeepAlive;
pub use maintenance::Snapshot;
pub use op::{Delete, Get, Op, OpResponse, Put, Watch, prefix_end};
pub use pool::Unreachable;
pub use tls::Tls;
pub use tonic::{Code, Status};
pub use txn::{Compare, Subject, Txn};
pub use watch::{WatchResponse, Watcher};

/// The client stubs, generated.
mod stubs {
    #![allow(missing_debug_implementations, clippy::all)]
    include!(concat!(env!("OUT_DIR"), "/client/etcdserverpb.rs"));
}
