//! The invariants of a helix cluster, checked after every event, from what honest nodes tell and
//! say, and from what is delivered to their applications.
//!
//! | name | invariant |
//! |---|---|
//! | I1, I4 | one block is decided at a height, whoever decides or learns it, and it never changes |
//! | I6 | heights and views of a node only grow, and never fall below what it has said, over all its lives |
//! | I7 | no two words that an honest node has signed contradict each other, see [`sign_log`](super::sign_log) |
//! | I11 | every application gets every block, in order, once in a life, each linked to the one before |
//! | proof | what is delivered comes with a proof: signatures of members over that very block, of a quorum and no more |
//! | valid | a decided block was made or accepted by a quorum's worth of honest applications and liars |
//!
//! A tip is no promise: a node may know that a block is decided before its own disk does, and have
//! to learn it again after a power cut. What its application has must not come again for that.
//!
//! What a liar tells is not looked at. The clients' view (I8) is checked in
//! [`history`](crate::sim::history), the return to order (I9) by the storms.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::helix::Event;
use crate::helix::protocol::app::Keys;
use crate::helix::protocol::block::{Block, Hash};
use crate::helix::protocol::event::{CANCELLED, Entry};
use crate::helix::protocol::message::{Kind, Statement};
use crate::helix::protocol::proof::BlockProof;
use crate::id::{Height, NodeId, View};
use crate::machine::Committed;
use crate::sim::checks::{Checked, Checks, Invariants, Violation};
use crate::sim::helix::events::{self, INSTANCE};
use crate::sim::helix::schedule::CommitteeSchedule;
use crate::sim::helix::sign_log::{SignLog, Word};
use crate::sim::net::Flight;

/// What is believed of one node.
#[derive(Debug, Default)]
struct Model {
    /// In this life: the height it is at, and the view.
    term: Option<Height>,
    view: Option<(View, Entry)>,
    /// In this life: the last block that its application has.
    delivered: Height,
    /// In this life: the last block that it says to have delivered.
    told: Height,
}

/// What a run has been through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Starts of nodes.
    pub starts: u64,
    /// Starts that found a promise in an unfinished height.
    pub resumed: u64,
    /// Views above the first that a leader was elected to.
    pub elected: u64,
    /// New views that were believed.
    pub new_views: u64,
    /// Blocks that a node saw prepared.
    pub prepared: u64,
    /// Decisions by votes of a later view than the first.
    pub late: u64,
    /// Blocks that a node learned from others.
    pub learned: u64,
    /// Deliveries that the application refused.
    pub undelivered: u64,
    /// Pieces of evidence against liars.
    pub evidence: u64,
    /// Terms that were cancelled where they waited.
    pub cancelled: u64,
}

/// Everything known about one cluster.
pub struct Checker {
    nodes: u64,
    schedule: CommitteeSchedule,
    keys: Box<dyn Keys>,
    liars: BTreeSet<NodeId>,
    models: BTreeMap<NodeId, Model>,
    sign_log: SignLog,
    decided: BTreeMap<Height, (Hash, NodeId)>,
    accepted: BTreeMap<Hash, BTreeSet<NodeId>>,
    links: BTreeMap<Height, Hash>,
    /// For each applied command: the checksum of its payload and the digest of the state after it.
    states: BTreeMap<u64, (u32, u64)>,
    /// Whether applications say which blocks they make and accept.
    judged: bool,
    violation: Option<Violation>,
    coverage: Coverage,
}

impl Checker {
    /// A checker of a cluster of `nodes`; `keys` are there to verify with.
    #[must_use]
    pub fn new(nodes: u64, schedule: CommitteeSchedule, keys: Box<dyn Keys>) -> Self {
        Self {
            nodes,
            schedule,
            keys,
            liars: BTreeSet::new(),
            models: BTreeMap::new(),
            sign_log: SignLog::default(),
            decided: BTreeMap::new(),
            accepted: BTreeMap::new(),
            links: BTreeMap::new(),
            states: BTreeMap::new(),
            judged: true,
            violation: None,
            coverage: Coverage::default(),
        }
    }

    /// Nothing that this node says or tells counts from now on.
    pub fn lies(&mut self, node: NodeId) {
        self.liars.insert(node);
    }

    /// Blocks are made and judged by the service of commands, which does not tell.
    pub fn trusts_judges(&mut self) {
        self.judged = false;
    }

    /// What happened so far, counted.
    #[must_use]
    pub fn coverage(&self) -> Coverage {
        self.coverage
    }

    /// The highest decided height.
    #[must_use]
    pub fn decided(&self) -> Height {
        self.decided.last_key_value().map_or(Height::ZERO, |(&height, _)| height)
    }

    /// The decided block of a height.
    #[must_use]
    pub fn block(&self, height: Height) -> Option<Hash> {
        self.decided.get(&height).map(|&(hash, _)| hash)
    }

    fn model(&mut self, node: NodeId) -> &mut Model {
        self.models.entry(node).or_default()
    }

    fn judge(&mut self, node: NodeId, outcome: Checked) {
        if let Err((invariant, what)) = outcome {
            self.report(invariant, format!("{node:?} {what}"));
        }
    }

    /// An application begins a life with this many blocks.
    pub fn begins(&mut self, node: NodeId, height: Height) {
        self.model(node).delivered = height;
    }

    /// An application made a block, or accepted one of somebody else.
    pub fn accepts(&mut self, node: NodeId, block: &Block) {
        self.accepted.entry(block.hash(INSTANCE)).or_default().insert(node);
    }

    /// The last command that anybody applied.
    #[must_use]
    pub fn applied_last(&self) -> u64 {
        self.states.last_key_value().map_or(0, |(&index, _)| index)
    }

    fn count(&mut self, event: Event) {
        let coverage = &mut self.coverage;
        match event {
            Event::Started { .. } => coverage.starts += 1,
            Event::ViewEntered { entry: Entry::Resumed, .. } => coverage.resumed += 1,
            Event::ViewEntered { entry: Entry::Elected, .. } => coverage.elected += 1,
            Event::ViewEntered { entry: Entry::NewView, .. } => coverage.new_views += 1,
            Event::Prepared { .. } => coverage.prepared += 1,
            Event::Decided { view, .. } if view > View::ZERO => coverage.late += 1,
            Event::Learned { .. } => coverage.learned += 1,
            Event::DeliveryFailed { .. } => coverage.undelivered += 1,
            Event::Evidence { .. } => coverage.evidence += 1,
            Event::TermLeft { why: CANCELLED, .. } => coverage.cancelled += 1,
            _ => {}
        }
    }

    fn started(&mut self, node: NodeId, tip: Height, view: View) -> Checked {
        let said = self.sign_log.view(node, tip.next());
        let model = self.model(node);
        (model.term, model.view, model.told) = (None, None, Height::ZERO);
        if view < said {
            return Err(("I6", format!("starts having promised {view:?}, has spoken in {said:?}")));
        }
        Ok(())
    }

    fn term(&mut self, node: NodeId, height: Height) -> Checked {
        let model = self.model(node);
        let before = model.term.replace(height);
        model.view = None;
        match before {
            Some(before) if before >= height => {
                Err(("I6", format!("enters {height:?} after {before:?}")))
            }
            _ => Ok(()),
        }
    }

    fn view(&mut self, node: NodeId, height: Height, view: View, entry: Entry) -> Checked {
        let said = self.sign_log.view(node, height);
        let model = self.model(node);
        let before = model.view.replace((view, entry));
        if view < said {
            return Err(("I6", format!("enters {height:?} {view:?}, has spoken in {said:?}")));
        }
        match before {
            // A view is asked for, and then it begins.
            Some((asked, Entry::Changing | Entry::Resumed))
                if asked == view && matches!(entry, Entry::Elected | Entry::NewView) =>
            {
                Ok(())
            }
            Some((before, _)) if before >= view => {
                Err(("I6", format!("enters {height:?} {view:?} after {before:?}")))
            }
            _ => Ok(()),
        }
    }

    fn tells_delivery(&mut self, node: NodeId, height: Height) -> Checked {
        let before = std::mem::replace(&mut self.model(node).told, height);
        if height > before {
            return Ok(());
        }
        Err(("I11", format!("delivers {height:?} after {before:?}")))
    }

    fn decides(&mut self, node: NodeId, height: Height, hash: Hash) -> Checked {
        if let Some(&(before, first)) = self.decided.get(&height) {
            if before == hash {
                return Ok(());
            }
            return Err(("I1", format!("decides {hash:?} at {height:?}, {first:?} {before:?}")));
        }
        self.decided.insert(height, (hash, node));
        let Some(committee) = self.schedule.committee(self.nodes, height) else {
            return Err(("I1", format!("decides {height:?}, which has no committee")));
        };
        let accepted = self.accepted.get(&hash);
        let behind = accepted.into_iter().flatten().chain(&self.liars).copied();
        if !self.judged || committee.is_quorum(behind) {
            return Ok(());
        }
        Err(("valid", format!("decides {hash:?} at {height:?}, accepted by {accepted:?} only")))
    }

    fn evidence(&self, of: NodeId, kind: Kind, height: Height, view: View) -> Checked {
        if self.liars.contains(&of) {
            return Ok(());
        }
        Err((
            "I7",
            format!("has evidence against {of:?}, an honest node: {kind:?} {height:?} {view:?}"),
        ))
    }

    /// Takes in that a node's application has taken a block.
    pub fn delivered(&mut self, node: NodeId, block: &Block, proof: &BlockProof) {
        if self.liars.contains(&node) {
            return;
        }
        let outcome = self.take(node, block).and_then(|()| self.proven(block, proof));
        self.judge(node, outcome);
    }

    fn take(&mut self, node: NodeId, block: &Block) -> Checked {
        let (height, hash) = (block.height, block.hash(INSTANCE));
        let model = self.model(node);
        let due = model.delivered.next();
        if height != due {
            return Err(("I11", format!("delivers {height:?}, and {due:?} is due")));
        }
        model.delivered = height;
        self.links.insert(height, hash);
        let before = self.links.get(&height.prev()).copied().unwrap_or(Hash::NONE);
        if block.previous != before {
            let named = block.previous;
            return Err(("I11", format!("delivers {height:?} after {named:?}, was {before:?}")));
        }
        self.decides(node, height, hash)
    }

    /// Whether the proof shows what it must, and is minimal.
    fn proven(&self, block: &Block, proof: &BlockProof) -> Checked {
        let (height, hash, view) = (block.height, block.hash(INSTANCE), proof.view);
        let wrong = |what: &str| Err(("proof", format!("{what}: {proof:?} for {height:?}")));
        if (proof.height, proof.hash) != (height, hash) {
            return wrong("of another block");
        }
        let Some(committee) = self.schedule.committee(self.nodes, height) else {
            return wrong("of no committee");
        };
        let statement =
            Statement { instance: INSTANCE, kind: Kind::Commit, height, view, subject: hash };
        let bytes = statement.bytes();
        let mut signers = vec![];
        for (node, signature) in &proof.commits {
            if !committee.contains(*node) || signers.contains(node) {
                return wrong("a stranger or a double");
            }
            if !self.keys.verify(*node, &bytes, signature) {
                return wrong("a wrong signature");
            }
            signers.push(*node);
        }
        if !committee.is_quorum(signers.iter().copied()) {
            return wrong("no quorum");
        }
        let spare = |&one: &NodeId| {
            committee.is_quorum(signers.iter().copied().filter(|&signer| signer != one))
        };
        if signers.iter().all(spare) { wrong("more than a quorum") } else { Ok(()) }
    }
}

impl Checks for Checker {
    fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    fn report(&mut self, invariant: &'static str, what: String) {
        self.violation.get_or_insert(Violation { invariant, what });
    }

    fn applied(&mut self, node: NodeId, entry: Committed<'_>, digest: u64) {
        if self.liars.contains(&node) {
            return;
        }
        let state = (crc32c::crc32c(entry.payload), digest);
        let seen = *self.states.entry(entry.index).or_insert(state);
        if seen.0 != state.0 {
            self.report("I4", format!("{node:?} applies another command at {}", entry.index));
        } else if seen.1 != state.1 {
            self.report("I11", format!("{node:?} has another state at {}", entry.index));
        }
    }

    fn restored(&mut self, _: NodeId, _: u64) {}
}

impl Invariants for Checker {
    type Event = Event;

    fn event(&mut self, node: NodeId, event: Event) {
        if self.liars.contains(&node) {
            return;
        }
        self.count(event);
        let outcome = match event {
            Event::Started { tip, view } => self.started(node, tip, view),
            Event::TermEntered { height, .. } => self.term(node, height),
            Event::ViewEntered { height, view, entry, .. } => self.view(node, height, view, entry),
            Event::Signed { kind, height, view, subject } => {
                self.sign_log.signs(node, Word { height, view, kind, subject })
            }
            Event::Decided { height, hash, .. } | Event::Learned { height, hash } => {
                self.decides(node, height, hash)
            }
            Event::Delivered { height, hash } => {
                self.tells_delivery(node, height).and_then(|()| self.decides(node, height, hash))
            }
            Event::Evidence { node: of, kind, height, view } => {
                self.evidence(of, kind, height, view)
            }
            Event::TermLeft { height, why: CANCELLED } => {
                // It is entered again, and its view may be one in which it has spoken.
                let model = self.model(node);
                (model.term, model.view) = (Some(height.prev()), None);
                Ok(())
            }
            Event::TermLeft { .. }
            | Event::ViewLeft { .. }
            | Event::Creating { .. }
            | Event::Validating { .. }
            | Event::Prepared { .. }
            | Event::DeliveryFailed { .. } => Ok(()),
        };
        self.judge(node, outcome);
    }

    fn sent(&mut self, flight: &Flight) {
        let from = flight.from;
        if self.liars.contains(&from) {
            return;
        }
        let message = match events::read(flight) {
            Ok(message) => message,
            Err(error) => {
                let what = format!("{from:?} sends what cannot be read: {error}");
                return self.report("malformed", what);
            }
        };
        for word in Word::all(&message) {
            let outcome = self.sign_log.sends(from, word);
            self.judge(from, outcome);
        }
    }

    fn crashed(&mut self, _: NodeId) {}

    fn copied(&mut self, _: NodeId) {}

    fn rolled_back(&mut self, node: NodeId) {
        self.wiped(node);
    }

    fn wiped(&mut self, node: NodeId) {
        self.models.remove(&node);
        self.sign_log.forget(node);
    }
}

impl fmt::Debug for Checker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Checker({:?} decided, {:?})", self.decided(), self.violation)
    }
}
