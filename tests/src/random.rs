//! Reproducible randomness for tests and loads.
//!
//! Decides the sequences that follow from a seed. Refuses to know what they are used for.

/// A small fast generator (xorshift64*); the same seed gives the same sequence.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator for `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        // A state of zero would stay zero, and near seeds shall not start alike.
        let mixed = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self((mixed ^ (mixed >> 31)) | 1)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`, which is at least 1.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.number()) * u128::from(bound)) >> 64) as u64
    }

    /// Whether something happens that does so once in `times`, which is at least 1.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// One of `choices`, of which there is at least one.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    /// A number from 0 up to but not including 1.
    pub fn unit(&mut self) -> f64 {
        (self.number() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Draws ranks below `count` so that rank r comes up in proportion to 1 / (r + 1)^exponent.
///
/// The distribution is cut into a table of its inverse, so that a draw is one look-up; within a
/// step of the table ranks are drawn evenly.
#[derive(Clone, Debug)]
pub struct Zipf {
    steps: Vec<u64>,
}

impl Zipf {
    const STEPS: usize = 1 << 16;

    /// A table for `count` ranks, at least 1.
    #[must_use]
    pub fn new(count: u64, exponent: f64) -> Self {
        let weight = |rank: u64| ((rank + 1) as f64).powf(-exponent);
        let total: f64 = (0..count).map(weight).sum();
        let mut steps = Vec::with_capacity(Self::STEPS + 1);
        let (mut rank, mut reached) = (0, weight(0));
        for step in 0..=Self::STEPS {
            let wanted = total * step as f64 / Self::STEPS as f64;
            while reached < wanted && rank + 1 < count {
                rank += 1;
                reached += weight(rank);
            }
            steps.push(rank);
        }
        Self { steps }
    }

    /// A rank.
    pub fn draw(&self, random: &mut Random) -> u64 {
        let step = random.below(Self::STEPS as u64) as usize;
        let (low, high) = (self.steps[step], self.steps[step + 1]);
        low + random.below(high - low + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zipf_favours_low_ranks_and_reaches_all() {
        let zipf = Zipf::new(1000, 1.0);
        let mut random = Random::new(7);
        let mut counts = vec![0_u32; 1000];
        for _ in 0..200_000 {
            counts[zipf.draw(&mut random) as usize] += 1;
        }
        assert!(counts[0] > counts[9] * 5, "{} {}", counts[0], counts[9]);
        let drawn = counts.iter().filter(|&&count| count > 0).count();
        assert!(drawn > 990, "{drawn}");
    }

    #[test]
    fn equal_seeds_give_equal_numbers() {
        let (mut one, mut two) = (Random::new(3), Random::new(3));
        assert!((0..100).all(|_| one.number() == two.number()));
        assert_ne!(Random::new(3).number(), Random::new(4).number());
    }
}
