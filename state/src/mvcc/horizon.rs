//! How far back one can look: the compacted revision, and the pins of those who look.
//!
//! A compaction is in force at once for who comes after it. Who came before holds a pin, and trimming waits for the pin: a
//! read that has begun is never told that its revision is compacted. Both are under one short lock, so that no pin slips
//! in behind a compaction.

use parking_lot::Mutex;

use crate::RevisionError;

#[derive(Debug)]
pub struct Horizon {
    state: Mutex<Sight>,
}

#[derive(Debug)]
struct Sight {
    /// The compacted revision; -1 before the first compaction, as etcd has it.
    compacted: i64,
    /// Pinned revisions with how many pin them, ascending. One for each revision that is being read just now: few.
    pins: Vec<(u64, usize)>,
}

impl Horizon {
    pub fn new(compacted: i64) -> Horizon {
        Horizon { state: Mutex::new(Sight { compacted, pins: Vec::new() }) }
    }

    pub fn compacted(&self) -> i64 {
        self.state.lock().compacted
    }

    pub fn compact(&self, compacted: i64) {
        let mut sight = self.state.lock();
        assert!(compacted >= sight.compacted, "the compacted revision went back to {compacted}");
        sight.compacted = compacted;
    }

    /// Pins a revision, unless it is compacted, and tells what is. Who succeeds has to `unpin` it.
    pub fn pin(&self, main: u64) -> Result<i64, RevisionError> {
        let mut sight = self.state.lock();
        sight.check(main)?;
        sight.add(main);
        Ok(sight.compacted)
    }

    /// Pins all that is not compacted, for who looks at a revision and at what was before it. Tells what is compacted,
    /// and which revision to `unpin`.
    pub fn pin_all(&self, main: u64) -> Result<(i64, u64), RevisionError> {
        let mut sight = self.state.lock();
        sight.check(main)?;
        let oldest = u64::try_from(sight.compacted).unwrap_or(0);
        sight.add(oldest);
        Ok((sight.compacted, oldest))
    }

    pub fn unpin(&self, main: u64) {
        let mut sight = self.state.lock();
        let at = sight.pins.iter().rposition(|(pinned, _)| *pinned == main).expect("a pin was set");
        sight.pins[at].1 -= 1;
        if sight.pins[at].1 == 0 {
            sight.pins.remove(at);
        }
    }

    /// Whether somebody still looks at what a compaction at this revision takes away.
    pub fn is_pinned_before(&self, main: u64) -> bool {
        self.state.lock().pins.first().is_some_and(|(pinned, _)| *pinned < main)
    }
}

impl Sight {
    fn check(&self, main: u64) -> Result<(), RevisionError> {
        match main as i64 {
            asked if asked < self.compacted => Err(RevisionError::Compacted { asked, oldest: self.compacted }),
            _ => Ok(()),
        }
    }

    fn add(&mut self, main: u64) {
        // Almost always the newest revision is read.
        match self.pins.iter_mut().rev().find(|(pinned, _)| *pinned <= main) {
            Some((pinned, count)) if *pinned == main => *count += 1,
            _ => {
                let at = self.pins.partition_point(|(pinned, _)| *pinned < main);
                self.pins.insert(at, (main, 1));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_holds_up_trimming_and_a_compaction_refuses_pins() {
        let horizon = Horizon::new(-1);
        for main in [5, 3, 5, 7] {
            horizon.pin(main).unwrap();
        }
        horizon.compact(5);
        assert!(horizon.is_pinned_before(5));
        horizon.unpin(3);
        assert!(!horizon.is_pinned_before(5));
        assert!(horizon.is_pinned_before(6));
        assert_eq!(horizon.pin(4), Err(RevisionError::Compacted { asked: 4, oldest: 5 }));
        assert_eq!(horizon.pin(5), Ok(5));
        assert_eq!(horizon.pin_all(9), Ok((5, 5)));
        horizon.unpin(5);
        for _ in 0..3 {
            assert!(horizon.is_pinned_before(6));
            horizon.unpin(5);
        }
        assert!(!horizon.is_pinned_before(6));
    }
}
