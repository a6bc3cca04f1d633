//! What a leader does without being asked. Each duty is told what time it is and says what to propose.

pub mod compaction;
