//! Bodies that have to be whole before anything can be done with them: posts, and the messages before databases.
//!
//! What holds: memory is taken as bytes arrive, and by all of them together not more than [`GATHERED_BYTES`], unless there
//! is only one; who sends nothing for a while, or is not done in the time that etcd gives, is not waited for.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout};

use crate::dial::timed_out;

/// Full: what arrives is refused, and Raft sends it again.
const GATHERED_BYTES: usize = 64 << 20;

/// For a whole body.
const WHOLE: Duration = Duration::from_secs(5 * 60);

/// What all bodies take. A clone counts the same ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gathered(Arc<AtomicUsize>);

/// One of them.
#[derive(Debug)]
pub(crate) struct Gathering {
    body: Incoming,
    /// Without a byte.
    patience: Duration,
    until: Instant,
    pub(crate) bytes: BytesMut,
    counted: Counted,
}

/// What one body counts for, until it is dropped.
#[derive(Debug)]
struct Counted {
    all: Gathered,
    bytes: usize,
}

impl Gathered {
    pub(crate) fn begin(&self, body: Incoming, patience: Duration) -> Gathering {
        let until = Instant::now() + WHOLE;
        Gathering { body, patience, until, bytes: BytesMut::new(), counted: self.count() }
    }

    fn count(&self) -> Counted {
        Counted { all: self.clone(), bytes: 0 }
    }
}

impl Counted {
    /// Whether so many more may come.
    fn grow(&mut self, bytes: usize) -> bool {
        let admit = |all: usize| (all == self.bytes || all + bytes <= GATHERED_BYTES).then_some(all + bytes);
        let is_admitted = self.all.0.try_update(Ordering::Relaxed, Ordering::Relaxed, admit).is_ok();
        if is_admitted {
            self.bytes += bytes;
        }
        is_admitted
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.all.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Gathering {
    /// Takes in the next piece. False: there is none.
    pub(crate) async fn more(&mut self) -> io::Result<bool> {
        loop {
            let patience = self.patience.min(self.until.saturating_duration_since(Instant::now()));
            match timeout(patience, self.body.frame()).await {
                Err(_) => return Err(timed_out("waiting for the rest of a message")),
                Ok(None) => return Ok(false),
                Ok(Some(Err(error))) => return Err(io::Error::other(error)),
                Ok(Some(Ok(frame))) => {
                    let Ok(piece) = frame.into_data() else { continue };
                    if !self.counted.grow(piece.len()) {
                        return Err(io::Error::new(io::ErrorKind::OutOfMemory, "too many messages arrive at once"));
                    }
                    self.bytes.extend_from_slice(&piece);
                    return Ok(true);
                }
            }
        }
    }

    /// All of it, if it is no longer than `limit`.
    pub(crate) async fn whole(mut self, limit: usize) -> io::Result<Bytes> {
        while self.more().await? {
            if self.bytes.len() > limit {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the message is too long"));
            }
        }
        Ok(self.bytes.freeze())
    }

    /// What has not arrived yet.
    pub(crate) fn into_body(self) -> Incoming {
        self.body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_together_are_bounded_but_one_alone_is_not() {
        let all = Gathered::default();
        let (mut one, mut other) = (all.count(), all.count());
        assert!(one.grow(GATHERED_BYTES * 3) && one.grow(1), "it goes on alone");
        assert!(!other.grow(1));
        drop(one);
        let mut one = all.count();
        assert!(one.grow(GATHERED_BYTES / 2) && other.grow(GATHERED_BYTES / 2));
        assert!(!one.grow(1) && !other.grow(1));
        drop(other);
        assert!(one.grow(GATHERED_BYTES));
    }
}
