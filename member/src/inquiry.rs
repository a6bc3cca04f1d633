//! A question about what Raft knows: whoever asks is called within the member's turn.

use std::fmt;

use ferrite_raft::Status;

/// What to do with Raft's status. It holds up the member, so it must not wait.
pub struct Inquiry(Box<dyn FnOnce(&Status) + Send>);

impl Inquiry {
    pub fn new(ask: impl FnOnce(&Status) + Send + 'static) -> Inquiry {
        Inquiry(Box::new(ask))
    }

    pub(crate) fn answer(self, status: &Status) {
        (self.0)(status);
    }
}

impl fmt::Debug for Inquiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inquiry").finish_non_exhaustive()
    }
}
