//! Thresholds: how many make a decision. Pure functions over small values.

/// The smallest number of `members` any two of which meet: more than half.
#[must_use]
pub fn majority(members: usize) -> usize {
    members / 2 + 1
}

/// The highest value that a majority has reached: of what each member reports, the one that
/// more than half have reached or passed. Zero when there are no members.
///
/// Raft section 5.3: with match indexes as values, this is the highest index that is stored on a
/// majority.
#[must_use]
pub fn reached_by_majority(values: &mut [u64]) -> u64 {
    if values.is_empty() {
        return 0;
    }
    values.sort_unstable_by(|a, b| b.cmp(a));
    values[majority(values.len()) - 1]
}

/// The weight of members that may lie without harm, of `total`: less than a third.
#[must_use]
pub fn faulty_max(total: u64) -> u64 {
    total.saturating_sub(1) / 3
}

/// The smallest weight any two sets of which meet in an honest member, of `total`: with at most
/// [`faulty_max`] lying, the honest ones alone can make it. Zero members make no quorum.
///
/// PBFT (Castro and Liskov 1999, section 4): `2f + 1` of `3f + 1`.
#[must_use]
pub fn byzantine_quorum(total: u64) -> u64 {
    (total - faulty_max(total)).max(1)
}

/// The smallest weight that cannot be of lying members alone, of `total`: `f + 1`.
#[must_use]
pub fn honest_weight(total: u64) -> u64 {
    faulty_max(total) + 1
}

#[cfg(test)]
mod tests {
    use super::{byzantine_quorum, faulty_max, honest_weight, majority, reached_by_majority};
    use proptest::prelude::*;

    #[test]
    fn two_majorities_meet() {
        for members in 1..=99 {
            assert!(majority(members) * 2 > members);
            assert!((majority(members) - 1) * 2 <= members);
        }
    }

    #[test]
    fn byzantine_thresholds_by_hand() {
        let of = |total| (faulty_max(total), byzantine_quorum(total), honest_weight(total));
        assert_eq!(of(0), (0, 1, 1));
        assert_eq!(of(1), (0, 1, 1));
        assert_eq!(of(3), (0, 3, 1));
        assert_eq!(of(4), (1, 3, 2));
        assert_eq!(of(7), (2, 5, 3));
        assert_eq!(of(13), (4, 9, 5));
        assert_eq!(of(100), (33, 67, 34));
    }

    /// Where a float is no longer exact, and at the end of the range.
    #[test]
    fn byzantine_thresholds_of_huge_weights() {
        for total in [1 << 53, (1 << 53) + 1, 1 << 62, (1 << 62) + 85, u64::MAX - 1, u64::MAX] {
            let f = (u128::from(total) - 1) / 3;
            assert_eq!(u128::from(faulty_max(total)), f);
            assert_eq!(u128::from(byzantine_quorum(total)), u128::from(total) - f);
            assert_eq!(u128::from(honest_weight(total)), f + 1);
        }
    }

    proptest! {
        #[test]
        fn byzantine_quorums_meet_in_an_honest_member(total in 1u64..) {
            let (f, q) = (u128::from(faulty_max(total)), u128::from(byzantine_quorum(total)));
            let total = u128::from(total);
            prop_assert!(3 * f < total, "less than a third may lie");
            prop_assert!(2 * q - total > f, "two quorums share more than the liars");
            prop_assert!(q <= total - f, "the honest make a quorum alone");
        }

        #[test]
        fn a_majority_has_reached_it_and_no_more(mut values in prop::collection::vec(0u64..20, 1..9)) {
            let all = values.clone();
            let reached = reached_by_majority(&mut values);
            let count = |at: u64| all.iter().filter(|&&v| v >= at).count();
            prop_assert!(count(reached) * 2 > all.len());
            prop_assert!(count(reached + 1) * 2 <= all.len());
        }
    }
}
