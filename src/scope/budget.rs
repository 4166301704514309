//! Slicing of long work: a scope that has done enough in one poll lets the others run.

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

#[cfg(test)]
mod tests {
    use super::Budget;
    use futures_lite::future::{block_on, poll_once};

    #[test]
    fn the_fourth_unit_of_a_slice_of_four_yields() {
        let mut budget = Budget::new(4);
        assert!(block_on(poll_once(budget.spend(3))).is_some());
        assert!(block_on(poll_once(budget.spend(1))).is_none());
        assert!(block_on(poll_once(budget.spend(1))).is_some());
    }
}
