//! Where Raft's log lines go: one small sink, given at construction. The texts are those of etcd's library, which
//! operators know and tools search for.

use std::fmt;

/// How much a log line matters. `Debug` is least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What is of use when looking for a fault: lost messages, probes, rejections.
    Debug,
    /// What comes with ordinary work, although etcd's library says it as it says `Info`: of a save that another one has
    /// overtaken, say.
    Routine,
    /// What happens in the life of a cluster: elections, changes of members, snapshots.
    Info,
    /// What should be rare: a lost quorum, a refused proposal.
    Warn,
    /// A mistake of the owner's.
    Error,
}

/// Takes log lines, in etcd's words. It is called in the middle of a step, so it must not wait.
pub trait Logger {
    /// Whether lines of this level are wanted: those that are not are never formatted.
    fn enabled(&self, level: Level) -> bool;

    /// Takes one line of an enabled level, without its end.
    fn log(&self, level: Level, line: fmt::Arguments<'_>);
}

/// Drops every line.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Logger for Silent {
    fn enabled(&self, _: Level) -> bool {
        false
    }

    fn log(&self, _: Level, _: fmt::Arguments<'_>) {}
}

/// The logger that a node owns.
pub type BoxedLogger = Box<dyn Logger + Send>;

macro_rules! line {
    ($logger:expr, $level:ident, $($text:tt)+) => {
        if $logger.enabled($crate::logger::Level::$level) {
            $logger.log($crate::logger::Level::$level, format_args!($($text)+));
        }
    };
}
pub(crate) use line;

/// Notes a trace event (`trace.rs`), if tracing is built in.
macro_rules! traced {
    ($core:expr, $($event:tt)+) => {
        #[cfg(feature = "trace")]
        {
            use $crate::trace::Event;
            $core.trace(Event::$($event)+);
        }
    };
}
pub(crate) use traced;
