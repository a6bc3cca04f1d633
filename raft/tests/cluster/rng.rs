//! The one source of chance of a schedule.

use crate::rng::Rng as Numbers;

#[derive(Debug)]
pub struct Rng(Numbers);

impl Rng {
    pub fn new(seed: u64) -> Rng {
        Rng(Numbers::new(seed))
    }

    /// A number in `0..bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0.below(u32::try_from(bound).expect("a small number")) as usize
    }

    /// True in so many of a hundred cases.
    pub fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}
