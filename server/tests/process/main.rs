//! The binary `etcd` as its users see it: processes, signals, exit codes, log lines, and errors as they come over the wire.

mod backup;
mod cluster;
mod data_dir;
mod discovery;
mod errors;
mod far_behind;
mod flags;
mod growing;
mod half_sent;
mod members;
mod metrics;
mod server;
mod stop;
