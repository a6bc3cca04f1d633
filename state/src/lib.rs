//! What the log decides. Deterministic, one writer; a clock is an argument.

pub mod clock;
pub mod lease;
