//! What Raft says, in the server's log.

use std::fmt;

use ferrite_observe::log::{Level, Logger, Place};

/// Raft's door to the log.
#[derive(Debug)]
pub struct RaftLog(pub Logger);

fn level(level: ferrite_raft::Level) -> Level {
    match level {
        ferrite_raft::Level::Debug | ferrite_raft::Level::Routine => Level::Debug,
        ferrite_raft::Level::Info => Level::Info,
        ferrite_raft::Level::Warn => Level::Warn,
        ferrite_raft::Level::Error => Level::Error,
    }
}

impl ferrite_raft::Logger for RaftLog {
    fn enabled(&self, wanted: ferrite_raft::Level) -> bool {
        self.0.enabled(level(wanted))
    }

    fn log(&self, wanted: ferrite_raft::Level, line: fmt::Arguments<'_>) {
        self.0.say("raft", level(wanted), Place { file: file!(), line: line!() }, line);
    }
}
