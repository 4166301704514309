//! What differs between a simulation and production is drawn: limits, slices, queues, and what work
//! costs. Each draw is a tiny value, production's, or one between, each by itself, so that a fault
//! that needs two slices of one thing and one slice of another has its seed.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use crate::config::Slices;
use crate::env::Rng;
use crate::env::net::NetLimits;

/// Draws of one storm.
#[derive(Debug)]
pub struct Draws(Rng);

impl Draws {
    /// Draws of a seed.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Rng::seeded(seed ^ 0xd8a7_5eed))
    }

    /// Half of the time `tiny`, else anything up to `real`, often `real` itself.
    #[must_use]
    pub fn size(&self, tiny: u64, real: u64) -> u64 {
        match self.0.below(4) {
            0 | 1 => tiny,
            2 => real,
            _ => self.between(tiny, real),
        }
    }

    /// The same, for what is counted in memory.
    #[must_use]
    pub fn count(&self, tiny: usize, real: usize) -> usize {
        usize::try_from(self.size(tiny as u64, real as u64)).unwrap_or(real)
    }

    /// The same, but large in one storm of twenty only: what would cost the simulation too much.
    #[must_use]
    pub fn costly(&self, tiny: u64, real: u64) -> u64 {
        if self.0.chance(50) { real } else { self.between(tiny, tiny * 4) }
    }

    /// As likely between 1 and 10 as between 1,000 and 10,000.
    fn between(&self, least: u64, most: u64) -> u64 {
        let doublings = most.max(1).ilog2().saturating_sub(least.max(1).ilog2());
        let near = least.max(1) << self.0.within(0..=u64::from(doublings));
        self.0.within(near..=near * 2).clamp(least, most)
    }

    /// How much nodes do at a time.
    #[must_use]
    pub fn slices(&self) -> Slices {
        let real = Slices::default();
        Slices {
            events: u32::try_from(self.size(1, u64::from(real.events))).unwrap_or(real.events),
            apply_entries: self.count(1, real.apply_entries),
            apply_bytes: self.count(1, real.apply_bytes),
            snapshot_block_bytes: self.count(500, real.snapshot_block_bytes),
            snapshot_sync_bytes: self.size(1, real.snapshot_sync_bytes),
            zero_bytes: self.costly(4 << 10, real.zero_bytes) & !511,
            first_segment_bytes: self.size(16 << 10, real.first_segment_bytes) & !511,
        }
    }

    /// How much the queues between a node and its links hold, for frames of up to `frame` bytes.
    #[must_use]
    pub fn queues(&self, frame: usize) -> NetLimits {
        let real = NetLimits::default();
        NetLimits {
            frames_max: self.count(64, real.frames_max),
            bytes_max: self.count(4 * frame, real.bytes_max.max(4 * frame)),
        }
    }

    /// What work costs: nothing, what it costs on a quick machine, or on a small board.
    #[must_use]
    pub fn costs(&self) -> Costs {
        [Costs::FREE, Costs::FREE, Costs::QUICK, Costs::BOARD][self.0.below(4)]
    }
}

/// What work costs a node in virtual time. While it works it does nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Costs {
    /// Making or checking a signature.
    pub signature: Duration,
    /// Taking a frame in, whatever its length.
    pub frame: Duration,
    /// Each KiB of a frame: copying, hashing, decoding.
    pub frame_kib: Duration,
    /// Reading from the disk, whatever the length.
    pub read: Duration,
    /// Each KiB that is read.
    pub read_kib: Duration,
}

impl Costs {
    /// Nothing costs anything.
    pub const FREE: Self = Self {
        signature: Duration::ZERO,
        frame: Duration::ZERO,
        frame_kib: Duration::ZERO,
        read: Duration::ZERO,
        read_kib: Duration::ZERO,
    };
    /// A server.
    pub const QUICK: Self = Self {
        signature: Duration::from_micros(50),
        frame: Duration::from_micros(2),
        frame_kib: Duration::from_nanos(500),
        read: Duration::from_micros(20),
        read_kib: Duration::from_nanos(500),
    };
    /// A board with an SD card.
    pub const BOARD: Self = Self {
        signature: Duration::from_micros(800),
        frame: Duration::from_micros(50),
        frame_kib: Duration::from_micros(20),
        read: Duration::from_micros(100),
        read_kib: Duration::from_micros(50),
    };

    /// What a frame of `bytes` costs who takes it in.
    #[must_use]
    pub fn of_frame(&self, bytes: usize) -> Duration {
        self.frame + kib(self.frame_kib, bytes)
    }

    /// What reading `bytes` costs.
    #[must_use]
    pub fn of_read(&self, bytes: usize) -> Duration {
        self.read + kib(self.read_kib, bytes)
    }
}

/// What the work of a node since its last poll has cost.
#[derive(Debug, Clone, Default)]
pub struct Meter(Rc<Cell<u64>>);

impl Meter {
    /// Adds to it.
    pub fn charge(&self, cost: Duration) {
        self.0.set(self.0.get() + cost.as_nanos() as u64);
    }

    /// What it shows; it shows nothing then.
    #[must_use]
    pub fn take(&self) -> Duration {
        Duration::from_nanos(self.0.take())
    }
}

fn kib(each: Duration, bytes: usize) -> Duration {
    let nanos = each.as_nanos() as u64 * (bytes as u64) / 1024;
    Duration::from_nanos(nanos)
}

#[cfg(test)]
mod tests {
    use super::Draws;
    use crate::config::Slices;

    #[test]
    fn production_is_among_the_draws_and_so_is_the_least() {
        let real = Slices::default();
        let drawn: Vec<_> = (0..400).map(|seed| Draws::seeded(seed).slices()).collect();
        assert!(drawn.iter().any(|d| d.events == real.events));
        assert!(drawn.iter().any(|d| d.events == 1));
        assert!(drawn.iter().any(|d| d.snapshot_sync_bytes == real.snapshot_sync_bytes));
        assert!(drawn.iter().any(|d| d.snapshot_sync_bytes == 1));
        assert!(drawn.iter().any(|d| d.zero_bytes == real.zero_bytes));
        assert!(drawn.iter().all(|d| d.zero_bytes > 0 && d.first_segment_bytes >= 4 << 10));
    }

    #[test]
    fn a_draw_stays_within_its_ends() {
        let draws = Draws::seeded(1);
        for _ in 0..10_000 {
            assert!((3..=100).contains(&draws.size(3, 100)));
            assert!((1..=1).contains(&draws.size(1, 1)));
        }
    }
}
