//! The HTTP pages beside gRPC: health, version, metrics for clients; version and members for peers.
//!
//!   request ──front door: host, CORS──▶ route ──▶ page ──▶ answer
//!
//! A site belongs to one net thread. Which pages a listener has is decided by its role.

pub mod answer;
mod door;
mod gauges;
mod health;
mod query;
mod site;

pub use door::FrontDoor;
pub use gauges::register;
pub use site::{Role, Site};
