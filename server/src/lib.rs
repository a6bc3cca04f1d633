//! The etcd server: everything between the network and a member.

pub mod config;
pub mod handle;
pub mod post;
pub mod rpc;
