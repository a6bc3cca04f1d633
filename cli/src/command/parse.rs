//! Which command is meant, and with which flags and words.
//!
//! Words are looked at twice, as by Cobra: first for the names of commands, when the flags of a command further down are not known yet, so that an
//! unknown flag is taken to be followed by its value; then for the flags of the command that was found.

use bytes::Bytes;

use super::flag::{Flag, Flags, Kind};
use super::{Command, Path, flags_of};
use crate::go::quote::quote;

/// What a command was given.
#[derive(Clone, Debug)]
pub struct Words {
    /// Its flags.
    pub flags: Flags,
    /// All other words.
    pub args: Vec<Bytes>,
    /// How many of them came before `--`, if it was there.
    pub dash: Option<usize>,
}

/// The command that `words` name, and the words without its name and those of the commands above it.
pub(super) fn find(root: &'static Command, words: &[Bytes]) -> (Path, Vec<Bytes>) {
    let (mut path, mut rest) = (vec![root], words.to_vec());
    while let Some(name) = strip_flags(&rest, &path).first() {
        let command = path.last().expect("the root at least");
        let Some(next) = find_among(super::help::listed(command), name) else { break };
        rest = without(&rest, name, &path);
        path.push(next);
    }
    (path, rest)
}

/// The command called `name`, or the only one whose name starts like that.
pub fn find_among(commands: impl Iterator<Item = &'static Command>, name: &[u8]) -> Option<&'static Command> {
    let mut like: Vec<&'static Command> = Vec::new();
    for command in commands {
        if command.name().as_bytes() == name {
            return Some(command);
        }
        if command.name().as_bytes().starts_with(name) {
            like.push(command);
        }
    }
    (like.len() == 1).then(|| like[0])
}

/// What a word is before it is known which command's flags count.
enum Look {
    /// `--`.
    End,
    /// A flag that the next word belongs to.
    TakesNext,
    /// A flag that stands alone.
    Alone,
    Positional,
}

fn look(word: &[u8], flags: &[&'static Flag]) -> Look {
    let stands_alone = |flag: Option<&&'static Flag>| flag.is_some_and(|flag| flag.kind == Kind::Bool);
    // Help is not among the flags yet when commands are looked for.
    let mut flags = flags.iter().filter(|flag| flag.name != "help");
    match word {
        b"--" => Look::End,
        [b'-', b'-', name @ ..] if !name.contains(&b'=') => {
            let flag = flags.find(|flag| flag.name.as_bytes() == name);
            if stands_alone(flag) { Look::Alone } else { Look::TakesNext }
        }
        [b'-', letter] if *letter != b'=' => {
            let flag = flags.find(|flag| flag.letter == Some(char::from(*letter)));
            if stands_alone(flag) { Look::Alone } else { Look::TakesNext }
        }
        [b'-', ..] | [] => Look::Alone,
        _ => Look::Positional,
    }
}

/// The positional words.
pub(super) fn strip_flags(words: &[Bytes], path: &[&'static Command]) -> Vec<Bytes> {
    let flags = flags_of(path);
    let mut positional = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match look(word, &flags) {
            Look::End => break,
            Look::TakesNext if words.len() <= 1 => break,
            Look::TakesNext => drop(words.next()),
            Look::Alone => {}
            Look::Positional => positional.push(word.clone()),
        }
    }
    positional
}

/// `words` without the first that is `name` and not a flag's value.
fn without(words: &[Bytes], name: &[u8], path: &[&'static Command]) -> Vec<Bytes> {
    let flags = flags_of(path);
    let mut at = 0;
    while at < words.len() {
        match look(&words[at], &flags) {
            Look::End => break,
            Look::TakesNext => at += 1,
            Look::Positional if words[at] == name => {
                return [&words[..at], &words[at + 1..]].concat();
            }
            Look::Alone | Look::Positional => {}
        }
        at += 1;
    }
    words.to_vec()
}

/// Takes the flags out of `words`. Flags and other words may come in any order; `--` ends the flags.
pub fn parse(words: &[Bytes], flags: &[&'static Flag]) -> Result<Words, String> {
    let mut parsed = Words { flags: Flags::new(flags), args: Vec::new(), dash: None };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match &word[..] {
            b"--" => {
                parsed.dash = Some(parsed.args.len());
                parsed.args.extend(words.by_ref().cloned());
            }
            [b'-', b'-', long @ ..] => parse_long(&mut parsed.flags, long, flags, &mut words)?,
            [b'-', letters @ ..] if !letters.is_empty() => {
                parse_letters(&mut parsed.flags, letters, flags, &mut words)?
            }
            _ => parsed.args.push(word.clone()),
        }
    }
    Ok(parsed)
}

type Rest<'a> = std::slice::Iter<'a, Bytes>;

fn parse_long(parsed: &mut Flags, long: &[u8], flags: &[&'static Flag], words: &mut Rest<'_>) -> Result<(), String> {
    let text = String::from_utf8_lossy(long);
    if text.starts_with(['-', '=']) {
        return Err(format!("bad flag syntax: --{text}"));
    }
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_string())),
        None => (&text[..], None),
    };
    let flag = flags.iter().find(|flag| flag.name == name).ok_or_else(|| format!("unknown flag: --{name}"))?;
    let value = match value {
        Some(value) => value,
        None if flag.kind == Kind::Bool => "true".to_string(),
        None => next_text(words).ok_or_else(|| format!("flag needs an argument: --{name}"))?,
    };
    parsed.set(flag, flag.parse(&value)?);
    Ok(())
}

fn parse_letters(
    parsed: &mut Flags,
    letters: &[u8],
    flags: &[&'static Flag],
    words: &mut Rest<'_>,
) -> Result<(), String> {
    let mut letters = letters;
    while let Some((&letter, rest)) = letters.split_first() {
        let called = || format!("{} in -{}", quote_char(letter), String::from_utf8_lossy(letters));
        let flag = flags.iter().find(|flag| flag.letter == Some(char::from(letter)));
        let flag = flag.ok_or_else(|| format!("unknown shorthand flag: {}", called()))?;
        let value = match rest {
            [b'=', value @ ..] if !value.is_empty() => Some(value),
            _ if flag.kind == Kind::Bool => None,
            [] => {
                let value = next_text(words).ok_or_else(|| format!("flag needs an argument: {}", called()))?;
                parsed.set(flag, flag.parse(&value)?);
                return Ok(());
            }
            value => Some(value),
        };
        match value {
            Some(value) => {
                parsed.set(flag, flag.parse(&String::from_utf8_lossy(value))?);
                return Ok(());
            }
            None => parsed.set(flag, flag.parse("true")?),
        }
        letters = rest;
    }
    Ok(())
}

fn next_text(words: &mut Rest<'_>) -> Option<String> {
    words.next().map(|word| String::from_utf8_lossy(word).into_owned())
}

/// Go's `%q` of one byte.
fn quote_char(byte: u8) -> String {
    match byte {
        b'\'' => r"'\''".to_string(),
        b'"' => "'\"'".to_string(),
        _ => {
            let text = quote(char::from(byte).to_string().as_bytes());
            format!("'{}'", &text[1..text.len() - 1])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static FORMAT: Flag = Flag::text("write-out", "simple", "").letter('w');
    static LIST: Flag = Flag::new(Kind::Texts, "list", "x", "");
    static PREFIX: Flag = Flag::bool("prefix", "").letter('p');
    static REV: Flag = Flag::int("rev", "");
    static GET: Command = Command { usage: "get", flags: &[PREFIX, REV], ..Command::NONE };
    static GRANT: Command = Command { usage: "grant", ..Command::NONE };
    static LEASE: Command = Command { usage: "lease", commands: &[&GRANT], ..Command::NONE };
    static LOCK: Command = Command { usage: "lock", ..Command::NONE };
    static ROOT: Command =
        Command { usage: "ctl", persistent: &[FORMAT, LIST], commands: &[&GET, &LEASE, &LOCK], ..Command::NONE };

    fn words(line: &str) -> Vec<Bytes> {
        line.split_whitespace().map(|word| word.to_string().into()).collect()
    }

    #[test]
    fn commands_are_found_among_flags() {
        for (line, path, rest) in [
            ("get a", "ctl get", "a"),
            ("-w json get a", "ctl get", "-w json a"),
            ("-wjson get a", "ctl get", "-wjson a"),
            ("--write-out=get get a", "ctl get", "--write-out=get a"),
            ("-w get get a", "ctl get", "-w get a"),
            ("--rev 5 get a", "ctl get", "--rev 5 a"),
            ("--prefix get a", "ctl", "--prefix get a"),
            ("--prefix=true get a", "ctl get", "--prefix=true a"),
            ("g a", "ctl get", "a"),
            ("l", "ctl", "l"),
            ("le g 5", "ctl lease grant", "5"),
            ("lease foo", "ctl lease", "foo"),
            ("get --prefix get", "ctl get", "--prefix get"),
            ("Get a", "ctl", "Get a"),
            ("-- get a", "ctl", "-- get a"),
        ] {
            let (found, left) = find(&ROOT, &words(line));
            assert_eq!((super::super::path_text(&found).as_str(), left), (path, words(rest)), "{line}");
        }
    }

    #[test]
    fn flags_are_taken_from_anywhere() {
        let flags = [&FORMAT, &LIST, &PREFIX, &REV];
        for (line, shown, args, dash) in [
            ("a --rev 5 b -p", "simple [x] true 5", "a b", None),
            ("--rev=0x10 - a", "simple [x] false 16", "- a", None),
            ("-pw json", "json [x] true 0", "", None),
            ("-pwjson", "json [x] true 0", "", None),
            ("-pw=json -p=false", "json [x] false 0", "", None),
            ("--list a,b --list c a", "simple [a,b,c] false 0", "a", None),
            ("a -- -p --rev", "simple [x] false 0", "a -p --rev", Some(1)),
        ] {
            let parsed = parse(&words(line), &flags).unwrap();
            let found = ["write-out", "list", "prefix", "rev"].map(|name| parsed.flags.show(name)).join(" ");
            assert_eq!((found.as_str(), parsed.args, parsed.dash), (shown, words(args), dash), "{line}");
        }
    }

    #[test]
    fn bad_flags_are_named() {
        for (line, message) in [
            ("--nosuch", "unknown flag: --nosuch"),
            ("--nosuch=5", "unknown flag: --nosuch"),
            ("-pz", "unknown shorthand flag: 'z' in -z"),
            ("-zp", "unknown shorthand flag: 'z' in -zp"),
            ("--rev", "flag needs an argument: --rev"),
            ("-w", "flag needs an argument: 'w' in -w"),
            ("---x", "bad flag syntax: ---x"),
            ("--=x", "bad flag syntax: --=x"),
            ("--rev x", "invalid argument \"x\" for \"--rev\" flag: strconv.ParseInt: parsing \"x\": invalid syntax"),
        ] {
            assert_eq!(parse(&words(line), &[&FORMAT, &PREFIX, &REV]).unwrap_err(), message, "{line}");
        }
    }
}
