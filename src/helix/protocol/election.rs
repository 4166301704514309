//! How a view comes to its leader: changes of views, and the tickets with which a view is entered.
//!
//! A [`Ticket`] is the right to enter a view. There are five ways to come by one, and each is made
//! in one place, after everything that it takes has been checked. Conditions are looked at again
//! after every change of view that comes in, here and nowhere else.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::helix::protocol::block::{Block, Hash};
use crate::helix::protocol::event::Entry;
use crate::helix::protocol::evidence::Evidence;
use crate::helix::protocol::message::{Kind, NewView, Signature, ViewChange, Vote};
use crate::helix::protocol::record::Accepted;
use crate::helix::protocol::rules;
use crate::helix::protocol::signer::{Claimed, Genuine, prepared_digest};
use crate::helix::protocol::term::Term;
use crate::helix::protocol::verify::Justified;
use crate::id::{NodeId, View};

/// The right to enter a view.
#[derive(Debug)]
pub(crate) enum Ticket {
    /// The first view of a height begins by itself.
    First,
    /// This node asks for the view: its timer elapsed, or those of others who cannot all lie.
    Changing(View),
    /// A quorum asks for the view, and this node leads it.
    Elected(Elected),
    /// The leader of the view has shown that a quorum asks for it.
    NewView(Box<Justified>),
    /// This node had voted in the view before it was started again.
    Resumed(Accepted),
}

/// A quorum asks for a view that this node leads.
#[derive(Debug)]
pub(crate) struct Elected {
    pub(crate) view: View,
    /// Just a quorum, in the order of the committee.
    pub(crate) changes: Vec<(NodeId, ViewChange)>,
    /// What they prove prepared in the latest view; if nothing, the leader makes a new block.
    pub(crate) proven: Option<Rc<Block>>,
}

impl Ticket {
    pub(crate) fn view(&self) -> View {
        match self {
            Self::First => View::ZERO,
            Self::Changing(view) => *view,
            Self::Elected(elected) => elected.view,
            Self::NewView(justified) => justified.view(),
            Self::Resumed(accepted) => accepted.view,
        }
    }

    pub(crate) fn entry(&self) -> Entry {
        match self {
            Self::First => Entry::First,
            Self::Changing(_) => Entry::Changing,
            Self::Elected(_) => Entry::Elected,
            Self::NewView(_) => Entry::NewView,
            Self::Resumed(_) => Entry::Resumed,
        }
    }

    /// Whether the view has a leader who may propose: nobody else can become it.
    pub(crate) fn is_settled(&self) -> bool {
        !matches!(self, Self::Changing(_))
    }
}

/// The latest change of view of each member, checked, and the block that came with it.
#[derive(Debug, Default)]
pub(crate) struct Changes(BTreeMap<NodeId, (Genuine<ViewChange>, Option<Rc<Block>>)>);

impl Changes {
    fn views(&self) -> BTreeMap<NodeId, View> {
        self.0.iter().map(|(&node, (change, _))| (node, change.view)).collect()
    }

    /// Whose changes ask for `view`.
    fn asking(&self, view: View) -> impl Iterator<Item = NodeId> + '_ {
        self.0.iter().filter(move |(_, (change, _))| change.view == view).map(|(&node, _)| node)
    }
}

impl Term<'_> {
    /// Where this height begins for this node: at the first view, or where it was when it stopped.
    pub(crate) fn first_ticket(&self) -> Ticket {
        let vote_state = self.core.vote_state();
        let accepted = vote_state.accepted.as_ref();
        match accepted.filter(|accepted| accepted.view == vote_state.view) {
            Some(accepted) if self.is_member() => Ticket::Resumed(accepted.clone()),
            None if vote_state.view > View::ZERO && self.is_member() => {
                Ticket::Changing(vote_state.view)
            }
            _ => Ticket::First,
        }
    }

    /// Takes in that a member asks for a view.
    pub(crate) fn hear_view_change(
        &self,
        from: NodeId,
        change: Claimed<ViewChange>,
        block: Option<Block>,
    ) -> Option<Ticket> {
        let core = self.core;
        let mut changes = self.changes.borrow_mut();
        let known = changes.0.get(&from).is_some_and(|(before, _)| {
            let same = before.view == change.view && before.prepared == change.prepared;
            same || before.view > change.view
        });
        if known {
            return None;
        }
        let leads = self.committee.leader(change.view) == core.me();
        let block = block.map(Rc::new).filter(|block| {
            let hash = block.hash(core.config.instance);
            change.prepared.as_ref().is_some_and(|proof| proof.hash == hash)
        });
        let held = |proof: &crate::helix::PreparedProof| core.vote_state().block(proof.hash);
        let block = block.or_else(|| change.prepared.as_ref().and_then(held));
        if leads && change.prepared.is_some() && block.is_none() {
            // Without the block its proof would only be in the way.
            core.drop_malformed();
            return None;
        }
        let Ok(change) = core.signer.genuine_view_change(&self.committee, from, change) else {
            core.drop_malformed();
            return None;
        };
        if let Some((before, _)) = changes.0.get(&from)
            && before.view == change.view
        {
            let evidence = contradiction(from, before, &change);
            drop(changes);
            core.accuse(evidence);
            return None;
        }
        changes.0.insert(from, (change, block));
        drop(changes);
        self.newer()
    }

    /// Takes in that a member says that a view has begun.
    pub(crate) fn hear_new_view(&self, from: NodeId, new_view: NewView) -> Option<Ticket> {
        let core = self.core;
        match core.signer.is_new_view(&self.committee, from, &new_view) {
            Ok(justified) => {
                let proposer = (!justified.proven()).then_some(from);
                if core.fits(justified.block(), proposer) {
                    return Some(Ticket::NewView(Box::new(justified)));
                }
                tracing::debug!(%from, "dropped a NEW_VIEW whose block does not fit");
            }
            Err(wrong) => tracing::debug!(%from, %wrong, "dropped a NEW_VIEW"),
        }
        core.drop_malformed();
        None
    }

    /// Whether the view has begun, or a quorum has come as far: only then is it timed.
    pub(crate) fn may_begin(&self, view: View) -> bool {
        let begun = self.settled.get() == Some(view);
        begun || rules::timed(&self.committee, &self.changes.borrow().views(), view)
    }

    /// A second NEW_VIEW of a view that has begun: of another block, it is evidence.
    pub(crate) fn suspect(&self, from: NodeId, new_view: &NewView) {
        let core = self.core;
        let &NewView { height, view, proposal: signature, ref block, .. } = new_view;
        let proposal = self.proposal.borrow().clone().filter(|proposal| proposal.view == view);
        let hash = block.hash(core.config.instance);
        let Some(before) = proposal.filter(|before| before.hash != hash) else { return };
        let vote = Vote { height, view, hash, signature };
        if from == self.committee.leader(view) && core.signer.is_vote(Kind::PrePrepare, from, &vote)
        {
            self.accuse(from, Kind::PrePrepare, vote, (before.hash, before.proposal));
        }
    }

    /// The view that must begin, if any, by the changes that are known.
    fn newer(&self) -> Option<Ticket> {
        if let Some(elected) = self.elected() {
            return Some(Ticket::Elected(elected));
        }
        let views = self.changes.borrow().views();
        rules::joinable(&self.committee, &views, self.view.get()).map(Ticket::Changing)
    }

    fn elected(&self) -> Option<Elected> {
        let changes = self.changes.borrow();
        let leads = |view: &View| self.committee.leader(*view) == self.core.me();
        let unsettled = |view: &View| self.settled.get() < Some(*view) && *view >= self.view.get();
        let views: std::collections::BTreeSet<_> = changes.views().into_values().collect();
        let view = views
            .into_iter()
            .rev()
            .filter(leads)
            .filter(unsettled)
            .find(|&view| self.committee.is_quorum(changes.asking(view)))?;
        let asking = changes.0.iter().filter(|(_, (change, _))| change.view == view);
        let asking = asking.map(|(&node, (change, _))| (node, (**change).clone()));
        let quorum = self.committee.just_quorum(0, asking)?;
        let proven = rules::proven(&quorum).map(|proof| proof.hash);
        let proven = proven.and_then(|hash| block_of(&changes, hash));
        Some(Elected { view, changes: quorum, proven })
    }

    /// A member signed two proposals for one view.
    pub(crate) fn accuse(&self, node: NodeId, kind: Kind, vote: Vote, first: (Hash, Signature)) {
        let Vote { height, view, hash, signature } = vote;
        let second = (hash, signature);
        self.core.accuse(Evidence { node, kind, height, view, first, second });
    }
}

fn block_of(changes: &Changes, hash: Hash) -> Option<Rc<Block>> {
    let mut blocks = changes.0.values();
    blocks.find_map(|(change, block)| {
        let proven = change.prepared.as_ref().is_some_and(|proof| proof.hash == hash);
        block.clone().filter(|_| proven)
    })
}

fn contradiction(node: NodeId, first: &ViewChange, second: &ViewChange) -> Evidence {
    Evidence {
        node,
        kind: Kind::ViewChange,
        height: first.height,
        view: first.view,
        first: (prepared_digest(first.prepared.as_ref()), first.signature),
        second: (prepared_digest(second.prepared.as_ref()), second.signature),
    }
}
