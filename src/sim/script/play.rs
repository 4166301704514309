//! What a protocol adds to scripts.

use crate::id::NodeId;
use crate::sim::cluster::Cluster;
use crate::sim::protocol::Protocol;
use crate::sim::script::value::Value;
use crate::sim::script::{Outcome, Script};
use crate::sim::trace::Detail;

/// What every script says of its cluster.
#[derive(Debug, Clone, Copy)]
pub struct Scene {
    /// How many nodes; their ids are 1, 2, ...
    pub nodes: u64,
    /// Where chance comes from.
    pub seed: u64,
    /// How much of the record is kept.
    pub detail: Detail,
    /// How many lines of it.
    pub lines_max: usize,
}

/// A protocol on whose clusters scripts can be played.
pub trait Play: Protocol {
    /// The words of a node's status that conditions may use.
    const WORDS: &'static [&'static str];

    /// The words that are about all nodes together.
    const TOGETHER: &'static [&'static str] = &[];

    /// A cluster that is not started yet; `words` are what only this protocol knows.
    ///
    /// # Errors
    /// What is wrong with them.
    fn set(scene: &Scene, words: &[&str]) -> Result<Cluster<Self>, String>;

    /// Follows a command that only this protocol knows.
    ///
    /// # Errors
    /// What is wrong with it.
    fn command(script: &mut Script<Self>, words: &[&str]) -> Outcome;

    /// What the status of a node that is up says, for one of [`Self::WORDS`].
    fn status(cluster: &Cluster<Self>, node: NodeId, word: &str) -> Option<Value>;

    /// Whether one of [`Self::TOGETHER`] is so.
    fn together(_cluster: &Cluster<Self>, _word: &str) -> bool {
        false
    }

    /// Ends all trouble and looks whether order returns; `writes` is how many clients have asked
    /// for.
    ///
    /// # Errors
    /// The invariant that broke, or what does not work.
    fn recovers(cluster: Cluster<Self>, writes: u32) -> Outcome;
}
