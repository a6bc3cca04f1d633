//! Commands that a user wants run, and what they come to, in Go's words.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus, Stdio};

use bytes::Bytes;

use crate::go::quote::quote;

/// Why a command did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It could not be started.
    NotStarted(String),
    /// It ended with a code.
    Code(i32),
    /// A signal ended it.
    Signal(i32),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::NotStarted(reason) => f.write_str(reason),
            Failure::Code(code) => write!(f, "exit status {code}"),
            Failure::Signal(signal) => write!(f, "signal: {}", signal_name(*signal)),
        }
    }
}

/// A command with `variables` set, that shares our output and has no input.
pub fn command(words: &[Bytes], variables: &[(&str, String)]) -> Command {
    let mut command = Command::new(OsStr::from_bytes(&words[0]));
    command.args(words[1..].iter().map(|word| OsStr::from_bytes(word)));
    command.envs(variables.iter().map(|(name, value)| (name, value))).stdin(Stdio::null());
    command
}

/// Runs a command on a thread of its own, so that everything else goes on.
pub async fn run(mut command: Command) -> Result<(), Failure> {
    let name = command.get_program().as_bytes().to_vec();
    let status = tokio::task::spawn_blocking(move || command.status()).await;
    match status.map_err(std::io::Error::other).and_then(|status| status) {
        Ok(status) => outcome(status),
        Err(error) => Err(Failure::NotStarted(not_started(&name, &error))),
    }
}

fn outcome(status: ExitStatus) -> Result<(), Failure> {
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(()),
        (Some(code), _) => Err(Failure::Code(code)),
        (None, signal) => Err(Failure::Signal(signal.unwrap_or_default())),
    }
}

fn not_started(name: &[u8], error: &std::io::Error) -> String {
    let reason = match error.kind() {
        std::io::ErrorKind::NotFound if !name.contains(&b'/') => {
            return format!("exec: {}: executable file not found in $PATH", quote(name));
        }
        std::io::ErrorKind::NotFound => "no such file or directory".to_string(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_string(),
        _ => error.to_string(),
    };
    format!("fork/exec {}: {reason}", String::from_utf8_lossy(name))
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        1 => "hangup",
        2 => "interrupt",
        3 => "quit",
        6 => "aborted",
        9 => "killed",
        11 => "segmentation fault",
        13 => "broken pipe",
        14 => "alarm clock",
        15 => "terminated",
        other => return format!("signal {other}"),
    };
    name.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_as_go_tells_them() {
        for (script, failure) in
            [("exit 0", None), ("exit 3", Some("exit status 3")), ("kill -9 $$", Some("signal: killed"))]
        {
            let words = ["sh", "-c", script].map(Bytes::from);
            let found = outcome(command(&words, &[]).status().unwrap());
            assert_eq!(found.err().map(|failure| failure.to_string()).as_deref(), failure, "{script}");
        }
        for (name, text) in [
            ("no-such-command", "exec: \"no-such-command\": executable file not found in $PATH"),
            ("/no/such", "fork/exec /no/such: no such file or directory"),
        ] {
            let error = command(&[name.into()], &[]).status().unwrap_err();
            assert_eq!(not_started(name.as_bytes(), &error), text);
        }
    }
}
