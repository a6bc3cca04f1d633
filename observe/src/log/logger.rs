//! Where lines go, and how many of them.

use std::collections::HashMap;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use super::format::Parts;
use super::{Format, Level, Line, Value};

/// Of lines with the same level and message, this many are written in a second; after that ...
const SAMPLE_FIRST: u64 = 100;
/// ... one of this many.
const SAMPLE_THEN_EACH: u64 = 100;

/// Different messages whose counts are remembered. More than the table of lines holds; Raft's lines are cut to it.
const SAMPLED_MESSAGES: usize = 4096;

/// Writes lines. A clone writes to the same outputs.
#[derive(Clone)]
pub struct Logger {
    level: Level,
    sink: Option<Arc<Mutex<Sink>>>,
}

/// Where in the code a line is written.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub file: &'static str,
    pub line: u32,
}

/// An output that could not be had.
#[derive(Debug)]
pub enum OutputError {
    Open {
        path: PathBuf,
        error: io::Error,
    },
    /// `systemd/journal` without a journal to reach.
    NoJournal,
    /// `default` together with others.
    DefaultNotAlone,
}

impl fmt::Display for OutputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { path, error } => write!(f, "open sink {:?}: {error}", path.display().to_string()),
            Self::NoJournal => write!(f, "can't find journal (writing to the systemd journal is not built yet)"),
            Self::DefaultNotAlone => write!(f, "multi logoutput for \"default\" is not supported yet"),
        }
    }
}

impl std::error::Error for OutputError {}

struct Sink {
    format: Format,
    outputs: Vec<Output>,
    seen: HashMap<(Level, String), Seen>,
    buffer: String,
}

struct Seen {
    second: u64,
    count: u64,
}

enum Output {
    Stderr,
    Stdout,
    File(File),
    Memory(Arc<Mutex<String>>),
}

impl fmt::Debug for Logger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logger").field("level", &self.level).finish_non_exhaustive()
    }
}

impl Logger {
    /// Before there is a configuration: JSON, from info on, to stderr.
    pub fn early() -> Self {
        Self::new(Level::Info, Format::Json, vec![Output::Stderr])
    }

    /// Writes nothing.
    pub fn silent() -> Self {
        Self { level: Level::Fatal, sink: None }
    }

    /// Keeps the lines in memory, for tests.
    pub fn to_memory(level: Level) -> (Self, Arc<Mutex<String>>) {
        let memory = Arc::new(Mutex::new(String::new()));
        (Self::new(level, Format::Json, vec![Output::Memory(memory.clone())]), memory)
    }

    /// What `--log-level`, `--log-format` and `--log-outputs` ask for.
    pub fn open(level: Level, format: Format, names: &[String]) -> Result<Self, OutputError> {
        let mut names: Vec<&String> = names.iter().collect();
        names.sort();
        names.dedup();
        if names.len() > 1 && names.iter().any(|name| *name == "default") {
            return Err(OutputError::DefaultNotAlone);
        }
        if names.iter().any(|name| *name == "/dev/null") {
            return Ok(Self { level, sink: None });
        }
        let mut outputs = Vec::new();
        for name in names {
            outputs.push(match name.as_str() {
                "default" | "stderr" => Output::Stderr,
                "stdout" => Output::Stdout,
                "systemd/journal" => return Err(OutputError::NoJournal),
                path => match OpenOptions::new().create(true).append(true).open(path) {
                    Ok(file) => Output::File(file),
                    Err(error) => return Err(OutputError::Open { path: path.into(), error }),
                },
            });
        }
        Ok(Self::new(level, format, outputs))
    }

    fn new(level: Level, format: Format, outputs: Vec<Output>) -> Self {
        let sink = Sink { format, outputs, seen: HashMap::new(), buffer: String::new() };
        Self { level, sink: Some(Arc::new(Mutex::new(sink))) }
    }

    pub fn level(&self) -> Level {
        self.level
    }

    /// Whether a line of this level would be written: all that a line below it costs.
    #[inline]
    pub fn enabled(&self, level: Level) -> bool {
        level >= self.level && self.sink.is_some()
    }

    /// Writes a line of the table. Called through `log!`.
    pub fn write(&self, line: &Line, place: Place, values: &[Value<'_>]) {
        assert_eq!(values.len(), line.fields.len(), "fields of {:?}", line.message);
        self.put("", line.level, place, line.message, line.fields, values);
    }

    /// Writes a preformatted message under the name of a part. Called through `raft_log!`.
    pub fn say(&self, part: &str, level: Level, place: Place, message: fmt::Arguments<'_>) {
        match message.as_str() {
            Some(message) => self.put(part, level, place, message, &[], &[]),
            None => self.put(part, level, place, &message.to_string(), &[], &[]),
        }
    }

    fn put(
        &self,
        logger: &str,
        level: Level,
        place: Place,
        message: &str,
        fields: &[&'static str],
        values: &[Value<'_>],
    ) {
        let Some(sink) = &self.sink else { return };
        let caller = place.to_string();
        let parts = Parts { level, at: SystemTime::now(), logger, caller: &caller, message, fields, values };
        sink.lock().unwrap_or_else(PoisonError::into_inner).put(&parts);
    }
}

impl Sink {
    fn put(&mut self, parts: &Parts<'_>) {
        if !self.sampled(parts) {
            return;
        }
        self.buffer.clear();
        self.format.write(&mut self.buffer, parts);
        for output in &mut self.outputs {
            // A log that cannot be written must not stop the server, and there is nowhere left to say so.
            let _ = match output {
                Output::Stderr => io::stderr().write_all(self.buffer.as_bytes()),
                Output::Stdout => io::stdout().write_all(self.buffer.as_bytes()),
                Output::File(file) => file.write_all(self.buffer.as_bytes()),
                Output::Memory(memory) => {
                    memory.lock().unwrap_or_else(PoisonError::into_inner).push_str(&self.buffer);
                    Ok(())
                }
            };
        }
    }

    fn sampled(&mut self, parts: &Parts<'_>) -> bool {
        let second = parts.at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if self.seen.len() >= SAMPLED_MESSAGES {
            self.seen.clear();
        }
        let seen = self.seen.entry((parts.level, parts.message.to_owned())).or_insert(Seen { second, count: 0 });
        if seen.second != second {
            *seen = Seen { second, count: 0 };
        }
        seen.count += 1;
        seen.count <= SAMPLE_FIRST || (seen.count - SAMPLE_FIRST).is_multiple_of(SAMPLE_THEN_EACH)
    }
}

/// `server/run.rs:42`: the last two parts of the path, the crate's name standing for its `src`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = self.file.rsplit('/').filter(|part| *part != "src");
        let file = parts.next().unwrap_or("unknown");
        match parts.next() {
            Some(directory) => write!(f, "{directory}/{file}:{}", self.line),
            None => write!(f, "{file}:{}", self.line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::lines;

    #[test]
    fn below_the_level_nothing_is_evaluated() {
        let (logger, memory) = Logger::to_memory(Level::Warn);
        let mut evaluated = 0;
        crate::log!(logger, lines::RECEIVED_SIGNAL, {
            evaluated += 1;
            "terminated"
        });
        crate::raft_log!(logger, Level::Warn, "{} lost leader", 5);
        assert_eq!(evaluated, 0);
        let text = memory.lock().unwrap().clone();
        assert!(text.ends_with("\"msg\":\"5 lost leader\"}\n") && text.lines().count() == 1, "{text}");
        assert!(text.contains("\"logger\":\"raft\",\"caller\":\"log/logger.rs:"), "{text}");
    }

    #[test]
    fn a_flood_is_sampled() {
        let (logger, memory) = Logger::to_memory(Level::Info);
        for _ in 0..1000 {
            crate::log!(logger, lines::RECEIVED_SIGNAL, "terminated");
        }
        // The clock may cross a second in between, which lets another hundred through.
        let lines = memory.lock().unwrap().lines().count();
        assert!((109..=218).contains(&lines), "{lines}");
    }

    #[test]
    fn places() {
        for (file, text) in [
            ("server/src/run.rs", "server/run.rs:9"),
            ("server/src/grpc/kv.rs", "grpc/kv.rs:9"),
            ("main.rs", "main.rs:9"),
        ] {
            assert_eq!(Place { file, line: 9 }.to_string(), text);
        }
    }

    #[test]
    fn outputs() {
        let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
        let open = |list: &[&str]| Logger::open(Level::Info, Format::Json, &names(list));
        assert!(open(&["default"]).unwrap().enabled(Level::Info));
        assert!(!open(&["stderr", "/dev/null"]).unwrap().enabled(Level::Fatal));
        assert!(matches!(open(&["default", "stdout"]), Err(OutputError::DefaultNotAlone)));
        assert!(matches!(open(&["/nonexistent/dir/x"]), Err(OutputError::Open { .. })));
    }
}
