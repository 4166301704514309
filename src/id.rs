//! Identities and positions as newtypes: a term can never be passed where an index belongs, and
//! no arithmetic on them can wrap unseen.

use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};

/// Defines a `u64` newtype with checked steps; written once, because none of them must mix with another.
macro_rules! ordinal {
    ($(#[$doc:meta])* $name:ident, $letter:literal) => {
        $(#[$doc])*
        #[derive(
            Clone,
            Copy,
            Default,
            PartialEq,
            Eq,
            PartialOrd,
            Ord,
            Hash,
            BorshSerialize,
            BorshDeserialize,
        )]
        pub struct $name(pub u64);

        impl $name {
            /// The first value; nothing has happened yet.
            pub const ZERO: Self = Self(0);

            /// The following value.
            ///
            /// # Panics
            /// At 2^64: half a million years at a million a second.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0.checked_add(1).expect("a 64-bit counter does not overflow"))
            }

            /// The preceding value, or zero below the first.
            #[must_use]
            pub fn prev(self) -> Self {
                Self(self.0.saturating_sub(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($letter, "{}"), self.0)
            }
        }

        impl From<u64> for $name {
            fn from(value: u64) -> Self {
                Self(value)
            }
        }
    };
}

ordinal! {
    /// The name of a node within its cluster; unique, never reused, never zero.
    NodeId, "n"
}
ordinal! {
    /// A raft term: the number of an attempt to lead (Raft paper, section 5.1).
    Term, "t"
}
ordinal! {
    /// The position of an entry in the replicated log; the first entry has index 1.
    Index, "i"
}
ordinal! {
    /// The position of a block in helix's chain; the first block has height 1.
    Height, "h"
}
ordinal! {
    /// An attempt to decide one height, within which one member leads; the first is view 0.
    View, "v"
}

/// The name of a cluster, chosen at bootstrap; a node talks to nodes of its own cluster only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct ClusterId(pub u64);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{:016x}", self.0)
    }
}
