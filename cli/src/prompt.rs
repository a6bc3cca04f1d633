//! Questions whose answers nobody should see.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

/// Asks for a password, and reads a line without showing it if it is typed at a terminal.
pub fn password(question: &str) -> std::io::Result<String> {
    let mut out = std::io::stdout();
    out.write_all(question.as_bytes())?;
    out.flush()?;
    let mut line = String::new();
    let hidden = Hidden::new();
    std::io::stdin().lock().read_line(&mut line)?;
    drop(hidden);
    out.write_all(b"\n")?;
    out.flush()?;
    Ok(line.trim_end_matches(['\r', '\n']).to_string())
}

/// While it lives, the terminal does not show what is typed.
struct Hidden(Option<rustix::termios::Termios>);

impl Hidden {
    fn new() -> Hidden {
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            return Hidden(None);
        }
        let Ok(shown) = tcgetattr(&stdin) else { return Hidden(None) };
        let mut hidden = shown.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        let done = tcsetattr(&stdin, OptionalActions::Flush, &hidden);
        Hidden(done.ok().map(|()| shown))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        if let Some(shown) = &self.0 {
            // The terminal is gone if this fails, and then there is nothing to show on it.
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, shown);
        }
    }
}
