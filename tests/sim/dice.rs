//! The only source of chance in a run: everything drawn from one seed, in one order.

use std::time::Duration;

pub struct Dice {
    chance: fastrand::Rng,
    /// Moments fall on multiples of so many milliseconds: the coarser, the more often they are equal.
    grid: u64,
}

impl Dice {
    pub fn new(seed: u64) -> Dice {
        let mut dice = Dice { chance: fastrand::Rng::with_seed(seed), grid: 10 };
        dice.grid = dice.pick(&[1, 10, 10, 10, 500]);
        dice
    }

    /// 0 to `n - 1`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.chance.u64(0..n)
    }

    /// Both ends included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        self.chance.u64(low..=high)
    }

    pub fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.chance.usize(0..choices.len())]
    }

    /// In steps of the grid, so that happenings often fall on the same moment.
    pub fn millis(&mut self, low: u64, high: u64) -> Duration {
        let grid = self.grid.min(high.max(10));
        Duration::from_millis(self.between(low / grid, high / grid) * grid)
    }
}
