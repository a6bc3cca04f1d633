//! The etcd server: everything between the network and a member.

pub mod assemble;
pub mod banner;
pub mod call_metrics;
pub mod config;
pub mod discovery;
pub mod end;
pub mod grpc;
pub mod halt;
pub mod handle;
pub mod handover;
pub mod http;
pub mod init;
pub mod leases;
pub mod listen;
pub mod loops;
pub mod membership;
pub mod net;
pub mod open_files;
pub mod peers;
pub mod post;
pub mod raft_log;
pub mod read_pool;
pub mod reign;
pub mod rpc;
pub mod run;
mod sys;
pub mod version;
