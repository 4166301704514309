//! Trouble that only helix suffers: its nodes are many and must all remember, and applications are
//! slow, picky and broken.

use std::time::Duration;

use crate::id::NodeId;
use crate::sim::helix::protocol::Helix;
use crate::sim::machine::Digest;
use crate::sim::storm::{Outcome, Repair, Storm};

/// Trouble that only helix suffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// Several nodes die at once, and are back at once.
    Blackout,
    /// An application is slow, refuses blocks, cannot make one, or fails to take delivery.
    Application,
}

impl<M: Digest> Storm<Helix<M>> {
    /// Kills several at one moment; most are back soon, and must remember.
    pub(super) fn blackout(&mut self) -> Outcome<()> {
        let span = self.rng.between(Duration::ZERO, Duration::from_millis(40));
        let until = self.cluster.world().now() + span;
        self.checked(self.cluster.world().run_until(until, || false))?;
        for node in self.cluster.honest() {
            if self.rng.chance(700) {
                let death = self.death();
                self.cluster.crash(node, death);
                let longest = if self.rng.chance(700) { 100 } else { 4_000 };
                self.plan(Duration::from_millis(longest), Repair::Start(node));
            }
        }
        Ok(())
    }

    pub(super) fn application(&mut self, node: NodeId) {
        let test_app = self.cluster.test_app(node);
        let slow = (Duration::ZERO, Duration::from_millis(self.rng.within(1..=3_000)));
        let (kind, failures) = (self.rng.below(5), self.rng.within(1..=6) as u32);
        test_app.change(|behaviour| match kind {
            0 => behaviour.makes_in = slow,
            1 => behaviour.judges_in = slow,
            2 => behaviour.refuses = true,
            3 => behaviour.cannot_make = true,
            _ => behaviour.failures = failures,
        });
        let now = test_app.behaviour();
        self.cluster.world().note(format!("the application of {node:?} is now {now:?}"));
        self.plan(Duration::from_secs(5), Repair::Own(node));
    }
}
