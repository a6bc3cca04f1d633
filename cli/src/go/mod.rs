//! Go's ways with text, where scripts depend on them: quoting, durations, numbers.

pub mod duration;
pub mod number;
pub mod quote;
