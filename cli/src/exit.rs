//! How a command ends: an exit code, and what is printed behind `Error: `.

use std::fmt::Display;
use std::io::Write as _;

use ferrite_client::Unreachable;

/// A command's failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The exit code.
    pub code: u8,
    /// What to print; nothing if all has been said.
    pub message: Option<String>,
    /// What may have led to it: for the log.
    pub unreachable: Vec<Unreachable>,
}

impl Exit {
    /// What a process that a closed pipe has killed ends with, as Go's do.
    pub const BROKEN_PIPE: u8 = 141;

    fn new(code: u8, message: impl Display) -> Exit {
        Exit { code, message: Some(message.to_string()), unreachable: Vec::new() }
    }

    /// Failure without a word.
    pub fn silent(code: u8) -> Exit {
        Exit { code, message: None, unreachable: Vec::new() }
    }

    /// Any failure.
    pub fn error(message: impl Display) -> Exit {
        Exit::new(1, message)
    }

    /// There is no client to be had, or a lease could not be asked about.
    pub fn bad_connection(error: ferrite_client::Error) -> Exit {
        Exit::from(error).with_code(2)
    }

    /// What was read from standard input cannot be understood, or what was found is not what is needed.
    pub fn invalid_input(message: impl Display) -> Exit {
        Exit::new(3, message)
    }

    /// The command cannot do that, or not in this format.
    pub fn bad_feature(message: impl Display) -> Exit {
        Exit::new(4, message)
    }

    /// The server ended what was to go on, or a snapshot failed.
    pub fn interrupted(message: impl Display) -> Exit {
        Exit::new(5, message)
    }

    /// The words given do not fit the command.
    pub fn bad_args(message: impl Display) -> Exit {
        Exit::new(128, message)
    }

    /// A failed call, in these words.
    pub fn of_call(error: &ferrite_client::Error, message: impl Display) -> Exit {
        Exit { unreachable: error.unreachable().to_vec(), ..Exit::error(message) }
    }

    /// With another code.
    pub fn with_code(self, code: u8) -> Exit {
        Exit { code, ..self }
    }
}

impl From<ferrite_client::Error> for Exit {
    fn from(error: ferrite_client::Error) -> Exit {
        Exit::of_call(&error, &error)
    }
}

/// Writes to standard output, all of it and at once.
pub fn print(bytes: &[u8]) -> Result<(), Exit> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        // Nobody reads any more: a reason to stop, but nothing to tell.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(Exit::silent(Exit::BROKEN_PIPE)),
        Err(error) => Err(Exit::error(format!("could not write to standard output: {error}"))),
    }
}
