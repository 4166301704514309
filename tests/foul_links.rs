//! Links that damage, and no other trouble: of either engine, clusters whose links flip bits and stop
//! in the middle of frames all the time lose nothing meanwhile, and serve when that has ended.

use std::time::Duration;

use quorate::sim::helix::{Choices, Helix};
use quorate::sim::machine::Ledger;
use quorate::sim::net::Weather;
use quorate::sim::protocol::Protocol;
use quorate::sim::raft::Raft;
use quorate::sim::storm::{self, Options, Report};

/// How long links damage.
const SPAN: Duration = Duration::from_secs(30);

/// Of a thousand frames so many are damaged at most.
const DAMAGED_MAX: u32 = 40;

/// Runs storms of nothing but damage.
fn storms<P: Protocol<Machine = Ledger>>(seeds: u64, options: &Options<P>) -> Vec<Report<P>> {
    let storm = |seed: u64| {
        let corrupt = [1, 5, DAMAGED_MAX][(seed % 3) as usize];
        let outcome = storm::cause(seed, options, |cluster| {
            let foul = Weather { corrupt, ..Weather::CALM };
            cluster.world().network(|network| network.set_weather(foul));
            cluster.world().run_for(SPAN);
        });
        outcome.unwrap_or_else(|failure| panic!("{corrupt} of 1000 damaged: {failure}"))
    };
    (1..=seeds).map(storm).collect()
}

fn must_have_served<P: Protocol>(reports: &[Report<P>], least: u64) {
    let acknowledged: u64 = reports.iter().map(|report| report.tally.acknowledged).sum();
    let slowest = reports.iter().map(|report| report.healed_in).max();
    println!("{acknowledged} writes acknowledged; the slowest healing took {slowest:?}");
    assert!(acknowledged > least * reports.len() as u64, "{acknowledged}");
}

#[test]
fn raft_serves_over_links_that_damage_and_heals() {
    for nodes in [3, 5] {
        let options: Options<Raft> = Options { nodes, ..Options::default() };
        must_have_served(&storms(12, &options), 50);
    }
}

#[test]
fn helix_serves_over_links_that_damage_and_heals() {
    let protocol = Choices { blocks: false, lies: vec![], ..Choices::default() };
    let options: Options<Helix> = Options { clients: 6, protocol, ..Options::default() };
    must_have_served(&storms(9, &options), 10);
}
