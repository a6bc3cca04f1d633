//! What goes wrong on purpose.

use std::io;

use super::Operation;
use super::image::Image;

#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) capacity: Option<u64>,
    /// Syncs until one fails, and the seed of what it writes all the same.
    pub(super) sync: Option<(u64, u64)>,
    /// Writes until one fails.
    pub(super) write: Option<u64>,
    /// Waits for what is being written until one says that it could not be.
    pub(super) writeback: Option<u64>,
    pub(super) stop_at: Option<usize>,
}

impl Faults {
    pub(super) fn check_stopped(&self, operations: usize) -> io::Result<()> {
        match self.stop_at {
            Some(limit) if operations >= limit => Err(io::Error::other("the disk has stopped")),
            _ => Ok(()),
        }
    }

    /// What waits for what is being written is told.
    pub(super) fn writeback(&mut self) -> io::Result<()> {
        if due(&mut self.writeback) { Err(broken()) } else { Ok(()) }
    }

    /// What really happens when an operation is asked for, and what its caller is told.
    pub(super) fn bend(&mut self, operation: Operation, image: &Image) -> (Option<Operation>, io::Result<()>) {
        match operation {
            Operation::Write { .. } if due(&mut self.write) => (None, Err(broken())),
            Operation::Write { file, offset, data } => {
                let end = offset + data.len() as u64;
                let missing = self.missing(end.saturating_sub(image.content(file).allocated()), image);
                if missing == 0 {
                    return (Some(Operation::Write { file, offset, data }), Ok(()));
                }
                // As much as fits is written.
                let fits = data.slice(..data.len().saturating_sub(missing as usize));
                let operation = (!fits.is_empty()).then_some(Operation::Write { file, offset, data: fits });
                (operation, Err(full()))
            }
            Operation::Allocate { file, end } => {
                match self.missing(end.saturating_sub(image.content(file).allocated()), image) {
                    0 => (Some(Operation::Allocate { file, end }), Ok(())),
                    _ => (None, Err(full())),
                }
            }
            Operation::Sync { file } => match &mut self.sync {
                Some((0, seed)) => {
                    let operation = Operation::FailSync { file, seed: *seed };
                    self.sync = None;
                    (Some(operation), Err(broken()))
                }
                Some((count, _)) => {
                    *count -= 1;
                    (Some(Operation::Sync { file }), Ok(()))
                }
                None => (Some(Operation::Sync { file }), Ok(())),
            },
            other => (Some(other), Ok(())),
        }
    }

    /// How much of `more` there is no space for.
    fn missing(&self, more: u64, image: &Image) -> u64 {
        match self.capacity {
            Some(capacity) if more > 0 => more.saturating_sub(capacity.saturating_sub(image.used())),
            _ => 0,
        }
    }
}

fn due(counter: &mut Option<u64>) -> bool {
    match counter {
        Some(0) => {
            *counter = None;
            true
        }
        Some(count) => {
            *count -= 1;
            false
        }
        None => false,
    }
}

fn broken() -> io::Error {
    io::Error::other("input/output error")
}

fn full() -> io::Error {
    io::ErrorKind::StorageFull.into()
}
