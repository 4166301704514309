//! Evidence: two statements of one member that contradict each other.
//!
//! An honest member signs one block a view and kind, and keeps that promise across restarts. Two
//! different ones, both with its signature, prove to anybody that it lies (or that two machines run
//! with its key). The protocol survives it as long as such members weigh less than a third; the
//! operator should know.

use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::helix::protocol::block::Hash;
use crate::helix::protocol::message::{Kind, Signature};
use crate::helix::protocol::signer::Signer;
use crate::id::{Height, NodeId, View};

/// Two contradicting statements of one member.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Evidence {
    /// Who signed both.
    pub node: NodeId,
    /// The kind of both.
    pub kind: Kind,
    /// The height of both.
    pub height: Height,
    /// The view of both.
    pub view: View,
    /// What it said, as this node heard it first.
    pub first: (Hash, Signature),
    /// What it also said.
    pub second: (Hash, Signature),
}

impl Evidence {
    /// Whether it proves anything: two subjects, both with the node's signature.
    #[must_use]
    pub fn holds(&self, signer: &Signer) -> bool {
        let signed = |(subject, signature): &(Hash, Signature)| {
            let statement = signer.statement(self.kind, self.height, self.view, *subject);
            signer.check(self.node, &statement, signature)
        };
        self.first.0 != self.second.0 && signed(&self.first) && signed(&self.second)
    }
}

/// Where evidence is kept: one piece for each member, kind, height and view, so many and no more.
#[derive(Debug)]
pub struct EvidencePool {
    max: usize,
    kept: BTreeMap<(NodeId, Kind, Height, View), Evidence>,
    more: u64,
}

impl EvidencePool {
    /// An empty one for `max` pieces.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { max, kept: BTreeMap::new(), more: 0 }
    }

    /// Keeps a piece, if it is not known yet and there is room. True if it was kept.
    pub fn insert(&mut self, evidence: Evidence) -> bool {
        let key = (evidence.node, evidence.kind, evidence.height, evidence.view);
        if self.kept.contains_key(&key) {
            return false;
        }
        if self.kept.len() >= self.max {
            self.more = self.more.saturating_add(1);
            return false;
        }
        self.kept.insert(key, evidence);
        true
    }

    /// What is kept, by member.
    pub fn iter(&self) -> impl Iterator<Item = &Evidence> {
        self.kept.values()
    }

    /// How many more came when there was no room, the same ones counted each time.
    #[must_use]
    pub fn more(&self) -> u64 {
        self.more
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::helix::protocol::testing::{Cast, HEIGHT};

    fn evidence(cast: &Cast, node: u64, view: u64) -> Evidence {
        let said = |hash| (hash, cast.signed(node, Kind::Commit, view, hash).1);
        Evidence {
            node: NodeId(node),
            kind: Kind::Commit,
            height: HEIGHT,
            view: View(view),
            first: said(Hash([1; 32])),
            second: said(Hash([2; 32])),
        }
    }

    #[test]
    fn it_holds_only_if_both_were_said_and_differ() {
        let cast = Cast::new(&[1; 4]);
        let holds = |evidence: &Evidence| evidence.holds(cast.signer(4));
        let good = evidence(&cast, 2, 3);
        assert!(holds(&good));
        let bytes = borsh::to_vec(&good).unwrap();
        assert_eq!(borsh::from_slice::<Evidence>(&bytes).unwrap(), good);
        assert!(!holds(&Evidence { second: good.first, ..good.clone() }), "the same twice");
        assert!(!holds(&Evidence { node: NodeId(3), ..good.clone() }));
        assert!(!holds(&Evidence { kind: Kind::Prepare, ..good.clone() }));
        assert!(!holds(&Evidence { height: HEIGHT.next(), ..good.clone() }));
        assert!(!holds(&Evidence { view: View(4), ..good.clone() }));
        let invented = (Hash([3; 32]), good.second.1);
        assert!(!holds(&Evidence { second: invented, ..good.clone() }));
        assert!(!holds(&Evidence { first: invented, ..good }));
    }

    #[test]
    fn the_locker_keeps_one_of_each_and_no_more_than_it_may() {
        let cast = Cast::new(&[1; 4]);
        let mut evidence_pool = EvidencePool::new(2);
        assert!(evidence_pool.insert(evidence(&cast, 2, 3)));
        assert!(!evidence_pool.insert(evidence(&cast, 2, 3)), "known");
        assert!(evidence_pool.insert(evidence(&cast, 2, 4)));
        assert_eq!(evidence_pool.more(), 0);
        assert!(!evidence_pool.insert(evidence(&cast, 3, 4)), "full");
        assert!(!evidence_pool.insert(evidence(&cast, 2, 3)), "known, and not counted again");
        assert_eq!((evidence_pool.iter().count(), evidence_pool.more()), (2, 1));
    }
}
