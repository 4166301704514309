//! What today's code does not survive is listed, each with a storm that shows it. A storm of the
//! list that is survived, or breaks another invariant than the listed one, is an error: what has
//! been mended leaves the list, and all storms have it from then on.
//!
//! A change of the simulator makes other storms of the same seeds. Then
//! `FIND_KNOWN=1 cargo test --test known_failures -- --nocapture` says for each entry which seeds show
//! what now.

use quorate::sim::helix::Helix;
use quorate::sim::machine::Ledger;
use quorate::sim::protocol::Protocol;
use quorate::sim::raft::Raft;
use quorate::sim::storm;
use quorate::sim::storm::known::Known;

/// Prints which of the first seeds break what.
fn find<P: Protocol<Machine = Ledger>>(mut known: Known<P>) {
    let mut found = 0;
    for seed in 1..=120 {
        known.seed = seed;
        if let Err(failure) = storm::run(seed, &known.options()) {
            println!("{}: seed {seed}, {} nodes: {}", known.name, known.nodes, failure.violation);
            found += 1;
        }
        if found == 3 {
            break;
        }
    }
}

fn check<P: Protocol<Machine = Ledger>>() {
    let known: Vec<Known<P>> = P::known();
    if std::env::var_os("FIND_KNOWN").is_some() {
        return known.into_iter().for_each(find);
    }
    let wrong: Vec<_> = known.iter().filter_map(|known| known.check().err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn the_known_failures_of_raft_are_what_the_list_says() {
    check::<Raft>();
}

#[test]
fn the_known_failures_of_helix_are_what_the_list_says() {
    check::<Helix>();
}
