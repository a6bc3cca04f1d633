//! Completion: scripts for shells, which ask the program itself what could follow (`__complete`).

use bytes::Bytes;

use super::help::listed;
use super::{Command, Kind, flags_of, parse};
use crate::exit::{self, Exit};

/// The shells there are scripts for.
pub const SHELLS: &[&str] = &["bash", "zsh", "fish", "powershell"];

/// The script for `shell`, which has to be one of [`SHELLS`].
pub fn script(program: &str, shell: &[u8]) -> String {
    let template = match shell {
        b"bash" => BASH,
        b"zsh" => ZSH,
        b"fish" => FISH,
        _ => POWERSHELL,
    };
    template.replace("PROGRAM", program)
}

const BASH: &str = r#"# bash completion for PROGRAM                              -*- shell-script -*-

__PROGRAM_complete() {
    local cur="${COMP_WORDS[COMP_CWORD]}" out
    out=$("${COMP_WORDS[0]}" __completeNoDesc "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null) || return
    COMPREPLY=($(compgen -W "$(printf '%s\n' "$out" | sed '$d')" -- "$cur"))
}
complete -o default -F __PROGRAM_complete PROGRAM
"#;

const ZSH: &str = r#"#compdef PROGRAM
compdef _PROGRAM PROGRAM

_PROGRAM() {
    local -a found
    local line
    while IFS=$'\t' read -r line about; do
        [[ $line == :* ]] && continue
        found+=("${line//:/\\:}${about:+:$about}")
    done < <("${words[1]}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)
    _describe PROGRAM found || _files
}
"#;

const FISH: &str = r#"# fish completion for PROGRAM
function __PROGRAM_complete
    set -l words (commandline -opc) (commandline -ct)
    $words[1] __complete $words[2..-1] 2>/dev/null | string match -v -r '^:\d+$'
end
complete -c PROGRAM -a '(__PROGRAM_complete)'
"#;

const POWERSHELL: &str = r#"# powershell completion for PROGRAM
Register-ArgumentCompleter -CommandName 'PROGRAM' -ScriptBlock {
    param($WordToComplete, $CommandAst, $CursorPosition)
    $Words = @($CommandAst.CommandElements | Select-Object -Skip 1 | ForEach-Object { "$_" })
    if (-not $WordToComplete) { $Words += '' }
    & PROGRAM __complete @Words 2>$null | Where-Object { $_ -notmatch '^:\d+$' } | ForEach-Object {
        $Name, $About = $_ -split "`t", 2
        if (-not $About) { $About = $Name }
        [System.Management.Automation.CompletionResult]::new($Name, $Name, 'ParameterValue', $About)
    }
}
"#;

/// The values that a flag can have, where they are few.
const VALUES: &[(&str, &[&str])] = &[
    ("write-out", &["fields", "json", "protobuf", "simple", "table"]),
    ("consistency", &["l", "s"]),
    ("order", &["ASCEND", "DESCEND"]),
    ("sort-by", &["CREATE", "KEY", "MODIFY", "VALUE", "VERSION"]),
    ("load", &["s", "m", "l", "xl"]),
];

/// What a shell should do when there are no candidates: let the user name a file, or nothing.
const DEFAULT: u8 = 0;
const NO_FILES: u8 = 4;

/// Answers a shell's question, if the process was asked one.
pub(super) fn serve(root: &'static Command, words: &[Bytes]) -> Result<bool, Exit> {
    let described = match words.first().map(|word| &word[..]) {
        Some(b"__complete") => true,
        Some(b"__completeNoDesc") => false,
        _ => return Ok(false),
    };
    let (found, directive) = candidates(root, &words[1..]);
    let mut text = String::new();
    for (word, about) in found {
        text.push_str(&word);
        if described && !about.is_empty() {
            text.push_str(&format!("\t{about}"));
        }
        text.push('\n');
    }
    exit::print(format!("{text}:{directive}\n").as_bytes())?;
    eprintln!(
        "Completion ended with directive: {}",
        if directive == NO_FILES { "ShellCompDirectiveNoFileComp" } else { "ShellCompDirectiveDefault" }
    );
    Ok(true)
}

/// What could stand where the last of `words` stands, each with what it is.
fn candidates(root: &'static Command, words: &[Bytes]) -> (Vec<(String, &'static str)>, u8) {
    let Some((last, before)) = words.split_last() else { return (Vec::new(), DEFAULT) };
    let last = String::from_utf8_lossy(last);
    let (path, rest) = parse::find(root, before);
    let flags = flags_of(&path);
    let values = |name: &str, start: &str| {
        let known = VALUES.iter().find(|(flag, _)| *flag == name).map_or(&[][..], |(_, values)| values);
        let found = known.iter().filter(|value| value.starts_with(start));
        (
            found.map(|value| (value.to_string(), "")).collect::<Vec<_>>(),
            if known.is_empty() { DEFAULT } else { NO_FILES },
        )
    };
    if let Some((name, start)) = last.strip_prefix("--").and_then(|flag| flag.split_once('=')) {
        let (found, directive) = values(name, start);
        return (found.into_iter().map(|(value, about)| (format!("--{name}={value}"), about)).collect(), directive);
    }
    if last.starts_with('-') {
        let long = flags.iter().map(|flag| (format!("--{}", flag.name), flag.help));
        return (long.filter(|(name, _)| name.starts_with(&*last)).collect(), NO_FILES);
    }
    let awaited = rest.last().and_then(|word| {
        flags.iter().find(|flag| {
            flag.kind != Kind::Bool
                && (*word == format!("--{}", flag.name).as_bytes()
                    || flag.letter.is_some_and(|letter| *word == format!("-{letter}").as_bytes()))
        })
    });
    if let Some(flag) = awaited {
        return values(flag.name, &last);
    }
    let command = path.last().expect("the root at least");
    let below = listed(command).map(|command| (command.name().to_string(), command.short));
    let given = command.one_of.iter().map(|word| (word.to_string(), ""));
    let found: Vec<_> = below.chain(given).filter(|(name, _)| name.starts_with(&*last)).collect();
    let directive = if command.commands.is_empty() && command.one_of.is_empty() { DEFAULT } else { NO_FILES };
    (found, directive)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcdctl::ROOT;

    #[test]
    fn what_can_follow() {
        for (words, found) in [
            (&["le"][..], &["lease"][..]),
            (&["lease", "gr"], &["grant"]),
            (&["get", "--pre"], &["--prefix"]),
            (&["get", "--order", "D"], &["DESCEND"]),
            (&["get", "-w", "j"], &["json"]),
            (&["--write-out=ta"], &["--write-out=table"]),
            (&["completion", "b"], &["bash"]),
            (&["get", "k"], &[]),
        ] {
            let words: Vec<Bytes> = words.iter().map(|word| word.to_string().into()).collect();
            let names: Vec<String> = candidates(&ROOT, &words).0.into_iter().map(|(name, _)| name).collect();
            assert_eq!(names, found, "{words:?}");
        }
    }

    #[test]
    fn each_shell_has_a_script_about_this_program() {
        for (shell, start) in [
            ("bash", "# bash completion for etcdctl "),
            ("zsh", "#compdef etcdctl\n"),
            ("fish", "# fish completion for etcdctl"),
            ("powershell", "# powershell completion for etcdctl"),
        ] {
            let text = script("etcdctl", shell.as_bytes());
            assert!(text.starts_with(start) && !text.contains("PROGRAM"), "{text}");
        }
    }
}
