//! Drawn numbers, so that a failing run can be repeated.
//!
//! Decides how a seed, or the bytes of a fuzzer, become choices. Refuses to know what is chosen.

/// Bytes of a script that go to the same part of a run.
const DEALT_BYTES: usize = 8;

/// A small generator (SplitMix64): equal seeds give equal numbers. Made from bytes, it draws
/// from them first, so that a fuzzer that changes one byte changes one choice.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
    script: Vec<u8>,
    at: usize,
}

impl Random {
    /// A generator for `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self {
            state: seed,
            script: Vec::new(),
            at: 0,
        }
    }

    /// A generator that draws from `script` until it is used up; its first bytes are the seed
    /// of everything behind that.
    #[must_use]
    pub fn from_script(script: &[u8]) -> Self {
        let mut random = Self {
            state: 0,
            script: script.to_vec(),
            at: 0,
        };
        random.state = random.scripted(4).unwrap_or_default();
        random
    }

    /// A generator of its own for one part of a run: what that part draws moves nothing else.
    /// A script decides its seed and no more.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self::new(self.bits() ^ self.scripted(4).unwrap_or_default())
    }

    /// The same, and of what is left of a script it is dealt every other piece: what is appended
    /// to a script moves nothing that it has decided so far.
    #[must_use]
    pub fn deal(&mut self) -> Self {
        let mut dealt = self.fork();
        let mut kept = Vec::new();
        for (number, piece) in self.script[self.at..].chunks(DEALT_BYTES).enumerate() {
            let to = if number % 2 == 0 {
                &mut dealt.script
            } else {
                &mut kept
            };
            to.extend_from_slice(piece);
        }
        (self.script, self.at) = (kept, 0);
        dealt
    }

    /// The next 64 bits.
    pub const fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number below `bound`.
    ///
    /// # Panics
    /// If `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "there is no number below 0");
        let number = match self.scripted(width(bound)) {
            Some(number) => number,
            None => self.bits(),
        };
        number % bound
    }

    /// The next so many bytes of the script, if there are so many.
    fn scripted(&mut self, bytes: usize) -> Option<u64> {
        let scripted = self.script.get(self.at..self.at + bytes)?;
        self.at += bytes;
        let number = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        Some(scripted.iter().fold(0, number))
    }

    /// A number from `low` to `high`, both included.
    ///
    /// # Panics
    /// If `low` is above `high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        assert!(low <= high, "{low} to {high} is no range");
        low + self.below(high - low + 1)
    }

    /// True in `percent` of 100 cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of `choices`.
    ///
    /// # Panics
    /// If there is none.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    /// One of `choices`, each as often as its weight says.
    ///
    /// # Panics
    /// If all weights are 0.
    pub fn weighted<T: Copy>(&mut self, choices: &[(u64, T)]) -> T {
        let mut left = self.below(choices.iter().map(|(weight, _)| weight).sum());
        for (weight, choice) in choices {
            match left.checked_sub(*weight) {
                Some(rest) => left = rest,
                None => return *choice,
            }
        }
        unreachable!("the number is below the sum of the weights")
    }
}

/// Bytes of a script that a choice among `bound` takes.
const fn width(bound: u64) -> usize {
    match bound {
        0..=0x100 => 1,
        0x101..=0x1_0000 => 2,
        _ => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::Random;

    /// What the parts of a run draw: one that is dealt a share, then one that keeps the rest.
    fn drawn(script: &[u8]) -> (Vec<u64>, Vec<u64>) {
        let mut kept = Random::from_script(script);
        let mut dealt = kept.deal();
        let draw = |random: &mut Random| (0..30).map(|_| random.below(256)).collect();
        (draw(&mut dealt), draw(&mut kept))
    }

    #[test]
    fn one_byte_of_a_script_is_one_choice() {
        let script: Vec<u8> = (0..60).collect();
        let (dealt, kept) = drawn(&script);
        assert_eq!(dealt[..9], [8, 9, 10, 11, 12, 13, 14, 15, 24]);
        assert_eq!(kept[..9], [16, 17, 18, 19, 20, 21, 22, 23, 32]);
        let mut changed = script;
        changed[13] = 99;
        let (changed_dealt, changed_kept) = drawn(&changed);
        assert_eq!(changed_kept, kept);
        let differ = (0..30).filter(|at| changed_dealt[*at] != dealt[*at]);
        assert_eq!(differ.collect::<Vec<_>>(), [5]);
    }

    #[test]
    fn what_is_appended_to_a_script_moves_nothing() {
        let script: Vec<u8> = (0..60).collect();
        let (dealt, kept) = drawn(&script[..40]);
        let (more_dealt, more_kept) = drawn(&script);
        assert_eq!(more_dealt[..16], dealt[..16]);
        assert_eq!(more_kept[..16], kept[..16]);
        assert_ne!(more_dealt, dealt);
    }
}
