//! What befalls members.

use crate::member::Member;
use crate::street::Street;
use crate::{AnyError, Dice, MEMBERS};

/// One fault, and whom it befalls.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// Neither hears the others nor is heard by them.
    Alone(usize),
    /// Is not heard by the others, and hears them.
    Mute(usize),
    /// Does not hear the others, and is heard by them.
    Deaf(usize),
    /// The one does not hear the other; both have the third.
    Between(usize, usize),
    Killed(usize),
    AllKilled,
    Paused(usize),
    SlowDisk(usize),
}

impl Fault {
    /// Half of the time it is the leader whom it befalls.
    pub fn draw(dice: &mut Dice, leader: Option<usize>) -> Fault {
        let any = dice.below(MEMBERS as u64) as usize;
        let whom = leader.filter(|_| dice.below(2) == 0).unwrap_or(any);
        match dice.below(8) {
            0 => Fault::Alone(whom),
            1 => Fault::Mute(whom),
            2 => Fault::Deaf(whom),
            3 => Fault::Between(whom, (whom + 1 + dice.below(2) as usize) % MEMBERS),
            4 => Fault::Killed(whom),
            5 => Fault::AllKilled,
            6 => Fault::Paused(whom),
            _ => Fault::SlowDisk(whom),
        }
    }

    pub fn begin(self, street: &Street, members: &mut [Member]) -> Result<(), AnyError> {
        match self {
            Fault::Killed(whom) => members[whom].kill(),
            Fault::AllKilled => members.iter_mut().try_for_each(Member::kill),
            Fault::Paused(whom) => members[whom].pause(),
            Fault::SlowDisk(whom) => members[whom].slow_disk(true),
            _ => self.ways().into_iter().try_for_each(|(from, to)| street.cut(from, to)),
        }
    }

    pub fn end(self, street: &Street, members: &mut [Member]) -> Result<(), AnyError> {
        match self {
            Fault::Killed(whom) => members[whom].restart(),
            Fault::AllKilled => members.iter_mut().try_for_each(Member::restart),
            Fault::Paused(whom) => members[whom].go_on(),
            Fault::SlowDisk(whom) => members[whom].slow_disk(false),
            _ => self.ways().into_iter().try_for_each(|(from, to)| street.mend(from, to)),
        }
    }

    /// The ways that are cut.
    fn ways(self) -> Vec<(usize, usize)> {
        let others = |whom| (0..MEMBERS).filter(move |other| *other != whom);
        match self {
            Fault::Alone(whom) => others(whom).flat_map(|other| [(whom, other), (other, whom)]).collect(),
            Fault::Mute(whom) => others(whom).map(|other| (whom, other)).collect(),
            Fault::Deaf(whom) => others(whom).map(|other| (other, whom)).collect(),
            Fault::Between(one, other) => vec![(other, one)],
            Fault::Killed(_) | Fault::AllKilled | Fault::Paused(_) | Fault::SlowDisk(_) => Vec::new(),
        }
    }
}
