//! Somebody who wants the store as it is: called on the store thread with what was cut.
//!
//!   StoreJob::Cut ──▶ all that is in the window is written ──next step──▶ what is dead by then is marked ──▶ cut
//!
//! What holds: all that was applied when the cut was asked for is in it. If its rows say that a compaction is trimmed, then
//! nothing that it took away is in it: the applier tells the store what is dead before it says that it is done, so what is
//! said in the rows that one step has written has come with the jobs of the next.

use std::fmt;

use ferrite_storage::store::{Store, StoreSnapshot};
use ferrite_storage::vfs::Vfs;

/// What to do with the store's snapshot. It holds up the store, so it must not wait.
pub struct Cut(Box<dyn FnOnce(StoreSnapshot) + Send>);

impl Cut {
    pub fn new(take: impl FnOnce(StoreSnapshot) + Send + 'static) -> Cut {
        Cut(Box::new(take))
    }
}

impl fmt::Debug for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cut").finish_non_exhaustive()
    }
}

/// Those who want the store as it is. Bounded by the calls that clients may have open, and by the peers.
#[derive(Debug, Default)]
pub(crate) struct Cuts {
    /// What they are to see may be in the window still.
    wanted: Vec<Cut>,
    /// It is in the files; what is dead may not be known yet.
    written: Vec<Cut>,
}

impl Cuts {
    pub(crate) fn want(&mut self, cut: Cut) {
        self.wanted.push(cut);
    }

    /// All that was applied has been written.
    pub(crate) fn written(&mut self) {
        self.written.append(&mut self.wanted);
    }

    /// All has been marked that was known to be dead when that was written.
    pub(crate) fn make<V: Vfs>(&mut self, store: &Store<V>) {
        self.written.drain(..).for_each(|cut| (cut.0)(store.cut()));
    }

    /// Whether the next step is to come at once.
    pub(crate) fn has_more(&self) -> bool {
        !self.written.is_empty()
    }
}
