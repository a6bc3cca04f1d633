//! Bytes on disk. This crate knows neither keys nor roles.

mod revision;

pub use revision::{Revision, RevisionKey};
