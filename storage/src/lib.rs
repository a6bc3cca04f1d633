//! Bytes on disk. This crate knows neither keys nor roles.

mod revision;
pub mod vfs;

pub use revision::{Revision, RevisionKey};
