//! A snapshot from the leader, on its way into this member.
//!
//!   Offered ──Raft takes it──▶ Saving: .snap, record, hard state ──durable──▶ Applying: state ▸ store ──▶ Nothing
//!      └──Raft has it already──▶ discarded
//!
//! What holds: Raft is told that it is saved when it is in force here, so that nothing is applied behind it before, and the
//! leader hears of it only then. One at a time.

use ferrite_raft::{Index, SnapshotMeta};

use crate::receive::Prepared;

/// How far a snapshot is.
#[derive(Debug, Default)]
pub(crate) enum Installing {
    #[default]
    Nothing,
    /// Raft has been told of it, and has not answered.
    Offered(Box<Prepared>),
    /// The log writer makes it durable.
    Saving(Box<Prepared>),
    /// The applier and the store keeper put it in force.
    Applying(Index),
}

impl Installing {
    pub(crate) fn is_under_way(&self) -> bool {
        !matches!(self, Installing::Nothing)
    }

    /// Raft takes the snapshot that it was offered.
    ///
    /// # Panics
    /// If it takes another one: it is offered none that is not ready.
    pub(crate) fn taken(&mut self, meta: &SnapshotMeta) {
        match std::mem::take(self) {
            Installing::Offered(prepared) if prepared.index == meta.index => *self = Installing::Saving(prepared),
            other => panic!("Raft takes a snapshot at {} that is not ready: {other:?}", meta.index),
        }
    }

    /// Raft did not take what it was offered, if it was offered anything.
    pub(crate) fn refused(&mut self) -> Option<Index> {
        let Installing::Offered(prepared) = &*self else { return None };
        let index = prepared.index;
        *self = Installing::Nothing;
        Some(index)
    }

    /// The log has it: what is to be put in force, if that has not begun.
    pub(crate) fn saved(&mut self) -> Option<Box<Prepared>> {
        match std::mem::take(self) {
            Installing::Saving(prepared) => {
                *self = Installing::Applying(prepared.index);
                Some(prepared)
            }
            other => {
                *self = other;
                None
            }
        }
    }
}
