//! The disk of a node of helix, intact but for what its records say: the node refuses to start, or it
//! starts and starts again as the same.
//!
//! The input is parts, as for `raft_recovery`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate::env::Disk;

use quorate::helix::commands::node::Options;
use quorate::helix::protocol::keys::Null;
use quorate::helix::{Config, Node, Observer};
use quorate::id::ClusterId;
use quorate::kv::Store;
use quorate::{Fatal, Height, NodeId};
use quorate_fuzz::disk::{surroundings, with_records};

/// What a start makes of a disk: the last decided height and the pieces of evidence.
fn start(disk: &Disk) -> Result<(Height, usize), Fatal> {
    let nodes = (1..=4).map(NodeId);
    let config = Config::new(NodeId(1), ClusterId(1), nodes).expect("a configuration");
    let options = Options::new(&config.timing);
    let (env, store) = (surroundings(disk, 1), Store::new());
    let (node, life) =
        Node::start(config, options, env, Box::new(Null), store, Observer::default())?;
    let status = node.status().engine;
    drop(life);
    Ok((status.tip, status.evidence.len()))
}

fuzz_target!(|input: &[u8]| {
    let disk = with_records(input);
    if let Ok(found) = start(&disk) {
        let again = start(&disk).expect("what was opened opens again");
        assert_eq!(again, found);
    }
});
