//! What is held, what pushes it out, and what it costs.

use proptest::prelude::*;

use super::{Inserted, Shares, Votes};
use crate::helix::protocol::block::{Hash, Seed};
use crate::helix::protocol::message::{Kind, Share, Signature, Vote};
use crate::helix::protocol::signer::{Claimed, Genuine, Strictness};
use crate::helix::protocol::testing::{Cast, HEIGHT, INSTANCE, block, share_of};
use crate::helix::protocol::verify::block_proof;
use crate::id::{NodeId, View};

const A: Hash = Hash([10; 32]);
const B: Hash = Hash([11; 32]);

/// Four members of weight 1, of whom node 4 counts; a quorum is three.
struct Count {
    cast: Cast,
    votes: Votes,
}

impl Count {
    fn new(kind: Kind, weights: &[u64]) -> Self {
        Self { cast: Cast::new(weights), votes: Votes::new(kind) }
    }

    fn commits() -> Self {
        Self::new(Kind::Commit, &[1; 4])
    }

    fn insert(&mut self, node: u64, vote: Vote, checked: bool) -> Inserted {
        let vote =
            if checked { Claimed::Genuine(Genuine::known(vote)) } else { Claimed::Unchecked(vote) };
        self.votes.insert(self.cast.signer(4), NodeId(node), vote)
    }

    /// A right vote, not checked yet.
    fn says(&mut self, node: u64, view: u64, hash: Hash) -> Inserted {
        let vote = self.cast.vote(node, self.votes.kind, view, hash);
        self.insert(node, vote, false)
    }

    /// A vote with a wrong signature.
    fn forged(&mut self, node: u64, view: u64, hash: Hash) -> Inserted {
        self.insert(node, forged(view, hash), false)
    }

    fn quorum(&mut self, view: u64, hash: Hash, proposer: Option<u64>) -> Option<Vec<u64>> {
        let (committee, signer) = (&self.cast.committee, self.cast.signer(4));
        let proposer = proposer.map(NodeId);
        let found = self.votes.quorum(committee, signer, View(view), hash, proposer);
        found.map(|votes| votes.iter().map(|(node, _)| node.0).collect())
    }

    fn held(&self, node: u64) -> Option<(u64, Hash)> {
        self.votes.of(NodeId(node)).map(|vote| (vote.view.0, vote.hash))
    }

    fn cost(&self) -> u64 {
        self.cast.signer(4).verified()
    }
}

fn forged(view: u64, hash: Hash) -> Vote {
    Vote { height: HEIGHT, view: View(view), hash, signature: Signature([9; 64]) }
}

#[test]
fn exactly_as_many_are_checked_as_are_needed() {
    for (weights, needed) in [(4, 3), (7, 5), (13, 9)] {
        let mut count = Count::new(Kind::Commit, &vec![1; weights]);
        let own = count.cast.vote(4, Kind::Commit, 0, A);
        assert_eq!(count.insert(4, own, true), Inserted::New);
        for node in (1..=weights as u64).filter(|&node| node != 4) {
            assert_eq!(count.says(node, 0, A), Inserted::New);
        }
        assert_eq!(count.cost(), 0, "none before they are asked for");
        assert_eq!(count.quorum(0, A, None).map(|nodes| nodes.len()), Some(needed));
        assert_eq!(count.cost(), needed as u64 - 1, "its own is known");
        assert!(count.quorum(0, A, None).is_some());
        assert_eq!(count.cost(), needed as u64 - 1, "and none twice");
    }
}

#[test]
fn too_few_are_not_checked_at_all() {
    let mut count = Count::commits();
    count.says(1, 0, A);
    count.says(2, 0, A);
    count.says(3, 0, B);
    assert_eq!(count.quorum(0, A, None), None);
    assert_eq!(count.quorum(0, B, None), None);
    assert_eq!(count.quorum(1, A, None), None);
    assert_eq!(count.cost(), 0);
}

#[test]
fn the_heaviest_are_checked_first() {
    // A total of 10: a quorum weighs 7.
    let mut count = Count::new(Kind::Commit, &[1, 2, 3, 4]);
    for node in [1, 2, 3, 4] {
        count.says(node, 0, A);
    }
    assert_eq!(count.quorum(0, A, None), Some(vec![3, 4]));
    assert_eq!(count.cost(), 2);
}

#[test]
fn the_proposal_is_the_proposers_vote_and_its_only_one() {
    let mut count = Count::new(Kind::Prepare, &[1; 4]);
    count.says(1, 0, A);
    count.says(2, 0, A);
    assert_eq!(count.quorum(0, A, Some(1)), None, "the leader does not count twice");
    count.says(3, 0, A);
    assert_eq!(count.quorum(0, A, Some(1)), Some(vec![2, 3]));
    assert_eq!(count.cost(), 2);
}

#[test]
fn wrong_ones_are_dropped_and_others_take_their_place() {
    let mut count = Count::commits();
    count.forged(1, 0, A);
    count.forged(2, 0, A);
    count.says(3, 0, A);
    count.says(4, 0, A);
    assert_eq!(count.quorum(0, A, None), None);
    assert!(count.cost() <= 4);
    count.says(2, 0, A);
    assert_eq!(count.quorum(0, A, None), Some(vec![2, 3, 4]));
    assert_eq!(count.held(1), None, "the slot is free for a right one");
    assert_eq!(count.says(1, 0, A), Inserted::New);
}

#[test]
fn a_vote_is_held_once() {
    let mut count = Count::commits();
    assert_eq!(count.says(1, 0, A), Inserted::New);
    assert_eq!(count.says(1, 0, A), Inserted::Known);
    assert_eq!(count.cost(), 0);
    let vote = count.cast.vote(1, Kind::Commit, 0, A);
    assert_eq!(count.insert(1, vote, true), Inserted::Known);
    count.says(2, 0, A);
    count.says(3, 0, A);
    assert!(count.quorum(0, A, None).is_some());
    assert_eq!(count.cost(), 2, "known to be right since it was told so");
    assert_eq!(count.quorum(0, A, None).map(|nodes| nodes.len()), Some(3));
}

#[test]
fn repeating_a_vote_does_not_make_it_right() {
    let mut count = Count::commits();
    for _ in 0..2 {
        count.forged(1, 0, A);
        count.forged(2, 0, A);
        count.says(3, 0, A);
    }
    assert_eq!(count.quorum(0, A, None), None);
}

#[test]
fn a_vote_that_was_checked_to_keep_another_out_is_not_checked_again() {
    let mut count = Count::commits();
    count.says(1, 3, A);
    for view in [0, 1, 2] {
        assert_eq!(count.says(1, view, A), Inserted::Known);
    }
    assert_eq!(count.cost(), 1);
}

#[test]
fn votes_of_strangers_weigh_nothing() {
    let mut count = Count::commits();
    count.says(1, 0, A);
    count.says(2, 0, A);
    count.says(5, 0, A);
    count.says(6, 0, A);
    assert_eq!(count.quorum(0, A, None), None);
    assert_eq!(count.votes.candidate(&count.cast.committee), None);
    count.says(3, 0, A);
    assert_eq!(count.quorum(0, A, None), Some(vec![1, 2, 3]));
}

#[test]
fn a_later_view_takes_the_place_of_an_earlier_one() {
    let mut count = Count::commits();
    count.says(1, 3, A);
    assert_eq!(count.says(1, 4, B), Inserted::New);
    assert_eq!(count.held(1), Some((4, B)));
    assert_eq!(count.says(1, 3, A), Inserted::Known, "too old");
    assert_eq!(count.held(1), Some((4, B)));
}

#[test]
fn a_forged_later_view_pushes_nothing_out() {
    let mut count = Count::commits();
    count.says(1, 3, A);
    assert_eq!(count.forged(1, 1 << 32, B), Inserted::Refused);
    assert_eq!(count.held(1), Some((3, A)));
}

#[test]
fn a_forged_vote_that_came_first_keeps_nobody_out() {
    let mut count = Count::commits();
    assert_eq!(count.forged(1, 1 << 32, B), Inserted::New);
    assert_eq!(count.says(1, 3, A), Inserted::New, "an older view than the forged one");
    assert_eq!(count.held(1), Some((3, A)));
    assert_eq!(count.forged(2, 3, B), Inserted::New);
    assert_eq!(count.says(2, 3, A), Inserted::New, "another block in the same view");
    assert_eq!(count.held(2), Some((3, A)));
    assert_eq!(count.forged(3, 3, A), Inserted::New);
    assert_eq!(count.says(3, 3, A), Inserted::New, "the same, rightly signed");
    assert_eq!(count.quorum(3, A, None), Some(vec![1, 2, 3]));
}

#[test]
fn two_blocks_in_one_view_are_evidence_and_the_first_stays() {
    let mut count = Count::commits();
    count.says(1, 3, A);
    let Inserted::Contradicts(evidence) = count.says(1, 3, B) else { panic!("no evidence") };
    assert!(evidence.holds(count.cast.signer(2)));
    assert_eq!((evidence.node, evidence.kind), (NodeId(1), Kind::Commit));
    assert_eq!((evidence.first.0, evidence.second.0), (A, B));
    assert_eq!(count.held(1), Some((3, A)));
    assert_eq!(count.forged(1, 3, Hash([12; 32])), Inserted::Refused, "nobody is framed");
    assert_eq!(count.held(1), Some((3, A)));
}

#[test]
fn the_candidate_is_what_may_have_a_quorum() {
    let mut count = Count::commits();
    assert_eq!(count.votes.candidate(&count.cast.committee), None);
    count.says(1, 3, A);
    count.says(2, 4, A);
    count.says(3, 3, A);
    assert_eq!(count.votes.candidate(&count.cast.committee), None, "of one view");
    count.says(2, 3, A);
    assert_eq!(count.votes.candidate(&count.cast.committee), None, "an older view is late");
    count.says(4, 3, A);
    assert_eq!(count.votes.candidate(&count.cast.committee), Some((View(3), A)));
    assert_eq!(count.cost(), 1, "only the vote that keeps an older one out");
}

#[test]
fn memory_is_one_vote_for_each_member() {
    let mut count = Count::commits();
    for round in 0..100u8 {
        for node in 1..=4 {
            count.says(node, u64::from(round / 10), Hash([round; 32]));
            count.forged(node, u64::from(round), Hash([round; 32]));
        }
    }
    assert_eq!(count.votes.slots.len(), 4);
}

#[test]
fn shares_are_checked_and_make_the_same_signature_whoever_takes_part() {
    let (cast, seed) = (Cast::with_seeds(&[1; 4]), Seed([3; 32]));
    let signer = cast.signer(4);
    let share = |node| share_of(NodeId(node), HEIGHT, &seed);
    let of = |nodes: &[u64]| {
        let mut shares = Shares::new();
        for &node in nodes {
            let share = share(node);
            assert!(shares.insert(signer, HEIGHT, &seed, NodeId(node), Some(&share)));
        }
        shares.aggregate(signer, &cast.committee, HEIGHT)
    };
    assert_eq!(of(&[1, 2]), None);
    let whole = of(&[1, 2, 3]).unwrap();
    assert_eq!(of(&[4, 2, 3]).as_ref(), Some(&whole));
    let hash = block("a").hash(INSTANCE);
    let commits = [1, 2, 3].map(|node| cast.signed(node, Kind::Commit, 0, hash)).into();
    let proof = block_proof(&cast.committee, HEIGHT, View(0), hash, commits, Some(whole));
    let full = Strictness::Full;
    let found = signer.is_block_proof(&cast.committee, &block("a"), &proof, &seed, full);
    assert_eq!(found, Ok(()));

    let mut shares = Shares::new();
    let mut insert = |share: Option<&Share>| shares.insert(signer, HEIGHT, &seed, NodeId(1), share);
    assert!(!insert(Some(&share(2))), "another's share");
    assert!(!insert(Some(&Share("?".into()))));
    assert!(!insert(None), "a COMMIT without a share makes no proof");
    assert!(insert(Some(&share(1))));
    let plain = Cast::new(&[1; 4]);
    let mut insert =
        |share: Option<&Share>| shares.insert(plain.signer(4), HEIGHT, &seed, NodeId(1), share);
    assert!(insert(None));
    assert!(!insert(Some(&share(1))), "there is no scheme");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Against a plain model: whatever members send, the quorum that is found proves the block, and
    /// it is found if the members that sent only this weigh enough.
    #[test]
    fn a_quorum_that_is_found_is_one(
        weights in prop::collection::vec(1u64..5, 4..8),
        words in prop::collection::vec((1u64..10, 0u64..3, any::<bool>(), any::<bool>()), 0..40),
    ) {
        let mut count = Count::new(Kind::Commit, &weights);
        let hashes = [block("a").hash(INSTANCE), block("b").hash(INSTANCE)];
        let mut plain = [false; 20];
        let mut spoiled = [false; 20];
        for (node, view, other, forge) in words {
            let node = node.min(weights.len() as u64 + 2);
            let hash = hashes[usize::from(other)];
            if forge { count.forged(node, view, hash) } else { count.says(node, view, hash) };
            let at = usize::try_from(node).unwrap();
            plain[at] |= !forge && !other && view == 2;
            spoiled[at] |= !forge && other && view == 2;
        }
        let (committee, signer) = (&count.cast.committee, count.cast.signer(4));
        let found = count.votes.quorum(committee, signer, View(2), hashes[0], None);
        let sure = (1..20).filter(|&node| plain[node] && !spoiled[node]);
        if committee.is_quorum(sure.map(|node| NodeId(node as u64))) {
            prop_assert!(found.is_some());
        }
        if let Some(commits) = found {
            let proof = block_proof(committee, HEIGHT, View(2), hashes[0], commits.clone(), None);
            prop_assert_eq!(&proof.commits, &commits, "it is minimal already");
            let full = Strictness::Full;
            let seed = Seed::default();
            let checked = signer.is_block_proof(committee, &block("a"), &proof, &seed, full);
            prop_assert_eq!(checked, Ok(()));
        }
    }
}
