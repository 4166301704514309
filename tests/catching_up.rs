//! The explorer of catching up: a member is away while the others decide, and its power fails at each
//! operation of its disk while it catches up, by a snapshot, by entries, or by blocks that it fetches;
//! every second time once more in the start after. Nothing is lost, and it catches up at last.

use std::time::Duration;

use quorate::id::NodeId;
use quorate::sim::cluster::{Cluster, Death};
use quorate::sim::helix::{Choices, Helix};
use quorate::sim::machine::Ledger;
use quorate::sim::protocol::Protocol;
use quorate::sim::raft::Raft;
use quorate::sim::storm::{self, Options, Report};
use quorate::sim::trace::Detail;

/// The member that is away.
const MEMBER: NodeId = NodeId(3);

/// A story of catching up.
struct Story<P: Protocol> {
    seed: u64,
    options: Options<P>,
    /// How often what the story is about happened in it.
    counts: fn(&Report<P>) -> u64,
}

impl<P: Protocol<Machine = Ledger>> Story<P> {
    /// Tells it, with `trouble` once the member is back.
    fn tell(&self, moment: u64, trouble: impl FnOnce(&mut Cluster<P>)) -> Report<P> {
        let told = storm::cause(self.seed, &self.options, |cluster| {
            wait(cluster, 700);
            cluster.crash(MEMBER, Death::Kill);
            wait(cluster, 2_000);
            trouble(cluster);
        });
        told.unwrap_or_else(|failure| panic!("power cut at operation {moment}: {failure}"))
    }

    /// Tells it without any trouble; returns how many operations of the disk it takes.
    fn operations(&self) -> u64 {
        let mut operations = 0;
        let report = self.tell(0, |cluster| {
            cluster.start(MEMBER).expect("it was only killed");
            wait(cluster, 400);
            operations = cluster.disk(MEMBER).operations();
        });
        assert!((self.counts)(&report) > 0, "nothing is caught up in that way: {report}");
        operations
    }

    fn cut_everywhere(&self) {
        let operations = self.operations();
        assert!(operations > 20, "{operations} operations are no story");
        for moment in 0..operations.min(500) {
            self.tell(moment, |cluster| {
                cut_after(cluster, moment, 400);
                if moment % 2 == 1 {
                    cut_after(cluster, moment / 2 % 20, 50);
                }
            });
        }
    }
}

/// Starts the member and lets its power fail after so many operations. It may not come up at all:
/// then its disk is as it was found or better.
fn cut_after<P: Protocol>(cluster: &mut Cluster<P>, operations: u64, millis: u64) {
    cluster.disk(MEMBER).power_off_after(operations);
    if cluster.start(MEMBER).is_ok() {
        wait(cluster, millis);
    }
    cluster.reap();
    if cluster.is_up(MEMBER) {
        cluster.crash(MEMBER, Death::PowerCut);
    } else {
        cluster.disk(MEMBER).power_cut();
    }
}

fn wait<P: Protocol>(cluster: &Cluster<P>, millis: u64) {
    cluster.world().run_for(Duration::from_millis(millis));
}

fn busy<P: Protocol>() -> Options<P> {
    let client_pause_max = Duration::from_millis(4);
    Options { clients: 3, client_pause_max, detail: Detail::Events, ..Options::default() }
}

#[test]
fn a_power_cut_at_any_operation_of_catching_up_by_a_snapshot_loses_nothing() {
    let counts = |report: &Report<Raft>| report.coverage.installs;
    Story { seed: 19, options: busy(), counts }.cut_everywhere();
}

#[test]
fn a_power_cut_at_any_operation_of_catching_up_by_entries_loses_nothing() {
    let counts = |report: &Report<Raft>| u64::from(report.coverage.installs == 0);
    Story { seed: 2, options: busy(), counts }.cut_everywhere();
}

#[test]
fn a_power_cut_at_any_operation_of_catching_up_by_blocks_loses_nothing() {
    let counts = |report: &Report<Helix>| report.coverage.learned;
    let protocol = Choices { blocks: false, ..Choices::default() };
    Story { seed: 3, options: Options { protocol, ..busy() }, counts }.cut_everywhere();
}
