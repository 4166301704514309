//! The hashes of storms, kept from one version to the next: `tests/golden/raft_storms.txt` and
//! `helix_storms.txt`. A change that shall not change behaviour, a rename or a move, keeps them; one
//! that does writes them anew, in a commit that says why.
//!
//! `UPDATE_GOLDEN=1 cargo test --test storm_traces` writes them.

use std::fs;
use std::path::Path;

use quorate::sim::helix::Choices;
use quorate::sim::{helix, raft, storm};

/// Compares the last word of each line with the hash of the storm that the words before it name.
fn hashes_are_kept(name: &str, least: usize, hash: impl Fn(&[u64]) -> u64) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let text = fs::read_to_string(&file).expect("a readable list");
    let mut found = String::new();
    for line in text.lines() {
        if line.starts_with('#') {
            found += &format!("{line}\n");
            continue;
        }
        let (storm, _) = line.rsplit_once(' ').expect("a storm and its hash");
        let numbers: Result<Vec<_>, _> = storm.split(' ').map(str::parse).collect();
        found += &format!("{storm} {:016x}\n", hash(&numbers.expect("numbers")));
    }
    assert!(text.lines().count() > least, "{name} is short");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        return fs::write(&file, found).expect("a writable list");
    }
    let changed = text.lines().zip(found.lines()).filter(|(kept, found)| kept != found);
    let changed: Vec<_> = changed.map(|(kept, found)| format!("{kept}, now {found}")).collect();
    assert!(changed.is_empty(), "{name}:\n{}", changed.join("\n"));
}

#[test]
fn the_traces_of_raft_are_the_kept_ones() {
    hashes_are_kept("raft_storms.txt", 20, |numbers| {
        let &[nodes, seed] = numbers else { panic!("expected nodes and a seed") };
        let options: raft::Options = raft::Options { nodes, ..Default::default() };
        storm::run(seed, &options).unwrap_or_else(|failure| panic!("{failure}")).hash
    });
}

#[test]
fn the_traces_of_helix_are_the_kept_ones() {
    hashes_are_kept("helix_storms.txt", 15, |numbers| {
        let &[nodes, clients, seed] = numbers else { panic!("expected nodes, clients, a seed") };
        let clients = u32::try_from(clients).expect("a few");
        let protocol = Choices { blocks: clients == 0, ..Choices::default() };
        let options: helix::Options =
            helix::Options { nodes, clients, protocol, ..Default::default() };
        storm::run(seed, &options).unwrap_or_else(|failure| panic!("{failure}")).hash
    });
}
