//! The etcd server: everything between the network and a member.

pub mod config;
pub mod grpc;
pub mod handle;
pub mod http;
pub mod loops;
pub mod post;
pub mod rpc;
pub mod version;
