//! Churn: the trouble that logs come apart from. One leader after the other is cut off just after
//! its election, sometimes with a few friends, and the one before it comes back: so every reign
//! leaves entries of its own term on a few nodes, and the next ones must choose among them. Figure 8
//! of the paper is one of these stories; chance alone hardly ever tells it.

use std::time::Duration;

use crate::config::Timing;
use crate::id::{Index, NodeId};
use crate::sim::cluster::Death;
use crate::sim::machine::Digest;
use crate::sim::raft::{Cluster, Raft};
use crate::sim::storm::{Outcome, Repair, Storm};

/// The longest reign: about as long as it takes to bring the others up to date in foul weather.
const REIGN_MAX: Duration = Duration::from_millis(300);

/// Trouble that only raft suffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// Leader after leader is cut off just after its election, while the one before it comes back.
    Churn,
    /// A follower takes it that its leader wants to be relieved, however far behind it is: it stands
    /// for election without asking first whether it would be elected.
    ForcedTransfer,
}

impl<M: Digest> Storm<Raft<M>> {
    /// Ends a few reigns in a row.
    pub(super) fn churn(&mut self) -> Outcome<()> {
        for _ in 0..self.rng.within(2..=6) {
            let reigns = reigns_of(&self.cluster);
            if let Some(leader) = self.cluster.leader() {
                self.depose(leader);
            }
            let until = self.cluster.world().now() + 5 * Timing::LAN.election_max;
            let next = |cluster: &Cluster<M>| reigns_of(cluster) > reigns;
            if !self.run_to_or(until, next)? {
                break;
            }
            self.reign()?;
        }
        self.plan(Duration::from_secs(3), Repair::Mend);
        Ok(())
    }

    /// Lets a new leader rule: not at all, until it decides something, or for a while.
    fn reign(&mut self) -> Outcome<()> {
        let now = self.cluster.world().now();
        match self.rng.below(4) {
            0 => Ok(()),
            1 => self.run_to(now + self.rng.between(Duration::ZERO, REIGN_MAX)),
            _ => {
                let decided = decided_in(&self.cluster);
                let next = |cluster: &Cluster<M>| decided_in(cluster) > decided;
                self.run_to_or(now + REIGN_MAX, next).map(|_| ())
            }
        }
    }

    /// Cuts off a leader and perhaps a few friends, too few to decide anything; mends all else.
    fn depose(&mut self, leader: NodeId) {
        self.cluster.heal();
        if self.rng.chance(250) {
            let death = if self.rng.chance(500) { Death::PowerCut } else { Death::Kill };
            self.cluster.crash(leader, death);
            return self.plan(Duration::from_secs(2), Repair::Start(leader));
        }
        let members = self.cluster.members();
        let mut others: Vec<_> = members.into_iter().filter(|&node| node != leader).collect();
        let friends_max = others.len().saturating_sub(1) / 2;
        let mut party = vec![leader];
        for _ in 0..self.rng.below(friends_max + 1) {
            party.push(others.swap_remove(self.rng.below(others.len())));
        }
        self.cluster.partition(&party, &others);
    }
}

/// How many leaders there have been.
fn reigns_of<M: Digest>(cluster: &Cluster<M>) -> u64 {
    cluster.world().checker().borrow().coverage().leaders
}

fn decided_in<M: Digest>(cluster: &Cluster<M>) -> Index {
    cluster.world().checker().borrow().decided()
}
