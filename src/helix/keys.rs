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

use crate::helix::message::Signature;
use crate::helix::spi::Keys;
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
