//! One member: Raft, storage and state, driven by inputs.

pub mod duty;
pub mod inbox;
