//! What the init system and the shell are told: that we are ready, and by which signal we end.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use ferrite_observe::log;
use ferrite_observe::log::{Logger, Value, lines};

use crate::sys;

/// Tells systemd that clients are served, if it wants to know.
pub fn notify_ready(logger: &Logger) {
    log!(logger, lines::NOTIFYING_INIT);
    match send_ready() {
        Ok(()) => log!(logger, lines::NOTIFIED_INIT),
        Err(error) => log!(logger, lines::NOTIFY_INIT_FAILED, Value::Shown(&error)),
    }
}

fn send_ready() -> io::Result<()> {
    let Ok(path) = std::env::var("NOTIFY_SOCKET") else { return Ok(()) };
    let address = match path.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(&path)?,
    };
    UnixDatagram::unbound()?.send_to_addr(b"READY=1", &address).map(drop)
}

/// Ends the process as the signal would have done it, so that who waits for it sees that. Process 1 ends with success.
pub fn end_by(signal: i32) -> std::process::ExitCode {
    if std::process::id() != 1 {
        sys::die_by(signal);
        // Only if the signal is blocked does this return.
        return std::process::ExitCode::from(u8::try_from(128 + signal).unwrap_or(1));
    }
    std::process::ExitCode::SUCCESS
}
