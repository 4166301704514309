//! Slicing of long work: a scope that has done enough in one poll lets the others run.

use std::time::Duration;

use futures_lite::future::yield_now;

/// Counts units of work and yields when a slice is used up.
#[derive(Debug)]
pub struct Budget {
    slice: u32,
    left: u32,
}

impl Budget {
    /// A budget of `slice` units between two yields.
    #[must_use]
    pub fn new(slice: u32) -> Self {
        Self { slice, left: slice }
    }

    /// Spends `units`; yields to the other tasks when the slice is used up.
    ///
    /// Cancel safe.
    pub async fn spend(&mut self, units: u32) {
        self.left = self.left.saturating_sub(units);
        if self.left == 0 {
            self.left = self.slice;
            yield_now().await;
        }
    }
}

/// The longest of the spans seen lately: of the last 64 to 128 of them.
#[derive(Debug, Default)]
pub struct Longest {
    before: Duration,
    present: Duration,
    seen: u32,
}

impl Longest {
    /// Spans after which the older half is forgotten.
    const HALF: u32 = 64;

    /// Takes in one span.
    pub fn see(&mut self, span: Duration) {
        if self.seen == Self::HALF {
            self.before = std::mem::take(&mut self.present);
            self.seen = 0;
        }
        self.present = self.present.max(span);
        self.seen += 1;
    }

    /// The longest; zero before the first.
    #[must_use]
    pub fn get(&self) -> Duration {
        self.before.max(self.present)
    }
}

#[cfg(test)]
mod tests {
    use super::{Budget, Longest};
    use futures_lite::future::{block_on, poll_once};
    use std::time::Duration;

    #[test]
    fn the_longest_is_remembered_for_a_while_and_then_forgotten() {
        let mut longest = Longest::default();
        longest.see(Duration::from_millis(9));
        for _ in 0..Longest::HALF {
            longest.see(Duration::from_millis(1));
            assert_eq!(longest.get(), Duration::from_millis(9));
        }
        for _ in 0..Longest::HALF {
            longest.see(Duration::from_millis(1));
        }
        assert_eq!(longest.get(), Duration::from_millis(1));
    }

    #[test]
    fn the_fourth_unit_of_a_slice_of_four_yields() {
        let mut budget = Budget::new(4);
        assert!(block_on(poll_once(budget.spend(3))).is_some());
        assert!(block_on(poll_once(budget.spend(1))).is_none());
        assert!(block_on(poll_once(budget.spend(1))).is_some());
    }
}
