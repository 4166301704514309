//! The first phase of a storm: one trouble after another, each with its end planned, while the
//! clients work and the invariants hold.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::env::Time;
use crate::error::Fatal;
use crate::id::NodeId;
use crate::sim::cluster::{Cluster, Death};
use crate::sim::net::Weather;
use crate::sim::protocol::Protocol;
use crate::sim::storm::harm::Done;
use crate::sim::storm::{Fault, Outcome, Storm};
use crate::sim::world::Stopped;

/// How long an upgrade waits for a node to end in order, before it is started over. (A stalled disk
/// keeps it longer.)
const UPGRADE_MAX: Duration = Duration::from_millis(500);

/// How much longer than usual nothing happens, now and then: so long that nobody may wait any more.
const LULL: Duration = Duration::from_secs(10);

/// How right a clock is at best, in thousandths, where clocks drift at all.
const DRIFT: RangeInclusive<u64> = 900..=1_100;
/// How wrong it is in trouble.
const DRIFT_WILD: RangeInclusive<u64> = 500..=2_000;

/// What will end a trouble.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Repair {
    Start(NodeId),
    Resume(NodeId),
    Room(NodeId),
    Steady(NodeId),
    /// Of what only this protocol suffers.
    Own(NodeId),
    Mend,
    Calm,
}

impl<P: Protocol> Storm<P> {
    pub(super) fn trouble(&mut self) -> Outcome<()> {
        let longest = P::healing_max();
        let until = Time::ZERO + self.options.span.saturating_sub(longest);
        if self.options.faults.contains(&Fault::Drift) {
            self.cluster.members().into_iter().for_each(|node| self.repair(Repair::Steady(node)));
        }
        while self.cluster.world().now() < until {
            let lull = self.rng.chance(50);
            let calm_max = if lull { self.options.calm_max + LULL } else { self.options.calm_max };
            let pause = self.rng.between(Duration::ZERO, calm_max);
            let next = (self.cluster.world().now() + pause).min(until);
            self.run_to(next)?;
            if !self.options.faults.is_empty() {
                let fault = self.options.faults[self.rng.below(self.options.faults.len())];
                *self.faults.entry(fault).or_default() += 1;
                self.strike(fault)?;
            }
        }
        Ok(())
    }

    /// Runs until `until`, with the repairs and the deaths on the way.
    pub(crate) fn run_to(&mut self, until: Time) -> Outcome<()> {
        self.run_to_or(until, |_| false).map(|_| ())
    }

    /// The same, but not beyond the poll after which `done` holds; says whether it does.
    pub(crate) fn run_to_or(
        &mut self,
        until: Time,
        done: impl Fn(&Cluster<P>) -> bool,
    ) -> Outcome<bool> {
        loop {
            let repair = self.repairs.first_key_value().map(|(&(at, _), _)| at);
            let next = repair.map_or(until, |at| at.min(until));
            let now = self.cluster.world().now();
            // A node that has stopped by itself is noticed soon, as a supervisor would.
            let soon = (now + Duration::from_millis(50)).min(next);
            let cluster = &self.cluster;
            let stopped = self.checked(cluster.world().run_until(soon, || done(cluster)))?;
            self.watch()?;
            if stopped == Stopped::Done {
                return Ok(true);
            }
            for (node, outcome) in self.cluster.reap() {
                self.disturb();
                if outcome.is_err() {
                    self.plan(Duration::from_secs(3), Repair::Start(node));
                }
            }
            let now = self.cluster.world().now();
            while let Some(entry) = self.repairs.first_entry() {
                if entry.key().0 > now {
                    break;
                }
                let repair = entry.remove();
                self.repair(repair);
            }
            if now >= until {
                return Ok(false);
            }
        }
    }

    pub(crate) fn plan(&mut self, longest: Duration, repair: Repair) {
        let after = self.rng.between(Duration::from_millis(5), longest);
        self.planned += 1;
        self.repairs.insert((self.cluster.world().now() + after, self.planned), repair);
    }

    pub(super) fn repair(&mut self, repair: Repair) {
        if !matches!(repair, Repair::Start(node) if self.cluster.is_up(node)) {
            self.disturb();
        }
        match repair {
            Repair::Start(node) if self.lost.contains(&node) => {}
            Repair::Start(node) if self.harmed.contains_key(&node) => self.start_harmed(node),
            Repair::Start(node) => match self.cluster.start(node) {
                Ok(()) => {}
                // A write or sync of the start itself failed: another try reads what there is.
                Err(Fatal::Disk { .. }) => self.plan(Duration::from_secs(1), repair),
                Err(fatal) => {
                    self.broken("start", format!("{node:?} cannot start: {fatal}"));
                }
            },
            Repair::Resume(node) => self.cluster.resume(node),
            Repair::Room(node) if self.filled.contains(&node) => {}
            Repair::Room(node) => {
                self.cluster.disk(node).set_quota(None);
                self.cluster.world().note(format!("the disk of {node:?} has room"));
            }
            Repair::Steady(node) => {
                self.wild.remove(&node);
                self.set_clock(node, DRIFT);
            }
            Repair::Own(node) => P::relieve(&self.cluster, node),
            Repair::Mend => self.cluster.heal(),
            Repair::Calm => {
                self.cluster.world().network(|network| network.set_weather(Weather::CALM));
                self.cluster.world().note("calm weather");
            }
        }
    }

    fn set_clock(&mut self, node: NodeId, rates: RangeInclusive<u64>) {
        let rate = self.rng.within(rates);
        self.cluster.world().set_rate(node, rate);
        self.cluster.world().note(format!("the clock of {node:?} runs at {rate} of 1000"));
    }

    /// Any of those whose word counts: the others have trouble enough with themselves.
    pub(crate) fn any_node(&self) -> NodeId {
        let honest = self.cluster.honest();
        honest[self.rng.below(honest.len())]
    }

    /// Prefers the leader: most of what can go wrong, goes wrong there.
    fn victim(&self) -> NodeId {
        match P::leader(&self.cluster) {
            Some(leader) if self.rng.chance(400) => leader,
            _ => self.any_node(),
        }
    }

    fn strike(&mut self, fault: Fault<P::Fault>) -> Outcome<()> {
        let outcome = self.cause(fault);
        self.disturb();
        outcome
    }

    fn cause(&mut self, fault: Fault<P::Fault>) -> Outcome<()> {
        let node = self.victim();
        match fault {
            Fault::Crash => return self.crash(node),
            Fault::Partition => self.partition(),
            Fault::Weather => self.weather(),
            Fault::Pause => {
                self.cluster.pause(node);
                self.plan(Duration::from_secs(3), Repair::Resume(node));
            }
            Fault::Stall => {
                let span = self.rng.between(Duration::from_millis(5), Duration::from_secs(3));
                let world = self.cluster.world();
                self.cluster.disk(node).stall_until(world.now() + span);
                world.note(format!("the disk of {node:?} stalls for {span:?}"));
            }
            Fault::Full if self.filled.contains(&node) => {}
            Fault::Full => {
                self.cluster.disk(node).set_quota(Some(0));
                self.cluster.world().note(format!("the disk of {node:?} is full"));
                self.plan(Duration::from_secs(5), Repair::Room(node));
            }
            Fault::DiskError => {
                let disk = self.cluster.disk(node);
                if self.rng.chance(500) {
                    disk.fail_next_write();
                } else {
                    disk.fail_next_sync();
                }
                self.cluster.world().note(format!("the disk of {node:?} will fail"));
            }
            Fault::BitRot => {
                let bit = self.rng.within(0..=7) as u8;
                self.harm(node, Done::Flipped(bit));
            }
            Fault::Shortened => self.harm(node, Done::Cut),
            Fault::Missing => self.harm(node, Done::Lost),
            Fault::Wiped => self.wipe(node),
            Fault::RolledBack => self.roll_back(node),
            Fault::Small => self.shrink(node),
            Fault::FullForGood => self.fill(node),
            Fault::Drift => {
                self.wild.insert(node);
                self.set_clock(node, DRIFT_WILD);
                self.plan(Duration::from_secs(6), Repair::Steady(node));
            }
            Fault::Upgrade => {
                self.cluster.shutdown(node, UPGRADE_MAX);
                self.checked(Stopped::Done)?;
                self.plan(Duration::from_secs(1), Repair::Start(node));
            }
            Fault::Cancel => {
                let polls = self.rng.within(1..=40);
                self.cluster.cancel_after(node, polls);
                self.cluster.world().note(format!("{node:?} loses its role in {polls} polls"));
            }
            Fault::Own(fault) => return P::strike(self, fault, node),
        }
        Ok(())
    }

    /// How a node dies: mostly its power is cut.
    pub(crate) fn death(&self) -> Death {
        if self.rng.chance(700) { Death::PowerCut } else { Death::Kill }
    }

    /// Kills a node after a few more of its polls, so that no moment is spared.
    fn crash(&mut self, node: NodeId) -> Outcome<()> {
        let polls = self.cluster.polls(node) + self.rng.within(0..=40);
        let world = self.cluster.world();
        let until = world.now() + Duration::from_millis(200);
        let cluster = &self.cluster;
        self.checked(world.run_until(until, || cluster.polls(node) >= polls))?;
        let death = self.death();
        self.cluster.crash(node, death);
        self.plan(Duration::from_secs(4), Repair::Start(node));
        Ok(())
    }

    fn partition(&mut self) {
        let members = self.cluster.members();
        let (one, other): (Vec<_>, Vec<_>) = members.iter().partition(|_| self.rng.chance(500));
        match self.rng.below(4) {
            0 => {
                let (from, to) = (self.victim(), self.any_node());
                self.cluster.cut(&[from], &[to]);
            }
            1 => self.cluster.cut(&one, &other),
            2 => self.cluster.partition(&[self.victim()], &members),
            _ => self.cluster.partition(&one, &other),
        }
        self.plan(Duration::from_secs(6), Repair::Mend);
    }

    fn weather(&mut self) {
        let weather = Weather {
            loss: [0, 20, 100, 300][self.rng.below(4)],
            duplicate: [0, 50, 300][self.rng.below(3)],
            slow: [0, 20, 100][self.rng.below(3)],
            reorder: self.rng.chance(700),
            deliver_corrupt: P::hands_on_damage(&self.cluster, &self.rng),
            delay_max: Duration::from_millis(self.rng.within(1..=80)),
            ..Weather::FOUL
        };
        self.cluster.world().network(|network| network.set_weather(weather));
        self.cluster.world().note(format!(
            "foul weather: {} of 1000 lost, {} doubled, {} slow, up to {:?}",
            weather.loss, weather.duplicate, weather.slow, weather.delay_max
        ));
        self.plan(Duration::from_secs(6), Repair::Calm);
    }
}
