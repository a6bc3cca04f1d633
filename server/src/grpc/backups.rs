//! The backups that clients are being sent: how many there may be, and what is said of them, with etcd's words.
//!
//! A backup holds files that the store would give up, a table of what is alive in them, and a turn of the read threads.
//! So there are only so many at once, of all connections together, and who asks for one more is told so.

use std::sync::Arc;
use std::time::Instant;

use ferrite_observe::log;
use ferrite_observe::log::{Logger, lines};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::RequestError;
use crate::config::human;

/// Backups at once. Full: one more is refused.
pub const MAX_BACKUPS: usize = 16;

/// The backups of a server.
#[derive(Debug)]
pub struct Backups {
    free: Arc<Semaphore>,
    logger: Logger,
}

/// One of them. Dropped before its end, it has failed.
#[derive(Debug)]
pub struct Backup {
    _permit: OwnedSemaphorePermit,
    logger: Logger,
    sending: Option<Sending>,
}

/// A backup whose size is known.
#[derive(Debug)]
struct Sending {
    bytes: u64,
    version: String,
    since: Instant,
}

impl Backups {
    pub fn new(logger: &Logger) -> Backups {
        Backups { free: Arc::new(Semaphore::new(MAX_BACKUPS)), logger: logger.clone() }
    }

    /// Makes room for one more.
    pub fn begin(&self) -> Result<Backup, RequestError> {
        let permit = self.free.clone().try_acquire_owned().map_err(|_| RequestError::TooManyBackups)?;
        Ok(Backup { _permit: permit, logger: self.logger.clone(), sending: None })
    }
}

impl Backup {
    /// A database of so many bytes goes out, in this version of etcd's storage.
    pub fn sending(&mut self, bytes: u64, version: &str) {
        log!(self.logger, lines::SENDING_BACKUP, bytes, &human(bytes), version);
        self.sending = Some(Sending { bytes, version: version.to_owned(), since: Instant::now() });
    }

    /// All of it has gone out, and its checksum of so many bytes follows.
    pub fn sending_checksum(&self, checksum_bytes: usize) {
        if let Some(Sending { bytes, .. }) = &self.sending {
            log!(self.logger, lines::SENDING_BACKUP_CHECKSUM, *bytes, checksum_bytes);
        }
    }

    /// Nothing is left to send.
    pub fn sent(mut self) {
        if let Some(Sending { bytes, version, since }) = self.sending.take() {
            log!(self.logger, lines::SENT_BACKUP, bytes, &human(bytes), since.elapsed(), &version);
        }
    }
}

impl Drop for Backup {
    fn drop(&mut self) {
        if let Some(Sending { bytes, version, since }) = self.sending.take() {
            log!(self.logger, lines::BACKUP_NOT_SENT, bytes, &human(bytes), since.elapsed(), &version);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_only_so_many_at_once() {
        let backups = Backups::new(&Logger::silent());
        let mut running: Vec<Backup> = (0..MAX_BACKUPS).map(|_| backups.begin().unwrap()).collect();
        assert_eq!(backups.begin().unwrap_err(), RequestError::TooManyBackups);
        running.pop().unwrap().sent();
        running.push(backups.begin().unwrap());
        assert_eq!(backups.begin().unwrap_err(), RequestError::TooManyBackups);
        drop(running);
        backups.begin().unwrap();
    }
}
