//! The only random source. Seeded by the operating system in production, by the seed in simulation.
//!
//! Each draw has the same width on every machine: a seed is the same story on 32 bits and on 64.

use std::cell::RefCell;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::time::Duration;

/// A random source; clones draw from the same sequence.
#[derive(Clone)]
pub struct Rng(Rc<RefCell<fastrand::Rng>>);

impl Rng {
    /// Seeded from the operating system (through the standard library's hasher keys).
    #[must_use]
    #[allow(clippy::disallowed_types)] // the hasher is used for its random keys only
    pub fn real() -> Self {
        Self::seeded(RandomState::new().hash_one(std::process::id()))
    }

    /// The sequence of `seed`, always the same.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Rc::new(RefCell::new(fastrand::Rng::with_seed(seed))))
    }

    /// Any 64 bits.
    #[must_use]
    pub fn u64(&self) -> u64 {
        self.0.borrow_mut().u64(..)
    }

    /// A number within the range, both ends included.
    #[must_use]
    pub fn within(&self, range: RangeInclusive<u64>) -> u64 {
        self.0.borrow_mut().u64(range)
    }

    /// A number below `end`, for choosing one of `end` things.
    ///
    /// # Panics
    /// If `end` is zero: there is nothing to choose.
    #[must_use]
    pub fn below(&self, end: usize) -> usize {
        let end = u64::try_from(end).unwrap_or(u64::MAX);
        let drawn = self.0.borrow_mut().u64(..end);
        usize::try_from(drawn).unwrap_or(usize::MAX)
    }

    /// True with the given probability, in thousandths.
    #[must_use]
    pub fn chance(&self, per_mille: u32) -> bool {
        self.0.borrow_mut().u32(0..1000) < per_mille
    }

    /// A span between the two, both included, in steps of a nanosecond.
    #[must_use]
    pub fn between(&self, least: Duration, most: Duration) -> Duration {
        let nanos = |d: Duration| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.within(nanos(least)..=nanos(most).max(nanos(least))))
    }

    /// A source of its own, seeded from this one.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self::seeded(self.u64())
    }
}

impl fmt::Debug for Rng {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rng")
    }
}

#[cfg(test)]
mod tests {
    use super::Rng;
    use std::time::Duration;

    /// The numbers were written down once. If they change, each seed of each storm means another
    /// story from then on; if they differ between machines, a failure cannot be replayed.
    #[test]
    fn a_seed_is_one_sequence_on_every_machine() {
        let rng = Rng::seeded(1);
        let drawn = [
            rng.u64(),
            rng.within(10..=1_000_000),
            rng.below(1_000) as u64,
            u64::from(rng.chance(500)),
            rng.below(usize::from(u16::MAX)) as u64,
            rng.between(Duration::ZERO, Duration::from_secs(1)).as_nanos() as u64,
            rng.fork().u64(),
            rng.below(3) as u64,
        ];
        assert_eq!(
            drawn,
            [
                12_120_239_713_417_281_201,
                534_621,
                239,
                1,
                634,
                781_080_590,
                15_115_362_236_878_840_977,
                2
            ]
        );
    }
}
