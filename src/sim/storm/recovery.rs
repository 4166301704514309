//! The second phase of a storm: every trouble ends, and order must return in time.

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use crate::env::Time;
use crate::id::NodeId;
use crate::sim::cluster::ANSWER_MAX;
use crate::sim::machine::Digest;
use crate::sim::protocol::Protocol;
use crate::sim::storm::faults::Repair;
use crate::sim::storm::{Fault, Outcome, Storm};
use crate::sim::workload::PATIENCE_MAX;

/// How often one looks whether order has returned.
const LOOK: Duration = Duration::from_millis(20);

impl<P: Protocol> Storm<P> {
    /// The nodes that must come back: honest, and their disks did not rot away, and are not full for
    /// good.
    fn survivors(&self) -> Vec<NodeId> {
        let gone = |node: &NodeId| self.lost.contains(node) || self.filled.contains(node);
        self.cluster.honest().into_iter().filter(|node| !gone(node)).collect()
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
            self.repair(Repair::Own(node));
            self.repair(Repair::Resume(node));
            if self.options.faults.contains(&Fault::Drift) {
                self.repair(Repair::Steady(node));
            }
        }
        let until = healed + P::healing_max();
        let goal = P::goal(&self.cluster);
        self.settle(goal, until)?;
        let took = self.cluster.world().now().since(healed);
        if P::takes_commands(&self.options) {
            self.serve(until)?;
            self.clients.close();
            self.converge(until)?;
        }
        P::compare(&self.cluster).map_err(|(invariant, what)| self.broken(invariant, what))?;
        Ok(took)
    }

    /// Runs until order has returned, and starts those that die meanwhile: a disk error that was
    /// waiting for its write.
    fn settle(&mut self, goal: u64, until: Time) -> Outcome<()> {
        loop {
            self.start_all();
            if P::has_recovered(&self.cluster, &self.survivors(), goal) {
                return Ok(());
            }
            let now = self.cluster.world().now();
            if now >= until {
                let what = format!("no order {until:?} after the healing: {}", self.standing());
                return Err(self.broken("I9", what));
            }
            self.run_until(now + LOOK)?;
        }
    }

    /// What each node is at, for the report of a failure.
    fn standing(&self) -> String {
        let of = |node| match self.cluster.node(node) {
            Some(handle) => format!("{node:?} {}", P::standing(&handle)),
            None => format!("{node:?} is down"),
        };
        self.survivors().into_iter().map(of).collect::<Vec<_>>().join("; ")
    }

    /// Every node serves.
    fn serve(&mut self, until: Time) -> Outcome<()> {
        for (node, client) in self.survivors().into_iter().zip(0..) {
            let mut seq = 0;
            loop {
                self.settle(0, until)?;
                let Some(handle) = self.cluster.directory().node(node) else {
                    continue;
                };
                seq += 1;
                match self.ask((self.workload.serve)(handle, client, seq))? {
                    Some(Ok(true)) => break,
                    Some(Ok(false)) => {
                        let what = format!("{node:?} does not show what it was given");
                        return Err(self.broken("I8", what));
                    }
                    // It died of a disk error that was still waiting, or its leader did.
                    Some(Err(_)) if self.cluster.world().now() < until => {
                        let later = self.cluster.world().now() + LOOK;
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

    /// Runs until a client has its answer; starts those that die meanwhile.
    fn ask<T: 'static>(
        &mut self,
        request: impl Future<Output = T> + 'static,
    ) -> Outcome<Option<T>> {
        let answer = Rc::new(Cell::new(None));
        let task = self.cluster.begin(request, answer.clone());
        let until = self.cluster.world().now() + ANSWER_MAX;
        while !task.is_finished() && self.cluster.world().now() < until {
            self.start_all();
            self.run_until(self.cluster.world().now() + LOOK)?;
        }
        Ok(answer.take())
    }

    /// Starts those that have died.
    fn start_all(&mut self) {
        for (_, _) in self.cluster.reap() {
            self.disturb();
        }
        for node in self.cluster.members() {
            self.repair(Repair::Start(node));
        }
    }

    /// The clients end; all nodes come to the same state, and it is what the clients saw.
    fn converge(&mut self, until: Time) -> Outcome<()> {
        let until = until + PATIENCE_MAX;
        loop {
            self.settle(0, until)?;
            if self.clients.are_done() && self.are_equal() {
                break;
            }
            let now = self.cluster.world().now();
            if now >= until {
                let what = format!("clients done: {}, states differ", self.clients.are_done());
                return Err(self.broken("I9", what));
            }
            self.run_until(now + LOOK)?;
        }
        let Some(finally) = &self.workload.finally else { return Ok(()) };
        for node in self.survivors() {
            let Some(handle) = self.cluster.directory().node(node) else { continue };
            let judged = handle.read_stale(|machine| finally(machine));
            judged.map_err(|what| self.broken("I8", format!("{node:?}: {what}")))?;
        }
        Ok(())
    }

    fn are_equal(&self) -> bool {
        let last = P::position(&self.cluster.world().checker().borrow());
        let state = |node| {
            let node = self.cluster.directory().node(node)?;
            let status = node.status();
            let digest = node.read_stale(|machine| machine.digest());
            Some((status.commit_index.0, status.applied_index.0, digest))
        };
        let states: Vec<_> = self.survivors().into_iter().map(state).collect();
        let complete = |state: &Option<_>| {
            state.is_some_and(|(commit, applied, _)| commit >= last && applied >= last)
        };
        states.iter().all(|state| complete(state) && *state == states[0])
    }
}
