//! The simulator's own random numbers: a seed must mean the same run in five years, which no library promises.

/// All delays of a world in which nothing is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Pace {
    /// Each as short as it may be.
    Low,
    /// As long.
    High,
}

/// xoshiro256** seeded by splitmix64; or calm: each delay is its shortest or its longest, and of two things that may
/// happen the likelier one does.
#[derive(Clone)]
pub struct Rng {
    state: [u64; 4],
    calm: Option<Pace>,
}

impl Rng {
    pub fn new(seed: u64) -> Self {
        let mut state = seed;
        let state = std::array::from_fn(|_| {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            mix(state)
        });
        Self { state, calm: None }
    }

    pub fn calm(pace: Pace) -> Self {
        Self { calm: Some(pace), ..Self::new(0) }
    }

    /// Every delay is its longest.
    pub fn is_slow(&self) -> bool {
        self.calm == Some(Pace::High)
    }

    pub fn next(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// Less than `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        if self.calm.is_some() {
            return 0;
        }
        self.next() % n.max(1)
    }

    /// From `low` to `high`, both included.
    pub fn range(&mut self, low: u64, high: u64) -> u64 {
        match self.calm {
            Some(Pace::Low) => low,
            Some(Pace::High) => high,
            None => low + self.below(high - low + 1),
        }
    }

    pub fn chance(&mut self, per_mille: u64) -> bool {
        match self.calm {
            Some(_) => per_mille >= 500,
            None => self.below(1000) < per_mille,
        }
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    /// Swarm testing: zero in 40 % of the seeds, else up to `high`.
    pub fn swarm(&mut self, high: u64) -> u64 {
        if self.chance(400) { 0 } else { self.range(1, high) }
    }
}

/// The finaliser of splitmix64: also a fixed hash of small numbers.
pub fn mix(value: u64) -> u64 {
    let z = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_algorithm_is_fixed_for_ever() {
        let mut rng = Rng::new(0);
        assert_eq!(rng.next(), 0x99EC_5F36_CB75_F2B4, "splitmix64-seeded xoshiro256**, seed 0");
        let mut rng = Rng::new(7);
        for _ in 0..1000 {
            assert!((3..=5).contains(&rng.range(3, 5)));
        }
    }

    #[test]
    fn a_calm_one_draws_nothing() {
        for (pace, delay) in [(Pace::Low, 3), (Pace::High, 5)] {
            let mut rng = Rng::calm(pace);
            let drawn = (rng.range(3, 5), rng.chance(499), rng.chance(500), rng.below(7), rng.pick(&[8, 9]));
            assert_eq!(drawn, (delay, false, true, 0, 8), "{pace:?}");
        }
    }
}
