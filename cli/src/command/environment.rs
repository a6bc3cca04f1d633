//! Flags given by environment variables: `ETCDCTL_WRITE_OUT` for `--write-out`.

use std::ffi::OsString;

use super::{Flag, Invocation};
use crate::exit::Exit;
use crate::log;

/// The variable that sets `flag`.
fn variable(prefix: &str, flag: &Flag) -> String {
    format!("{prefix}_{}", flag.name.to_uppercase().replace('-', "_"))
}

/// Sets flags from the environment. `known` are variables with the prefix that are no flags.
/// A flag that is given both ways is an error, because nobody can say which is meant.
pub fn apply(call: &mut Invocation, prefix: &str, known: &[&str]) -> Result<(), Exit> {
    apply_from(call, prefix, known, std::env::vars_os().collect())
}

fn apply_from(call: &mut Invocation, prefix: &str, known: &[&str], all: Vec<(OsString, OsString)>) -> Result<(), Exit> {
    let inherited: Vec<&'static Flag> = call.inherited().collect();
    for (name, value) in all {
        let (name, value) = (name.to_string_lossy(), value.to_string_lossy());
        if !name.starts_with(&format!("{prefix}_")) || known.contains(&&*name) {
            continue;
        }
        match inherited.iter().find(|flag| variable(prefix, flag) == name) {
            Some(flag) if call.words.flags.given(flag.name) => {
                log::line(log::Level::Fatal, "flags/flag.go:86", SHADOWED, &[("environment-variable", &name)]);
                return Err(Exit::silent(1));
            }
            // Nobody complains about a value that cannot be read, in etcd.
            Some(flag) if !value.is_empty() => {
                let value = flag.parse(&value).unwrap_or_else(|_| flag.zero());
                call.words.flags.set(flag, value);
            }
            _ => {
                let text = format!("{name}={value}");
                log::line(log::Level::Warn, "flags/flag.go:94", UNRECOGNIZED, &[("environment-variable", &text)]);
            }
        }
    }
    Ok(())
}

const SHADOWED: &str = "conflicting environment variable is shadowed by corresponding command-line flag \
                        (either unset environment variable or disable flag))";
const UNRECOGNIZED: &str = "unrecognized environment variable";

/// The settings as variables, one a line, by the flag's name.
pub fn show(call: &Invocation, prefix: &str) -> String {
    let mut flags: Vec<&'static Flag> = call.inherited().collect();
    flags.sort_by_key(|flag| flag.name);
    flags.iter().map(|flag| format!("{}={}\n", variable(prefix, flag), call.flags().show(flag.name))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Command, Words, parse};

    static FORMAT: Flag = Flag::text("write-out", "simple", "");
    static LIMIT: Flag = Flag::int("a-limit", "");
    static OWN: Flag = Flag::bool("own", "");
    static GET: Command = Command { usage: "get", flags: &[OWN], ..Command::NONE };
    static ROOT: Command = Command { usage: "ctl", persistent: &[FORMAT, LIMIT], commands: &[&GET], ..Command::NONE };

    fn call(words: &[&str]) -> Invocation {
        let words: Vec<bytes::Bytes> = words.iter().map(|word| word.to_string().into()).collect();
        let words: Words = parse(&words, &[&FORMAT, &LIMIT, &OWN]).unwrap();
        Invocation { path: vec![&ROOT, &GET], words }
    }

    fn apply_to(call: &mut Invocation, variables: &[(&str, &str)]) -> Result<(), Exit> {
        let variables = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
        apply_from(call, "CTL", &["CTL_KNOWN"], variables)
    }

    #[test]
    fn global_flags_can_come_from_the_environment() {
        for (variables, shown) in [
            (&[("CTL_WRITE_OUT", "json"), ("CTL_A_LIMIT", "5")][..], "CTL_A_LIMIT=5\nCTL_WRITE_OUT=json\n"),
            (&[("CTL_A_LIMIT", "x")], "CTL_A_LIMIT=0\nCTL_WRITE_OUT=simple\n"),
            (&[("CTL_WRITE_OUT", ""), ("CTL_OWN", "true"), ("CTL_KNOWN", "")], "CTL_A_LIMIT=0\nCTL_WRITE_OUT=simple\n"),
        ] {
            let mut call = call(&[]);
            apply_to(&mut call, variables).unwrap();
            assert_eq!(show(&call, "CTL"), shown);
            assert!(!call.flags().bool("own"), "a command's own flags have no variable");
        }
    }

    #[test]
    fn flag_and_variable_together_are_an_error_even_if_they_agree() {
        let mut call = call(&["--a-limit=5"]);
        assert_eq!(apply_to(&mut call, &[("CTL_A_LIMIT", "5")]).unwrap_err().code, 1);
        assert_eq!(apply_to(&mut call, &[("CTL_A_LIMIT", "")]).unwrap_err().code, 1);
    }
}
