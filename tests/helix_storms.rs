//! Storms of many seeds on helix: whatever happens, and whoever lies, the honest nodes decide one
//! chain, and it goes on when the trouble ends. A failing seed prints the command that replays it.
//!
//! Several tests with a part of the seeds each, so that all cores have work.

use std::time::Duration;

use quorate::sim::executor::Order;
use quorate::sim::helix::adversary::Lie;
use quorate::sim::helix::{Choices, Options, Report};
use quorate::sim::storm;

/// Runs the storms of `seeds`.
fn storms(seeds: impl IntoIterator<Item = u64>, options: &Options) -> Vec<Report> {
    seeds
        .into_iter()
        .map(|seed| match storm::run(seed, options) {
            Ok(report) => report,
            Err(failure) => panic!("{failure}"),
        })
        .collect()
}

fn of_nodes(nodes: u64) -> Options {
    Options { nodes, ..Options::default() }
}

fn lied(lies: Vec<Lie>) -> Choices {
    Choices { lies, ..Choices::default() }
}

fn sum(reports: &[Report], count: impl Fn(&Report) -> u64) -> u64 {
    reports.iter().map(count).sum()
}

/// A storm that hurts nobody shows nothing.
fn must_have_hurt(reports: &[Report]) {
    let storms = reports.len() as u64;
    let longest = reports.iter().map(|report| report.healed_in).max();
    println!("{storms} storms; the slowest healing took {longest:?}");
    assert!(sum(reports, |r| r.decided) > storms * 50);
    assert!(sum(reports, |r| r.coverage.starts) > storms * 8);
    assert!(sum(reports, |r| r.coverage.resumed) > storms);
    assert!(sum(reports, |r| r.coverage.elected) > storms * 2);
    assert!(sum(reports, |r| r.coverage.new_views) > storms * 4);
    assert!(sum(reports, |r| r.coverage.late) > storms * 2);
    assert!(sum(reports, |r| r.coverage.learned) > storms * 4);
    assert!(sum(reports, |r| r.coverage.undelivered) > 0);
    assert!(sum(reports, |r| u64::from(r.rot_refused)) > 0);
    assert!(sum(reports, |r| r.coverage.evidence) > 0);
    assert!(sum(reports, |r| r.coverage.cancelled) > storms);
    for fault in <Options>::default().faults {
        assert!(reports.iter().any(|report| report.faults.contains_key(&fault)), "{fault:?}");
    }
    for lie in Choices::default().lies {
        let lied = |report: &Report| report.cast.liars.values().any(|of| *of == lie);
        assert!(reports.iter().any(lied), "{lie:?}");
    }
}

#[test]
fn four_nodes_survive_seeds_1_to_120() {
    must_have_hurt(&storms(1..=120, &of_nodes(4)));
}

#[test]
fn four_nodes_survive_seeds_121_to_240() {
    must_have_hurt(&storms(121..=240, &of_nodes(4)));
}

#[test]
fn seven_nodes_survive_seeds_1_to_60() {
    must_have_hurt(&storms(1..=60, &of_nodes(7)));
}

fn with_clients(nodes: u64) -> Options {
    let protocol = Choices { blocks: false, ..Choices::default() };
    Options { clients: 6, protocol, ..of_nodes(nodes) }
}

/// What clients see is linearizable, whoever lies.
fn must_have_served(reports: &[Report]) {
    let storms = reports.len() as u64;
    assert!(sum(reports, |r| r.tally.acknowledged) > storms * 100);
    assert!(sum(reports, |r| r.tally.reads) > storms * 50);
    assert!(sum(reports, |r| r.tally.unknown) > 0);
    let censored = |report: &Report| report.cast.liars.values().any(|lie| *lie == Lie::Censor);
    assert!(reports.iter().any(censored));
}

#[test]
fn clients_of_four_nodes_lose_nothing() {
    must_have_served(&storms(1..=60, &with_clients(4)));
}

#[test]
fn clients_of_seven_nodes_lose_nothing() {
    must_have_served(&storms(1..=20, &with_clients(7)));
}

#[test]
fn honest_nodes_alone_survive_each_kind_of_trouble() {
    for (fault, seed) in <Options>::default().faults.into_iter().zip((1000..).step_by(10)) {
        let options = Options {
            faults: vec![fault],
            protocol: lied(vec![]),
            calm_max: Duration::from_millis(700),
            ..Options::default()
        };
        let reports = storms(seed..seed + 3, &options);
        assert!(reports.iter().all(|report| report.faults[&fault] > 8));
    }
}

#[test]
fn each_liar_alone_is_survived_in_the_order_of_production() {
    for (lie, seed) in Choices::default().lies.into_iter().zip((2000..).step_by(10)) {
        let options =
            Options { protocol: lied(vec![lie]), order: Order::Fifo, ..Options::default() };
        storms(seed..seed + 2, &options);
    }
}

/// Nothing in a storm is decided by anything but its seed: not by addresses, not by the time of
/// day, not by the order in which a map happens to iterate.
#[test]
fn a_hundred_seeds_give_the_same_trace_twice() {
    for seed in 1..=100 {
        let options = Options {
            nodes: if seed % 4 == 0 { 7 } else { 4 },
            span: Duration::from_secs(40),
            ..Options::default()
        };
        let hash = || storms([seed], &options)[0].hash;
        assert_eq!(hash(), hash(), "seed {seed}");
    }
}

#[test]
fn calm_is_quick_and_wastes_no_view() {
    let options = Options { faults: vec![], protocol: lied(vec![]), ..Options::default() };
    for report in storms(1..6, &options) {
        assert_eq!(report.coverage.elected, 0, "{report}");
        assert_eq!(report.coverage.learned, 0, "{report}");
        assert!(report.decided > 600, "{report}");
    }
}
