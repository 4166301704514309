//! A scenario told again with one role dropped on the way.
//!
//! After the cut the story goes another way, so its commands are followed as far as they still make
//! sense and its expectations do not count. What counts are the invariants, after every event, and
//! that order returns when all is healed.

use crate::id::NodeId;
use crate::sim::machine::Write;
use crate::sim::script::{Script, lines};
use crate::sim::storm;

/// What came of a scenario with a cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explored {
    /// The nodes of its cluster.
    pub members: Vec<NodeId>,
    /// How often a role of the node was polled and went on while the commands lasted.
    pub polls: u64,
    /// Whether the cut was made while they lasted.
    pub cancelled: bool,
}

/// Runs the commands of a scenario, drops the role of `node` right after its poll number `poll`
/// (none is dropped for zero), then heals the cluster and looks whether it serves. After an odd
/// poll the node's power is cut before the healing.
///
/// # Errors
/// The invariant that broke, or that order does not return, with what had happened until then.
pub fn explore(commands: &str, node: NodeId, poll: u64) -> Result<Explored, String> {
    let mut script = Script::default();
    for (number, line) in lines(commands) {
        let begins = script.cluster.is_none();
        // What the cut has made impossible is left out.
        let followed = script.command(line);
        if let Some(cluster) = &script.cluster
            && begins
            && poll > 0
        {
            cluster.cancel_after(node, poll);
        }
        let checked = if script.cluster.is_none() { followed } else { script.check() };
        if let Err(what) = checked {
            return Err(format!("line {number}, `{line}`: {what}\n{}", script.text()));
        }
    }
    let trace = script.cluster()?.world().trace().clone();
    let writes = (1..=script.writes).map(|seq| Write { client: 1, seq });
    let (mut cluster, _clients) = script.open()?;
    let explored = Explored {
        members: cluster.members(),
        polls: cluster.role_polls(node),
        cancelled: cluster.cancelled(node) > 0,
    };
    if poll % 2 == 1 {
        // What it promised must have outlived the role, and not in memory only.
        cluster.crash_losing(node);
    }
    match storm::heal(cluster, writes) {
        Ok(_) => Ok(explored),
        Err(violation) => Err(format!("{violation}\n{}", trace.take_text().join("\n"))),
    }
}
