//! The disk of a node of raft, intact but for what its records and its snapshot say: the node refuses
//! to start, or it starts, writes what it must, and starts again as the same.
//!
//! The input is parts: the meta data of a snapshot and its contents (none, if both are empty), then
//! records, each its kind and its payload.

#![no_main]

use std::pin::pin;

use futures_lite::future::{block_on, poll_once};
use libfuzzer_sys::fuzz_target;
use quorate::config::Config;
use quorate::env::Disk;
use quorate::id::ClusterId;
use quorate::kv::Store;
use quorate::raft::{Node, Observer};

use quorate::{Fatal, Index, NodeId, Term};
use quorate_fuzz::disk::{surroundings, with_records};

/// What a start makes of a disk.
type Found = (Term, Index, Index, Index, u64);

fn start(disk: &Disk) -> Result<Found, Fatal> {
    let members = (1..=3).map(NodeId);
    let config = Config::new(NodeId(1), ClusterId(1), members).expect("a configuration");
    let (store, observer) = (Store::new(), Observer::default());
    let (node, life) = Node::start(config, surroundings(disk, 1), store, observer)?;
    let status = node.status();
    let digest = node.read_stale(Store::digest);
    assert_eq!(status.applied_index, status.snapshot_index, "nothing is decided yet");
    // It writes its checkpoint; no time passes, so it does nothing else.
    let mut life = pin!(life);
    for _ in 0..50 {
        if let Some(ended) = block_on(poll_once(life.as_mut())) {
            panic!("it ends by itself: {ended:?}");
        }
    }
    Ok((status.term, status.first_index, status.last_index, status.snapshot_index, digest))
}

fuzz_target!(|input: &[u8]| {
    let disk = with_records(input);
    if let Ok(found) = start(&disk) {
        let again = start(&disk).expect("what was opened opens again");
        assert_eq!(again, found);
    }
});
