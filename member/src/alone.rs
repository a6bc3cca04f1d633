//! `--force-new-cluster`: a member whose cluster is lost goes on alone, with all that its log holds.
//!
//!   log ──▶ [add or promote oneself] ▸ remove each other member ──▶ all of it committed
//!
//! It does not ask the others, so they must never run again: what they hold may differ.
//!
//! etcd cuts off what the log does not know to be committed. Here the log may not know it of what was acknowledged a moment
//! before the end: the commit index is only written with the next entries. And there is nobody left who could hold anything else
//! at these places: what was not answered may have happened.

use ferrite_raft::{Entry, HardState, Index, NodeId, Payload, Term};
use ferrite_state::RequestId;
use ferrite_state::cluster::{Cluster, Member};
use ferrite_state::command::{Command, ConfChange, MemberChange, Proposal};

use crate::bootstrap::StartError;

/// Where a member is said to be reached that its own cluster did not know (etcd's choice).
const OWN_URL: &str = "http://localhost:2380";

/// Appends what makes `own` the only member. Returns what is to be written behind or over the end of the log. All of the log
/// is committed by `hard_state`: both have to be in the log before anything else happens.
///
/// Its own removal that is not known to be committed is left out: it may be all that is left of its cluster. The entry is
/// empty then, and it and what follows are of a new term, because others may know it with the removal.
///
/// # Errors
/// If the log cannot be read, or if `own` was removed: it cannot be added again under its id, so nobody would be left to vote.
/// Nothing is changed then. (etcd does not look, and ends at the entry that removes the last other member, at every start.)
pub(crate) fn stand_alone(
    own: NodeId,
    applied: (Index, &Cluster),
    entries: &mut Vec<Entry>,
    hard_state: &mut HardState,
) -> Result<Vec<Entry>, StartError> {
    let mut log = entries.clone();
    let (cluster, kept) = keep_in(own, applied, hard_state.commit, &mut log)?;
    if kept < log.len() {
        (hard_state.term, hard_state.vote) = (Term(hard_state.term.0 + 1), None);
        log[kept..].iter_mut().for_each(|entry| entry.term = hard_state.term);
    }
    let conf = cluster.conf_state();
    let mut changes = Vec::new();
    if conf.learners.contains(&own) {
        // Without a vote it could not go on.
        changes.push(ConfChange { node: own, change: MemberChange::Promote });
    } else if !conf.voters.contains(&own) {
        let member = Member { id: own, peer_urls: vec![OWN_URL.to_owned()], ..Member::default() };
        changes.push(ConfChange { node: own, change: MemberChange::Add { member, as_voter: true } });
    }
    let mut others: Vec<NodeId> = [&conf.voters[..], &conf.learners].concat();
    others.retain(|member| *member != own);
    others.sort_unstable();
    changes.extend(others.into_iter().map(|node| ConfChange { node, change: MemberChange::Remove }));
    let last = log.last().map_or(hard_state.commit, |entry| entry.index.max(hard_state.commit));
    let entry = |(index, change): (u64, ConfChange)| Entry {
        term: hard_state.term,
        index: Index(index),
        payload: change.proposed_as(RequestId(0)).into(),
    };
    log.extend((last.0 + 1..).zip(changes).map(entry));
    hard_state.commit = log.last().map_or(last, |entry| entry.index.max(last));
    *entries = log;
    Ok(entries[kept..].to_vec())
}

/// Empties what would remove `own` and is not known to be committed. Returns the cluster after all of the log, and how many
/// entries are before the first that was emptied.
fn keep_in(
    own: NodeId,
    applied: (Index, &Cluster),
    commit: Index,
    log: &mut [Entry],
) -> Result<(Cluster, usize), StartError> {
    let (applied, cluster) = applied;
    if cluster.is_removed(own) {
        return Err(StartError::Removed(own));
    }
    let (mut cluster, mut kept) = (cluster.clone(), log.len());
    for (number, entry) in log.iter_mut().enumerate() {
        if entry.index <= applied || entry.change().is_none() {
            continue;
        }
        let Command::ConfChange(change) = Proposal::parse(entry)?.command else { continue };
        let mut after = cluster.clone();
        // One that is refused here will be refused then.
        let _ = after.change(&change, &mut Vec::new());
        match after.is_removed(own) {
            false => cluster = after,
            true if entry.index <= commit => return Err(StartError::Removed(own)),
            true => {
                entry.payload = Payload::default();
                kept = kept.min(number);
            }
        }
    }
    Ok((cluster, kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(index: u64, node: u64, as_voter: bool) -> Entry {
        let member = Member { id: NodeId(node), peer_urls: vec![format!("http://{node}:1")], ..Member::default() };
        let change = ConfChange { node: NodeId(node), change: MemberChange::Add { member, as_voter } };
        Entry { term: Term(1), index: Index(index), payload: change.proposed_as(RequestId(0)).into() }
    }

    fn after(entries: &[Entry]) -> Cluster {
        keep_in(NodeId(99), (Index(0), &Cluster::new(1)), Index(0), &mut entries.to_vec()).unwrap().0
    }

    /// What is appended to a log that adds 1, 2, as a learner 3, and 4, if it has that many entries and commits that far.
    fn appended(own: u64, logged: usize, commit: u64, applied: u64) -> Vec<(u64, NodeId, bool)> {
        let all = [add(1, 1, true), add(2, 2, true), add(3, 3, false), add(4, 4, true)];
        let cluster = after(&all[..applied as usize]);
        let mut entries = all[..logged].to_vec();
        let mut hard_state = HardState { term: Term(7), vote: None, commit: Index(commit) };
        let new = stand_alone(NodeId(own), (Index(applied), &cluster), &mut entries, &mut hard_state).unwrap();
        assert_eq!(entries.len(), logged + new.len(), "nothing is lost");
        assert_eq!(hard_state.commit.0, entries.len() as u64, "and all of it is committed");
        assert!(new.iter().all(|entry| entry.term == Term(7)));
        let told = |entry: &Entry| {
            let Command::ConfChange(change) = Proposal::parse(entry).unwrap().command else { unreachable!() };
            (entry.index.0, change.node, change.change == MemberChange::Remove)
        };
        new.iter().map(told).collect()
    }

    #[test]
    fn the_others_go_whether_they_are_applied_or_committed_or_neither() {
        let expected = [(4, NodeId(1), true), (5, NodeId(3), true)];
        for applied in 0..=3 {
            for commit in applied..=3 {
                assert_eq!(appended(2, 3, commit, applied), expected, "committed {commit}, applied {applied}");
            }
        }
        assert_eq!(appended(1, 1, 1, 1), []);
        let learner = [(4, NodeId(3), false), (5, NodeId(1), true), (6, NodeId(2), true)];
        assert_eq!(appended(3, 3, 3, 3), learner);
        assert_eq!(appended(9, 1, 1, 0), [(2, NodeId(9), false), (3, NodeId(1), true)]);
        assert_eq!(appended(1, 4, 1, 1), [(5, NodeId(2), true), (6, NodeId(3), true), (7, NodeId(4), true)]);
    }

    #[test]
    fn who_was_removed_does_not_go_on() {
        let removal = |index, node| {
            let payload = ConfChange { node: NodeId(node), change: MemberChange::Remove }.proposed_as(RequestId(0));
            Entry { term: Term(1), index: Index(index), payload: payload.into() }
        };
        let all = [add(1, 1, true), add(2, 2, true), removal(3, 2), add(4, 4, true)];
        for (applied, commit) in (0..=4).flat_map(|applied| (applied..=4).map(move |commit| (applied, commit))) {
            let applied = (Index(applied), &after(&all[..applied as usize]));
            let before = HardState { term: Term(7), vote: Some(NodeId(1)), commit: Index(commit) };
            let alone = |own| {
                let (mut entries, mut hard_state) = (all.to_vec(), before);
                let written = stand_alone(NodeId(own), applied, &mut entries, &mut hard_state);
                assert!(written.is_ok() || (&entries[..], hard_state) == (&all[..], before), "it is changed");
                written.map(|written| (written, entries, hard_state)).map_err(|error| error.to_string())
            };
            let (written, _, hard_state) = alone(1).unwrap();
            assert_eq!((written, hard_state.term), (vec![Entry { term: Term(7), ..removal(5, 4) }], Term(7)));
            if commit >= 3 {
                assert!(alone(2).unwrap_err().starts_with("member 2 was removed from its cluster"));
                continue;
            }
            // Nobody may know of that removal, and everybody else be lost.
            let (written, entries, hard_state) = alone(2).unwrap();
            let empty = Entry { payload: Payload::default(), ..removal(3, 2) };
            let expected = [empty, add(4, 4, true), removal(5, 1), removal(6, 4)];
            assert_eq!(written, expected.map(|entry| Entry { term: Term(8), ..entry }));
            assert_eq!(entries, [&all[..2], &written].concat());
            assert_eq!(hard_state, HardState { term: Term(8), vote: None, commit: Index(6) });
        }
    }

    #[test]
    fn a_removal_that_is_refused_is_none() {
        let payload = ConfChange { node: NodeId(1), change: MemberChange::Remove }.proposed_as(RequestId(0));
        let mut entries = vec![add(1, 1, true), Entry { term: Term(1), index: Index(2), payload: payload.into() }];
        let cluster = Cluster::new(1);
        let appended = stand_alone(NodeId(1), (Index(0), &cluster), &mut entries, &mut HardState::default()).unwrap();
        assert_eq!(appended, []);
    }
}
