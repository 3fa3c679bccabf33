//! Drawn numbers for gossip: whom to probe, whom to ask.
//!
//! Decides how a seed becomes choices (SplitMix64). Nothing that must stay secret is drawn here.

use core::convert::Infallible;

use rand_core::TryRng;

/// Equal seeds give equal numbers.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) const fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number below `bound`, which is not 0. Small bounds only: the bias is not corrected.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.bits() % bound
    }

    /// Moves up to `wanted` of `items`, drawn without preference, to the front, and cuts the rest.
    pub(super) fn choose<T>(&mut self, items: &mut alloc::vec::Vec<T>, wanted: usize) {
        let wanted = wanted.min(items.len());
        for at in 0..wanted {
            let left = (items.len() - at) as u64;
            items.swap(at, at + self.below(left) as usize);
        }
        items.truncate(wanted);
    }
}

impl TryRng for Random {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok((self.bits() >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.bits())
    }

    fn try_fill_bytes(&mut self, target: &mut [u8]) -> Result<(), Infallible> {
        for chunk in target.chunks_mut(8) {
            chunk.copy_from_slice(&self.bits().to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}
