//! What a member shows of itself: metrics, failpoints and log lines. A handle is given at construction; no statics.
pub mod log;
pub mod metrics;
