//! What today's code does not survive is listed, each with a storm that shows it. A storm of the
//! list that is survived, or breaks another invariant than the listed one, is an error: what has
//! been mended leaves the list, and all storms have it from then on.

use quorate::sim::helix::Helix;
use quorate::sim::machine::Ledger;
use quorate::sim::protocol::Protocol;
use quorate::sim::raft::Raft;
use quorate::sim::storm::known::Known;

fn check<P: Protocol<Machine = Ledger>>() {
    let known: Vec<Known<P>> = P::known();
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
