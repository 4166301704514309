//! Signatures: the real ones, and none at all.
//!
//! Nodes must agree on which signatures are right: if one node accepts a vote that another refuses,
//! they can come to different proofs. RFC 8032 leaves room there, and implementations use it. So
//! verification is strict (the key and the commitment of a signature must not be of small order,
//! its scalar must be reduced, the equation holds without the cofactor), and a public key that is
//! weak, or written in another way than the one canonical one, is refused before it is used.

use std::collections::BTreeMap;
use std::fmt;

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};

use crate::helix::protocol::app::Keys;
use crate::helix::protocol::message::Signature;
use crate::id::NodeId;

/// Signatures by ed25519: the default.
pub struct Ed25519 {
    secret: SigningKey,
    publics: BTreeMap<NodeId, VerifyingKey>,
}

impl Ed25519 {
    /// This node's secret key and the public keys of all nodes, this one among them.
    ///
    /// # Errors
    /// A text that says whose public key is no good: not a key, weak, not canonical, or another
    /// node's as well.
    pub fn new(secret: [u8; 32], publics: BTreeMap<NodeId, [u8; 32]>) -> Result<Self, String> {
        let mut owners = BTreeMap::new();
        let mut checked = BTreeMap::new();
        for (node, bytes) in publics {
            if let Some(other) = owners.insert(bytes, node) {
                return Err(format!("nodes {other} and {node} have the same public key"));
            }
            let key = public_key(&bytes)
                .map_err(|trouble| format!("the public key of node {node} is {trouble}"))?;
            checked.insert(node, key);
        }
        Ok(Self { secret: SigningKey::from_bytes(&secret), publics: checked })
    }

    /// The public key that belongs to a secret one.
    #[must_use]
    pub fn public_of(secret: [u8; 32]) -> [u8; 32] {
        SigningKey::from_bytes(&secret).verifying_key().to_bytes()
    }

    /// Whose public key belongs to the secret one; `None` if nobody's does, so that nobody would
    /// believe this node a word.
    #[must_use]
    pub fn owner(&self) -> Option<NodeId> {
        let mine = self.secret.verifying_key();
        self.publics.iter().find(|&(_, key)| *key == mine).map(|(&node, _)| node)
    }
}

fn public_key(bytes: &[u8; 32]) -> Result<VerifyingKey, &'static str> {
    let key = VerifyingKey::from_bytes(bytes).map_err(|_| "not a key")?;
    if key.is_weak() {
        return Err("weak: it would verify any signature");
    }
    if key.to_edwards().compress().as_bytes() != bytes {
        return Err("not in its canonical form");
    }
    Ok(key)
}

impl Keys for Ed25519 {
    fn sign(&self, bytes: &[u8]) -> Signature {
        Signature(self.secret.sign(bytes).to_bytes())
    }

    fn verify(&self, node: NodeId, bytes: &[u8], signature: &Signature) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        let key = self.publics.get(&node);
        key.is_some_and(|key| key.verify_strict(bytes, &signature).is_ok())
    }
}

impl fmt::Debug for Ed25519 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ed25519({} public keys)", self.publics.len())
    }
}

/// **No signatures at all.** Every statement is believed to be whoever's it says it is, so a single
/// liar, or anybody who can reach a port, decides what it likes.
///
/// It is here to measure what signatures cost, and for nothing else. Never run it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Null;

impl Keys for Null {
    fn sign(&self, _: &[u8]) -> Signature {
        Signature([0; 64])
    }

    fn verify(&self, _: NodeId, _: &[u8], signature: &Signature) -> bool {
        signature.0 == [0; 64]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::helix::protocol::testing::{keys, secret};

    fn bytes<const N: usize>(hex: &str) -> [u8; N] {
        let byte = |at: usize| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap();
        assert_eq!(hex.len(), 2 * N);
        std::array::from_fn(byte)
    }

    /// Message, public key, signature: the twelve cases of K. Chalkias, F. Garillot, V. Nikolaenko,
    /// "Taming the Many EdDSAs", SSR 2020, table 5.
    const EDGES: [(&str, &str, &str); 12] = [
        (
            "8c93255d71dcab10e8f379c26200f3c7bd5f09d9bc3068d3ef4edeb4853022b6",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a\
             0000000000000000000000000000000000000000000000000000000000000000",
        ),
        (
            "9bd9f44f4dcc75bd531b56b2cd280b0bb38fc1cd6d1230e14861d861de092e79",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
            "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43\
             a5bb704786be79fc476f91d3f3f89b03984d8068dcf1bb7dfc6637b45450ac04",
        ),
        (
            "aebf3f2601a0c8c5d39cc7d8911642f740b78168218da8471772b35f9d35b9ab",
            "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa\
             8c4bd45aecaca5b24fb97bc10ac27ac8751a7dfe1baff8b953ec9f5833ca260e",
        ),
        (
            "9bd9f44f4dcc75bd531b56b2cd280b0bb38fc1cd6d1230e14861d861de092e79",
            "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d",
            "9046a64750444938de19f227bb80485e92b83fdb4b6506c160484c016cc1852f\
             87909e14428a7a1d62e9f22f3d3ad7802db02eb2e688b6c52fcd6648a98bd009",
        ),
        (
            "e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec4011eaccd55b53f56c",
            "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d",
            "160a1cb0dc9c0258cd0a7d23e94d8fa878bcb1925f2c64246b2dee1796bed512\
             5ec6bc982a269b723e0668e540911a9a6a58921d6925e434ab10aa7940551a09",
        ),
        (
            "e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec4011eaccd55b53f56c",
            "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d",
            "21122a84e0b5fca4052f5b1235c80a537878b38f3142356b2c2384ebad4668b7\
             e40bc836dac0f71076f9abe3a53f9c03c1ceeeddb658d0030494ace586687405",
        ),
        (
            "85e241a07d148b41e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec40",
            "442aad9f089ad9e14647b1ef9099a1ff4798d78589e66f28eca69c11f582a623",
            "e96f66be976d82e60150baecff9906684aebb1ef181f67a7189ac78ea23b6c0e\
             547f7690a0e2ddcd04d87dbc3490dc19b3b3052f7ff0538cb68afb369ba3a514",
        ),
        (
            "85e241a07d148b41e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec40",
            "442aad9f089ad9e14647b1ef9099a1ff4798d78589e66f28eca69c11f582a623",
            "8ce5b96c8f26d0ab6c47958c9e68b937104cd36e13c33566acd2fe8d38aa1942\
             7e71f98a473474f2f13f06f97c20d58cc3f54b8bd0d272f42b695dd7e89a8c22",
        ),
        (
            "9bedc267423725d473888631ebf45988bad3db83851ee85c85e241a07d148b41",
            "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff\
             03be9678ac102edcd92b0210bb34d7428d12ffc5df5f37e359941266a4e35f0f",
        ),
        (
            "9bedc267423725d473888631ebf45988bad3db83851ee85c85e241a07d148b41",
            "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff\
             ca8c5b64cd208982aa38d4936621a4775aa233aa0505711d8fdcfdaa943d4908",
        ),
        (
            "e96b7021eb39c1a163b6da4e3093dcd3f21387da4cc4572be588fafae23c155b",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
            "a9d55260f765261eb9b84e106f665e00b867287a761990d7135963ee0a7d59dc\
             a5bb704786be79fc476f91d3f3f89b03984d8068dcf1bb7dfc6637b45450ac04",
        ),
        (
            "39a591f5321bbe07fd5a23dc2f39d025d74526615746727ceefd6e82ae65c06f",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
            "a9d55260f765261eb9b84e106f665e00b867287a761990d7135963ee0a7d59dc\
             a5bb704786be79fc476f91d3f3f89b03984d8068dcf1bb7dfc6637b45450ac04",
        ),
    ];

    /// Whether a node with this public key is believed.
    fn believed(public: &str, message: &[u8], signature: &str) -> Result<bool, String> {
        let node = NodeId(1);
        let keys = Ed25519::new(secret(1), BTreeMap::from([(node, bytes(public))]))?;
        Ok(keys.verify(node, message, &Signature(bytes(signature))))
    }

    #[test]
    fn what_implementations_disagree_about_is_refused() {
        let weak = "the public key of node 1 is weak: it would verify any signature";
        for (at, (message, public, signature)) in EDGES.into_iter().enumerate() {
            let found = believed(public, &bytes::<32>(message), signature);
            match at {
                // A key of small order, in its canonical form or another.
                0 | 1 | 10 | 11 => assert_eq!(found, Err(weak.into()), "case {at}"),
                // A key with a small component: unusual, and agreed on.
                3 => assert_eq!(found, Ok(true), "case {at}"),
                _ => assert_eq!(found, Ok(false), "case {at}"),
            }
        }
    }

    #[test]
    fn the_first_vector_of_rfc_8032() {
        let secret = bytes("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
        let public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        let signature = "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155\
                         5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b";
        assert_eq!(Ed25519::public_of(secret), bytes(public));
        let keys = Ed25519::new(secret, BTreeMap::from([(NodeId(3), bytes(public))])).unwrap();
        assert_eq!(keys.sign(b"").0, bytes::<64>(signature));
        assert_eq!(believed(public, b"", signature), Ok(true));
        assert_eq!(believed(public, b"x", signature), Ok(false));
        assert_eq!(keys.owner(), Some(NodeId(3)));
    }

    #[test]
    fn a_scalar_plus_the_group_order_is_another_signature_and_refused() {
        let keys = keys(1, 1);
        let good = keys.sign(b"word");
        let order: [u8; 32] =
            bytes("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
        let (mut other, mut carry) = (good, 0u16);
        for (byte, more) in other.0[32..].iter_mut().zip(order) {
            carry += u16::from(*byte) + u16::from(more);
            *byte = carry.to_le_bytes()[0];
            carry >>= 8;
        }
        assert!(keys.verify(NodeId(1), b"word", &good));
        assert!(!keys.verify(NodeId(1), b"word", &other));
    }

    #[test]
    fn a_bad_public_key_is_refused_before_it_is_used() {
        let with = |public: &str| Ed25519::new(secret(1), [(NodeId(2), bytes(public))].into());
        let trouble = |public| with(public).unwrap_err();
        // y = 2 is on no point; y = p + 3 is y = 3, written in another way; y = 1 is the identity.
        let no_point = "0200000000000000000000000000000000000000000000000000000000000000";
        assert_eq!(trouble(no_point), "the public key of node 2 is not a key");
        let longer = "f0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f";
        let canonical = "0300000000000000000000000000000000000000000000000000000000000000";
        assert!(with(canonical).is_ok());
        assert_eq!(trouble(longer), "the public key of node 2 is not in its canonical form");
        let identity = "0100000000000000000000000000000000000000000000000000000000000000";
        assert!(trouble(identity).contains("weak"));
        let twice = [(NodeId(2), bytes(canonical)), (NodeId(5), bytes(canonical))];
        let trouble = Ed25519::new(secret(1), twice.into()).unwrap_err();
        assert_eq!(trouble, "nodes 2 and 5 have the same public key");
    }

    #[test]
    fn nobody_is_believed_without_a_key_or_with_anothers() {
        let (mine, theirs) = (keys(1, 2), keys(2, 2));
        let word = theirs.sign(b"word");
        assert!(mine.verify(NodeId(2), b"word", &word));
        assert!(!mine.verify(NodeId(1), b"word", &word));
        assert!(!mine.verify(NodeId(3), b"word", &word), "a node without a key");
        assert_eq!(keys(7, 2).owner(), None);
        assert!(!format!("{mine:?}").contains(&format!("{:?}", secret(1))));
    }
}
