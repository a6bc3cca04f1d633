//! Versions that we tell.

/// The etcd whose behaviour this is.
pub const ETCD: &str = "3.7.1";
/// Our own.
pub const FERRITE: &str = env!("CARGO_PKG_VERSION");
