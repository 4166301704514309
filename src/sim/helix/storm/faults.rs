//! The first phase of a storm: one trouble after another, each with its end planned, while the
//! invariants hold.

use std::time::Duration;

use crate::env::Time;
use crate::error::Fatal;
use crate::id::NodeId;
use crate::sim::cluster::Death;
use crate::sim::helix::storm::{Fault, Outcome, Storm};
use crate::sim::helix::test_app::Behaviour;
use crate::sim::net::Weather;

/// What will end a trouble.
#[derive(Debug, Clone, Copy)]
pub(super) enum Repair {
    Start(NodeId),
    Resume(NodeId),
    Room(NodeId),
    Steady(NodeId),
    Mend,
    Calm,
}

impl Storm<'_> {
    pub(super) fn trouble(&mut self) -> Outcome<()> {
        let until = Time::ZERO + self.options.span.saturating_sub(Self::healing_max());
        while self.cluster.world().now() < until {
            let pause = self.rng.between(Duration::ZERO, self.options.calm_max);
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
    fn run_to(&mut self, until: Time) -> Outcome<()> {
        loop {
            let repair = self.repairs.first_key_value().map(|(&(at, _), _)| at);
            let next = repair.map_or(until, |at| at.min(until));
            let now = self.cluster.world().now();
            // A node that has stopped by itself is noticed soon, as a supervisor would.
            self.run_until((now + Duration::from_millis(50)).min(next))?;
            for (node, outcome) in self.cluster.reap() {
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
                return Ok(());
            }
        }
    }

    fn plan(&mut self, longest: Duration, repair: Repair) {
        let after = self.rng.between(Duration::from_millis(5), longest);
        self.planned += 1;
        self.repairs.insert((self.cluster.world().now() + after, self.planned), repair);
    }

    pub(super) fn repair(&mut self, repair: Repair) {
        match repair {
            Repair::Start(node) => match self.cluster.start(node) {
                Ok(()) => {}
                // A write or sync of the start itself failed: another try reads what there is.
                Err(Fatal::Disk { .. }) => self.plan(Duration::from_secs(1), repair),
                Err(fatal) => {
                    self.broken("start", format!("{node:?} cannot start: {fatal}"));
                }
            },
            Repair::Resume(node) => self.cluster.freeze(node, false),
            Repair::Room(node) => {
                self.cluster.disk(node).set_quota(None);
                self.cluster.world().note(format!("the disk of {node:?} has room"));
            }
            Repair::Steady(node) => {
                let test_app = self.cluster.test_app(node);
                test_app.change(|behaviour| {
                    *behaviour = Behaviour { keeps: behaviour.keeps, ..Behaviour::STEADY }
                });
            }
            Repair::Mend => self.cluster.heal(),
            Repair::Calm => {
                self.cluster.world().network(|network| network.set_weather(Weather::CALM));
                self.cluster.world().note("calm weather");
            }
        }
    }

    /// Any honest node. A liar has trouble enough with itself.
    fn any_node(&self) -> NodeId {
        let honest = self.cluster.honest();
        honest[self.rng.below(honest.len())]
    }

    /// Prefers whoever leads: most of what can go wrong, goes wrong there.
    fn victim(&self) -> NodeId {
        let any = self.any_node();
        let leader = self.cluster.node(any).and_then(|node| node.status().leader);
        match leader.filter(|leader| !self.liars.contains_key(leader)) {
            Some(leader) if self.rng.chance(400) => leader,
            _ => any,
        }
    }

    fn strike(&mut self, fault: Fault) -> Outcome<()> {
        let node = self.victim();
        match fault {
            Fault::Crash => return self.crash(node),
            Fault::Blackout => return self.blackout(),
            Fault::Partition => self.partition(),
            Fault::Weather => self.weather(),
            Fault::Pause => {
                self.cluster.freeze(node, true);
                self.plan(Duration::from_secs(3), Repair::Resume(node));
            }
            Fault::Stall => {
                let span = self.rng.between(Duration::from_millis(5), Duration::from_secs(3));
                let world = self.cluster.world();
                self.cluster.disk(node).stall_until(world.now() + span);
                world.note(format!("the disk of {node:?} stalls for {span:?}"));
            }
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
            Fault::Application => self.application(node),
        }
        Ok(())
    }

    fn death(&self) -> Death {
        if self.rng.chance(700) { Death::PowerCut } else { Death::Kill }
    }

    /// Kills a node after a few more of its polls, so that no moment is spared.
    fn crash(&mut self, node: NodeId) -> Outcome<()> {
        let polls = self.cluster.polls(node) + self.rng.within(0..=40);
        let world = self.cluster.world();
        let until = world.now() + Duration::from_millis(200);
        let cluster = &self.cluster;
        self.checked(world.run_until(until, || cluster.polls(node) >= polls))?;
        self.cluster.crash(node, self.death());
        self.plan(Duration::from_secs(4), Repair::Start(node));
        Ok(())
    }

    /// Kills several at one moment; most are back soon, and must remember.
    fn blackout(&mut self) -> Outcome<()> {
        let span = self.rng.between(Duration::ZERO, Duration::from_millis(40));
        let until = self.cluster.world().now() + span;
        self.checked(self.cluster.world().run_until(until, || false))?;
        for node in self.cluster.honest() {
            if self.rng.chance(700) {
                self.cluster.crash(node, self.death());
                let longest = if self.rng.chance(700) { 100 } else { 4_000 };
                self.plan(Duration::from_millis(longest), Repair::Start(node));
            }
        }
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
            // What nodes tell each other of commands is not signed: the transport's checksum is all
            // that tells a damaged command from another one.
            deliver_corrupt: self.rng.chance(300) && self.clients.is_none(),
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

    fn application(&mut self, node: NodeId) {
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
        self.plan(Duration::from_secs(5), Repair::Steady(node));
    }
}
