//! Log lines in zap's shape, because operators and tests read them.
//!
//!   log!(logger, lines::READY) ──level──▶ nothing (one comparison)
//!                                 └─────▶ sampled, formatted (JSON or console), one write to each output
//!
//! Which lines there are is one table ([`lines`]): level, message, names of the fields. The values are given in the
//! same order where the line is written. Arguments are not even evaluated when the level is off.

mod format;
pub mod lines;
mod logger;
mod value;

pub use format::{Format, GoDuration, GoTime};
pub use logger::{Logger, OutputError, Place};
pub use value::{Id, Shown, Value};

/// How grave a line is. What stops the process logs first and stops itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
    Panic,
    Fatal,
}

impl Level {
    pub fn name(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
            Level::Panic => "panic",
            Level::Fatal => "fatal",
        }
    }

    /// The level of a `--log-level`, in either case as zap has it.
    pub fn parse(name: &str) -> Option<Self> {
        const LEVELS: [Level; 6] = [Level::Debug, Level::Info, Level::Warn, Level::Error, Level::Panic, Level::Fatal];
        LEVELS.into_iter().find(|level| level.name() == name || level.name().to_uppercase() == name)
    }
}

/// A row of the table of lines.
#[derive(Debug)]
pub struct Line {
    pub level: Level,
    pub message: &'static str,
    pub fields: &'static [&'static str],
}

/// Writes a line of the table: `log!(logger, lines::SERVING, "grpc+http", address)`.
#[macro_export]
macro_rules! log {
    ($logger:expr, $line:expr $(, $value:expr)* $(,)?) => {
        if $logger.enabled($line.level) {
            $logger.write(&$line, $crate::log::Place { file: file!(), line: line!() }, &[$($crate::log::Value::from($value)),*]);
        }
    };
}

/// Writes what Raft says, already formatted: `raft_log!(logger, Level::Info, "{id} became leader at term {term}")`.
#[macro_export]
macro_rules! raft_log {
    ($logger:expr, $level:expr, $($text:tt)+) => {
        if $logger.enabled($level) {
            $logger.say("raft", $level, $crate::log::Place { file: file!(), line: line!() }, format_args!($($text)+));
        }
    };
}
