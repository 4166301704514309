//! View changes, new views and proofs of blocks, as a liar may make them who can write every list:
//! what is accepted has, member by member, what it takes.
//!
//! The input is how heavy each member is, who speaks, and a frame. A signature here is 64 times the
//! number of its signer, so that all lists can be reached; that a signature is over just what it
//! stands at is for the unit tests.

#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use quorate::helix::protocol::app::{Keys, Member};
use quorate::helix::protocol::block::Seed;
use quorate::helix::protocol::committee::Committee;
use quorate::helix::protocol::message::{Envelope, Message, NewView, Signature, ViewChange};
use quorate::helix::protocol::proof::PreparedProof;
use quorate::helix::protocol::signer::Signer;
use quorate::helix::{Block, BlockProof, Strictness};
use quorate::id::ClusterId;
use quorate::{Height, NodeId};

const INSTANCE: ClusterId = ClusterId(1);

/// Everybody signs everything.
struct Willing;

impl Keys for Willing {
    fn sign(&self, _: &[u8]) -> Signature {
        Signature([1; 64])
    }

    fn verify(&self, node: NodeId, _: &[u8], signature: &Signature) -> bool {
        u8::try_from(node.0).is_ok_and(|node| signature.0 == [node; 64])
    }
}

/// Whether these nodes are members, each there once, in order, and just a quorum.
fn is_just_quorum(committee: &Committee, given: u64, nodes: &[NodeId]) -> bool {
    let distinct: BTreeSet<_> = nodes.iter().collect();
    let weight = |nodes: &[NodeId]| given + committee.weight_of(nodes.iter().copied());
    distinct.len() == nodes.len()
        && nodes.iter().all(|&node| committee.contains(node))
        && nodes.iter().map(|&node| committee.place(node)).is_sorted()
        && weight(nodes) >= committee.quorum()
        && nodes.split_last().is_none_or(|(_, needed)| weight(needed) < committee.quorum())
}

fn signed_by(node: NodeId, signature: &Signature) -> bool {
    Willing.verify(node, b"", signature)
}

fn nodes<T>(votes: &[(NodeId, T)]) -> Vec<NodeId> {
    votes.iter().map(|&(node, _)| node).collect()
}

fn accepted_prepared(committee: &Committee, proof: &PreparedProof) {
    let leader = committee.leader(proof.view);
    assert!(signed_by(leader, &proof.proposal));
    assert!(proof.prepares.iter().all(|(node, signature)| signed_by(*node, signature)));
    let others = nodes(&proof.prepares);
    assert!(!others.contains(&leader), "a leader has one vote");
    assert!(is_just_quorum(committee, committee.weight(leader), &others), "{proof:?}");
}

fn accepted_change(committee: &Committee, from: NodeId, change: &ViewChange) {
    assert!(signed_by(from, &change.signature) && committee.contains(from));
    assert!(change.view.0 > 0);
    if let Some(proof) = &change.prepared {
        assert!(proof.view < change.view);
        accepted_prepared(committee, proof);
    }
}

fn accepted_view(committee: &Committee, from: NodeId, new_view: &NewView) {
    assert_eq!(from, committee.leader(new_view.view));
    assert!(signed_by(from, &new_view.signature) && signed_by(from, &new_view.proposal));
    assert!(is_just_quorum(committee, 0, &nodes(&new_view.changes)));
    assert_eq!(new_view.block.height, new_view.height);
    for (node, change) in &new_view.changes {
        assert_eq!((change.height, change.view), (new_view.height, new_view.view));
        accepted_change(committee, *node, change);
    }
    let proofs = new_view.changes.iter().filter_map(|(_, change)| change.prepared.as_ref());
    if let Some(latest) = proofs.max_by_key(|proof| proof.view) {
        assert_eq!(latest.hash, new_view.block.hash(INSTANCE), "a proven block is kept");
    }
}

fn accepted_block(committee: &Committee, block: &Block, proof: &BlockProof) {
    assert_eq!((block.height, block.hash(INSTANCE)), (proof.height, proof.hash));
    assert!(is_just_quorum(committee, 0, &nodes(&proof.commits)));
    assert!(proof.commits.iter().all(|(node, signature)| signed_by(*node, signature)));
    assert_eq!(proof.seed, None, "nobody makes seeds here");
}

fuzz_target!(|input: &[u8]| {
    let Some(([a, b, c, d, from], frame)) = input.split_first_chunk() else {
        return;
    };
    let member = |(node, &weight): (u64, &u8)| Member { node: NodeId(node), weight: weight.into() };
    let members = (1..).zip([a, b, c, d]).map(member).collect();
    let (Ok(committee), from) = (Committee::new(members), NodeId(u64::from(*from))) else {
        return;
    };
    let Ok(message) = Envelope::decode(frame, INSTANCE) else {
        return;
    };
    let signer = Signer::new(NodeId(1), INSTANCE, Box::new(Willing));
    match &message {
        Message::ViewChange { change, .. } => {
            if signer.is_view_change(&committee, from, change).is_ok() {
                accepted_change(&committee, from, change);
            }
        }
        Message::NewView(new_view) => {
            if signer.is_new_view(&committee, from, new_view).is_ok() {
                accepted_view(&committee, from, new_view);
            }
        }
        Message::Blocks(blocks) => {
            for (block, proof) in blocks {
                let seed = Seed::of(INSTANCE, Height(1), b"");
                let full = Strictness::Full;
                if signer.is_block_proof(&committee, block, proof, &seed, full).is_ok() {
                    accepted_block(&committee, block, proof);
                    let soft = Strictness::Soft;
                    let is_soft = signer.is_block_proof(&committee, block, proof, &seed, soft);
                    assert!(is_soft.is_ok(), "who believes a quorum believes less, too");
                }
            }
        }
        _ => {}
    }
});
