//! Flags: their definition, and the values given for them.

use std::time::Duration;

use crate::go::duration::GoDuration;
use crate::go::number::{parse_bool, parse_int, parse_uint};
use crate::go::quote::quote;

/// What a flag's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// True or false; without a value it is true.
    Bool,
    /// A whole number.
    Int,
    /// A whole number that is not negative.
    Uint,
    /// A span of time.
    Duration,
    /// Text.
    Text,
    /// Texts, separated by commas; a repeated flag adds to them.
    Texts,
}

/// A flag, written once.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// Its long name.
    pub name: &'static str,
    /// Its letter, if it has one.
    pub letter: Option<char>,
    /// What its value is.
    pub kind: Kind,
    /// The value if it is not given, as one would write it.
    pub default: &'static str,
    /// What it is for.
    pub help: &'static str,
}

/// The flag that every command has.
pub(crate) static HELP: Flag = Flag::bool("help", "help").letter('h');

impl Flag {
    /// A flag of any kind.
    pub const fn new(kind: Kind, name: &'static str, default: &'static str, help: &'static str) -> Flag {
        Flag { name, letter: None, kind, default, help }
    }

    /// A flag that is off if it is not given.
    pub const fn bool(name: &'static str, help: &'static str) -> Flag {
        Flag::new(Kind::Bool, name, "false", help)
    }

    /// A number that is 0 if it is not given.
    pub const fn int(name: &'static str, help: &'static str) -> Flag {
        Flag::new(Kind::Int, name, "0", help)
    }

    /// A text.
    pub const fn text(name: &'static str, default: &'static str, help: &'static str) -> Flag {
        Flag::new(Kind::Text, name, default, help)
    }

    /// The same flag with a letter.
    pub const fn letter(self, letter: char) -> Flag {
        Flag { letter: Some(letter), ..self }
    }

    /// How messages call it.
    fn called(&self) -> String {
        match self.letter {
            Some(letter) => format!("-{letter}, --{}", self.name),
            None => format!("--{}", self.name),
        }
    }

    /// What `text` means as its value; the error is pflag's.
    pub(crate) fn parse(&self, text: &str) -> Result<Value, String> {
        let value = match self.kind {
            Kind::Bool => parse_bool(text).map(Value::Bool),
            Kind::Int => parse_int(text, None).map(Value::Int),
            Kind::Uint => parse_uint(text, None).map(Value::Uint),
            Kind::Duration => GoDuration::parse(text).map(Value::Duration),
            Kind::Text => Ok(Value::Text(text.to_string())),
            Kind::Texts => Ok(Value::Texts(split_csv(text))),
        };
        value.map_err(|reason| {
            format!(
                "invalid argument {} for {} flag: {reason}",
                quote(text.as_bytes()),
                quote(self.called().as_bytes())
            )
        })
    }

    /// What a value that cannot be read counts as in the environment, where nobody complains about it.
    pub(crate) fn zero(&self) -> Value {
        match self.kind {
            Kind::Bool => Value::Bool(false),
            Kind::Int => Value::Int(0),
            Kind::Uint => Value::Uint(0),
            Kind::Duration => Value::Duration(GoDuration(0)),
            Kind::Text => Value::Text(String::new()),
            Kind::Texts => Value::Texts(Vec::new()),
        }
    }
}

/// The value of a flag.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Of [`Kind::Bool`].
    Bool(bool),
    /// Of [`Kind::Int`].
    Int(i64),
    /// Of [`Kind::Uint`].
    Uint(u64),
    /// Of [`Kind::Duration`].
    Duration(GoDuration),
    /// Of [`Kind::Text`].
    Text(String),
    /// Of [`Kind::Texts`].
    Texts(Vec<String>),
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Value::Bool(value) => value.fmt(f),
            Value::Int(value) => value.fmt(f),
            Value::Uint(value) => value.fmt(f),
            Value::Duration(value) => value.fmt(f),
            Value::Text(value) => value.fmt(f),
            Value::Texts(values) => write!(f, "[{}]", values.join(",")),
        }
    }
}

/// One line of comma-separated values; in double quotes a comma is part of the value, and two quotes are one.
fn split_csv(text: &str) -> Vec<String> {
    let mut fields = Vec::new();
    let mut chars = text.chars().peekable();
    while chars.peek().is_some() {
        let mut field = String::new();
        let quoted = chars.next_if_eq(&'"').is_some();
        while let Some(c) = chars.next() {
            match c {
                '"' if quoted && chars.next_if_eq(&'"').is_none() => break,
                ',' if !quoted => {
                    // Behind the last comma there is an empty field.
                    if chars.peek().is_none() {
                        fields.push(std::mem::take(&mut field));
                    }
                    break;
                }
                c => field.push(c),
            }
        }
        if quoted && chars.next_if_eq(&',').is_some() && chars.peek().is_none() {
            fields.push(std::mem::take(&mut field));
        }
        fields.push(field);
    }
    fields
}

#[derive(Clone, Debug)]
struct Setting {
    flag: &'static Flag,
    value: Value,
    given: bool,
}

/// The values of all flags of a command.
#[derive(Clone, Debug)]
pub struct Flags(Vec<Setting>);

macro_rules! read {
    ($(#[$doc:meta])* $name:ident, $variant:ident, $from:ident => $value:expr, $type:ty) => {
        $(#[$doc])*
        pub fn $name(&self, name: &str) -> $type {
            match &self.setting(name).value {
                Value::$variant($from) => $value,
                other => panic!("--{name} is {other:?}, and not what it is read as"),
            }
        }
    };
}

impl Flags {
    pub(crate) fn new(flags: &[&'static Flag]) -> Flags {
        let setting = |flag: &&'static Flag| {
            let value = flag.parse(flag.default).expect("a flag's default is a value of its kind");
            Setting { flag, value, given: false }
        };
        Flags(flags.iter().map(setting).collect())
    }

    /// Asking for a flag that the command does not have is a mistake in the command.
    fn setting(&self, name: &str) -> &Setting {
        let found = self.0.iter().find(|setting| setting.flag.name == name);
        found.unwrap_or_else(|| panic!("the command has no flag --{name}"))
    }

    pub(crate) fn set(&mut self, flag: &'static Flag, value: Value) {
        let setting = self.0.iter_mut().find(|setting| setting.flag.name == flag.name).expect("a flag of this command");
        match (&mut setting.value, value) {
            (Value::Texts(values), Value::Texts(more)) if setting.given => values.extend(more),
            (place, value) => *place = value,
        }
        setting.given = true;
    }

    /// Whether the flag was given.
    pub fn given(&self, name: &str) -> bool {
        self.setting(name).given
    }

    /// The flag's value, to be shown.
    pub fn show(&self, name: &str) -> String {
        self.setting(name).value.to_string()
    }

    read!(/// The value of a truth flag.
        bool, Bool, value => *value, bool);
    read!(/// The value of a number.
        int, Int, value => *value, i64);
    read!(/// The value of a number that is not negative.
        uint, Uint, value => *value, u64);
    read!(/// The value of a span of time; a negative one is none.
        duration, Duration, value => value.to_std(), Duration);
    read!(/// The value of a text.
        text, Text, value => value, &str);
    read!(/// The values of a list of texts.
        texts, Texts, values => values, &[String]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_split_at_commas_that_are_not_quoted() {
        for (text, fields) in [
            ("", &[][..]),
            ("a", &["a"]),
            ("a,b", &["a", "b"]),
            (",", &["", ""]),
            ("a,", &["a", ""]),
            (r#""a,b",c"#, &["a,b", "c"]),
            (r#""a""b""#, &["a\"b"]),
            (r#""a","#, &["a", ""]),
        ] {
            assert_eq!(split_csv(text), fields, "{text}");
        }
    }

    #[test]
    fn bad_values_are_named_with_the_flag() {
        static FORMAT: Flag = Flag::int("write-out", "").letter('w');
        assert_eq!(
            FORMAT.parse("x").unwrap_err(),
            r#"invalid argument "x" for "-w, --write-out" flag: strconv.ParseInt: parsing "x": invalid syntax"#
        );
    }
}
