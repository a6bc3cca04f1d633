//! Candidate, and pre-candidate: counts votes until they decide.

use crate::core::Core;
use crate::log::store::LogStore;
use crate::logger::line;
use crate::message::VoteKind;
use crate::quorum::VoteResult;
use crate::types::NodeId;

/// The votes so far.
#[derive(Debug, Default)]
pub struct Candidate {
    /// The first answer of each node counts.
    votes: Vec<(NodeId, bool)>,
}

impl Candidate {
    /// Takes in a vote, and says how the election stands.
    pub fn count<L: LogStore>(&mut self, core: &Core<L>, from: NodeId, kind: VoteKind, granted: bool) -> VoteResult {
        let (id, term, name) = (core.id, core.term, kind.answer_name());
        let rejection = if granted { "" } else { " rejection" };
        line!(core.logger, Info, "{id:x} received {name}{rejection} from {from:x} at term {term}");
        if !self.votes.iter().any(|(voter, _)| *voter == from) {
            self.votes.push((from, granted));
        }
        let tally = |wanted| {
            self.votes.iter().filter(|(voter, vote)| *vote == wanted && core.membership.is_voter(*voter)).count()
        };
        let (granted, rejected) = (tally(true), tally(false));
        line!(core.logger, Info, "{id:x} has received {granted} {name} votes and {rejected} vote rejections");
        let vote_of = |id| self.votes.iter().find(|(voter, _)| *voter == id).map(|(_, vote)| *vote);
        core.membership.voters().vote(vote_of)
    }
}
