//! Bit rot: a bit of a node's files flips while the node is down. The node must say so at its next
//! start, naming the file and a byte at or before the flipped one, and stay down; or the bit is one
//! that it does not need, and it starts with everything it had, which the checker compares.
//!
//! It must never start with less. What it refused it must leave as it is, for whoever repairs it.
//!
//! Mostly the bit turns out to be readable in the end and the node comes back. Sometimes the node is
//! lost for good: it stays down, as a crashed one. It is not replaced by an empty one of the same
//! name, because that one could vote again where it has voted. So as many must stay as the protocol
//! needs.

use std::time::Duration;

use crate::error::Fatal;
use crate::id::NodeId;
use crate::sim::cluster::{Cluster, Death};
use crate::sim::protocol::Protocol;
use crate::sim::storm::Storm;
use crate::sim::storm::faults::Repair;

/// Of a thousand nodes that refuse to start, how many stay down for good.
const LOST: u32 = 100;

const BITS: [u8; 8] = [0, 1, 2, 3, 4, 5, 6, 7];

/// A flipped bit.
#[derive(Debug, Clone)]
pub(super) struct BitRot {
    file: String,
    offset: u64,
    bit: u8,
}

impl<P: Protocol> Storm<P> {
    /// Cuts the power of a node, flips a bit of its journal or its snapshot, and plans its start.
    pub(super) fn rot(&mut self, node: NodeId) {
        if self.rotten.contains_key(&node) || self.lost.contains(&node) {
            return;
        }
        self.cluster.crash(node, Death::PowerCut);
        let disk = self.cluster.disk(node);
        disk.power_cut();
        let matters = |(name, len): &(String, u64)| {
            *len > 0 && (name.starts_with("journal-") || name.starts_with("snapshot-"))
        };
        let files: Vec<_> = disk.files().into_iter().filter(matters).collect();
        if files.is_empty() {
            return self.plan(Duration::from_secs(4), Repair::Start(node));
        }
        let (file, len) = files[self.rng.below(files.len())].clone();
        let (offset, bit) = (self.rng.within(0..=len - 1), BITS[self.rng.below(8)]);
        disk.flip_bit(&file, offset, bit);
        self.cluster
            .world()
            .note(format!("bit {bit} of byte {offset} of {file} of {node:?} flips"));
        self.rotten.insert(node, BitRot { file, offset, bit });
        self.plan(Duration::from_secs(4), Repair::Start(node));
    }

    /// Starts a node on whose disk a bit has flipped.
    pub(super) fn start_rotten(&mut self, node: NodeId) {
        let Some(rot) = self.rotten.get(&node).cloned() else {
            return;
        };
        let found = contents(&self.cluster, node, &rot);
        match self.cluster.start(node) {
            Err(Fatal::Damaged { file, offset, why })
                if file != rot.file || offset > rot.offset =>
            {
                let what = format!("{node:?} blames byte {offset} of {file} ({why}) for {rot:?}");
                self.broken("rot", what);
            }
            Err(Fatal::Damaged { .. }) => {
                if contents(&self.cluster, node, &rot) != found {
                    self.broken("rot", format!("{node:?} refused to start, but changed its disk"));
                }
                self.rot_refused += 1;
                let mut lost = self.lost.clone();
                lost.insert(node);
                if P::may_lose(&self.cluster, &lost) && self.rng.chance(LOST) {
                    self.cluster.world().note(format!("{node:?} is lost"));
                    self.lost.insert(node);
                } else {
                    self.mend_disk(node);
                    self.plan(Duration::from_secs(2), Repair::Start(node));
                }
            }
            Err(Fatal::Disk { .. }) => self.plan(Duration::from_secs(1), Repair::Start(node)),
            Err(fatal) => {
                self.broken("start", format!("{node:?} cannot start: {fatal}"));
            }
            // Nobody read that bit: it must not turn up when the file is used again.
            Ok(()) => self.mend_disk(node),
        }
    }

    fn mend_disk(&mut self, node: NodeId) {
        if let Some(BitRot { file, offset, bit }) = self.rotten.remove(&node) {
            self.cluster.disk(node).flip_bit(&file, offset, bit);
        }
    }
}

/// The journal of a node and the rotten file. (What a crash left half done besides, and a snapshot
/// that a newer one has replaced, may be cleared away by a start that then finds the rot.)
fn contents<P: Protocol>(
    cluster: &Cluster<P>,
    node: NodeId,
    rot: &BitRot,
) -> Vec<(String, Option<Vec<u8>>)> {
    let disk = cluster.disk(node);
    let stays = |name: &String| name.starts_with("journal-") || *name == rot.file;
    let names = disk.files().into_iter().map(|(name, _)| name).filter(stays);
    names.map(|name| (name.clone(), disk.contents(&name))).collect()
}
