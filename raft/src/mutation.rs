//! Faults that tests plant in this crate, one at a time, to show that they would be found.
//!
//! Where a rule of Raft is decided, the code asks whether the rule is to be broken. Outside the crate's own tests the
//! answer is a constant, and the question is gone from what is built.

#[cfg(test)]
use std::cell::Cell;

/// A rule to break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// A leader commits an entry of an older term because a quorum holds it (Raft paper, figure 8).
    CommitOlderTerm,
    /// A quorum is one voter too small.
    QuorumOffByOne,
    /// While two quorums are in force, the new one alone decides.
    JointQuorumOfOneHalf,
    /// A leader answers a read without asking whether it still leads.
    ReadWithoutQuorum,
    /// A follower takes in a snapshot from before what it knows to be committed.
    SnapshotGoesBack,
    /// A node takes over although it has not applied a change of members that is committed.
    TransferDuringChange,
    /// A change of members is taken while another one is not applied.
    ChangeDuringChange,
    /// A node votes twice in a term.
    VoteTwice,
    /// A vote goes to a candidate whose log is behind.
    VoteForShorterLog,
    /// Entries are taken in without a look at what comes before them.
    AppendAnywhere,
}

#[cfg(test)]
thread_local! {
    static PLANTED: Cell<Option<Mutation>> = const { Cell::new(None) };
}

/// Breaks a rule in all nodes of this thread, or none.
#[cfg(test)]
pub fn plant(mutation: Option<Mutation>) {
    PLANTED.set(mutation);
}

/// Whether the rule is to be broken.
#[cfg(test)]
pub fn planted(mutation: Mutation) -> bool {
    PLANTED.get() == Some(mutation)
}

/// Whether the rule is to be broken: no rule is.
#[cfg(not(test))]
#[inline(always)]
pub const fn planted(_: Mutation) -> bool {
    false
}
