//! Blocks: what helix decides, one at each height, each naming the one before it.
//!
//! A block is small and plain: the engine looks at its head, the application at its payload. Its
//! hash is computed here and nowhere else, from everything that is in it and the instance it was
//! made for, so a hash says which block, and "the block does not match its hash" has one meaning.

use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::id::{ClusterId, Height, NodeId};

/// What a hash of ours begins with, so that it can never be mistaken for another one.
const DOMAIN: &[u8] = b"quorate helix block 1\0";

/// The SHA-256 of something, 32 bytes.
#[derive(
    Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// The hash of no block: what the first block names as the one before it.
    pub const NONE: Self = Self([0; 32]);

    /// The hash of `parts`, one after the other. Begin with a domain of your own.
    #[must_use]
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut hasher = Sha256::new();
        parts.iter().for_each(|part| hasher.update(part));
        Self(hasher.finalize().into())
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{self}")
    }
}

/// One block.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Block {
    /// Its position; the first block has height 1.
    pub height: Height,
    /// The hash of the block before it; [`Hash::NONE`] for the first.
    pub previous: Hash,
    /// The member that made it. Another one may have brought it to its decision, in a later view.
    pub proposer: NodeId,
    /// What its maker calls the time: seconds since 1970, or whatever the application agrees on.
    /// The engine does not look at it.
    pub time: u64,
    /// The application's bytes.
    pub payload: Bytes,
}

impl Block {
    /// Its hash, within one instance of the protocol.
    #[must_use]
    pub fn hash(&self, instance: ClusterId) -> Hash {
        Hash::of(&[
            DOMAIN,
            &instance.0.to_le_bytes(),
            &self.height.0.to_le_bytes(),
            &self.previous.0,
            &self.proposer.0.to_le_bytes(),
            &self.time.to_le_bytes(),
            &(self.payload.len() as u64).to_le_bytes(),
            &self.payload,
        ])
    }
}

/// The random seed of a height: what an application may order its committee by.
///
/// With a [`SeedScheme`](super::app::SeedScheme) it comes from the group's signature over the seed
/// of the height before, and nobody can predict or influence it. Without one it comes from the
/// instance and the height: the same for all, influenced by nobody, but known to everybody for ever
/// in advance.
#[derive(
    Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize,
)]
pub struct Seed(pub [u8; 32]);

impl Seed {
    /// What a seed of ours begins with.
    const DOMAIN: &[u8] = b"quorate helix seed 1\0";

    /// The seed of `height`; `signature` is the group's over the seed of the height before, or empty
    /// if there is no scheme.
    #[must_use]
    pub fn of(instance: ClusterId, height: Height, signature: &[u8]) -> Self {
        let (instance, height) = (instance.0.to_le_bytes(), height.0.to_le_bytes());
        Self(Hash::of(&[Self::DOMAIN, &instance, &height, signature]).0)
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Seed({})", Hash(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::{Block, Hash, Seed};
    use crate::id::{ClusterId, Height, NodeId};
    use bytes::Bytes;

    fn block() -> Block {
        Block {
            height: Height(7),
            previous: Hash([1; 32]),
            proposer: NodeId(2),
            time: 3,
            payload: Bytes::from_static(b"payload"),
        }
    }

    #[test]
    fn a_change_of_any_part_is_another_hash() {
        let (a, b) = (ClusterId(1), ClusterId(2));
        let others = [
            Block { height: Height(8), ..block() },
            Block { previous: Hash([2; 32]), ..block() },
            Block { proposer: NodeId(3), ..block() },
            Block { time: 4, ..block() },
            Block { payload: Bytes::from_static(b"payloac"), ..block() },
        ];
        let mut hashes: Vec<_> = others.iter().map(|other| other.hash(a)).collect();
        hashes.extend([block().hash(a), block().hash(b)]);
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), 7);
    }

    #[test]
    fn a_seed_follows_from_instance_height_and_signature_alone() {
        let (instance, height) = (ClusterId(1), Height(2));
        let seeds = [
            Seed::of(instance, height, b""),
            Seed::of(ClusterId(2), height, b""),
            Seed::of(instance, Height(3), b""),
            Seed::of(instance, height, b"signature"),
        ];
        let mut distinct = seeds.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), seeds.len());
        assert_eq!(seeds[0], Seed::of(instance, height, b""));
    }

    /// Never change these: nodes of two versions would not understand each other.
    #[test]
    fn hashes_are_the_same_on_every_machine() {
        let hex = |bytes: [u8; 32]| {
            bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
        };
        let expected = "3abe495bf953bf66702a419bee028fa50ef23c0fb5a9df3b75e8e86ed78da1df";
        assert_eq!(hex(block().hash(ClusterId(1)).0), expected);
        let seed = "31271d6cea55422829539b7566ffde19f3a8ba6e5959555da7eeceaedb4c6dbb";
        assert_eq!(hex(Seed::of(ClusterId(1), Height(2), b"s").0), seed);
    }
}
