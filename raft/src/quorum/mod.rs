//! What a quorum is: of one set of voters, and of the two in force while one is replaced by the other.

mod joint;
mod majority;

pub use joint::JointQuorum;
pub use majority::Majority;

/// How an election stands (thesis, 3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoteResult {
    /// Neither decided nor lost: more votes may come.
    Pending,
    /// A quorum can no longer be reached.
    Lost,
    /// A quorum has voted for the candidate.
    Won,
}
