//! The second phase of a storm: every trouble but the liars ends, and the chain must go on in time.

use std::time::Duration;

use crate::env::Time;
use crate::id::Height;
use crate::sim::client::{Clients, PATIENCE_MAX};
use crate::sim::helix::storm::faults::Repair;
use crate::sim::helix::storm::{BLOCKS_AFTER, Outcome, Storm};
use crate::sim::machine::Digest;

impl Storm<'_> {
    /// Ends every trouble; returns how long it took until the chain had gone on everywhere.
    pub(super) fn heal(&mut self) -> Outcome<Duration> {
        self.cluster.world().note("-- healing --");
        self.repairs.clear();
        self.repair(Repair::Mend);
        self.repair(Repair::Calm);
        let healed = self.cluster.world().now();
        for node in self.cluster.members() {
            self.cluster.disk(node).stall_until(healed);
            self.repair(Repair::Room(node));
            self.repair(Repair::Steady(node));
            self.repair(Repair::Resume(node));
        }
        let decided = self.cluster.world().checker().borrow().decided();
        let goal = Height(decided.0 + BLOCKS_AFTER);
        self.go_on(goal, healed + Self::healing_max())?;
        let took = self.cluster.world().now().since(healed);
        if self.clients.is_some() {
            self.converge()?
        } else {
            self.compare()?
        }
        Ok(took)
    }

    /// The clients end; all honest nodes come to the same ledger, and it is what the clients saw.
    fn converge(&mut self) -> Outcome<()> {
        self.clients.iter().for_each(Clients::close);
        let until = self.cluster.world().now() + PATIENCE_MAX + Self::healing_max();
        let done = |storm: &Self| storm.clients.as_ref().is_none_or(Clients::are_done);
        while !(done(self) && self.are_equal()) {
            let now = self.cluster.world().now();
            if now >= until {
                let what = format!("clients done: {}, ledgers differ", done(self));
                return Err(self.broken("I9", what));
            }
            self.go_on(Height::ZERO, until)?;
            self.run_until(now + Duration::from_millis(20))?;
        }
        let first = self.cluster.honest()[0];
        let node = self.cluster.directory().node(first);
        let (Some(node), Some(clients)) = (node, &self.clients) else { return Ok(()) };
        let compared = node.read_stale(|ledger| clients.compare(ledger));
        compared.map_err(|what| self.broken("I8", what))
    }

    fn are_equal(&self) -> bool {
        let state = |node| {
            let node = self.cluster.directory().node(node)?;
            Some((node.status().applied, node.read_stale(|ledger| ledger.digest())))
        };
        let states: Vec<_> = self.cluster.honest().into_iter().map(state).collect();
        let last = self.cluster.world().checker().borrow().applied_last();
        states.iter().all(|s| s.is_some_and(|(applied, _)| applied.0 >= last) && *s == states[0])
    }

    /// Runs until every honest node has delivered up to `goal`, and starts those that die
    /// meanwhile: a disk error that was waiting for its write.
    fn go_on(&mut self, goal: Height, until: Time) -> Outcome<()> {
        loop {
            self.cluster.reap();
            for node in self.cluster.members() {
                self.repair(Repair::Start(node));
            }
            let honest = self.cluster.honest();
            let at = |node| self.cluster.node(node).map_or(Height::ZERO, |n| n.status().delivered);
            let lowest = honest.iter().map(|&node| at(node)).min().unwrap_or(Height::ZERO);
            if lowest >= goal {
                return Ok(());
            }
            let now = self.cluster.world().now();
            if now >= until {
                let states: Vec<_> = honest.iter().map(|&node| self.state(node)).collect();
                let what = format!("{goal:?} is not delivered everywhere: {}", states.join("; "));
                return Err(self.broken("I9", what));
            }
            self.run_until(now + Duration::from_millis(20))?;
        }
    }

    fn state(&self, node: crate::id::NodeId) -> String {
        let Some(engine) = self.cluster.node(node) else {
            return format!("{node:?} is down");
        };
        let status = engine.status();
        let (height, view, delivered) = (status.height, status.view, status.delivered);
        format!("{node:?} at {height:?} {view:?}, delivered {delivered:?}, {:?}", status.trouble)
    }

    /// The applications have the same blocks, as far as both have any.
    fn compare(&self) -> Outcome<()> {
        let checker = self.cluster.world().checker().borrow();
        for node in self.cluster.honest() {
            for (hash, height) in self.cluster.test_app(node).chain().into_iter().zip(1..) {
                if checker.block(Height(height)) != Some(hash) {
                    drop(checker);
                    let what = format!("{node:?} has {hash:?} at h{height}");
                    return Err(self.broken("I11", what));
                }
            }
        }
        Ok(())
    }
}
