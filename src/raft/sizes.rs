//! How large this engine's futures are. A scope's future is all the memory that the scope takes
//! before it waits for its first message, so it is bounded here, and a change that makes one grow
//! says so.
//!
//! ```console
//! $ cargo test --lib raft::sizes -- --nocapture
//! ```

use std::rc::Rc;

use crate::error::Fatal;
use crate::raft::core::Core;
use crate::raft::leader::Lead;
use crate::raft::replication::Peer;
use crate::raft::{candidate, follower, leader, node, replication, snapshot};

/// The size of the future that a scope's `run` makes of a core and its right to be entered.
fn of<'a, A, F>(_: impl FnOnce(&'a Core, A) -> F) -> usize {
    size_of::<F>()
}

fn of_replication<'a, F>(_: impl FnOnce(&'a Lead<'a>, &'a Peer) -> F) -> usize {
    size_of::<F>()
}

fn of_life<F: Future<Output = Result<(), Fatal>>>(_: impl FnOnce(Rc<Core>) -> F) -> usize {
    size_of::<F>()
}

fn of_snapshot<'a, F>(_: impl FnOnce(&'a Core) -> F) -> usize {
    size_of::<F>()
}

#[test]
fn no_future_grows_beyond_its_limit() {
    // The limit of each is about a fifth above what it is at present.
    let futures = [
        ("life of a node", of_life(node::live), 2432),
        ("follower", of(follower::run), 368),
        ("candidate", of(candidate::run), 256),
        ("leader", of(leader::run), 512),
        ("replication", of_replication(replication::run), 176),
        ("snapshots", of_snapshot(snapshot::run), 944),
    ];
    let mut large = Vec::new();
    for (name, bytes, bytes_max) in futures {
        println!("raft, {name}: {bytes} bytes of {bytes_max}");
        if bytes > bytes_max {
            large.push(name);
        }
    }
    assert!(large.is_empty(), "larger than their limits: {large:?}");
}
