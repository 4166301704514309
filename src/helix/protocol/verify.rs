//! Checking what is made of many statements: proofs, view changes and new views.
//!
//! Two habits. *Cheap checks first*: heights, views, membership, order and weight cost nothing, a
//! signature costs a hundred thousand times as much, so nobody can make this node work by sending
//! lists that do not even add up. *Every signature*: a statement inside a proof counts only if it
//! was checked itself. Counting votes of a new view without checking each of them forks the chain
//! with a single liar.
//!
//! A list of votes is *just a quorum*: members only, in the order of the committee (so none twice),
//! and the last one is needed. Longer lists are refused: they would be another encoding of the same
//! fact, and room for a liar to hide things in.

use crate::helix::protocol::block::{Block, Hash, Seed};
use crate::helix::protocol::committee::Committee;
use crate::helix::protocol::message::{Kind, NewView, Signature, ViewChange, Vote};
use crate::helix::protocol::proof::{BlockProof, PreparedProof};
use crate::helix::protocol::rules;
use crate::helix::protocol::signer::{
    Claimed, Genuine, Signer, Strictness, new_view_digest, prepared_digest,
};
use crate::id::{Height, NodeId, View};

/// Why something is not proven.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Wrong {
    /// Somebody who has no say at this height.
    #[error("node {0} is not in the committee")]
    Stranger(NodeId),
    /// Only the leader may say this.
    #[error("node {node} does not lead view {view}")]
    NotLeader {
        /// Who said it.
        node: NodeId,
        /// Of which view.
        view: View,
    },
    /// The first view begins with its height; nobody leaves for it.
    #[error("view 0 needs no quorum that left for it")]
    FirstView,
    /// It is about another height.
    #[error("it is about height {found}, not {expected}")]
    Height {
        /// What it should be about.
        expected: Height,
        /// What it is about.
        found: Height,
    },
    /// It is about another view.
    #[error("node {node} left for view {found}, not {expected}")]
    View {
        /// Who left.
        node: NodeId,
        /// For which view it should be.
        expected: View,
        /// For which view it is.
        found: View,
    },
    /// What is proven must lie before the view that it is told to.
    #[error("prepared in view {found}, which is not before view {below}")]
    NotBefore {
        /// Where the proof is from.
        found: View,
        /// Where it is shown.
        below: View,
    },
    /// The leader's proposal is its vote; it has no second one.
    #[error("node {0} leads the view, so its PREPARE does not count")]
    LeaderPrepares(NodeId),
    /// Votes are listed in the order of the committee, each member once.
    #[error("the vote of node {0} is out of order, or there twice")]
    Order(NodeId),
    /// Fewer than it takes.
    #[error("a weight of {found} where it takes {needed}")]
    TooLight {
        /// The weight of the votes.
        found: u64,
        /// The weight it takes.
        needed: u64,
    },
    /// More than it takes: a proof is just a quorum.
    #[error("the vote of node {0} is more than it takes")]
    Superfluous(NodeId),
    /// A signature that is not what it seems to be.
    #[error("the {kind:?} is not signed by node {node}")]
    Signature {
        /// Whose it should be.
        node: NodeId,
        /// Of which kind of statement.
        kind: Kind,
    },
    /// The block is another one than what is proven.
    #[error("block {found} where {expected} is proven")]
    Block {
        /// The hash that is proven.
        expected: Hash,
        /// The hash of the block.
        found: Hash,
    },
    /// The aggregated signature over the seed.
    #[error("the signature over the seed is {0}")]
    Seed(&'static str),
}

/// A proposal that may be voted for in a view above 0: its leader has shown that a quorum left for
/// the view, and that the block is the one that they leave no choice about, if there is one.
///
/// Only [`Signer::is_new_view`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Justified {
    view: View,
    hash: Hash,
    block: Block,
    proposal: Vote,
    proven: bool,
}

impl Justified {
    /// The view that begins.
    #[must_use]
    pub fn view(&self) -> View {
        self.view
    }

    /// The hash of its block.
    #[must_use]
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// Its block.
    #[must_use]
    pub fn block(&self) -> &Block {
        &self.block
    }

    /// The leader's PREPREPARE.
    #[must_use]
    pub fn proposal(&self) -> &Vote {
        &self.proposal
    }

    /// Whether the view changes prove the block prepared in an earlier view: a quorum has judged
    /// it then, and it is not for this node to judge it again. If not, the block is new.
    #[must_use]
    pub fn proven(&self) -> bool {
        self.proven
    }
}

impl Signer {
    /// Checks a node's word that it leaves for a view.
    ///
    /// # Errors
    /// [`Wrong`] says what is not as it must be.
    pub fn is_view_change(
        &self,
        committee: &Committee,
        from: NodeId,
        change: &ViewChange,
    ) -> Result<(), Wrong> {
        can_be_view_change(committee, from, change)?;
        self.signed_view_change(from, change)?;
        change
            .prepared
            .as_ref()
            .map_or(Ok(()), |proof| self.signed_prepared(committee, change.height, proof))
    }

    /// The view change, if it is the node's and proves what it says; checked only if it was not.
    ///
    /// # Errors
    /// As [`is_view_change`](Self::is_view_change).
    pub fn genuine_view_change(
        &self,
        committee: &Committee,
        from: NodeId,
        change: Claimed<ViewChange>,
    ) -> Result<Genuine<ViewChange>, Wrong> {
        match change {
            Claimed::Genuine(change) => Ok(change),
            Claimed::Unchecked(change) => {
                self.is_view_change(committee, from, &change)?;
                Ok(Genuine::known(change))
            }
        }
    }

    /// Checks that a quorum accepted a block at `height` in some view below `below`.
    ///
    /// # Errors
    /// [`Wrong`] says what is not as it must be.
    pub fn is_prepared(
        &self,
        committee: &Committee,
        height: Height,
        below: View,
        proof: &PreparedProof,
    ) -> Result<(), Wrong> {
        can_be_prepared(committee, below, proof)?;
        self.signed_prepared(committee, height, proof)
    }

    /// Checks a leader's word that its view has begun.
    ///
    /// PBFT, section 4.4, and Lean Helix, NEW_VIEW: each of its view changes is checked as if it
    /// had come by itself; the block of the latest proof among them must be its block.
    ///
    /// # Errors
    /// [`Wrong`] says what is not as it must be.
    pub fn is_new_view(
        &self,
        committee: &Committee,
        from: NodeId,
        new_view: &NewView,
    ) -> Result<Justified, Wrong> {
        let &NewView { height, view, ref changes, ref block, .. } = new_view;
        can_be_new_view(committee, from, new_view)?;
        let hash = block.hash(self.instance);
        let proven = rules::proven(changes);
        if let Some(proof) = proven
            && proof.hash != hash
        {
            return Err(Wrong::Block { expected: proof.hash, found: hash });
        }

        let subject = new_view_digest(changes, hash);
        self.is_signed(from, Kind::NewView, height, view, subject, &new_view.signature)?;
        let proposal = Vote { height, view, hash, signature: new_view.proposal };
        self.is_signed(from, Kind::PrePrepare, height, view, hash, &proposal.signature)?;
        let mut known: Vec<&PreparedProof> = Vec::new();
        for (node, change) in changes {
            self.signed_view_change(*node, change)?;
            // Mostly they all hold the same proof: once is enough.
            if let Some(proof) = &change.prepared
                && !known.contains(&proof)
            {
                self.signed_prepared(committee, height, proof)?;
                known.push(proof);
            }
        }
        let proven = proven.is_some();
        Ok(Justified { view, hash, block: block.clone(), proposal, proven })
    }

    /// Checks that a block is decided (or, with [`Strictness::Soft`], that an honest member
    /// committed to it). `committee` and `seed` are those of the block's height.
    ///
    /// # Errors
    /// [`Wrong`] says what is not as it must be.
    pub fn is_block_proof(
        &self,
        committee: &Committee,
        block: &Block,
        proof: &BlockProof,
        seed: &Seed,
        strictness: Strictness,
    ) -> Result<(), Wrong> {
        let &BlockProof { height, view, hash, ref commits, .. } = proof;
        is_height(block.height, height)?;
        let found = block.hash(self.instance);
        if hash != found {
            return Err(Wrong::Block { expected: hash, found });
        }
        let needed = match strictness {
            Strictness::Full => committee.quorum(),
            Strictness::Soft => committee.honest(),
        };
        listed(committee, 0, needed, commits)?;
        for (node, signature) in commits {
            self.is_signed(*node, Kind::Commit, height, view, hash, signature)?;
        }
        match (self.keys.seeds(), &proof.seed) {
            (None, None) => Ok(()),
            (None, Some(_)) => Err(Wrong::Seed("there, though nobody makes one")),
            (Some(_), None) => Err(Wrong::Seed("missing")),
            (Some(scheme), Some(signature)) if scheme.verify(height, seed, signature) => Ok(()),
            (Some(_), Some(_)) => Err(Wrong::Seed("not the group's")),
        }
    }

    fn is_signed(
        &self,
        node: NodeId,
        kind: Kind,
        height: Height,
        view: View,
        subject: Hash,
        signature: &Signature,
    ) -> Result<(), Wrong> {
        let right = self.check(node, &self.statement(kind, height, view, subject), signature);
        if right { Ok(()) } else { Err(Wrong::Signature { node, kind }) }
    }

    fn signed_view_change(&self, from: NodeId, change: &ViewChange) -> Result<(), Wrong> {
        let subject = prepared_digest(change.prepared.as_ref());
        let &ViewChange { height, view, ref signature, .. } = change;
        self.is_signed(from, Kind::ViewChange, height, view, subject, signature)
    }

    fn signed_prepared(
        &self,
        committee: &Committee,
        height: Height,
        proof: &PreparedProof,
    ) -> Result<(), Wrong> {
        let &PreparedProof { view, hash, ref proposal, ref prepares } = proof;
        let leader = committee.leader(view);
        self.is_signed(leader, Kind::PrePrepare, height, view, hash, proposal)?;
        prepares.iter().try_for_each(|(node, signature)| {
            self.is_signed(*node, Kind::Prepare, height, view, hash, signature)
        })
    }
}

/// Everything about a new view that needs no signature.
fn can_be_new_view(committee: &Committee, from: NodeId, new_view: &NewView) -> Result<(), Wrong> {
    let &NewView { height, view, ref changes, ref block, .. } = new_view;
    if view == View::ZERO {
        return Err(Wrong::FirstView);
    }
    if committee.leader(view) != from {
        return Err(Wrong::NotLeader { node: from, view });
    }
    is_height(height, block.height)?;
    listed(committee, 0, committee.quorum(), changes)?;
    for (node, change) in changes {
        is_height(height, change.height)?;
        if change.view != view {
            return Err(Wrong::View { node: *node, expected: view, found: change.view });
        }
        can_be_view_change(committee, *node, change)?;
    }
    Ok(())
}

/// Everything about a view change that needs no signature.
fn can_be_view_change(
    committee: &Committee,
    from: NodeId,
    change: &ViewChange,
) -> Result<(), Wrong> {
    if !committee.contains(from) {
        return Err(Wrong::Stranger(from));
    }
    if change.view == View::ZERO {
        return Err(Wrong::FirstView);
    }
    let proof = change.prepared.as_ref();
    proof.map_or(Ok(()), |proof| can_be_prepared(committee, change.view, proof))
}

/// Everything about a prepared proof that needs no signature.
fn can_be_prepared(committee: &Committee, below: View, proof: &PreparedProof) -> Result<(), Wrong> {
    if proof.view >= below {
        return Err(Wrong::NotBefore { found: proof.view, below });
    }
    let leader = committee.leader(proof.view);
    if proof.prepares.iter().any(|&(node, _)| node == leader) {
        return Err(Wrong::LeaderPrepares(leader));
    }
    listed(committee, committee.weight(leader), committee.quorum(), &proof.prepares)
}

fn is_height(expected: Height, found: Height) -> Result<(), Wrong> {
    if expected == found { Ok(()) } else { Err(Wrong::Height { expected, found }) }
}

/// Whether votes are listed as they must be: members, in the order of the committee, with `given`
/// at least `needed` in weight, and none after a quorum is complete.
fn listed<T>(
    committee: &Committee,
    given: u64,
    needed: u64,
    votes: &[(NodeId, T)],
) -> Result<(), Wrong> {
    let mut weight = given;
    let mut free = 0;
    for &(node, _) in votes {
        let place = committee.place(node).ok_or(Wrong::Stranger(node))?;
        if place < free {
            return Err(Wrong::Order(node));
        }
        if weight >= committee.quorum() {
            return Err(Wrong::Superfluous(node));
        }
        free = place + 1;
        // Distinct members, of whom the leader is none: at most the total, which fits.
        weight += committee.weight(node);
    }
    if weight < needed {
        return Err(Wrong::TooLight { found: weight, needed });
    }
    Ok(())
}

/// The proof that a block is decided, of COMMIT signatures that were checked: just a quorum of
/// them. With fewer than a quorum it is made of all there are, and proves nothing.
#[must_use]
pub fn block_proof(
    committee: &Committee,
    height: Height,
    view: View,
    hash: Hash,
    commits: Vec<(NodeId, Signature)>,
    seed: Option<bytes::Bytes>,
) -> BlockProof {
    let commits = committee.just_quorum(0, commits.iter().copied()).unwrap_or(commits);
    BlockProof { height, view, hash, commits, seed }
}

#[cfg(test)]
mod tests;
