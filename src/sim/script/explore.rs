//! A scenario told again and again, and each time one node is struck a poll later.
//!
//! After the blow the story goes another way, so its commands are followed as far as they still make
//! sense and its expectations do not count. What counts are the invariants, after every event, and
//! that order returns when all is healed.

use std::time::Duration;

use crate::env::spawn::Task;
use crate::id::NodeId;
use crate::sim::cluster::Cluster;
use crate::sim::script::notation::blocks;
use crate::sim::script::{Play, Script};

/// How long a command is waited for that may have become impossible.
const PATIENCE: Duration = Duration::from_secs(2);

/// What came of a scenario with a blow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explored {
    /// The honest nodes of its cluster.
    pub honest: Vec<NodeId>,
    /// How often the node, or its scope, was polled while the commands lasted.
    pub polls: u64,
    /// Whether the blow fell while they lasted.
    pub struck: bool,
}

/// A blow that falls right after a poll of a node.
pub(super) struct Blow<P: Play> {
    node: NodeId,
    poll: u64,
    strike: fn(&mut Cluster<P>, NodeId),
}

impl<P: Play> Blow<P> {
    pub(super) fn is_due(&self, cluster: &Cluster<P>) -> bool {
        cluster.polls(self.node) >= self.poll
    }

    pub(super) fn fall(self, cluster: &mut Cluster<P>) {
        (self.strike)(cluster, self.node);
    }
}

/// Plays a scenario and strikes `node` right after the poll number `poll` of one of its lives, the
/// first that comes so far (never for zero); then heals the cluster and looks whether it serves.
///
/// # Errors
/// The invariant that broke, or that order does not return, with what had happened until then.
pub fn strike<P: Play>(
    text: &str,
    node: NodeId,
    poll: u64,
    strike: fn(&mut Cluster<P>, NodeId),
) -> Result<Explored, String> {
    let mut script = Script::<P>::new(PATIENCE);
    script.blow = (poll > 0).then_some(Blow { node, poll, strike });
    let mut polls = 0;
    follow(&mut script, text, |script| {
        polls = polls.max(script.cluster.as_ref().map_or(0, |cluster| cluster.polls(node)));
    })?;
    let struck = poll > 0 && script.blow.is_none();
    let honest = script.cluster()?.honest();
    recover(script, |_| {})?;
    Ok(Explored { honest, polls, struck })
}

/// Plays a scenario and drops the scope of `node` right after its poll number `poll` (never for
/// zero); then heals the cluster and looks whether it serves. After an odd poll the node's power is
/// cut before the healing.
///
/// # Errors
/// As [`strike`].
pub fn cancel<P: Play>(text: &str, node: NodeId, poll: u64) -> Result<Explored, String> {
    let mut script = Script::<P>::new(PATIENCE);
    let mut begun = false;
    follow(&mut script, text, |script| {
        if let Some(cluster) = &script.cluster
            && !std::mem::replace(&mut begun, true)
            && poll > 0
        {
            cluster.cancel_after(node, poll);
        }
    })?;
    let cluster = script.cluster()?;
    let (honest, polls) = (cluster.honest(), cluster.role_polls(node));
    let struck = cluster.cancelled(node) > 0;
    recover(script, |cluster| {
        if poll % 2 == 1 {
            // What it promised must have outlived the scope, and not in memory only.
            cluster.crash_losing(node);
        }
    })?;
    Ok(Explored { honest, polls, struck })
}

/// Follows the commands as far as they make sense, and looks after each.
fn follow<P: Play>(
    script: &mut Script<P>,
    text: &str,
    mut look: impl FnMut(&mut Script<P>),
) -> Result<(), String> {
    let blocks = blocks(text);
    for (number, command) in blocks.iter().flat_map(|block| block.commands()) {
        let followed = script.follow(command);
        look(script);
        // What the blow has made impossible is left out.
        let checked = if script.cluster.is_none() { followed } else { script.check() };
        if let Err(what) = checked {
            let so_far = script.happened().join("\n");
            return Err(format!("line {number}, `{command}`: {what}\n{so_far}"));
        }
    }
    Ok(())
}

/// Heals the cluster, after `before`, and looks whether it serves.
fn recover<P: Play>(mut script: Script<P>, before: impl Fn(&mut Cluster<P>)) -> Result<(), String> {
    let trace = script.cluster()?.world().trace().clone();
    let writes = script.requests.writes();
    let (mut cluster, _clients) = script.open()?;
    before(&mut cluster);
    let outcome = P::recovers(cluster, writes);
    outcome.map_err(|what| format!("{what}\n{}", trace.take_text().join("\n")))
}

impl<P: Play> Script<P> {
    /// Ends the fates of messages and sends the held ones on their way; gives the cluster away, and
    /// its clients, who go on waiting.
    fn open(self) -> Result<(Cluster<P>, Vec<Task>), String> {
        let cluster = self.cluster.ok_or("a scenario without a cluster")?;
        let now = cluster.world().now();
        cluster.world().network(|network| {
            network.set_gate(None);
            network.release(now, |_| true);
        });
        Ok((cluster, self.clients))
    }
}
