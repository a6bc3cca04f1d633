//! What may happen in a schedule, and how often.
//!
//! Each schedule knows only some of the faults and stresses them: many crashes and no partition, or the reverse, meet
//! states that a little of everything never does.

use crate::cluster::rng::Rng;

/// One thing that happens to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It hands out what it owes.
    Take,
    /// A few messages arrive, anywhere.
    Deliver,
    /// Its oldest write is finished.
    Save,
    /// Its state machine applies a few entries.
    Apply,
    Tick,
    Propose,
    Read,
    /// Members come or go.
    ChangeMembers,
    Transfer,
    Unreachable,
    /// It is told, rightly or not, that another has ended.
    Gone,
    ForgetLeader,
    /// It makes a snapshot and forgets its log.
    Compact,
    Crash,
    /// It starts again from its disk.
    Restart,
    Campaign,
    /// Links between nodes are cut.
    Partition,
    /// All links work again.
    Heal,
}

/// How often each thing happens.
#[derive(Debug)]
pub struct Mix {
    weights: Vec<(Action, usize)>,
    total: usize,
}

/// What a schedule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Theme {
    /// Whatever the dice say.
    Any,
    /// Members come and go while leadership moves and links are cut.
    Members,
    /// Slow disks and crashes, while one election follows the other.
    Disks,
}

impl Mix {
    pub fn draw(rng: &mut Rng, theme: Theme) -> Mix {
        use Action::*;
        let mut weights = match theme {
            Theme::Any => Mix::draw_any(rng),
            Theme::Members => vec![
                (Save, 300),
                (Apply, rng.pick(&[15, 40, 200])),
                (Tick, 20),
                (Propose, 20),
                (ChangeMembers, 60),
                (Transfer, rng.pick(&[0, 30])),
                (Campaign, rng.pick(&[3, 30])),
                (Partition, rng.pick(&[4, 12])),
                (Heal, rng.pick(&[2, 8])),
            ],
            Theme::Disks => vec![
                (Save, rng.pick(&[10, 20, 60])),
                (Apply, 80),
                (Tick, 20),
                (Propose, 60),
                (Crash, 25),
                (Restart, 80),
                (Campaign, rng.pick(&[10, 40])),
                (Compact, rng.pick(&[0, 10])),
            ],
        };
        weights.extend([(Take, 300), (Deliver, 300)]);
        let total = weights.iter().map(|(_, weight)| weight).sum();
        Mix { weights, total }
    }

    fn draw_any(rng: &mut Rng) -> Vec<(Action, usize)> {
        use Action::*;
        let mut weights = vec![
            (Save, rng.pick(&[20, 80, 300])),
            (Apply, rng.pick(&[15, 80, 200])),
            (Tick, rng.pick(&[10, 30, 100])),
            (Propose, rng.pick(&[20, 80, 200])),
            (Read, rng.pick(&[0, 15, 40])),
        ];
        let faults = [
            (ChangeMembers, [10, 40]),
            (Transfer, [4, 25]),
            (Unreachable, [2, 6]),
            (Gone, [2, 6]),
            (ForgetLeader, [2, 6]),
            (Compact, [10, 60]),
            (Crash, [2, 8]),
            (Campaign, [4, 25]),
            (Partition, [2, 8]),
        ];
        for (fault, often) in faults {
            if rng.percent(60) {
                weights.push((fault, rng.pick(&often)));
            }
        }
        let has = |weights: &[(Action, usize)], fault| weights.iter().any(|(action, _)| *action == fault);
        if has(&weights, Crash) {
            weights.push((Restart, rng.pick(&[10, 60])));
        }
        if has(&weights, Partition) {
            weights.push((Heal, rng.pick(&[2, 8])));
        }
        weights
    }

    /// The next thing to happen.
    pub fn pick(&self, rng: &mut Rng) -> Action {
        let mut at = rng.below(self.total);
        for (action, weight) in &self.weights {
            match at.checked_sub(*weight) {
                Some(rest) => at = rest,
                None => return *action,
            }
        }
        unreachable!("the weights add up to the total")
    }
}
