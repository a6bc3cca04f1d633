//! How a member comes to lead.

use std::time::Duration;

use ferrite_member::Input;
use ferrite_raft::ChangeKind;

use crate::rig::{ME, Nobody, Rig, sole_voter};

#[test]
fn reads_need_no_round_once_an_entry_of_the_term_is_applied_and_nobody_else_votes() {
    let mut rig = Rig::new();
    rig.rest(Vec::new());
    assert_eq!(rig.member.leader(), Some(ME));
    assert!(!rig.member.reads_need_no_round(), "what it has committed in its first life is not applied");
    rig.apply();
    rig.rest(Vec::new());
    assert!(rig.member.reads_need_no_round());
    rig.change_members(ChangeKind::AddLearnerNode);
    assert!(rig.member.reads_need_no_round(), "a learner decides nothing");
    rig.change_members(ChangeKind::AddNode);
    assert!(!rig.member.reads_need_no_round(), "in the very turn in which there is another voter");
}

#[test]
fn an_election_under_way_is_not_begun_again() {
    // Turns come for many reasons; a save may take as long as several of them.
    for (pre_vote, turns_a_save_takes) in [(false, 0), (true, 0), (false, 1), (true, 1), (true, 5)] {
        let (mut member, _) = sole_voter(pre_vote);
        let mut saves: Vec<(usize, _)> = Vec::new();
        for turn in 0..40 {
            let mut done: Vec<Input<Nobody, Nobody>> =
                saves.extract_if(.., |(due, _)| *due <= turn).map(|(_, number)| Input::Saved(number)).collect();
            let out = member.turn(Duration::from_millis(turn as u64), &mut done);
            saves.extend(out.save.into_iter().map(|save| (turn + 1 + turns_a_save_takes, save.number)));
        }
        assert_eq!(member.leader(), Some(ME), "pre-vote {pre_vote}, a save takes {turns_a_save_takes} turns");
    }
}
