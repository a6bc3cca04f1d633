//! Metrics: a registry of our own, because a metric costs on every put and the usual crates cannot print etcd's names.
//!
//!   owner ──metric(family, labels)──▶ Counter | Gauge | Histogram ──add──▶ one relaxed atomic
//!   scrape ──text()──▶ families by name, series by labels, Prometheus' text format
//!
//! A metric is looked up once, when its owner is made, and kept: the hot path touches neither the registry nor a lock.
//! A registry belongs to one member; there are no statics, so several members in one process do not share numbers.

pub mod families;
mod registry;
mod text;
mod value;

pub use registry::{Family, Registry};
pub use value::{Counter, Gauge, Histogram};
