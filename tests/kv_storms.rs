//! Storms on the key-value store: whatever happens to a cluster of either engine, what its clients
//! saw is linearizable, and its leases and watches keep what they promise.

use std::time::Duration;

use quorate::kv::Store;
use quorate::sim::helix::Helix;
use quorate::sim::linear::{Promise, Verdict};
use quorate::sim::protocol::Protocol;
use quorate::sim::raft::Raft;
use quorate::sim::storm::{self, Options};
use quorate::sim::workload::kv::kv;

/// While clocks drift, one may run at twice its speed for a while.
const PROMISE: Promise = Promise { clock_rate_max: 2_000 };

/// Runs the storms of `seeds` and adds up what was judged.
fn storms<P: Protocol<Machine = Store>>(
    seeds: impl IntoIterator<Item = u64>,
    options: &Options<P>,
) -> Verdict {
    seeds.into_iter().fold(Verdict::default(), |sum, seed| {
        let (workload, judged) = kv(options.client_pause_max, PROMISE);
        let report = storm::run_with::<P>(seed, options, workload);
        let report = report.unwrap_or_else(|failure| panic!("{failure}"));
        let verdict = judged.verdict().expect("a storm that is over was judged");
        println!("{report}\n  {verdict}");
        sum.and(verdict)
    })
}

fn of_nodes<P: Protocol<Machine = Store>>(nodes: u64) -> Options<P> {
    Options {
        nodes,
        clients: 10,
        client_pause_max: Duration::from_millis(60),
        span: Duration::from_secs(40),
        ..Options::default()
    }
}

/// A storm in which nothing is at stake shows nothing.
fn must_have_hurt(storms: u64, verdict: &Verdict) {
    println!("{storms} storms: {verdict}");
    assert!(verdict.answered > storms * 100, "{verdict}");
    assert!(verdict.reads > storms * 100, "{verdict}");
    assert!(verdict.unknown > storms, "{verdict}");
    assert!(verdict.unanswered > storms, "{verdict}");
    assert!(verdict.lease_ends > storms / 4, "{verdict}");
    assert!(verdict.told > storms * 200, "{verdict}");
    assert_eq!(verdict.gave_up, 0, "{verdict}");
}

#[test]
fn three_nodes_of_raft_show_one_history() {
    must_have_hurt(40, &storms::<Raft<_>>(1..=40, &of_nodes(3)));
}

#[test]
fn five_nodes_of_raft_show_one_history() {
    must_have_hurt(30, &storms::<Raft<_>>(1..=30, &of_nodes(5)));
}

#[test]
fn four_nodes_of_helix_show_one_history() {
    must_have_hurt(40, &storms::<Helix<_>>(1..=40, &of_nodes(4)));
}
