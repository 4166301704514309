//! Signatures for simulated nodes: as good as real ones within a simulation, and a thousand times
//! quicker.
//!
//! A [`Ring`] holds a secret for each node. A signature is a keyed hash of the bytes, which whoever
//! has the ring can check; but the ring does not hand out secrets, only [`RingKeys`] that sign for
//! one node and verify for all. So an adversary who is given its own keys can forge nobody's word,
//! not because forging is hard but because there is no way to ask for it. What it can do is send 64
//! bytes of its own choice, and those are wrong.

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use crate::env::Rng;
use crate::helix::protocol::app::Keys;
use crate::helix::protocol::message::Signature;
use crate::id::NodeId;
use crate::sim::draws::Meter;

/// The secrets of all nodes.
#[derive(Clone)]
pub struct Ring(Rc<BTreeMap<NodeId, [u64; 2]>>);

impl Ring {
    /// Secrets for `nodes`, drawn from `rng`.
    #[must_use]
    pub fn new(rng: &Rng, nodes: impl IntoIterator<Item = NodeId>) -> Self {
        Self(Rc::new(nodes.into_iter().map(|node| (node, [rng.u64(), rng.u64()])).collect()))
    }

    /// The keys of one node.
    #[must_use]
    pub fn keys(&self, node: NodeId) -> RingKeys {
        RingKeys { ring: self.clone(), node }
    }

    /// Whether `signature` is the node's, over `bytes`.
    #[must_use]
    pub fn verify(&self, node: NodeId, bytes: &[u8], signature: &Signature) -> bool {
        self.0.get(&node).is_some_and(|secret| seal(*secret, bytes) == *signature)
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ring({} secrets)", self.0.len())
    }
}

/// Signs for one node and verifies for all of its ring.
#[derive(Debug, Clone)]
pub struct RingKeys {
    ring: Ring,
    node: NodeId,
}

impl Keys for RingKeys {
    fn sign(&self, bytes: &[u8]) -> Signature {
        let secret = self.ring.0.get(&self.node);
        secret.map_or(Signature([0; 64]), |secret| seal(*secret, bytes))
    }

    fn verify(&self, node: NodeId, bytes: &[u8], signature: &Signature) -> bool {
        self.ring.verify(node, bytes, signature)
    }
}

/// Keys of which each use costs their node time.
pub(super) struct Metered {
    pub(super) keys: Box<dyn Keys>,
    pub(super) meter: Meter,
    pub(super) cost: Duration,
}

impl Keys for Metered {
    fn sign(&self, bytes: &[u8]) -> Signature {
        self.meter.charge(self.cost);
        self.keys.sign(bytes)
    }

    fn verify(&self, node: NodeId, bytes: &[u8], signature: &Signature) -> bool {
        self.meter.charge(self.cost);
        self.keys.verify(node, bytes, signature)
    }
}

/// Mixes the bytes, in words, into two lanes that begin with the secret.
fn seal([mut one, mut two]: [u64; 2], bytes: &[u8]) -> Signature {
    for word in bytes.chunks(8) {
        let mut whole = [0; 8];
        whole[..word.len()].copy_from_slice(word);
        let word = u64::from_le_bytes(whole);
        one = (one ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31);
        two = (two.wrapping_add(word) ^ one).wrapping_mul(0xc2b2_ae3d_27d4_eb4f).rotate_left(29);
    }
    let mut signature = [0; 64];
    for (at, word) in signature.chunks_mut(8).zip([one, two, one ^ two.rotate_left(7), 0]) {
        at.copy_from_slice(&word.to_le_bytes());
    }
    Signature(signature)
}

#[cfg(test)]
mod tests {
    use super::Ring;
    use crate::env::Rng;
    use crate::helix::protocol::app::Keys;
    use crate::helix::protocol::message::Signature;
    use crate::id::NodeId;

    const ONE: NodeId = NodeId(1);
    const TWO: NodeId = NodeId(2);

    #[test]
    fn a_signature_is_of_one_node_over_one_text() {
        let ring = Ring::new(&Rng::seeded(1), [ONE, TWO]);
        let (one, two) = (ring.keys(ONE), ring.keys(TWO));
        let signature = one.sign(b"a text of more than eight bytes");
        assert!(two.verify(ONE, b"a text of more than eight bytes", &signature));
        assert!(!two.verify(TWO, b"a text of more than eight bytes", &signature));
        assert!(!two.verify(ONE, b"a text of more than eight byteS", &signature));
        assert!(!two.verify(NodeId(3), b"", &Signature([0; 64])), "no key, no signature");
        assert_ne!(two.sign(b"x"), one.sign(b"x"));
    }
}
