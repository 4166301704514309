//! Storms of many seeds: whatever happens to a cluster, the invariants hold after every event, and
//! order returns when the trouble ends. A failing seed prints the command that replays it.
//!
//! Several tests with a part of the seeds each, so that all cores have work.

use std::time::Duration;

use quorate::sim::executor::Order;
use quorate::sim::raft::{Fault, Options, Report, Trouble};
use quorate::sim::storm;

/// Runs the storms of `seeds` and adds up what they have been through.
fn storms(seeds: std::ops::Range<u64>, options: &Options) -> Vec<Report> {
    seeds
        .map(|seed| match storm::run(seed, options) {
            Ok(report) => report,
            Err(failure) => panic!("{failure}"),
        })
        .collect()
}

fn of_nodes(nodes: u64) -> Options {
    Options { nodes, ..Options::default() }
}

fn sum(reports: &[Report], count: impl Fn(&Report) -> u64) -> u64 {
    reports.iter().map(count).sum()
}

/// A storm that hurts nobody shows nothing.
fn must_have_hurt(reports: &[Report]) {
    let storms = reports.len() as u64;
    assert!(sum(reports, |r| r.tally.acknowledged) > storms * 300);
    assert!(sum(reports, |r| r.tally.reads) > storms * 150);
    assert!(sum(reports, |r| r.tally.unknown) > storms);
    assert!(sum(reports, |r| r.tally.not_applied) > 0);
    assert!(sum(reports, |r| r.coverage.leaders) > storms * 5);
    assert!(sum(reports, |r| r.coverage.starts) > storms * 8);
    assert!(sum(reports, |r| r.coverage.truncations) > 0);
    assert!(sum(reports, |r| r.coverage.snapshots) > storms);
    assert!(sum(reports, |r| r.coverage.installs) > 0);
    assert!(sum(reports, |r| u64::from(r.rot_refused)) > 0);
    for fault in <Options>::default().faults {
        assert!(reports.iter().any(|report| report.faults.contains_key(&fault)), "{fault:?}");
    }
}

#[test]
fn three_nodes_survive_seeds_1_to_80() {
    must_have_hurt(&storms(1..81, &of_nodes(3)));
}

#[test]
fn three_nodes_survive_seeds_81_to_160() {
    must_have_hurt(&storms(81..161, &of_nodes(3)));
}

#[test]
fn five_nodes_survive_seeds_1_to_80() {
    must_have_hurt(&storms(1..81, &of_nodes(5)));
}

#[test]
fn five_nodes_survive_seeds_81_to_160() {
    must_have_hurt(&storms(81..161, &of_nodes(5)));
}

#[test]
fn each_kind_of_trouble_alone_is_survived() {
    for (fault, seed) in <Options>::default().faults.into_iter().zip((1000..).step_by(10)) {
        let options = Options {
            faults: vec![fault],
            calm_max: Duration::from_millis(700),
            ..Options::default()
        };
        let reports = storms(seed..seed + 4, &options);
        // One churn ends several reigns, and takes its time.
        let least = if fault == Fault::Own(Trouble::Churn) { 4 } else { 15 };
        assert!(reports.iter().all(|report| report.faults[&fault] > least), "{fault:?}");
    }
}

#[test]
fn the_order_of_production_is_one_of_the_legal_ones() {
    let order = Order::Fifo;
    must_have_hurt(&storms(1..21, &Options { order, ..of_nodes(3) }));
}

#[test]
fn one_node_alone_survives() {
    let faults = vec![Fault::Crash, Fault::Stall, Fault::Full, Fault::DiskError, Fault::Pause];
    let reports = storms(1..21, &Options { faults, ..of_nodes(1) });
    assert!(sum(&reports, |report| report.tally.acknowledged) > 2_000);
}

/// Nothing in a storm is decided by anything but its seed: not by addresses, not by the time of
/// day, not by the order in which a map happens to iterate.
#[test]
fn a_hundred_seeds_give_the_same_trace_twice() {
    for seed in 1..=100 {
        let options = Options {
            nodes: if seed % 2 == 0 { 3 } else { 5 },
            span: Duration::from_secs(20),
            ..Options::default()
        };
        let hash = || storms(seed..seed + 1, &options)[0].hash;
        assert_eq!(hash(), hash(), "seed {seed}");
    }
}

#[test]
fn calm_is_quick_and_loses_nothing() {
    for report in storms(1..6, &Options { faults: vec![], ..of_nodes(3) }) {
        assert_eq!(report.coverage.leaders, 1, "nobody has a reason to stand for election");
        // A client in a hurry does not wait for the first leader.
        assert!(report.tally.unknown <= 8, "{report}");
        assert!(report.tally.reads_refused <= 8, "{report}");
        assert!(report.tally.acknowledged > 5_000, "{report}");
    }
}
