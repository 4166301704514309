//! The forwarded requests of one peer that a leader has taken. The network may deliver a message
//! twice, and a peer sends again what was not answered; the leader proposes each forwarded command
//! once, and declines again what it has declined, since its refusal may have been lost.
//!
//! A peer numbers its requests without gaps, so the set is a few ranges, usually one. The set lives
//! in the leader's scope and is dropped with it: the mailbox drops messages of an earlier term.

use std::collections::BTreeMap;

use crate::raft::message::Declined;

/// The limit of the number of ranges. Above it, the two lowest ranges are joined, and a request
/// between them counts as taken: it is lost like a message, and its client is refused with an
/// unknown outcome when its time is up.
const RANGES_MAX: usize = 1024;

/// The limit of the number of declined requests. Above it, the oldest is forgotten: its client is
/// refused when its time is up.
const DECLINED_MAX: usize = 1024;

/// The numbers of the requests that one peer has forwarded in one term.
#[derive(Debug, Default)]
pub(crate) struct Forwarded {
    /// Each range by its first number, with the number after its last.
    ranges: BTreeMap<u64, u64>,
    /// The latest of them that were declined, and why.
    declined: BTreeMap<u64, Declined>,
}

impl Forwarded {
    /// Notes that a request is declined.
    pub(crate) fn decline(&mut self, request: u64, why: Declined) {
        self.declined.insert(request, why);
        if self.declined.len() > DECLINED_MAX {
            self.declined.pop_first();
        }
    }

    /// Why a request was declined, if it was.
    pub(crate) fn why_declined(&self, request: u64) -> Option<Declined> {
        self.declined.get(&request).copied()
    }

    /// Adds a request; false if it was there.
    pub(crate) fn is_new(&mut self, request: u64) -> bool {
        let Some(after) = request.checked_add(1) else {
            return false;
        };
        let before = self.ranges.range_mut(..=request).next_back();
        let start = match before {
            Some((_, end)) if request < *end => return false,
            Some((&start, end)) if request == *end => {
                *end = after;
                start
            }
            _ => {
                self.ranges.insert(request, after);
                request
            }
        };
        if let Some(end) = self.ranges.remove(&after) {
            self.ranges.insert(start, end);
        }
        if self.ranges.len() > RANGES_MAX {
            self.join_lowest();
        }
        true
    }

    fn join_lowest(&mut self) {
        if let Some((start, _)) = self.ranges.pop_first()
            && let Some((_, end)) = self.ranges.pop_first()
        {
            self.ranges.insert(start, end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Forwarded, RANGES_MAX};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn each_request_is_new_once(requests in prop::collection::vec(0u64..60, 0..100)) {
            let mut forwarded = Forwarded::default();
            let mut seen = std::collections::BTreeSet::new();
            for request in requests {
                prop_assert_eq!(forwarded.is_new(request), seen.insert(request));
            }
        }
    }

    #[test]
    fn what_is_remembered_is_bounded_and_forgets_nothing_that_was_taken() {
        let mut forwarded = Forwarded::default();
        for request in 0..5_000 {
            assert!(forwarded.is_new(request * 2));
        }
        assert_eq!(forwarded.ranges.len(), RANGES_MAX);
        assert!((0..5_000).all(|request| !forwarded.is_new(request * 2)));
        assert!(forwarded.is_new(9_999));
    }
}
