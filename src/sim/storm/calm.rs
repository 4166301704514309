//! When a cluster is at peace, so that nobody may wait for long: see [`waits`](crate::sim::waits).

use std::collections::BTreeSet;
use std::time::Duration;

use crate::id::NodeId;
use crate::sim::protocol::Protocol;
use crate::sim::storm::{Outcome, Storm};
use crate::sim::waits::{Calm, Moment};

/// What one sync and one way there and back take at most, on a healthy disk and a calm link.
const STEP: Duration = Duration::from_millis(4);

impl<P: Protocol> Storm<P> {
    /// Looks whether somebody waits too long.
    pub(crate) fn watch(&mut self) -> Outcome<()> {
        let moment = self.moment();
        match self.waits.look(&moment) {
            Ok(()) => Ok(()),
            Err(what) => Err(self.broken("I12", what)),
        }
    }

    /// Something happens to the cluster.
    pub(crate) fn disturb(&self) {
        self.waits.disturbed(self.cluster.world().now());
    }

    fn moment(&self) -> Moment {
        let cluster = &self.cluster;
        let world = cluster.world();
        let up: Vec<_> = cluster.honest().into_iter().filter(|&node| runs(self, node)).collect();
        let taken = |&node: &NodeId| Some((node, P::taken(&cluster.node(node)?)));
        Moment {
            now: world.now(),
            patience: P::patience(cluster),
            running: up.iter().copied().collect(),
            decided: P::decided(&world.checker().borrow()),
            taken: up.iter().filter_map(taken).collect(),
            pace: STEP
                + cluster.setup().costs.of_frame(4 << 10)
                + cluster.setup().costs.of_read(4 << 10),
            calm: self.calm(&up),
        }
    }

    fn calm(&self, up: &[NodeId]) -> Calm {
        let cluster = &self.cluster;
        let now = cluster.world().now();
        let hears = |&one: &NodeId, &other: &NodeId| {
            let both = |network: &mut crate::sim::net::Network| {
                network.is_well(one, other, now) && network.is_well(other, one, now)
            };
            one == other || cluster.world().network(both)
        };
        let calm = cluster.world().network(|network| network.is_calm());
        let steady = up.iter().all(|&node| self.is_steady(node));
        let groups = up.iter().map(|one| up.iter().filter(|other| hears(one, other)).collect());
        let groups: Vec<BTreeSet<&NodeId>> = groups.collect();
        for members in groups {
            let closed = members.iter().all(|one| {
                let heard = up.iter().filter(|other| hears(one, other)).collect::<BTreeSet<_>>();
                heard == members
            });
            let able: BTreeSet<_> =
                members.iter().filter(|node| self.can_write(***node)).map(|node| **node).collect();
            if closed && calm && steady && P::is_quorum(cluster, &able) {
                let members = members.into_iter().copied().collect();
                let cancels = up.iter().map(|&node| cluster.cancelled(node)).sum();
                return Calm { members, able, cancels };
            }
        }
        Calm::default()
    }

    /// Its disk has room and answers.
    fn can_write(&self, node: NodeId) -> bool {
        self.cluster.disk(node).is_well(self.cluster.world().now())
    }

    /// Its clock is about right, and so is what only this protocol has.
    fn is_steady(&self, node: NodeId) -> bool {
        !self.wild.contains(&node) && P::is_steady(&self.cluster, node)
    }
}

fn runs<P: Protocol>(storm: &Storm<P>, node: NodeId) -> bool {
    storm.cluster.is_up(node) && !storm.cluster.is_paused(node)
}
