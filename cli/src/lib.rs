//! The command line of etcd.
//!
//!   words ──▶ command (which, with which flags) ──▶ etcdctl (one command a file) ──▶ client ──▶ server
//!                                                      └─▶ print (simple, fields, json, table, protobuf)
//!
//! Exit codes, error lines and output are those of etcd's own tools, because scripts depend on them.

pub mod command;
pub mod etcdctl;
pub mod etcdutl;
pub mod exit;
pub mod go;
mod log;
pub mod print;
mod process;
mod prompt;
