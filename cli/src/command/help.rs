//! Help and usage, from the tables.

use super::flag::{Flag, HELP, Kind};
use super::{Command, Group, Path, path_text};
use crate::go::quote::quote;

/// The commands below a command, by name.
pub(super) fn listed(command: &'static Command) -> impl Iterator<Item = &'static Command> {
    let mut commands: Vec<&'static Command> = command.commands.to_vec();
    commands.sort_by_key(|command| command.name());
    commands.into_iter()
}

/// What `--help` prints.
pub fn help(path: &Path) -> String {
    let command = path.last().expect("the root at least");
    let about = if command.long.is_empty() { command.short } else { command.long };
    let root = path[0].name();
    format!(
        "{}\n\n{}Use \"{root} options\" for a list of global command-line options (applies to all commands).\n",
        about.trim_end(),
        usage(path)
    )
}

/// How a command is used: its line, the commands below it, its flags. Global flags are left to `options`.
pub fn usage(path: &Path) -> String {
    let command = *path.last().expect("the root at least");
    let mut text = "Usage:\n".to_string();
    let above = path_text(&path[..path.len() - 1]);
    if command.run.is_some() {
        let line = format!("{above} {}", command.usage);
        let flags = if command.one_of.is_empty() { " [flags]" } else { "" };
        text.push_str(&format!("  {}{flags}\n", line.trim_start()));
    }
    if !command.commands.is_empty() {
        text.push_str(&format!("  {} [command]\n", path_text(path)));
        text.push_str(&command_lists(command, path.len() == 1));
    }
    let mut flags = vec![(HELP, format!("help for {}", command.name()))];
    let shared = path[1..].iter().flat_map(|command| command.persistent);
    flags.extend(command.flags.iter().chain(shared).map(|flag| (*flag, flag.help.to_string())));
    text.push_str(&format!("\nFlags:\n{}", flag_lines(flags)));
    if !command.commands.is_empty() {
        let path = path_text(path);
        text.push_str(&format!("\nUse \"{path} [command] --help\" for more information about a command.\n"));
    }
    text
}

fn command_lists(command: &'static Command, is_root: bool) -> String {
    let width = listed(command).map(|command| command.name().len()).max().unwrap_or(0).max(11);
    let line = |command: &'static Command| format!("  {:width$} {}\n", command.name(), command.short);
    if !is_root {
        return format!("\nAvailable Commands:\n{}", listed(command).map(line).collect::<String>());
    }
    let of_group = |(group, title)| {
        let lines: String = listed(command).filter(|command| command.group == group).map(line).collect();
        format!("\n{title}:\n{lines}")
    };
    Group::ALL.into_iter().map(of_group).collect()
}

/// One line for each flag, by name.
pub fn flag_lines(mut flags: Vec<(Flag, String)>) -> String {
    flags.sort_by_key(|(flag, _)| flag.name);
    let left = |flag: &Flag| {
        let letter = flag.letter.map_or("    ".to_string(), |letter| format!("-{letter}, "));
        format!("  {letter}--{}{}", flag.name, kind_text(flag.kind))
    };
    let width = flags.iter().map(|(flag, _)| left(flag).len()).max().unwrap_or(0);
    flags.iter().map(|(flag, help)| format!("{:width$}   {help}{}\n", left(flag), default_text(flag))).collect()
}

fn kind_text(kind: Kind) -> &'static str {
    match kind {
        Kind::Bool => "",
        Kind::Int => " int",
        Kind::Uint => " uint",
        Kind::Duration => " duration",
        Kind::Text => " string",
        Kind::Texts => " strings",
    }
}

fn default_text(flag: &Flag) -> String {
    match (flag.kind, flag.default) {
        (_, "" | "0" | "false" | "0s") => String::new(),
        (Kind::Text, text) => format!(" (default {})", quote(text.as_bytes())),
        (Kind::Texts, text) => format!(" (default [{text}])"),
        (_, text) => format!(" (default {text})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static FORMAT: Flag = Flag::text("write-out", "simple", "format").letter('w');
    static LIMIT: Flag = Flag::int("limit", "at most");
    static GET: Command = Command {
        usage: "get [options] <key>",
        short: "Gets",
        group: Group::KeyValue,
        flags: &[LIMIT],
        run: Some(|_| Box::pin(async { Ok(()) })),
        ..Command::NONE
    };
    static ROOT: Command =
        Command { usage: "ctl", short: "A client", persistent: &[FORMAT], commands: &[&GET], ..Command::NONE };

    #[test]
    fn help_of_a_command() {
        let expected = "Gets\n\nUsage:\n  ctl get [options] <key> [flags]\n\nFlags:\n  -h, --help        help for get\n      \
                        --limit int   at most\nUse \"ctl options\" for a list of global command-line options (applies to all commands).\n";
        assert_eq!(help(&vec![&ROOT, &GET]), expected);
    }

    #[test]
    fn help_of_all_commands() {
        let text = help(&vec![&ROOT]);
        assert!(
            text.starts_with("A client\n\nUsage:\n  ctl [command]\n\nKey-value commands:\n  get         Gets\n"),
            "{text}"
        );
        assert!(!text.contains("write-out"), "global flags are left out: {text}");
    }

    #[test]
    fn defaults_are_shown_unless_they_are_nothing() {
        let lines = flag_lines(vec![(LIMIT, "at most".into()), (FORMAT, "format".into())]);
        assert_eq!(
            lines,
            "      --limit int          at most\n  -w, --write-out string   format (default \"simple\")\n"
        );
    }
}
