//! Clocks that do not agree: every node of a world has its own, which runs at a rate of its own.
//!
//! Nothing in the engine may depend on two clocks being equal; only patience does. A node's clock
//! never goes back and never jumps, as the operating system's monotonic clock does not; a node that
//! is frozen for a while is a pause, and its clock goes on.

use std::rc::Rc;

use crate::env::Time;
use crate::env::clock::VirtualClock;

/// The rate of a clock that is right, in thousandths.
pub const RATE_TRUE: u64 = 1_000;

/// A clock that runs at its own rate beside the world's.
#[derive(Debug, Default)]
pub(crate) struct Drifting {
    time: Rc<VirtualClock>,
    /// In thousandths of the world's; zero before it is first set, and then it is right.
    rate: u64,
    /// When the rate was set: in the world's time, and in its own.
    since: Time,
    then: Time,
}

impl Drifting {
    /// The clock itself.
    pub(crate) fn time(&self) -> &Rc<VirtualClock> {
        &self.time
    }

    fn rate(&self) -> u64 {
        if self.rate == 0 { RATE_TRUE } else { self.rate }
    }

    /// Lets it run at another rate from `now` on.
    pub(crate) fn set_rate(&mut self, now: Time, rate: u64) {
        self.follow(now);
        (self.since, self.then) = (now, self.time.now());
        self.rate = rate;
    }

    /// Moves it to where it is when the world's is at `now`; wakes who waits until then.
    pub(crate) fn follow(&self, now: Time) {
        let passed = now.0.saturating_sub(self.since.0);
        self.time.advance_to(Time(self.then.0 + passed * self.rate() / RATE_TRUE));
    }

    /// When, in the world's time, its next timer fires.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        let left = self.time.next_deadline()?.0.saturating_sub(self.then.0);
        Some(Time(self.since.0 + left.saturating_mul(RATE_TRUE).div_ceil(self.rate())))
    }
}

#[cfg(test)]
mod tests {
    use super::Drifting;
    use crate::env::{Clock, Time};
    use futures_lite::future::{block_on, poll_once};
    use std::time::Duration;

    #[test]
    fn a_timer_fires_when_its_own_clock_says_so() {
        for rate in [500, 901, 1_000, 1_099, 2_000] {
            let mut drifting = Drifting::default();
            drifting.follow(Time(7));
            drifting.set_rate(Time(7), rate);
            let clock = Clock::simulated(drifting.time().clone());
            let mut sleep = clock.sleep(Duration::from_nanos(1_001));
            assert_eq!(block_on(poll_once(&mut sleep)), None);
            let due = drifting.next_deadline().expect("it is set");
            drifting.follow(Time(due.0 - 1));
            assert_eq!(block_on(poll_once(&mut sleep)), None, "at rate {rate}");
            drifting.follow(due);
            assert_eq!(block_on(poll_once(&mut sleep)), Some(()), "at rate {rate}");
        }
    }

    #[test]
    fn a_change_of_the_rate_moves_what_is_still_to_come() {
        let mut drifting = Drifting::default();
        let clock = Clock::simulated(drifting.time().clone());
        let mut sleep = clock.sleep(Duration::from_nanos(1_000));
        assert_eq!(block_on(poll_once(&mut sleep)), None);
        drifting.set_rate(Time(500), 2_000);
        assert_eq!(clock.now(), Time(500));
        assert_eq!(drifting.next_deadline(), Some(Time(750)));
        drifting.set_rate(Time(600), 500);
        assert_eq!(clock.now(), Time(700));
        assert_eq!(drifting.next_deadline(), Some(Time(1_200)));
    }
}
