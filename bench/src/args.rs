//! The command line: flags are written once, in tables, and read by the rules of Go's pflag, as etcd's tool does.
//!
//! ```text
//! words ──▶ find the command ──▶ its table + the global table ──▶ Args: flag values and positional words
//! ```
//!
//! Flags may stand anywhere, `--` ends them, the last value of a scalar wins, and the first value of a list replaces the default.

use std::collections::HashMap;
use std::time::Duration;

/// What the value of a flag is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Bool,
    Int,
    Uint,
    Float,
    Text,
    List,
    Duration,
}

/// A flag: parsing and help follow from this line.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    pub name: &'static str,
    pub kind: Kind,
    pub default: &'static str,
    pub help: &'static str,
}

/// A line of a flag table.
pub const fn flag(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Flag {
    Flag { name, kind, default, help }
}

/// A command of the program.
#[derive(Clone, Copy, Debug)]
pub struct Command {
    pub name: &'static str,
    pub arguments: &'static str,
    pub about: &'static str,
    pub flags: &'static [Flag],
}

/// Flags that every command has.
pub const GLOBAL: &[Flag] = &[
    flag("endpoints", Kind::List, "127.0.0.1:2379", "addresses of the servers"),
    flag("conns", Kind::Uint, "1", "number of connections"),
    flag(
        "clients",
        Kind::Uint,
        "1",
        "number of clients, each with one request at a time; client i uses connection i mod conns",
    ),
    flag("precise", Kind::Bool, "false", "print numbers in full"),
    flag("sample", Kind::Bool, "false", "append a time series, one line a second"),
    flag("dial-timeout", Kind::Duration, "0s", "how long connecting may take (0: no limit)"),
];

/// What the command line said.
#[derive(Debug)]
pub struct Args {
    values: HashMap<&'static str, Vec<String>>,
    pub words: Vec<String>,
}

/// Why there is nothing to run.
#[derive(Debug, PartialEq, Eq)]
pub enum ArgsError {
    /// Help was asked for, of a command or of the program.
    Help(Option<&'static str>),
    Wrong(String),
}

/// Finds the command and reads its flags.
pub fn parse(words: &[String], commands: &'static [Command]) -> Result<(&'static Command, Args), ArgsError> {
    let wrong = |text: String| Err(ArgsError::Wrong(text));
    let every = |name: &str| commands.iter().flat_map(|c| c.flags).chain(GLOBAL).find(|f| f.name == name);
    let mut command = None;
    let mut given: Vec<(String, Option<String>)> = Vec::new();
    let mut positional = Vec::new();
    let mut rest = words.iter();
    let mut help = false;
    while let Some(word) = rest.next() {
        if word == "--" {
            positional.extend(rest.by_ref().cloned());
        } else if let Some(body) = word.strip_prefix("--") {
            let (name, value) = match body.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (body, None),
            };
            if name == "help" {
                help = true;
                continue;
            }
            let Some(flag) = every(name) else { return wrong(format!("unknown flag: --{name}")) };
            let value = match value {
                None if flag.kind != Kind::Bool => match rest.next() {
                    Some(next) => Some(next.clone()),
                    None => return wrong(format!("flag needs an argument: --{name}")),
                },
                value => value,
            };
            given.push((name.to_owned(), value));
        } else if word == "-h" {
            help = true;
        } else if word.len() > 1 && word.starts_with('-') {
            let letter = word.chars().nth(1).unwrap_or_default();
            return wrong(format!("unknown shorthand flag: '{letter}' in {word}"));
        } else if command.is_none() {
            match commands.iter().find(|c| c.name == word) {
                Some(found) => command = Some(found),
                None if word == "help" => help = true,
                None => return wrong(format!("unknown command \"{word}\" for \"benchmark\"")),
            }
        } else {
            positional.push(word.clone());
        }
    }
    let Some(command) = command.filter(|_| !help) else { return Err(ArgsError::Help(command.map(|c| c.name))) };
    let mut values: HashMap<&'static str, Vec<String>> = HashMap::new();
    for (name, value) in given {
        let Some(flag) = command.flags.iter().chain(GLOBAL).find(|f| f.name == name) else {
            return wrong(format!("unknown flag: --{name}"));
        };
        let value = value.unwrap_or_else(|| "true".to_owned());
        if let Err(reason) = check(flag.kind, &value) {
            return wrong(format!("invalid argument \"{value}\" for \"--{name}\" flag: {reason}"));
        }
        let slot = values.entry(flag.name).or_default();
        match flag.kind {
            Kind::List => slot.extend(value.split(',').map(str::to_owned)),
            _ => *slot = vec![value],
        }
    }
    for flag in command.flags.iter().chain(GLOBAL) {
        values.entry(flag.name).or_insert_with(|| match flag.kind {
            Kind::List if flag.default.is_empty() => Vec::new(),
            Kind::List => flag.default.split(',').map(str::to_owned).collect(),
            _ => vec![flag.default.to_owned()],
        });
    }
    Ok((command, Args { values, words: positional }))
}

fn check(kind: Kind, value: &str) -> Result<(), String> {
    let syntax = |function: &str| Err(format!("strconv.{function}: parsing \"{value}\": invalid syntax"));
    match kind {
        Kind::Bool if boolean(value).is_none() => syntax("ParseBool"),
        Kind::Int if value.parse::<i64>().is_err() => syntax("ParseInt"),
        Kind::Uint if value.parse::<u64>().is_err() => syntax("ParseUint"),
        Kind::Float if value.parse::<f64>().is_err() => syntax("ParseFloat"),
        Kind::Duration => duration(value).map(|_| ()),
        _ => Ok(()),
    }
}

fn boolean(value: &str) -> Option<bool> {
    match value {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// A Go duration that is not negative: `1h2m3.5s`, `100ms`, `0`.
pub fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let invalid = || format!("time: invalid duration \"{text}\"");
    let mut seconds = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().map_err(|_| invalid())?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        seconds += number
            * match &rest[..unit] {
                "ns" => 1e-9,
                "us" | "µs" | "μs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                "" => return Err(format!("time: missing unit in duration \"{text}\"")),
                other => return Err(format!("time: unknown unit \"{other}\" in duration \"{text}\"")),
            };
        rest = &rest[unit..];
    }
    if text.is_empty() {
        return Err(invalid());
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| invalid())
}

/// Values were checked when they were read, so that a failure here is a flag missing from a table.
impl Args {
    fn last(&self, name: &str) -> &str {
        self.values.get(name).and_then(|v| v.last()).unwrap_or_else(|| panic!("no flag --{name} in the tables"))
    }

    pub fn on(&self, name: &str) -> bool {
        boolean(self.last(name)).expect("checked")
    }

    pub fn uint(&self, name: &str) -> u64 {
        self.last(name).parse().expect("checked")
    }

    pub fn int(&self, name: &str) -> i64 {
        self.last(name).parse().expect("checked")
    }

    pub fn float(&self, name: &str) -> f64 {
        self.last(name).parse().expect("checked")
    }

    pub fn text(&self, name: &str) -> &str {
        self.last(name)
    }

    pub fn list(&self, name: &str) -> &[String] {
        &self.values[name]
    }

    pub fn duration(&self, name: &str) -> Duration {
        duration(self.last(name)).expect("checked")
    }
}

/// The help text of the program, or of one command.
pub fn help(commands: &[Command], name: Option<&str>) -> String {
    let mut text = String::new();
    let table = |text: &mut String, flags: &[Flag]| {
        for flag in flags {
            let kind = match flag.kind {
                Kind::Bool => String::new(),
                kind => format!(" {}", format!("{kind:?}").to_lowercase()),
            };
            let default = match flag.default {
                "" | "false" | "0" | "0s" => String::new(),
                value => format!(" (default {value})"),
            };
            text.push_str(&format!("      --{:<28} {}{default}\n", format!("{}{kind}", flag.name), flag.help));
        }
    };
    match commands.iter().find(|c| Some(c.name) == name) {
        Some(command) => {
            text.push_str(&format!(
                "{}\n\nUsage:\n  benchmark {} {} [flags]\n",
                command.about, command.name, command.arguments
            ));
            text.push_str("\nFlags:\n");
            table(&mut text, command.flags);
        }
        None => {
            text.push_str("benchmark puts load on an etcd server and measures it.\n\nUsage:\n  benchmark [command]\n\nAvailable Commands:\n");
            for command in commands {
                text.push_str(&format!("  {:<16} {}\n", command.name, command.about));
            }
        }
    }
    text.push_str("\nGlobal Flags:\n");
    table(&mut text, GLOBAL);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMANDS: &[Command] = &[
        Command {
            name: "put",
            arguments: "",
            about: "",
            flags: &[
                flag("total", Kind::Uint, "10000", ""),
                flag("quiet", Kind::Bool, "false", ""),
                flag("what", Kind::List, "this,that", ""),
            ],
        },
        Command { name: "range", arguments: "", about: "", flags: &[flag("limit", Kind::Int, "0", "")] },
    ];

    fn read(line: &str) -> Result<(&'static str, Args), ArgsError> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        parse(&words, COMMANDS).map(|(command, args)| (command.name, args))
    }

    #[test]
    fn flags_stand_anywhere() {
        let (name, args) = read("--conns 7 put a --total=5 --quiet b -- --total").unwrap();
        assert_eq!((name, args.uint("conns"), args.uint("total"), args.on("quiet")), ("put", 7, 5, true));
        assert_eq!(args.words, ["a", "b", "--total"]);
        assert_eq!(args.list("endpoints"), ["127.0.0.1:2379"]);
        assert_eq!(args.list("what"), ["this", "that"]);
        assert_eq!(read("put --endpoints a,b --endpoints c").unwrap().1.list("endpoints"), ["a", "b", "c"]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let table = [
            ("pull", "unknown command \"pull\" for \"benchmark\""),
            ("put --nope", "unknown flag: --nope"),
            ("put --limit 1", "unknown flag: --limit"),
            ("put --total", "flag needs an argument: --total"),
            (
                "put --total=-1",
                "invalid argument \"-1\" for \"--total\" flag: strconv.ParseUint: parsing \"-1\": invalid syntax",
            ),
            (
                "put --quiet=2",
                "invalid argument \"2\" for \"--quiet\" flag: strconv.ParseBool: parsing \"2\": invalid syntax",
            ),
            (
                "put --dial-timeout 3",
                "invalid argument \"3\" for \"--dial-timeout\" flag: time: missing unit in duration \"3\"",
            ),
            ("put -x", "unknown shorthand flag: 'x' in -x"),
        ];
        for (line, expected) in table {
            assert_eq!(read(line).unwrap_err(), ArgsError::Wrong(expected.to_owned()), "{line}");
        }
        assert_eq!(read("put --help").unwrap_err(), ArgsError::Help(Some("put")));
        assert_eq!(read("").unwrap_err(), ArgsError::Help(None));
    }

    #[test]
    fn durations_are_gos() {
        for (text, millis) in [("0", 0), ("100ms", 100), ("1m1.5s", 61500), ("1h", 3_600_000)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "5", "1x", "ms", "-1s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
