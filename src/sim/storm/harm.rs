//! Disks that are not as they were left: a bit flips, a file is cut short or missing, while the node
//! is down. The node must say so at its next start and stay down; or what is gone is something that
//! it does not need, and it starts with everything it had, which the checker compares.
//!
//! It must never start with less. What it refused it must leave as it is, for whoever repairs it.
//! Mostly the disk can be read in the end and the node comes back. Sometimes the node is lost for
//! good: it stays down, as a crashed one, while as many stay as the protocol needs.
//!
//! Some disks do not say what they have lost: they come back empty, or as they were an hour ago. The
//! node under the old name has forgotten what it promised: that *forfeits* its part in what the
//! cluster can bear.

use std::time::Duration;

use crate::env::Time;
use crate::error::Fatal;
use crate::id::NodeId;
use crate::sim::checks::Invariants;
use crate::sim::cluster::{Cluster, Death};
use crate::sim::disk::SimDisk;
use crate::sim::protocol::Protocol;
use crate::sim::storm::Storm;
use crate::sim::storm::faults::Repair;

/// Of a thousand nodes that refuse to start, how many stay down for good.
const LOST: u32 = 100;
/// The longest that a node is down before it comes back with less.
const DOWN_MAX: Duration = Duration::from_secs(4);

/// What was done to the files of a node that is down.
#[derive(Debug, Clone)]
pub(super) struct Harm {
    file: String,
    /// The first byte that is not as it was.
    offset: u64,
    what: Done,
}

/// What was done to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Done {
    /// This bit of it has flipped.
    Flipped(u8),
    /// It was cut short.
    Cut,
    /// It is gone.
    Lost,
}

/// The disk of a node as it was at some time.
#[derive(Debug)]
pub(super) struct Copy {
    disk: SimDisk,
    at: Time,
}

impl<P: Protocol> Storm<P> {
    /// Cuts the power of a node, harms its journal or its snapshot, and plans its start.
    pub(super) fn harm(&mut self, node: NodeId, what: Done) {
        if self.harmed.contains_key(&node) || self.lost.contains(&node) {
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
            return self.plan(DOWN_MAX, Repair::Start(node));
        }
        let (file, len) = files[self.rng.below(files.len())].clone();
        let whole = disk.fork();
        let offset = if what == Done::Lost { 0 } else { self.rng.within(0..=len - 1) };
        match what {
            Done::Flipped(bit) => _ = disk.flip_bit(&file, offset, bit),
            Done::Cut => _ = disk.cut(&file, offset),
            Done::Lost => _ = disk.lose(&file),
        }
        let note = format!("{file} of {node:?} is harmed at byte {offset} of {len}: {what:?}");
        self.cluster.world().note(note);
        self.harmed.insert(node, (Harm { file, offset, what }, whole));
        self.plan(DOWN_MAX, Repair::Start(node));
    }

    /// Starts a node whose disk was harmed.
    pub(super) fn start_harmed(&mut self, node: NodeId) {
        let Some((harm, _)) = self.harmed.get(&node) else {
            return;
        };
        let harm = harm.clone();
        let found = contents(&self.cluster, node, &harm);
        match self.cluster.start(node) {
            Err(Fatal::Damaged { file, offset, why }) if !harm.may_be(&file, offset) => {
                let what = format!("{node:?} blames byte {offset} of {file} ({why}) for {harm:?}");
                self.broken("rot", what);
            }
            Err(Fatal::Damaged { .. }) => {
                if contents(&self.cluster, node, &harm) != found {
                    self.broken("rot", format!("{node:?} refused to start, but changed its disk"));
                }
                self.rot_refused += 1;
                if self.bears(node) && self.rng.chance(LOST) {
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
            // Nobody read that: it must not turn up when the file is used again.
            Ok(()) => {
                self.harmed.remove(&node);
                if let Done::Flipped(bit) = harm.what {
                    self.cluster.disk(node).flip_bit(&harm.file, harm.offset, bit);
                }
            }
        }
    }

    fn mend_disk(&mut self, node: NodeId) {
        if let Some((_, whole)) = self.harmed.remove(&node) {
            self.cluster.disk(node).become_as(&whole);
        }
    }

    /// The node dies and comes back under its old name with an empty disk.
    pub(super) fn wipe(&mut self, node: NodeId) {
        if self.forfeit(node) {
            self.cluster.wipe(node);
            self.plan(DOWN_MAX, Repair::Start(node));
        }
    }

    /// The node dies and comes back with its disk as it was some time ago.
    pub(super) fn roll_back(&mut self, node: NodeId) {
        let now = self.cluster.world().now();
        match self.copies.remove(&node) {
            Some(Copy { disk, at }) if self.forfeit(node) => {
                self.cluster.crash(node, Death::PowerCut);
                self.cluster.disk(node).become_as(&disk);
                P::wipe(self.cluster.own(node));
                self.cluster.world().checker().borrow_mut().rolled_back(node);
                self.cluster.world().note(format!("the disk of {node:?} is that of {at:?}"));
                self.plan(DOWN_MAX, Repair::Start(node));
            }
            _ => {
                // As an image of it would be: what is durable, and nothing else.
                let disk = self.cluster.disk(node).fork();
                disk.power_cut_keeping(|_| false);
                self.cluster.world().checker().borrow_mut().copied(node);
                self.copies.insert(node, Copy { disk, at: now });
            }
        }
    }

    /// Counts the node among those that the cluster must bear from now on, if it can bear it.
    fn forfeit(&mut self, node: NodeId) -> bool {
        let bears = !self.harmed.contains_key(&node) && self.bears(node);
        if bears {
            self.forfeited.insert(node);
            P::forfeit(&mut self.cluster, node);
        }
        bears
    }

    /// Whether the cluster can do without this node, and without all that it does without already.
    fn bears(&self, node: NodeId) -> bool {
        let mut gone = self.lost.clone();
        gone.extend(self.forfeited.iter().chain(&self.filled));
        gone.insert(node);
        P::may_lose(&self.cluster, &gone)
    }

    /// The node's disk is so small from now on.
    pub(super) fn shrink(&mut self, node: NodeId) {
        let room = P::room_min(&self.cluster) * self.rng.within(1..=3);
        self.cluster.disk(node).set_size(room);
        self.cluster.world().note(format!("the disk of {node:?} has {room} bytes"));
    }

    /// The node's disk is full and stays so, if the others can do without it.
    pub(super) fn fill(&mut self, node: NodeId) {
        if self.bears(node) {
            self.filled.insert(node);
            self.cluster.disk(node).set_quota(Some(0));
            self.cluster.world().note(format!("the disk of {node:?} is full for good"));
        }
    }
}

impl Harm {
    /// Whether this may be what the node complains of. Of a file that is missing it can say where
    /// it should have been, which is in another one.
    fn may_be(&self, file: &str, offset: u64) -> bool {
        self.what == Done::Lost || (file == self.file && offset <= self.offset)
    }
}

/// The journal of a node and the harmed file. (What a crash left half done besides, and a snapshot
/// that a newer one has replaced, may be cleared away by a start that then finds the harm.)
fn contents<P: Protocol>(
    cluster: &Cluster<P>,
    node: NodeId,
    harm: &Harm,
) -> Vec<(String, Option<Vec<u8>>)> {
    let disk = cluster.disk(node);
    let stays = |name: &String| name.starts_with("journal-") || *name == harm.file;
    let names = disk.files().into_iter().map(|(name, _)| name).filter(stays);
    names.map(|name| (name.clone(), disk.contents(&name))).collect()
}
