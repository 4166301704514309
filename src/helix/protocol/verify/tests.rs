//! Each check, by spoiling one thing at a time in what honest members made. Whatever can be seen
//! without a signature must cost none.

use super::{Wrong, block_proof};
use crate::helix::protocol::block::{Hash, Seed};
use crate::helix::protocol::message::{Kind, NewView, Signature};
use crate::helix::protocol::proof::{BlockProof, PreparedProof};
use crate::helix::protocol::signer::{Signer, Strictness};
use crate::helix::protocol::testing::{Cast, HEIGHT, INSTANCE, block, keys, share_of};
use crate::id::{ClusterId, Height, NodeId, View};

const A: Hash = Hash([10; 32]);
const B: Hash = Hash([11; 32]);

/// Turns one bit of a signature.
fn spoil(signature: &mut Signature) {
    signature.0[40] ^= 1;
}

/// Seven members of weight 1: a quorum is five, the leader of view 1 is node 2.
fn seven() -> Cast {
    Cast::new(&[1; 7])
}

mod prepared_proofs {
    use super::*;

    fn good(cast: &Cast) -> PreparedProof {
        cast.prepared(1, A, &[1, 3, 4, 5])
    }

    fn check(cast: &Cast, proof: &PreparedProof) -> Result<(), Wrong> {
        cast.signer(7).is_prepared(&cast.committee, HEIGHT, View(2), proof)
    }

    /// What comes of a good proof that was changed.
    fn spoiled(change: impl Fn(&Cast, &mut PreparedProof)) -> (Result<(), Wrong>, u64) {
        let cast = seven();
        let mut proof = good(&cast);
        change(&cast, &mut proof);
        (check(&cast, &proof), cast.signer(7).verified())
    }

    #[test]
    fn a_good_one_passes_for_five_signatures() {
        assert_eq!(spoiled(|_, _| {}), (Ok(()), 5));
    }

    #[test]
    fn a_view_change_without_one_passes() {
        let cast = seven();
        let (from, change) = cast.change(3, 2, None);
        assert_eq!(cast.signer(7).is_view_change(&cast.committee, from, &change), Ok(()));
        assert_eq!(cast.signer(7).verified(), 1);
    }

    #[test]
    fn without_prepares_it_is_too_light() {
        let (result, cost) = spoiled(|_, proof| proof.prepares.clear());
        assert_eq!((result, cost), (Err(Wrong::TooLight { found: 1, needed: 5 }), 0));
    }

    #[test]
    fn one_vote_less_is_too_light() {
        let (result, cost) = spoiled(|_, proof| proof.prepares.truncate(3));
        assert_eq!((result, cost), (Err(Wrong::TooLight { found: 4, needed: 5 }), 0));
    }

    #[test]
    fn one_vote_more_is_refused() {
        let (result, cost) = spoiled(|cast, proof| {
            proof.prepares.push(cast.signed(6, Kind::Prepare, 1, A));
        });
        assert_eq!((result, cost), (Err(Wrong::Superfluous(NodeId(6))), 0));
    }

    #[test]
    fn the_proposal_must_be_signed() {
        let (result, _) = spoiled(|_, proof| spoil(&mut proof.proposal));
        let kind = Kind::PrePrepare;
        assert_eq!(result, Err(Wrong::Signature { node: NodeId(2), kind }));
    }

    #[test]
    fn each_prepare_must_be_signed() {
        for at in 0..4 {
            let (result, _) = spoiled(|_, proof| spoil(&mut proof.prepares[at].1));
            let (node, kind) = (NodeId([1, 3, 4, 5][at]), Kind::Prepare);
            assert_eq!(result, Err(Wrong::Signature { node, kind }));
        }
    }

    #[test]
    fn of_another_height_its_signatures_are_wrong() {
        let cast = seven();
        let proof = good(&cast);
        let height = HEIGHT.next();
        let result = cast.signer(7).is_prepared(&cast.committee, height, View(2), &proof);
        let kind = Kind::PrePrepare;
        assert_eq!(result, Err(Wrong::Signature { node: NodeId(2), kind }));
    }

    #[test]
    fn of_another_instance_its_signatures_are_wrong() {
        let cast = seven();
        let other = Signer::new(NodeId(7), ClusterId(8), Box::new(keys(7, 9)));
        let result = other.is_prepared(&cast.committee, HEIGHT, View(2), &good(&cast));
        let kind = Kind::PrePrepare;
        assert_eq!(result, Err(Wrong::Signature { node: NodeId(2), kind }));
    }

    #[test]
    fn of_the_same_or_a_later_view_it_is_refused() {
        let cast = seven();
        let proof = good(&cast);
        for below in [0, 1] {
            let result = cast.signer(7).is_prepared(&cast.committee, HEIGHT, View(below), &proof);
            let wrong = Wrong::NotBefore { found: View(1), below: View(below) };
            assert_eq!(result, Err(wrong));
        }
        assert_eq!(cast.signer(7).verified(), 0);
    }

    #[test]
    fn a_stranger_has_no_vote() {
        let (result, cost) = spoiled(|cast, proof| {
            proof.prepares[3] = cast.signed(8, Kind::Prepare, 1, A);
        });
        assert_eq!((result, cost), (Err(Wrong::Stranger(NodeId(8))), 0));
    }

    #[test]
    fn the_leader_has_no_second_vote() {
        let (result, cost) = spoiled(|cast, proof| {
            proof.prepares[1] = cast.signed(2, Kind::Prepare, 1, A);
        });
        assert_eq!((result, cost), (Err(Wrong::LeaderPrepares(NodeId(2))), 0));
    }

    #[test]
    fn a_proposal_of_somebody_else_is_refused() {
        let (result, _) = spoiled(|cast, proof| {
            proof.proposal = cast.vote(6, Kind::PrePrepare, 1, A).signature;
        });
        let kind = Kind::PrePrepare;
        assert_eq!(result, Err(Wrong::Signature { node: NodeId(2), kind }));
    }

    #[test]
    fn a_vote_for_another_height_view_or_block_does_not_count() {
        let wrong = Err(Wrong::Signature { node: NodeId(4), kind: Kind::Prepare });
        let other = |height, view, hash| {
            spoiled(move |cast, proof| {
                let vote = cast.signer(4).vote(Kind::Prepare, height, View(view), hash);
                proof.prepares[2].1 = vote.signature;
            })
            .0
        };
        assert_eq!(other(HEIGHT, 1, A), Ok(()), "the very same vote");
        assert_eq!(other(HEIGHT.next(), 1, A), wrong);
        assert_eq!(other(HEIGHT, 0, A), wrong);
        assert_eq!(other(HEIGHT, 1, B), wrong);
    }

    #[test]
    fn a_vote_of_another_kind_does_not_count() {
        for kind in [Kind::PrePrepare, Kind::Commit, Kind::NewView, Kind::ViewChange] {
            let (result, _) = spoiled(|cast, proof| {
                proof.prepares[2] = cast.signed(4, kind, 1, A);
            });
            let kind = Kind::Prepare;
            assert_eq!(result, Err(Wrong::Signature { node: NodeId(4), kind }));
        }
    }

    #[test]
    fn a_vote_twice_or_out_of_order_is_refused() {
        let (result, cost) = spoiled(|_, proof| proof.prepares[3] = proof.prepares[2]);
        assert_eq!((result, cost), (Err(Wrong::Order(NodeId(4))), 0));
        let (result, cost) = spoiled(|_, proof| proof.prepares.swap(0, 1));
        assert_eq!((result, cost), (Err(Wrong::Order(NodeId(1))), 0));
    }

    #[test]
    fn weights_count_and_not_heads() {
        // A total of 10: a quorum weighs 7. The leader of view 1 is node 2.
        let cast = Cast::new(&[1, 2, 3, 4]);
        let of = |nodes: &[u64]| check_four(&cast, &cast.prepared(1, A, nodes));
        assert_eq!(of(&[4]), Err(Wrong::TooLight { found: 6, needed: 7 }));
        assert_eq!(of(&[1, 4]), Ok(()));
        assert_eq!(of(&[3, 4]), Ok(()));
        assert_eq!(of(&[1, 3]), Err(Wrong::TooLight { found: 6, needed: 7 }));
        let leader_alone = Cast::new(&[1, 97, 1, 1]);
        let of = |nodes: &[u64]| check_four(&leader_alone, &leader_alone.prepared(1, A, nodes));
        assert_eq!(of(&[]), Ok(()));
        assert_eq!(of(&[1]), Err(Wrong::Superfluous(NodeId(1))));
    }

    fn check_four(cast: &Cast, proof: &PreparedProof) -> Result<(), Wrong> {
        cast.signer(1).is_prepared(&cast.committee, HEIGHT, View(2), proof)
    }
}

mod view_changes {
    use super::*;

    #[test]
    fn they_are_of_members_for_later_views_and_signed_whole() {
        let cast = seven();
        let proof = cast.prepared(1, A, &[1, 3, 4, 5]);
        let check = |from, change: &_| cast.signer(7).is_view_change(&cast.committee, from, change);
        let (from, good) = cast.change(3, 2, Some(proof));

        let (stranger, same) = cast.change(8, 2, None);
        assert_eq!(check(stranger, &same), Err(Wrong::Stranger(stranger)));
        let (_, first) = cast.change(3, 0, None);
        assert_eq!(check(from, &first), Err(Wrong::FirstView));
        let mut early = good.clone();
        early.view = View(1);
        let wrong = Wrong::NotBefore { found: View(1), below: View(1) };
        assert_eq!(check(from, &early), Err(wrong));
        assert_eq!(cast.signer(7).verified(), 0, "all of this is seen without a signature");

        assert_eq!(check(from, &good), Ok(()));
        assert_eq!(cast.signer(7).verified(), 6);
        let wrong = Err(Wrong::Signature { node: from, kind: Kind::ViewChange });
        let mut stripped = good.clone();
        stripped.prepared = None;
        assert_eq!(check(from, &stripped), wrong, "a proof cannot be taken away");
        let (_, mut dressed) = cast.change(3, 2, None);
        dressed.prepared.clone_from(&good.prepared);
        assert_eq!(check(from, &dressed), wrong, "nor put in");
        let mut swapped = good.clone();
        swapped.prepared = Some(cast.prepared(0, B, &[2, 3, 4, 5]));
        assert_eq!(check(from, &swapped), wrong, "nor exchanged for another good one");
        let mut later = good.clone();
        later.view = View(3);
        assert_eq!(check(from, &later), wrong);
        let mut higher = good.clone();
        higher.height = HEIGHT.next();
        assert_eq!(check(from, &higher), wrong);
        assert!(check(NodeId(4), &good).is_err(), "nobody speaks for another");
    }

    #[test]
    fn a_wrong_proof_spoils_them() {
        let cast = seven();
        let mut proof = cast.prepared(1, A, &[1, 3, 4, 5]);
        spoil(&mut proof.prepares[0].1);
        let (from, change) = cast.change(3, 2, Some(proof));
        let result = cast.signer(7).is_view_change(&cast.committee, from, &change);
        assert_eq!(result, Err(Wrong::Signature { node: NodeId(1), kind: Kind::Prepare }));
    }
}

mod new_views {
    use super::*;

    /// View 2 of seven is led by node 3.
    fn of(
        cast: &Cast,
        changes: Vec<(NodeId, crate::helix::protocol::message::ViewChange)>,
    ) -> NewView {
        cast.signer(3).new_view(HEIGHT, View(2), changes, block("a"))
    }

    fn free(cast: &Cast) -> NewView {
        of(cast, [1, 3, 4, 5, 6].map(|node| cast.change(node, 2, None)).into())
    }

    fn bound(cast: &Cast) -> NewView {
        let old = cast.prepared(0, B, &[2, 3, 4, 5]);
        let last = cast.prepared(1, block("a").hash(INSTANCE), &[1, 3, 4, 5]);
        let changes = [
            cast.change(1, 2, Some(old)),
            cast.change(3, 2, None),
            cast.change(4, 2, Some(last.clone())),
            cast.change(5, 2, Some(last)),
            cast.change(6, 2, None),
        ];
        of(cast, changes.into())
    }

    /// What comes of a new view that its own leader made wrong, and signed.
    fn made(change: impl Fn(&Cast, &mut NewView)) -> (Result<bool, Wrong>, u64) {
        let cast = seven();
        let mut wrong = bound(&cast);
        change(&cast, &mut wrong);
        let NewView { height, view, changes, block, .. } = wrong;
        let signed = cast.signer(3).new_view(height, view, changes, block);
        let result = cast.signer(7).is_new_view(&cast.committee, NodeId(3), &signed);
        (result.map(|justified| justified.proven()), cast.signer(7).verified())
    }

    #[test]
    fn a_free_one_and_a_bound_one_pass() {
        let cast = seven();
        let free = free(&cast);
        let justified = cast.signer(7).is_new_view(&cast.committee, NodeId(3), &free).unwrap();
        assert_eq!(justified.view(), View(2));
        assert_eq!(justified.block(), &block("a"));
        assert_eq!(justified.hash(), block("a").hash(INSTANCE));
        assert!(!justified.proven());
        assert_eq!(cast.signer(7).verified(), 7, "two of the leader, five of those who left");
        assert!(cast.signer(7).is_vote(Kind::PrePrepare, NodeId(3), justified.proposal()));

        assert_eq!(made(|_, _| {}), (Ok(true), 7 + 5 + 5), "each proof is checked once");
    }

    #[test]
    fn what_is_seen_without_a_signature_costs_none() {
        let tail = |cast: &Cast| cast.change(7, 2, None);
        type Case<'a> = (&'a str, &'a dyn Fn(&Cast, &mut NewView), Wrong);
        let cases: [Case<'_>; 9] = [
            ("too few", &|_, it| it.changes.truncate(4), Wrong::TooLight { found: 4, needed: 5 }),
            ("none", &|_, it| it.changes.clear(), Wrong::TooLight { found: 0, needed: 5 }),
            ("one more", &|cast, it| it.changes.push(tail(cast)), Wrong::Superfluous(NodeId(7))),
            ("twice", &|_, it| it.changes[1] = it.changes[0].clone(), Wrong::Order(NodeId(1))),
            ("order", &|_, it| it.changes.swap(3, 4), Wrong::Order(NodeId(5))),
            (
                "stranger",
                &|cast, it| it.changes[4] = cast.change(8, 2, None),
                Wrong::Stranger(NodeId(8)),
            ),
            (
                "another view",
                &|cast, it| it.changes[4] = cast.change(6, 3, None),
                Wrong::View { node: NodeId(6), expected: View(2), found: View(3) },
            ),
            (
                "another height",
                &|cast, it| {
                    let other = cast.signer(6).view_change(HEIGHT.next(), View(2), None);
                    it.changes[4].1 = other;
                },
                Wrong::Height { expected: HEIGHT, found: HEIGHT.next() },
            ),
            (
                "a proof from this view",
                &|cast, it| {
                    let proof = cast.prepared(2, A, &[1, 2, 4, 5]);
                    it.changes[4] = cast.change(6, 2, Some(proof));
                },
                Wrong::NotBefore { found: View(2), below: View(2) },
            ),
        ];
        for (name, change, wrong) in cases {
            assert_eq!(made(change), (Err(wrong), 0), "{name}");
        }
    }

    #[test]
    fn only_the_leader_of_the_view_may_begin_it() {
        let cast = seven();
        let check = |from, it: &_| cast.signer(7).is_new_view(&cast.committee, NodeId(from), it);
        let good = free(&cast);
        let wrong = Wrong::NotLeader { node: NodeId(4), view: View(2) };
        assert_eq!(check(4, &good), Err(wrong));
        let first = cast.signer(1).new_view(HEIGHT, View(0), Vec::new(), block("a"));
        assert_eq!(check(1, &first), Err(Wrong::FirstView), "view 0 needs none, and has none");
        assert_eq!(cast.signer(7).verified(), 0);
        // Node 4 signs in the name of node 3.
        let NewView { changes, .. } = good;
        let usurped = cast.signer(4).new_view(HEIGHT, View(2), changes, block("a"));
        let kind = Kind::NewView;
        assert_eq!(check(3, &usurped), Err(Wrong::Signature { node: NodeId(3), kind }));
    }

    #[test]
    fn its_view_cannot_be_an_index_out_of_range() {
        let cast = seven();
        for view in [u64::MAX, 1 << 63, (1 << 63) + 1, 1 << 32] {
            let good = cast.signer(1).new_view(HEIGHT, View(view), Vec::new(), block("a"));
            assert!(cast.signer(7).is_new_view(&cast.committee, NodeId(1), &good).is_err());
        }
    }

    #[test]
    fn every_vote_in_it_must_be_signed() {
        for at in 0..5 {
            let (result, _) = made(|_, it| spoil(&mut it.changes[at].1.signature));
            let (node, kind) = (NodeId([1, 3, 4, 5, 6][at]), Kind::ViewChange);
            assert_eq!(result, Err(Wrong::Signature { node, kind }), "the vote of {node}");
        }
    }

    #[test]
    fn a_leader_cannot_invent_votes_to_hide_a_prepared_block() {
        // Nodes 4 and 5 hold the proof; the leader makes up votes of theirs without it.
        let (result, _) = made(|cast, it| {
            for at in [2, 3] {
                it.changes[at].1 = cast.signer(3).view_change(HEIGHT, View(2), None);
            }
            it.changes[0] = cast.change(1, 2, None);
            it.block = block("evil");
        });
        let kind = Kind::ViewChange;
        assert_eq!(result, Err(Wrong::Signature { node: NodeId(4), kind }));
    }

    #[test]
    fn every_proof_in_it_must_hold() {
        for at in [0, 2, 3] {
            let (result, _) = made(|cast, it| {
                let mut proof = it.changes[at].1.prepared.clone().unwrap();
                spoil(&mut proof.prepares[3].1);
                let node = it.changes[at].0.0;
                it.changes[at] = cast.change(node, 2, Some(proof));
            });
            let kind = Kind::Prepare;
            assert_eq!(result, Err(Wrong::Signature { node: NodeId(5), kind }));
        }
    }

    #[test]
    fn its_block_is_the_one_that_was_prepared_last() {
        let hash = block("a").hash(INSTANCE);
        let found = block("b").hash(INSTANCE);
        let (result, cost) = made(|_, it| it.block = block("b"));
        assert_eq!((result, cost), (Err(Wrong::Block { expected: hash, found }), 0));
        let (result, _) = made(|cast, it| {
            // The block of the older proof, though a later one is shown.
            let older = cast.prepared(0, block("b").hash(INSTANCE), &[2, 3, 4, 5]);
            it.changes[0] = cast.change(1, 2, Some(older));
            it.block = block("b");
        });
        assert_eq!(result, Err(Wrong::Block { expected: hash, found }));
        let (result, cost) = made(|_, it| it.block.height = HEIGHT.next());
        let wrong = Wrong::Height { expected: HEIGHT, found: HEIGHT.next() };
        assert_eq!((result, cost), (Err(wrong), 0));
    }

    #[test]
    fn it_is_signed_whole_and_so_is_its_proposal() {
        let cast = seven();
        let check = |it: &_| cast.signer(7).is_new_view(&cast.committee, NodeId(3), it);
        let wrong = |kind| Err(Wrong::Signature { node: NodeId(3), kind });
        let good = free(&cast);
        let mut other = good.clone();
        other.block = block("b");
        assert_eq!(check(&other), wrong(Kind::NewView), "the block");
        let mut other = good.clone();
        other.changes[4] = cast.change(7, 2, None);
        assert_eq!(check(&other), wrong(Kind::NewView), "the votes");
        let mut other = good.clone();
        other.proposal = cast.vote(3, Kind::PrePrepare, 2, B).signature;
        assert_eq!(check(&other), wrong(Kind::PrePrepare), "the proposal is of this block");
        let mut other = good.clone();
        other.signature = good.proposal;
        assert_eq!(check(&other), wrong(Kind::NewView), "one is not the other");
    }

    #[test]
    fn weights_count_and_not_heads() {
        // A total of 10: a quorum weighs 7. View 2 is led by node 3.
        let cast = Cast::new(&[1, 2, 3, 4]);
        let with = |nodes: &[u64]| {
            let changes = nodes.iter().map(|&node| cast.change(node, 2, None)).collect();
            let it = of(&cast, changes);
            cast.signer(1).is_new_view(&cast.committee, NodeId(3), &it).map(|_| ())
        };
        assert_eq!(with(&[1, 2, 3]), Err(Wrong::TooLight { found: 6, needed: 7 }));
        assert_eq!(with(&[2, 4]), Err(Wrong::TooLight { found: 6, needed: 7 }));
        assert_eq!(with(&[3, 4]), Ok(()));
        assert_eq!(with(&[1, 2, 4]), Ok(()));
        assert_eq!(with(&[2, 3, 4]), Ok(()), "the last one is needed");
        assert_eq!(with(&[1, 2, 3, 4]), Ok(()), "and here, too");
    }
}

mod block_proofs {
    use super::*;

    const SEED: Seed = Seed([3; 32]);

    fn check(cast: &Cast, proof: &BlockProof, strictness: Strictness) -> Result<(), Wrong> {
        cast.signer(4).is_block_proof(&cast.committee, &block("a"), proof, &SEED, strictness)
    }

    #[test]
    fn one_is_made_of_just_a_quorum_in_the_order_of_the_committee() {
        let cast = Cast::new(&[1; 4]);
        let proof = cast.decided(2, &block("a"), &[4, 2, 6, 1, 2, 3]);
        assert_eq!(proof.height, HEIGHT);
        assert_eq!(proof.view, View(2));
        assert_eq!(proof.hash, block("a").hash(INSTANCE));
        let who: Vec<_> = proof.commits.iter().map(|(node, _)| node.0).collect();
        assert_eq!(who, [1, 2, 3], "no stranger, nobody twice, nobody too many");
        assert_eq!(proof, cast.decided(2, &block("a"), &[3, 1, 2]), "the same bytes");
        assert_eq!(check(&cast, &proof, Strictness::Full), Ok(()));
        assert_eq!(cast.signer(4).verified(), 3);
    }

    #[test]
    fn full_takes_a_quorum_and_soft_an_honest_weight() {
        let cast = Cast::new(&[1; 4]);
        let of = |nodes: &[u64], how| check(&cast, &cast.decided(0, &block("a"), nodes), how);
        assert_eq!(of(&[1, 3, 4], Strictness::Full), Ok(()));
        assert_eq!(of(&[1, 3, 4], Strictness::Soft), Ok(()));
        let light = |found, needed| Err(Wrong::TooLight { found, needed });
        assert_eq!(of(&[2, 4], Strictness::Full), light(2, 3));
        assert_eq!(of(&[2, 4], Strictness::Soft), Ok(()));
        assert_eq!(of(&[2], Strictness::Soft), light(1, 2));
        assert_eq!(of(&[], Strictness::Soft), light(0, 2));
    }

    #[test]
    fn what_is_seen_without_a_signature_costs_none() {
        let cast = Cast::new(&[1; 4]);
        let good = cast.decided(0, &block("a"), &[1, 2, 3]);
        let (a, b) = (block("a").hash(INSTANCE), block("b").hash(INSTANCE));
        let signed = |node| cast.signed(node, Kind::Commit, 0, a);
        let with = |commits: Vec<_>| BlockProof { commits, ..good.clone() };
        let cases = [
            (
                BlockProof { height: HEIGHT.next(), ..good.clone() },
                Wrong::Height { expected: HEIGHT, found: HEIGHT.next() },
            ),
            (BlockProof { hash: b, ..good.clone() }, Wrong::Block { expected: b, found: a }),
            (with(vec![signed(1), signed(2), signed(5)]), Wrong::Stranger(NodeId(5))),
            (with(vec![signed(1), signed(2), signed(2)]), Wrong::Order(NodeId(2))),
            (with(vec![signed(1), signed(3), signed(2)]), Wrong::Order(NodeId(2))),
            (with([1, 2, 3, 4].map(signed).into()), Wrong::Superfluous(NodeId(4))),
        ];
        for (proof, wrong) in cases {
            for strictness in [Strictness::Full, Strictness::Soft] {
                assert_eq!(check(&cast, &proof, strictness), Err(wrong.clone()));
            }
        }
        assert_eq!(cast.signer(4).verified(), 0);
    }

    #[test]
    fn every_commit_in_it_must_be_signed_for_this() {
        let cast = Cast::new(&[1; 4]);
        let (good, hash) = (cast.decided(0, &block("a"), &[1, 2, 3]), block("a").hash(INSTANCE));
        let wrong = Err(Wrong::Signature { node: NodeId(2), kind: Kind::Commit });
        for kind in [Kind::PrePrepare, Kind::Prepare, Kind::NewView, Kind::ViewChange] {
            let mut other = good.clone();
            other.commits[1] = cast.signed(2, kind, 0, hash);
            assert_eq!(check(&cast, &other, Strictness::Full), wrong, "a {kind:?}");
        }
        let mut other = good.clone();
        other.commits[1] = cast.signed(2, Kind::Commit, 1, hash);
        assert_eq!(check(&cast, &other, Strictness::Full), wrong, "of another view");
        other.commits[1].1 = cast.signer(2).vote(Kind::Commit, Height(9), View(0), hash).signature;
        assert_eq!(check(&cast, &other, Strictness::Soft), wrong, "of another height");
        let elsewhere = Signer::new(NodeId(4), ClusterId(8), Box::new(keys(4, 6)));
        let renamed = BlockProof { hash: block("a").hash(ClusterId(8)), ..good };
        let full = Strictness::Full;
        let found = elsewhere.is_block_proof(&cast.committee, &block("a"), &renamed, &SEED, full);
        let wrong = Wrong::Signature { node: NodeId(1), kind: Kind::Commit };
        assert_eq!(found, Err(wrong), "of another instance");
    }

    #[test]
    fn with_a_scheme_it_carries_the_groups_signature_over_the_seed() {
        let cast = Cast::with_seeds(&[1; 4]);
        let hash = block("a").hash(INSTANCE);
        let commits: Vec<_> = [1, 2, 4].map(|node| cast.signed(node, Kind::Commit, 0, hash)).into();
        let of = |seed| {
            let made = block_proof(&cast.committee, HEIGHT, View(0), hash, commits.clone(), seed);
            check(&cast, &made, Strictness::Full)
        };
        let signature = share_of(NodeId(1), HEIGHT, &SEED).0.slice(..32);
        assert_eq!(of(Some(signature)), Ok(()));
        assert_eq!(of(None), Err(Wrong::Seed("missing")));
        let earlier = share_of(NodeId(1), HEIGHT, &Seed([4; 32])).0.slice(..32);
        assert_eq!(of(Some(earlier)), Err(Wrong::Seed("not the group's")));
    }

    #[test]
    fn without_a_scheme_it_carries_none() {
        let cast = Cast::new(&[1; 4]);
        let mut proof = cast.decided(0, &block("a"), &[1, 2, 3]);
        proof.seed = Some("more".into());
        let wrong = Wrong::Seed("there, though nobody makes one");
        assert_eq!(check(&cast, &proof, Strictness::Full), Err(wrong));
    }
}
