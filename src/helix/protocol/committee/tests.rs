//! Tables by hand, and the extremes against wider arithmetic.

use futures_lite::future::block_on;
use proptest::prelude::*;

use super::*;
use crate::helix::protocol::block::Hash;

fn members(weights: &[u64]) -> Vec<Member> {
    weights.iter().zip(1..).map(|(&weight, id)| Member { node: NodeId(id), weight }).collect()
}

fn committee(weights: &[u64]) -> Committee {
    Committee::new(members(weights)).unwrap()
}

fn nodes(ids: &[u64]) -> Vec<NodeId> {
    ids.iter().map(|&id| NodeId(id)).collect()
}

#[test]
fn quorum_and_honest_weight_by_hand() {
    let table = [
        (4, 3, 2),
        (5, 4, 2),
        (6, 5, 2),
        (7, 5, 3),
        (8, 6, 3),
        (9, 7, 3),
        (10, 7, 4),
        (11, 8, 4),
        (12, 9, 4),
        (13, 9, 5),
        (21, 15, 7),
        (22, 15, 8),
        (100, 67, 34),
    ];
    for (count, quorum, honest) in table {
        let equal = committee(&vec![1; count]);
        assert_eq!((equal.quorum(), equal.honest()), (quorum, honest), "{count} members");
        let heavy = u64::try_from(count).unwrap() - 3;
        let weighted = committee(&[1, 1, 1, heavy]);
        assert_eq!((weighted.quorum(), weighted.honest()), (quorum, honest), "{count} in weight");
    }
}

#[test]
fn weights_count_each_member_once_and_strangers_not_at_all() {
    // A total of 10: a quorum weighs 7, an honest weight is 4.
    let ours = committee(&[1, 2, 3, 4]);
    let table: [(&[u64], u64); 8] = [
        (&[], 0),
        (&[4], 4),
        (&[4, 4, 4], 4),
        (&[1, 2, 3], 6),
        (&[1, 2, 3, 3, 2], 6),
        (&[3, 4], 7),
        (&[9, 8, 7], 0),
        (&[1, 2, 3, 4, 5], 10),
    ];
    for (who, weight) in table {
        assert_eq!(ours.weight_of(nodes(who)), weight, "{who:?}");
        assert_eq!(ours.is_quorum(nodes(who)), weight >= 7, "{who:?}");
    }
    assert_eq!(ours.weight(NodeId(4)), 4);
    assert_eq!(ours.weight(NodeId(5)), 0);
    assert_eq!(ours.place(NodeId(3)), Some(2));
    assert_eq!(ours.place(NodeId(0)), None);
    assert!(ours.contains(NodeId(4)) && !ours.contains(NodeId(5)));
}

#[test]
fn lists_that_are_no_committee_are_refused() {
    assert_eq!(Committee::new(members(&[])), Err(NoCommittee::TooFew(0)));
    assert_eq!(Committee::new(members(&[9, 9, 9])), Err(NoCommittee::TooFew(3)));
    assert_eq!(Committee::new(members(&[1, 1, 0, 1])), Err(NoCommittee::NoWeight(NodeId(3))));
    let mut twice = members(&[1; 5]);
    twice[4].node = NodeId(2);
    assert_eq!(Committee::new(twice), Err(NoCommittee::Twice(NodeId(2))));
    assert_eq!(Committee::new(members(&[u64::MAX, 1, 1, 1])), Err(NoCommittee::TooHeavy));
    let heaviest = committee(&[u64::MAX - 3, 1, 1, 1]);
    assert_eq!(heaviest.weight_of(nodes(&[1, 2, 3, 4])), u64::MAX);
}

#[test]
fn leaders_take_turns_at_any_view() {
    let ours = committee(&[1, 5, 1, 1, 1]);
    let leader = |view| ours.leader(View(view)).0;
    assert_eq!([0, 1, 2, 3, 4, 5, 6].map(leader), [1, 2, 3, 4, 5, 1, 2]);
    assert_eq!(leader(1 << 63), 1 + (1u64 << 63) % 5);
    assert_eq!(leader((1 << 63) + 1), 1 + ((1u64 << 63) + 1) % 5);
    assert_eq!(leader(u64::MAX), 1, "2^64 - 1 is a multiple of 5");
}

#[test]
fn just_a_quorum_is_in_order_and_no_longer_than_it_must_be() {
    let ours = committee(&[1; 7]);
    let just = |given, who: &[u64]| {
        let votes = nodes(who).into_iter().zip('a'..);
        ours.just_quorum(given, votes)
            .map(|votes| votes.into_iter().map(|(node, vote)| (node.0, vote)).collect::<Vec<_>>())
    };
    assert_eq!(just(0, &[1, 2, 3, 4]), None);
    assert_eq!(just(0, &[4, 4, 4, 4, 4, 8, 9]), None, "once each, and members only");
    let sorted = vec![(1, 'c'), (2, 'f'), (3, 'b'), (5, 'g'), (6, 'a')];
    assert_eq!(just(0, &[6, 3, 1, 8, 3, 2, 5, 7]), Some(sorted), "the first vote of each");
    assert_eq!(just(4, &[7, 6]), Some(vec![(6, 'b')]));
    assert_eq!(just(5, &[7, 6]), Some(vec![]));
    assert_eq!(just(5, &[]), Some(vec![]));
}

/// What a fixed committee answers for a height.
fn asked(order: Order, seed: Seed, proposer: Option<u64>) -> Vec<u64> {
    let fixed = FixedCommittee::equal(nodes(&[1, 2, 3, 4, 5]), order).unwrap();
    let previous = proposer.map(|proposer| Block {
        height: Height(1),
        previous: Hash::NONE,
        proposer: NodeId(proposer),
        time: 0,
        payload: bytes::Bytes::new(),
    });
    let answer = block_on(fixed.committee(Height(2), seed, previous.as_ref())).unwrap();
    answer.iter().map(|member| member.node.0).collect()
}

#[test]
fn sticky_begins_with_the_last_proposer() {
    let sticky = |proposer| asked(Order::Sticky, Seed([7; 32]), proposer);
    assert_eq!(sticky(None), [1, 2, 3, 4, 5]);
    assert_eq!(sticky(Some(1)), [1, 2, 3, 4, 5]);
    assert_eq!(sticky(Some(3)), [3, 4, 5, 1, 2]);
    assert_eq!(sticky(Some(5)), [5, 1, 2, 3, 4]);
    assert_eq!(sticky(Some(9)), [1, 2, 3, 4, 5], "a proposer that is no member");
}

#[test]
fn seeded_is_drawn_from_the_seed_alone() {
    let drawn = |byte| asked(Order::Seeded, Seed([byte; 32]), None);
    assert_eq!(drawn(7), drawn(7));
    assert_eq!(drawn(7), asked(Order::Seeded, Seed([7; 32]), Some(3)), "not from the block");
    let mut leaders = BTreeSet::new();
    for byte in 0..=255 {
        let mut order = drawn(byte);
        leaders.insert(order[0]);
        order.sort_unstable();
        assert_eq!(order, [1, 2, 3, 4, 5], "a permutation");
    }
    assert_eq!(leaders.len(), 5, "everybody leads now and then");
}

#[test]
fn seeded_is_the_same_on_every_machine() {
    assert_eq!(asked(Order::Seeded, Seed([0; 32]), None), GOLDEN);
}

/// Never change this: nodes of two versions would disagree about who leads.
const GOLDEN: [u64; 5] = [5, 4, 1, 2, 3];

#[test]
fn a_fixed_committee_is_checked_when_it_is_made() {
    let equal = |ids: &[u64]| FixedCommittee::equal(nodes(ids), Order::Sticky).map(|_| ());
    assert_eq!(equal(&[1, 2, 3]), Err(NoCommittee::TooFew(3)));
    assert_eq!(equal(&[1, 2, 3, 1]), Err(NoCommittee::Twice(NodeId(1))));
    assert_eq!(equal(&[1, 2, 3, 4]), Ok(()));
}

/// Weights of every size: small ones, and those where a float or a sum would go wrong.
fn weight() -> impl Strategy<Value = u64> {
    prop_oneof![1u64..10, (1u64 << 53)..(1 << 54), (1u64 << 61)..(1 << 62), any::<u64>()]
}

proptest! {
    #[test]
    fn sums_and_thresholds_agree_with_wider_arithmetic(
        weights in prop::collection::vec(weight(), 4..9),
        who in prop::collection::vec(0u64..12, 0..20),
    ) {
        let total: u128 = weights.iter().map(|&weight| u128::from(weight)).sum();
        match Committee::new(members(&weights)) {
            Ok(ours) => {
                let quorum = total - (total - 1) / 3;
                prop_assert_eq!(u128::from(ours.quorum()), quorum);
                prop_assert_eq!(u128::from(ours.honest()), (total - 1) / 3 + 1);
                let distinct: BTreeSet<_> = who.iter().copied().collect();
                let weight_at = |&id: &u64| {
                    let at = usize::try_from(id).unwrap().checked_sub(1)?;
                    weights.get(at).map(|&weight| u128::from(weight))
                };
                let sum: u128 = distinct.iter().filter_map(weight_at).sum();
                prop_assert_eq!(u128::from(ours.weight_of(nodes(&who))), sum);
                prop_assert_eq!(ours.is_quorum(nodes(&who)), sum >= quorum);
                let just = ours.just_quorum(0, nodes(&who).into_iter().zip(0..));
                prop_assert_eq!(just.is_some(), sum >= quorum);
                if let Some(mut votes) = just {
                    prop_assert!(ours.is_quorum(votes.iter().map(|&(node, _)| node)));
                    votes.pop();
                    prop_assert!(!ours.is_quorum(votes.iter().map(|&(node, _)| node)));
                }
            }
            Err(NoCommittee::TooHeavy) => prop_assert!(total > u128::from(u64::MAX)),
            Err(NoCommittee::NoWeight(_)) => prop_assert!(weights.contains(&0)),
            Err(other) => prop_assert!(false, "{}", other),
        }
    }
}
