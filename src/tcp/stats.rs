//! What the transport counts, for status, metrics and the log.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use crate::env::Time;
use crate::id::NodeId;

/// The same cause is logged at most this often.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// Why a connection to this node was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Cause {
    /// It did not begin with the hello of a node: another program, or noise.
    NotANode,
    /// The hello was damaged.
    BadHello,
    /// It did not say hello in time, or stopped in the middle of it.
    NoHello,
    /// It was the oldest of too many that had not yet said hello.
    Crowded,
    /// Another version of the protocol.
    Version,
    /// A node of another cluster.
    Cluster,
    /// A node that meant to reach another node.
    NotMe,
    /// A node that is not in this node's list of peers.
    NotMember,
    /// A node that bears this node's own id.
    SameNode,
    /// A frame announced more bytes than the limit.
    FrameTooLarge,
    /// A frame whose checksum is wrong, or that of its length.
    Checksum,
    /// It stopped in the middle of a frame.
    Stalled,
}

impl Cause {
    /// One word for a metric's label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::NotANode => "not_a_node",
            Self::BadHello => "bad_hello",
            Self::NoHello => "no_hello",
            Self::Crowded => "crowded",
            Self::Version => "version",
            Self::Cluster => "cluster",
            Self::NotMe => "not_me",
            Self::NotMember => "not_member",
            Self::SameNode => "same_node",
            Self::FrameTooLarge => "frame_too_large",
            Self::Checksum => "checksum",
            Self::Stalled => "stalled",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotANode => "it is not a node: does a client or a probe use the port for peers?",
            Self::BadHello => "its hello was damaged on the way",
            Self::NoHello => "it did not say hello in time",
            Self::Crowded => "too many connections had not said hello yet",
            Self::Version => "it speaks another version of the protocol: upgrade the older node",
            Self::Cluster => {
                "it belongs to another cluster: check both nodes' cluster and addresses"
            }
            Self::NotMe => "it meant to reach another node: check the address it has for that node",
            Self::NotMember => "it is not among this node's peers: check both lists of peers",
            Self::SameNode => "it has this node's own id: give each node an id of its own",
            Self::FrameTooLarge => "it announced a frame beyond the limit",
            Self::Checksum => "a frame was damaged on the way",
            Self::Stalled => "it stopped in the middle of a frame",
        })
    }
}

/// The two connections with one peer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkStats {
    /// We can send: our connection to it stands.
    pub outgoing: bool,
    /// We can receive: its connection to us stands.
    pub incoming: bool,
    /// Why there is no outgoing connection at present, or was none last.
    pub trouble: Option<String>,
}

/// One moment of the transport; counters count from the start of the process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Connections that we opened and that were welcomed.
    pub dialled: u64,
    /// Connections that arrived, good or bad.
    pub accepted: u64,
    /// Connections of a peer that a newer one of the same peer replaced.
    pub replaced: u64,
    /// Whole frames sent.
    pub frames_out: u64,
    /// Whole frames received.
    pub frames_in: u64,
    /// Bytes sent, headers included.
    pub bytes_out: u64,
    /// Bytes received, headers included.
    pub bytes_in: u64,
    /// Writes that carried the frames sent; fewer than frames, when coalescing works.
    pub writes: u64,
    /// Reads that carried the frames received.
    pub reads: u64,
    /// Frames of our own that were too large to be sent: a mistake in the limits.
    pub oversized: u64,
    /// Connections that we closed, by cause.
    pub rejects: BTreeMap<Cause, u64>,
    /// Each peer's connections.
    pub links: BTreeMap<NodeId, LinkStats>,
}

/// The counters of a transport; clones show the same ones.
#[derive(Debug, Clone, Default)]
pub struct Counters(Rc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    stats: RefCell<Stats>,
    warned: RefCell<BTreeMap<Cause, Time>>,
}

impl Counters {
    /// All counters at zero.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// This moment.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.0.stats.borrow().clone()
    }

    /// Whether we can send to `peer` at present.
    #[must_use]
    pub fn can_send_to(&self, peer: NodeId) -> bool {
        let stats = self.0.stats.borrow();
        stats.links.get(&peer).is_some_and(|link| link.outgoing)
    }

    pub(super) fn count(&self, add: impl FnOnce(&mut Stats)) {
        add(&mut self.0.stats.borrow_mut());
    }

    pub(super) fn link(&self, peer: NodeId, change: impl FnOnce(&mut LinkStats)) {
        change(self.0.stats.borrow_mut().links.entry(peer).or_default());
    }

    /// Counts a rejected connection; true if it should also be logged.
    pub(super) fn reject(&self, cause: Cause, now: Time) -> bool {
        self.count(|stats| *stats.rejects.entry(cause).or_default() += 1);
        let mut warned = self.0.warned.borrow_mut();
        let due = warned.get(&cause).is_none_or(|&last| now.since(last) >= WARN_EVERY);
        if due {
            warned.insert(cause, now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::{Cause, Counters, WARN_EVERY};
    use crate::env::Time;
    use std::time::Duration;

    #[test]
    fn each_cause_is_said_once_a_minute_and_counted_each_time() {
        let counters = Counters::new();
        let start = Time::ZERO;
        assert!(counters.reject(Cause::Stalled, start));
        assert!(!counters.reject(Cause::Stalled, start + WARN_EVERY / 2));
        assert!(counters.reject(Cause::Checksum, start + WARN_EVERY / 2), "of another cause");
        assert!(!counters.reject(Cause::Stalled, start + (WARN_EVERY - Duration::from_nanos(1))));
        assert!(counters.reject(Cause::Stalled, start + WARN_EVERY));
        assert_eq!(counters.stats().rejects[&Cause::Stalled], 4);
    }
}
