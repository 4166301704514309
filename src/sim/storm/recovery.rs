//! The second phase of a storm: every trouble ends, and order must return in time.

use std::time::Duration;

use crate::config::Timing;
use crate::env::Time;
use crate::id::NodeId;
use crate::sim::client::PATIENCE_MAX;
use crate::sim::machine::{Digest, Write};
use crate::sim::storm::faults::Repair;
use crate::sim::storm::{Fault, HEALING_ELECTIONS, Outcome, Storm};
use crate::sim::world::Stopped;

impl Storm<'_> {
    pub(super) fn healing_max(&self) -> Duration {
        Timing::LAN.election_max * HEALING_ELECTIONS
    }

    /// The nodes whose disks did not rot away.
    fn survivors(&self) -> Vec<NodeId> {
        self.cluster.members().into_iter().filter(|node| !self.lost.contains(node)).collect()
    }

    /// Ends every trouble; returns how long it took until order was back.
    pub(super) fn heal(&mut self) -> Outcome<Duration> {
        self.cluster.world().note("-- healing --");
        self.repairs.clear();
        self.repair(Repair::Mend);
        self.repair(Repair::Calm);
        let healed = self.cluster.world().now();
        for node in self.cluster.members() {
            self.cluster.disk(node).stall_until(healed);
            self.repair(Repair::Room(node));
            self.repair(Repair::Resume(node));
            if self.options.faults.contains(&Fault::Drift) {
                self.repair(Repair::Steady(node));
            }
        }
        let until = healed + self.healing_max();
        let took = self.settle(until)?;
        self.serve(until)?;
        self.clients.close();
        self.converge(until)?;
        Ok(took)
    }

    /// Runs until every node is up and follows one leader, and starts those that die meanwhile:
    /// a disk error that was waiting for its write.
    fn settle(&mut self, until: Time) -> Outcome<Duration> {
        let healed = self.cluster.world().now();
        loop {
            self.cluster.reap();
            for node in self.cluster.members() {
                self.repair(Repair::Start(node));
            }
            let now = self.cluster.world().now();
            if self.cluster.settled_leader().is_some() {
                return Ok(now.since(healed));
            }
            if now >= until {
                return Err(self.broken("I9", format!("no leader {:?} after the healing", until)));
            }
            self.run_until(now + Duration::from_millis(20))?;
        }
    }

    /// Every node takes a write and a read.
    fn serve(&mut self, until: Time) -> Outcome<()> {
        for (node, client) in self.survivors().into_iter().zip(1_000_000..) {
            let mut seq = 0;
            loop {
                self.settle(until)?;
                let Some(handle) = self.cluster.node(node) else {
                    continue;
                };
                seq += 1;
                let write = Write { client, seq };
                self.clients.expect(write);
                let answer = self.cluster.run(async move {
                    handle.propose(write.command(0)).await?;
                    handle.read(|ledger| ledger.writes().iter().any(|&(_, w)| w == write)).await
                });
                self.checked(Stopped::Done)?;
                match answer {
                    Some(Ok(true)) => break,
                    Some(Ok(false)) => {
                        return Err(self.broken("I8", format!("{node:?} does not show {write}")));
                    }
                    // It died of a disk error that was still waiting, or its leader did.
                    Some(Err(_)) if self.cluster.world().now() < until => {
                        let later = self.cluster.world().now() + Duration::from_millis(20);
                        self.run_until(later)?;
                    }
                    other => {
                        let what = format!("{node:?} does not serve: {other:?}");
                        return Err(self.broken("I9", what));
                    }
                }
            }
        }
        Ok(())
    }

    /// The clients end; all nodes come to the same state, and it is what the clients saw.
    fn converge(&mut self, until: Time) -> Outcome<()> {
        let until = until + PATIENCE_MAX;
        loop {
            self.settle(until)?;
            if self.clients.are_done() && self.are_equal() {
                break;
            }
            let now = self.cluster.world().now();
            if now >= until {
                let what = format!("clients done: {}, states differ", self.clients.are_done());
                return Err(self.broken("I9", what));
            }
            self.run_until(now + Duration::from_millis(20))?;
        }
        let first = self.survivors()[0];
        let node = self.cluster.node(first).expect("settled means that all are up");
        let compared = node.read_stale(|ledger| self.clients.compare(ledger));
        compared.map_err(|what| self.broken("I8", what))
    }

    fn are_equal(&self) -> bool {
        let decided = self.cluster.world().checker().borrow().decided();
        let state = |node| {
            let node = self.cluster.node(node)?;
            let status = node.status();
            let digest = node.read_stale(|ledger| ledger.digest());
            Some((status.commit_index, status.applied_index, digest))
        };
        let states: Vec<_> = self.survivors().into_iter().map(state).collect();
        let complete = |state: &Option<_>| {
            state.is_some_and(|(commit, applied, _)| commit == decided && applied == decided)
        };
        states.iter().all(|state| complete(state) && *state == states[0])
    }
}
