//! The two kinds of error, and nothing else: [`Fatal`] stops the node, [`Refused`] answers a
//! client. A malformed message is neither: it is dropped and counted.

use crate::id::Index;

/// Why this node must stop. It is safe to start it again; the text says what to look at first.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Fatal {
    /// A write or a sync failed. It is never retried: what the medium holds is unknown until the
    /// journal is read again at the next start.
    #[error("the disk failed at {what}: {error}; the node stops and must read its journal again")]
    Disk {
        /// The operation and the file.
        what: String,
        /// The operating system's words.
        error: String,
    },
    /// The journal is damaged in the middle: acknowledged data may be lost.
    #[error("{file} is damaged at byte {offset}: {why}")]
    Damaged {
        /// The segment's file name.
        file: String,
        /// The first byte that cannot be explained.
        offset: u64,
        /// What was expected and what to do.
        why: String,
    },
    /// Another process holds the data directory.
    #[error("{0}")]
    Locked(String),
    /// The data directory belongs to another node or another cluster, or the configuration
    /// contradicts what it holds.
    #[error("{0}")]
    Mismatch(String),
    /// The state machine refused a snapshot that its own code wrote.
    #[error("the state machine could not restore its snapshot: {0}")]
    Restore(String),
}

/// Why a request was refused, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// Too many requests wait already. *Not applied.*
    #[error("too many requests are waiting")]
    Overloaded,
    /// The request is larger than the limit. *Not applied.*
    #[error("the request has {len} bytes; the limit is {len_max}")]
    TooLarge {
        /// Bytes of the request.
        len: usize,
        /// The limit in bytes.
        len_max: usize,
    },
    /// The disk has no room for new entries. *Not applied.* Reads go on.
    #[error("the disk is full: reads are served, writes are not")]
    DiskFull,
    /// No answer in time. *Unknown* for a proposal, *not applied* for a read.
    #[error("no quorum answered in time")]
    TimedOut,
    /// The node shuts down. *Unknown* when the request was in the log already.
    #[error("the node is shutting down")]
    ShuttingDown,
    /// The state skipped over this request's position by a snapshot. *Applied or not: unknown.*
    #[error("the outcome at index {0} is covered by a snapshot and not known here")]
    Compacted(Index),
}

/// What became of a refused request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It had no effect and never will have: safe to send again.
    NotApplied,
    /// It may have taken effect, now or later: ask, or send again only if that is harmless.
    Unknown,
}

impl Refused {
    /// Which of the two it is.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Overloaded | Self::TooLarge { .. } | Self::DiskFull => Outcome::NotApplied,
            Self::TimedOut | Self::ShuttingDown | Self::Compacted(_) => Outcome::Unknown,
        }
    }
}
