//! The entries of the log (section 5.3). A batch of consecutive entries is one run of bytes, in
//! memory, in the journal and on the network.
//!
//! The leader encodes a batch once. The same bytes go into its journal and into the appends to its
//! peers, and the peers write them into their journals. Entries are read in place, without a copy.
//!
//! ```text
//! entry   term u64 · kind u8 · origin u64 · request u64 · len u32 · payload
//! ```

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use crate::id::{Index, NodeId, Term};

/// The number of bytes before each payload.
pub const HEADER: usize = crate::config::ENTRY_HEAD;

/// No log has so many entries and no node comes to this term: half a million years at a quarter of a
/// million a second. What names more was not written by a node, and counting on from it is not safe.
pub const REACHED_MAX: u64 = 1 << 62;

/// The kind of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A command for the state machine.
    Command,
    /// A leader's first entry. When it is committed, the entries of earlier terms before it are
    /// committed, too (section 8).
    Noop,
}

/// The request of an entry: the node that a client asked, and the request's number there. When
/// that node applies the entry, it finds the client by this number and answers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The node that the client asked.
    pub node: NodeId,
    /// The request's number on that node.
    pub request: u64,
}

/// One entry, read in place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The index of the entry.
    pub index: Index,
    /// The term of the leader that proposed it.
    pub term: Term,
    /// The kind of the entry.
    pub kind: Kind,
    /// The request that it was proposed for.
    pub origin: Origin,
    /// The command; empty for a no-op.
    pub payload: &'a [u8],
}

impl Entry<'_> {
    /// A checksum of the entry's kind and payload.
    #[must_use]
    pub fn digest(&self) -> u32 {
        let head = [self.kind as u8];
        crc32c::crc32c_append(crc32c::crc32c(&head), self.payload)
    }
}

impl fmt::Debug for Entry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}@{:?}", self.index, self.term)
    }
}

/// Consecutive entries, checked to be well formed.
#[derive(Clone, PartialEq, Eq)]
pub struct Entries {
    first: Index,
    count: u64,
    bytes: Bytes,
}

/// Bytes that do not encode entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed entries at byte {0}")]
pub struct Malformed(pub usize);

impl Entries {
    /// An empty batch; an entry in it would have the index `first`.
    #[must_use]
    pub fn none(first: Index) -> Self {
        Self { first, count: 0, bytes: Bytes::new() }
    }

    /// Checks bytes from a peer or from the journal.
    ///
    /// # Errors
    /// [`Malformed`] with the first wrong byte: of a length beyond the end, an unknown kind, a term
    /// below the one before, or a term or an index that is not below [`REACHED_MAX`].
    pub fn check(first: Index, bytes: Bytes) -> Result<Self, Malformed> {
        let (mut at, mut count, mut term) = (0, 0u64, Term::ZERO);
        while at < bytes.len() {
            let (entry, len) = read(first, &bytes[at..]).ok_or(Malformed(at))?;
            if entry.term < term || entry.term.0 >= REACHED_MAX {
                return Err(Malformed(at));
            }
            term = entry.term;
            at += len;
            count += 1;
        }
        first.0.checked_add(count).filter(|&end| end <= REACHED_MAX).ok_or(Malformed(at))?;
        Ok(Self { first, count, bytes })
    }

    /// The index of the first entry. For an empty batch, the index of an entry added to it.
    #[must_use]
    pub fn first(&self) -> Index {
        self.first
    }

    /// The index of the last entry. For an empty batch, the index before [`first`](Self::first).
    #[must_use]
    pub fn last(&self) -> Index {
        Index(self.first.0 + self.count).prev()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The bytes, as they are journalled and sent.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The entries in order.
    pub fn iter(&self) -> impl Iterator<Item = Entry<'_>> {
        let mut at = 0;
        let mut index = self.first;
        std::iter::from_fn(move || {
            let (entry, len) = read(index, &self.bytes[at..])?;
            at += len;
            index = index.next();
            Some(entry)
        })
    }

    /// The entries from `from` on: at most `bytes_max` bytes, but at least one entry.
    #[must_use]
    pub fn slice(&self, from: Index, bytes_max: usize) -> Self {
        if from == self.first && self.bytes.len() <= bytes_max {
            return self.clone();
        }
        let (mut start, mut end, mut count) = (0, 0, 0);
        for entry in self.iter() {
            let len = HEADER + entry.payload.len();
            if entry.index < from {
                start += len;
                end = start;
            } else if count == 0 || end + len - start <= bytes_max {
                end += len;
                count += 1;
            } else {
                break;
            }
        }
        Self { first: from.max(self.first), count, bytes: self.bytes.slice(start..end) }
    }

    /// The entries before `end`.
    #[must_use]
    pub fn before(&self, end: Index) -> Self {
        let keep: usize =
            self.iter().take_while(|e| e.index < end).map(|e| HEADER + e.payload.len()).sum();
        let count = end.0.saturating_sub(self.first.0).min(self.count);
        Self { first: self.first, count, bytes: self.bytes.slice(..keep) }
    }
}

impl fmt::Debug for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("[]");
        }
        f.debug_list().entries(self.iter()).finish()
    }
}

/// A batch of entries that a leader encodes.
#[derive(Debug)]
pub struct Builder {
    entries: u64,
    first: Index,
    term: Term,
    bytes: BytesMut,
}

impl Builder {
    /// A batch of `term` from index `first` on. `capacity` is an estimate of its bytes.
    #[must_use]
    pub fn new(first: Index, term: Term, capacity: usize) -> Self {
        Self { entries: 0, first, term, bytes: BytesMut::with_capacity(capacity) }
    }

    /// Adds an entry.
    ///
    /// # Panics
    /// If the payload exceeds 4 GiB. Commands have a far lower limit, checked when they are proposed.
    pub fn push(&mut self, kind: Kind, origin: Origin, payload: &[u8]) {
        let len = u32::try_from(payload.len()).expect("commands are limited on arrival");
        self.bytes.put_u64_le(self.term.0);
        self.bytes.put_u8(kind as u8);
        self.bytes.put_u64_le(origin.node.0);
        self.bytes.put_u64_le(origin.request);
        self.bytes.put_u32_le(len);
        self.bytes.put_slice(payload);
        self.entries += 1;
    }

    /// The bytes so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// The finished batch, without spare memory, because the log keeps it for a while.
    #[must_use]
    pub fn finish(self) -> Entries {
        Entries {
            first: self.first,
            count: self.entries,
            bytes: Bytes::copy_from_slice(&self.bytes),
        }
    }
}

/// Reads the entry at the start of `bytes`. Returns it with its size in bytes.
fn read(index: Index, bytes: &[u8]) -> Option<(Entry<'_>, usize)> {
    let (head, rest) = bytes.split_at_checked(HEADER)?;
    let u64_at = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("8 bytes"));
    let len = u32::from_le_bytes(head[25..29].try_into().expect("4 bytes")) as usize;
    let kind = match head[8] {
        0 => Kind::Command,
        1 => Kind::Noop,
        _ => return None,
    };
    let entry = Entry {
        index,
        term: Term(u64_at(0)),
        kind,
        origin: Origin { node: NodeId(u64_at(9)), request: u64_at(17) },
        payload: rest.get(..len)?,
    };
    Some((entry, HEADER + len))
}

#[cfg(test)]
mod tests {
    use super::{Builder, Entries, HEADER, Kind, Origin};
    use crate::id::{Index, NodeId, Term};
    use bytes::Bytes;

    fn three() -> Entries {
        let mut builder = Builder::new(Index(5), Term(2), 0);
        for payload in [b"a".as_slice(), b"", b"ccc"] {
            let origin = Origin { node: NodeId(1), request: 9 };
            builder.push(Kind::Command, origin, payload);
        }
        builder.finish()
    }

    #[test]
    fn entries_read_back_what_was_pushed() {
        let entries = three();
        let again = Entries::check(Index(5), entries.bytes().clone()).expect("well formed");
        assert_eq!(again, entries);
        let payloads: Vec<_> = again.iter().map(|e| (e.index.0, e.payload.to_vec())).collect();
        assert_eq!(payloads, [(5, b"a".to_vec()), (6, vec![]), (7, b"ccc".to_vec())]);
        assert_eq!(again.last(), Index(7));
    }

    #[test]
    fn a_slice_starts_where_asked_and_has_at_least_one() {
        let entries = three();
        assert_eq!(entries.slice(Index(6), 0).last(), Index(6));
        assert_eq!(entries.slice(Index(6), usize::MAX).last(), Index(7));
        assert_eq!(entries.slice(Index(5), 2 * HEADER + 1).last(), Index(6));
        assert_eq!(entries.before(Index(6)).last(), Index(5));
        assert_eq!(entries.before(Index(9)), entries);
    }

    #[test]
    fn no_cut_and_no_changed_byte_is_read_beyond_its_bounds() {
        let whole = three().bytes().to_vec();
        for cut in 0..whole.len() {
            let cut = Bytes::copy_from_slice(&whole[..cut]);
            if let Ok(entries) = Entries::check(Index(5), cut) {
                assert!(entries.last() < Index(7));
            }
        }
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0xff;
            if let Ok(entries) = Entries::check(Index(5), changed.into()) {
                assert!(entries.iter().count() <= 3);
            }
        }
        let entries = Entries::check(Index(u64::MAX), whole.into());
        assert!(entries.is_err(), "positions must not wrap");
    }

    #[test]
    fn an_index_or_a_term_that_nobody_can_have_reached_is_refused() {
        let whole = three().bytes().clone();
        assert!(Entries::check(Index(super::REACHED_MAX - 3), whole.clone()).is_ok());
        assert!(Entries::check(Index(super::REACHED_MAX - 2), whole.clone()).is_err());
        let mut late = whole.to_vec();
        late[whole.len() - HEADER - 3..][..8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(Entries::check(Index(5), late.into()).is_err(), "no term comes after it");
    }
}
