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

#[cfg(test)]
mod tests {
    use super::{majority, reached_by_majority};
    use proptest::prelude::*;

    #[test]
    fn two_majorities_meet() {
        for members in 1..=99 {
            assert!(majority(members) * 2 > members);
            assert!((majority(members) - 1) * 2 <= members);
        }
    }

    proptest! {
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
