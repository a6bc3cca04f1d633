//! Commands and flags, with the rules of Cobra and pflag: scripts depend on them to the byte.
//!
//!   words ──▶ find (which command) ──▶ parse (flags, positional words) ──▶ run, or help, or an error with usage
//!
//! A command and its flags are written once, in a table; parsing, help, environment and completion follow from it.

pub mod completion;
pub mod environment;
mod flag;
mod help;
mod parse;

use std::ffi::OsString;
use std::future::Future;
use std::io::Write as _;
use std::os::unix::ffi::OsStringExt;
use std::pin::Pin;

use bytes::Bytes;

pub use flag::{Flag, Flags, Kind, Value};
pub use help::flag_lines;
pub use parse::{Words, find_among, parse};

use crate::exit::Exit;
use crate::go::quote::quote;
use crate::log;

/// What a command does.
pub type Run = fn(Invocation) -> Pin<Box<dyn Future<Output = Result<(), Exit>>>>;

/// Under which title the help of the whole lists a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Keys and values.
    KeyValue,
    /// Keeping a cluster going.
    Maintenance,
    /// Locks and elections.
    Concurrency,
    /// Users and roles.
    Authentication,
    /// The rest.
    Utility,
}

impl Group {
    const ALL: [(Group, &str); 5] = [
        (Group::KeyValue, "Key-value commands"),
        (Group::Maintenance, "Cluster maintenance commands"),
        (Group::Concurrency, "Concurrency commands"),
        (Group::Authentication, "Authentication commands"),
        (Group::Utility, "Utility commands"),
    ];
}

/// A command: what there is to know about it before it runs.
#[derive(Clone, Copy, Debug)]
pub struct Command {
    /// Its name, followed by what it takes.
    pub usage: &'static str,
    /// One line about it.
    pub short: &'static str,
    /// More about it; if empty, the line has to do.
    pub long: &'static str,
    /// Where the help of the whole lists it.
    pub group: Group,
    /// Flags of its own.
    pub flags: &'static [Flag],
    /// Flags of its own and of the commands below it.
    pub persistent: &'static [Flag],
    /// The commands below it.
    pub commands: &'static [&'static Command],
    /// The only words it takes, if that is so: then it takes exactly one.
    pub one_of: &'static [&'static str],
    /// What it does; a command without it only groups others.
    pub run: Option<Run>,
}

impl Command {
    /// A command without anything, to take the rest of a table's fields from.
    pub const NONE: Command = Command {
        usage: "",
        short: "",
        long: "",
        group: Group::Utility,
        flags: &[],
        persistent: &[],
        commands: &[],
        one_of: &[],
        run: None,
    };

    /// The word it is called by.
    pub fn name(&self) -> &'static str {
        self.usage.split(' ').next().unwrap_or_default()
    }
}

/// The way from the root to a command.
pub type Path = Vec<&'static Command>;

/// A call of a command.
#[derive(Debug)]
pub struct Invocation {
    /// The command, behind those it is below.
    pub path: Path,
    /// What it was given.
    pub words: Words,
}

impl Invocation {
    /// The flags given.
    pub fn flags(&self) -> &Flags {
        &self.words.flags
    }

    /// The positional words.
    pub fn args(&self) -> &[Bytes] {
        &self.words.args
    }

    /// The flags that the command has from those above it: those that environment variables can set.
    pub fn inherited(&self) -> impl Iterator<Item = &'static Flag> {
        let above = self.path.len() - 1;
        self.path[..above].iter().flat_map(|command| command.persistent)
    }
}

/// `a b c` for the path to a command.
fn path_text(path: &[&'static Command]) -> String {
    path.iter().map(|command| command.name()).collect::<Vec<_>>().join(" ")
}

/// Runs the command that the process was called with, and returns its exit code.
pub fn main(root: &'static Command) -> u8 {
    let words: Vec<Bytes> = std::env::args_os().skip(1).map(|word: OsString| word.into_vec().into()).collect();
    let code = match dispatch(root, &words) {
        Ok(()) => 0,
        Err(exit) => {
            log::unreachable(&exit.unreachable);
            if let Some(message) = &exit.message {
                eprintln!("Error: {message}");
            }
            exit.code
        }
    };
    if std::io::stdout().flush().is_err() { Exit::BROKEN_PIPE } else { code }
}

fn dispatch(root: &'static Command, words: &[Bytes]) -> Result<(), Exit> {
    if completion::serve(root, words)? {
        return Ok(());
    }
    let (path, rest) = parse::find(root, words);
    let command = *path.last().expect("the root at least");
    if let (true, Some(unknown)) = (path.len() == 1, parse::strip_flags(&rest, &path).first()) {
        eprintln!("Error: {}", unknown_command(root, unknown));
        eprintln!("Run '{} --help' for usage.", root.name());
        return Err(Exit::silent(1));
    }
    let usage_error = |message: String| {
        eprintln!("Error: {message}\n{}", help::usage(&path));
        Exit::silent(1)
    };
    let words = parse(&rest, &flags_of(&path)).map_err(usage_error)?;
    let Some(run) = command.run.filter(|_| !words.flags.bool("help")) else {
        return crate::exit::print(help::help(&path).as_bytes());
    };
    check_one_of(&path, &words).map_err(usage_error)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Exit::error)?;
    let result = runtime.block_on(run(Invocation { path, words }));
    // A thread may still wait for standard input; the process does not wait for the thread.
    runtime.shutdown_background();
    result
}

/// The help about the command that `words` name, or a complaint with the usage of the whole.
pub fn help_about(root: &'static Command, words: &[Bytes]) -> Result<String, String> {
    let (path, rest) = parse::find(root, words);
    if path.len() == 1 && !rest.is_empty() {
        let words: Vec<String> = words.iter().map(|word| format!("`{}`", String::from_utf8_lossy(word))).collect();
        return Err(format!("Unknown help topic [{}]\n{}", words.join(" "), help::usage(&path)));
    }
    Ok(help::help(&path))
}

/// The usage of a command that is called from within another.
pub fn usage_alone(command: &'static Command) -> String {
    help::usage(&vec![command])
}

/// All flags that a command understands.
pub(crate) fn flags_of(path: &[&'static Command]) -> Vec<&'static Flag> {
    let own = path.last().map_or(&[][..], |command| command.flags);
    let inherited = path.iter().flat_map(|command| command.persistent);
    own.iter().chain(inherited).chain([&flag::HELP]).collect()
}

fn check_one_of(path: &[&'static Command], words: &Words) -> Result<(), String> {
    let command = path.last().expect("the root at least");
    if command.one_of.is_empty() {
        return Ok(());
    }
    let [word] = &words.args[..] else {
        return Err(format!("accepts 1 arg(s), received {}", words.args.len()));
    };
    if command.one_of.iter().any(|allowed| allowed.as_bytes() == word) {
        return Ok(());
    }
    Err(format!("invalid argument {} for {}", quote(word), quote(path_text(path).as_bytes())))
}

fn unknown_command(root: &'static Command, word: &[u8]) -> String {
    let mut text = format!("unknown command {} for {}", quote(word), quote(root.name().as_bytes()));
    let typed = String::from_utf8_lossy(word).to_lowercase();
    let close: Vec<&str> = help::listed(root)
        .map(|command| command.name())
        .filter(|name| distance(&typed, name) <= 2 || name.starts_with(&typed))
        .collect();
    if !close.is_empty() {
        text.push_str("\n\nDid you mean this?\n");
        close.iter().for_each(|name| text.push_str(&format!("\t{name}\n")));
    }
    text
}

/// How many letters have to be changed, added or left out to get from one word to the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_as_far_apart_as_letters_have_to_change() {
        for (a, b, apart) in [("gett", "get", 1), ("teg", "get", 2), ("", "get", 3), ("kitten", "sitting", 3)] {
            assert_eq!(distance(a, b), apart, "{a} {b}");
        }
    }

    #[test]
    fn unknown_commands_name_those_that_are_close() {
        static GET: Command = Command { usage: "get <key>", ..Command::NONE };
        static PUT: Command = Command { usage: "put", ..Command::NONE };
        static ROOT: Command = Command { usage: "ctl", commands: &[&GET, &PUT], ..Command::NONE };
        let close = "unknown command \"gett\" for \"ctl\"\n\nDid you mean this?\n\tget\n";
        assert_eq!(unknown_command(&ROOT, b"gett"), close);
        assert_eq!(unknown_command(&ROOT, b"nosuch"), "unknown command \"nosuch\" for \"ctl\"");
    }
}
