//! The etcd server: everything between the network and a member.

pub mod assemble;
pub mod config;
pub mod facts;
pub mod grpc;
pub mod handle;
pub mod http;
pub mod loops;
pub mod post;
pub mod raft_log;
pub mod rpc;
pub mod run;
pub mod version;
