//! The rules of views and votes as pure functions over small values: no `async`, no clock, no
//! channel. Each cites its sentence and names the test that dies without it.
//!
//! "PBFT" is M. Castro, B. Liskov, "Practical Byzantine Fault Tolerance", OSDI 1999; "Lean Helix"
//! is the specification and the Go implementation of Orbs, 2018 to 2020.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::helix::protocol::block::Hash;
use crate::helix::protocol::committee::Committee;
use crate::helix::protocol::message::ViewChange;
use crate::helix::protocol::proof::PreparedProof;
use crate::id::{NodeId, View};

/// "The primary selects the \[prepared certificate\] with the highest view number" among those of a
/// quorum of view changes (PBFT, section 4.4; Lean Helix, NEW_VIEW): the block that a new view must
/// propose. `None` if nothing is proven prepared, so that nothing can have been decided: then the
/// leader is free.
///
/// Any two quorums share an honest member. If a block was decided in view `v`, a quorum held its
/// proof of view `v` then, so one honest member among these shows it, or a later one; and by this
/// same rule every later one is of the same block.
///
/// Guarded by `rules::tests::the_latest_proof_binds_the_new_view`.
#[must_use]
pub fn proven(changes: &[(NodeId, ViewChange)]) -> Option<&PreparedProof> {
    let mut best: Option<&PreparedProof> = None;
    for proof in changes.iter().filter_map(|(_, change)| change.prepared.as_ref()) {
        if best.is_none_or(|held| proof.view > held.view) {
            best = Some(proof);
        }
    }
    best
}

/// "If a replica receives a set of f + 1 valid view-change messages from other replicas for views
/// greater than its current view, it sends a view-change message for the smallest view in the set,
/// even if its timer has not expired" (PBFT, section 4.5.2).
///
/// `views` holds the latest view that each member has left for. The set taken is that of the
/// members that are furthest: its smallest view is one that an honest member has reached (f + 1
/// weight cannot be of liars alone), so liars can drag nobody ahead; and it is the highest such
/// view, so a liar that stays low holds nobody back.
///
/// Guarded by `rules::tests::an_honest_weight_above_pulls_along` and
/// `rules::tests::liars_pull_nobody`.
#[must_use]
pub fn joinable(committee: &Committee, views: &BTreeMap<NodeId, View>, mine: View) -> Option<View> {
    let mut above: Vec<_> = views
        .iter()
        .filter(|&(_, &view)| view > mine)
        .map(|(&node, &view)| (view, committee.weight(node)))
        .collect();
    above.sort_unstable_by(|a, b| b.cmp(a));
    let mut weight = 0;
    for (view, more) in above {
        // Distinct members: at most the total, which fits.
        weight += more;
        if weight >= committee.honest() {
            return Some(view);
        }
    }
    None
}

/// "When a replica has received 2f + 1 view-change messages for view v + 1 it starts its timer"
/// (PBFT, section 4.5.2: to "avoid starting the next view change too soon"): whether a view that
/// this node asks for may be timed, given the latest view that each member, itself among them, has
/// left for.
///
/// Whoever is ahead waits there for a quorum, so those behind come up with it; if everybody went on
/// at the same pace, they might never meet in one view. A node that is cut off stays where it is.
///
/// Guarded by `rules::tests::who_is_ahead_waits`.
#[must_use]
pub fn timed(committee: &Committee, views: &BTreeMap<NodeId, View>, asked: View) -> bool {
    let there = views.iter().filter(|&(_, &view)| view >= asked);
    committee.is_quorum(there.map(|(&node, _)| node))
}

/// "The timeout of view V is base × 2^V" (Lean Helix, election trigger, section "timeouts"; PBFT,
/// section 4.5.2: "it will wait 2T"). As long as time goes: it neither overflows nor falls. The cap
/// is ours.
///
/// Guarded by `rules::tests::time_outs_double_and_never_fall`.
#[must_use]
pub fn timeout(base: Duration, cap: Option<Duration>, view: View) -> Duration {
    // After 94 doublings a nanosecond is longer than a `Duration` can be.
    let doublings = view.0.min(96);
    let patient = (0..doublings).fold(base, |span, _| span.saturating_mul(2));
    cap.map_or(patient, |cap| patient.min(cap))
}

/// "It has not accepted a pre-prepare message for view v and sequence number n containing a
/// different digest" and "it is in view v" (PBFT, section 4.2): whether this node may sign a word
/// about `hash` in `view`, given what it has promised: not to sign below `promised`, and what it
/// voted for last, durably, so that a node that was started again keeps its word.
///
/// Guarded by `rules::tests::one_block_a_view` and
/// `rules::tests::nothing_below_the_promised_view`.
#[must_use]
pub fn may_accept(promised: View, voted: Option<(View, Hash)>, view: View, hash: Hash) -> bool {
    let consistent = voted.is_none_or(|(last, block)| view > last || (view, hash) == (last, block));
    view >= promised && consistent
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::helix::protocol::app::Member;
    use crate::helix::protocol::message::Signature;
    use crate::id::Height;

    const S: Duration = Duration::from_secs(1);

    fn committee(weights: &[u64]) -> Committee {
        let member = |(&weight, node)| Member { node: NodeId(node), weight };
        Committee::new(weights.iter().zip(1..).map(member).collect()).unwrap()
    }

    fn change(node: u64, proof: Option<(u64, u8)>) -> (NodeId, ViewChange) {
        let signature = Signature([0; 64]);
        let prepared = proof.map(|(view, block)| PreparedProof {
            view: View(view),
            hash: Hash([block; 32]),
            proposal: signature,
            prepares: Vec::new(),
        });
        let change = ViewChange { height: Height(1), view: View(9), prepared, signature };
        (NodeId(node), change)
    }

    #[test]
    fn who_is_ahead_waits() {
        let committee = committee(&[1, 1, 1, 1]);
        let views = |of: [u64; 4]| (1..).map(NodeId).zip(of.map(View)).collect();
        let asked = |of, view| timed(&committee, &views(of), View(view));
        assert!(asked([1, 1, 1, 0], 1));
        assert!(asked([1, 2, 5, 0], 1), "whoever is further counts for less");
        assert!(!asked([1, 2, 5, 0], 2));
        assert!(!asked([1, 2, 5, 5], 5));
    }

    #[test]
    fn the_latest_proof_binds_the_new_view() {
        assert_eq!(proven(&[]), None);
        assert_eq!(proven(&[change(1, None), change(2, None)]), None);
        for order in [[0, 1, 2], [1, 0, 2], [2, 1, 0], [1, 2, 0]] {
            let all = [change(1, Some((3, 7))), change(2, Some((5, 8))), change(3, None)];
            let shown: Vec<_> = order.iter().map(|&at| all[at].clone()).collect();
            let found = proven(&shown).unwrap();
            assert_eq!((found.view, found.hash), (View(5), Hash([8; 32])));
        }
    }

    fn joined(weights: &[u64], views: &[u64], mine: u64) -> Option<u64> {
        let views = views.iter().zip(1..).map(|(&v, node)| (NodeId(node), View(v))).collect();
        joinable(&committee(weights), &views, View(mine)).map(|view| view.0)
    }

    #[test]
    fn an_honest_weight_above_pulls_along() {
        let four = [1; 4];
        assert_eq!(joined(&four, &[0, 0, 0, 0], 0), None);
        assert_eq!(joined(&four, &[0, 3, 0, 0], 0), None, "one alone may lie");
        assert_eq!(joined(&four, &[0, 3, 2, 0], 0), Some(2), "the smallest in the set");
        assert_eq!(joined(&four, &[0, 5, 5, 1], 0), Some(5), "of those that are furthest");
        assert_eq!(joined(&four, &[0, 5, 5, 1], 5), None, "only what is above mine");
        assert_eq!(joined(&[1, 4, 1, 1], &[0, 3, 0, 0], 0), Some(3), "weight counts, not heads");
    }

    #[test]
    fn liars_pull_nobody() {
        let seven = [1; 7];
        assert_eq!(joined(&seven, &[0, 0, 0, 0, 0, u64::MAX, u64::MAX], 0), None);
        let pulled = joined(&seven, &[0, 0, 0, 0, 2, u64::MAX, u64::MAX], 0);
        assert_eq!(pulled, Some(2), "no further than an honest member is");
        let stranger = BTreeMap::from([(NodeId(2), View(5)), (NodeId(99), View(5))]);
        assert_eq!(joinable(&committee(&[1; 4]), &stranger, View(0)), None);
    }

    #[test]
    fn time_outs_double_and_never_fall() {
        let seconds = |view| timeout(4 * S, None, View(view)).as_secs();
        assert_eq!([0, 1, 2, 3, 4].map(seconds), [4, 8, 16, 32, 64]);
        assert_eq!(seconds(10), 4096);
        let mut before = Duration::ZERO;
        for view in 0..=70 {
            let exact = u64::try_from(4u128 << view).map_or(Duration::MAX, Duration::from_secs);
            let found = timeout(4 * S, None, View(view));
            assert_eq!(found, exact, "view {view}");
            assert!(found >= before, "view {view}");
            assert_eq!(timeout(4 * S, Some(8 * S), View(view)), found.min(8 * S));
            before = found;
        }
        for base in [Duration::from_nanos(1), 4 * S, Duration::MAX] {
            assert_eq!(timeout(base, None, View(u64::MAX)), Duration::MAX);
            assert_eq!(timeout(base, Some(8 * S), View(u64::MAX)), 8 * S);
        }
    }

    #[test]
    fn one_block_a_view() {
        let (a, b) = (Hash([1; 32]), Hash([2; 32]));
        let voted = Some((View(3), a));
        assert!(may_accept(View(3), None, View(3), b));
        assert!(may_accept(View(3), voted, View(3), a), "the same word again");
        assert!(!may_accept(View(3), voted, View(3), b));
        assert!(!may_accept(View(0), voted, View(2), a), "an older view than its vote's");
        assert!(may_accept(View(3), voted, View(4), b));
    }

    #[test]
    fn nothing_below_the_promised_view() {
        let a = Hash([1; 32]);
        assert!(!may_accept(View(4), Some((View(3), a)), View(3), a), "it has left that view");
        assert!(!may_accept(View(1), None, View(0), a));
        assert!(may_accept(View(4), Some((View(3), a)), View(4), a));
    }
}
