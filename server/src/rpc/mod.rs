//! gRPC over HTTP/2, and the HTTP beside it on the same port. Only this module knows HTTP/2, streams and trailers.
//!
//!   acceptor ──deals out──▶ net thread ──first bytes──▶ HTTP/1 ──▶ pages
//!                               │ HTTP/2
//!                               ▼
//!                     connection's driver ──path──▶ router ──▶ one task a call ──▶ handler
//!                               ▲                                    │ reply: pieces, then a status
//!                               └──────── h2, one write a turn ──────┘
//!
//! A handler is an async function from a decoded request and its caller to a reply or a status. What holds: a client
//! that reads slowly or not at all is owed a bounded number of bytes; a client that goes away takes its calls with it;
//! nothing a client sends makes this panic. The h2 crate is the first carrier and does not show through.

mod budget;
mod caller;
mod connection;
mod listener;
mod meter;
mod outlet;
mod pages;
mod reply;
mod request;
mod router;
mod status;
#[cfg(test)]
mod tests;
mod traffic;
mod transport;

pub use budget::{Budget, Share};
pub use caller::{Caller, Metadata};
pub use connection::{ConnectionError, Keepalive, Service, Settings};
pub use listener::{Accepted, Acceptor, Socket, lane, serve_accepted};
pub use meter::{Observing, Shape};
pub use outlet::Gone;
pub use pages::Pages;
pub use reply::{Body, IntoReply, Reply, too_long};
pub use request::{Raw, Request};
pub use router::{Replies, Requests, Router, Sending, Stopping};
pub use status::{Code, Status};
