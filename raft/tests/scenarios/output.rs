//! What a directive prints: lines of the environment and log lines of the nodes, in the order in which they happen.

use std::fmt;
use std::sync::{Arc, Mutex};

use ferrite_raft::{Level, Logger};

/// Shared between the environment and the loggers of its nodes.
#[derive(Clone, Debug, Default)]
pub struct Output(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    text: String,
    /// The index in `LEVELS` of the least level that is printed.
    level: usize,
}

const LEVELS: [&str; 6] = ["DEBUG", "INFO", "WARN", "ERROR", "FATAL", "NONE"];
const NONE: usize = 5;

impl Output {
    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.0.lock().expect("nobody panics while printing"))
    }

    /// Prints, unless everything is silenced.
    pub fn write(&self, text: impl AsRef<str>) {
        self.with(|state| {
            if state.level != NONE {
                state.text.push_str(text.as_ref());
            }
        });
    }

    pub fn is_silent(&self) -> bool {
        self.with(|state| state.level == NONE)
    }

    /// Sets the level, and returns the one before.
    pub fn set_level(&self, name: &str) -> String {
        let level = LEVELS.iter().position(|level| level.eq_ignore_ascii_case(name)).expect("a level");
        self.with(|state| LEVELS[std::mem::replace(&mut state.level, level)].to_owned())
    }

    /// Takes what was printed.
    pub fn take(&self) -> String {
        self.with(|state| std::mem::take(&mut state.text))
    }

    /// Indents what `f` prints.
    pub fn indented<T>(&self, f: impl FnOnce() -> T) -> T {
        let before = self.take();
        let result = f();
        self.with(|state| {
            let lines: String = state.text.lines().map(|line| format!("  {line}\n")).collect();
            state.text = before + &lines;
        });
        result
    }
}

impl Logger for Output {
    fn enabled(&self, level: Level) -> bool {
        self.with(|state| state.level <= place(level))
    }

    fn log(&self, level: Level, line: fmt::Arguments<'_>) {
        self.write(format!("{} {line}\n", LEVELS[place(level)]));
    }
}

fn place(level: Level) -> usize {
    match level {
        Level::Debug => 0,
        Level::Routine | Level::Info => 1,
        Level::Warn => 2,
        Level::Error => 3,
    }
}
