//! What was before: an undo log of the changes since the compacted revision, in order.
//!
//! Each [`Change`] holds the key *as it was before*, and knows the neighbouring changes of the same
//! key; the present state is with the key itself. So a value is held once, whether it is current
//! or past, a key that never changes again costs no history, and a compaction frees from the front
//! without looking at the keys.
//!
//! Two fronts: `start` is where history begins for everybody to see, and moves at the same entry
//! on every node; `base` is what is still in memory. It lags while a snapshot is being written (the
//! snapshot sees the state as of its own revision through the same undo log), and because freeing
//! goes in slices.

use std::collections::VecDeque;
use std::rc::Rc;

use super::snapshot::Pin;
use super::types::{Blob, KeyValue, Limits};

/// No change: the key has none before, or none after.
pub(super) const NONE: u64 = u64::MAX;

/// What one change is counted as, above its key and the value before: its own fields and the two
/// allocations it may keep alive. Part of the replicated rules, so never to be computed.
const CHANGE_OVERHEAD: u64 = 144;

/// A key at one revision, without its name. `version` 0 means that the key was absent.
#[derive(Debug, Clone)]
pub(super) struct Version {
    pub value: Blob,
    pub create: i64,
    pub modified: i64,
    pub version: i64,
    pub lease: i64,
}

impl Version {
    /// The key's absence, since `modified` (0: since ever).
    pub(super) fn absent(empty: &Blob, modified: i64) -> Self {
        Self { value: empty.clone(), create: 0, modified, version: 0, lease: 0 }
    }

    pub(super) fn exists(&self) -> bool {
        self.version != 0
    }

    /// Whether its numbers can be those of a key that was last changed up to a revision.
    pub(super) fn fits(&self, revision: i64) -> bool {
        let Self { create, modified, version, .. } = *self;
        let right = match version {
            0 => create == 0 && self.lease == 0 && self.value.is_empty() && 0 <= modified,
            _ => version > 0 && 0 < create && create <= modified,
        };
        right && modified <= revision
    }

    pub(super) fn named(&self, key: &Blob) -> KeyValue {
        KeyValue {
            key: key.clone(),
            value: self.value.clone(),
            create_revision: self.create,
            mod_revision: self.modified,
            version: self.version,
            lease: self.lease,
        }
    }
}

/// One change of one key, as what it overwrote.
#[derive(Debug)]
pub(super) struct Change {
    pub revision: i64,
    pub key: Blob,
    pub before: Version,
    /// The change of this key before this one; may be freed already.
    pub prev: u64,
    /// The change of this key after this one, or [`NONE`]: then the key itself holds what this
    /// change wrote.
    pub next: u64,
    /// It was a deletion.
    pub deleted: bool,
}

impl Change {
    fn cost(&self) -> u64 {
        CHANGE_OVERHEAD + self.key.len() as u64 + self.before.value.len() as u64
    }
}

/// The changes since the compacted revision.
#[derive(Debug)]
pub(super) struct History {
    changes: VecDeque<Change>,
    /// The number of the first change in memory.
    base: u64,
    /// The number of the first change that may be seen.
    start: u64,
    /// Of the changes from `start` on.
    bytes: u64,
    /// The oldest revision that can be read and watched from; -1 before any compaction, as in etcd.
    compacted: i64,
    /// Held by each snapshot under way: nothing is freed then.
    pin: Rc<Pin>,
}

impl History {
    pub(super) fn new(compacted: i64) -> Self {
        Self {
            changes: VecDeque::new(),
            base: 0,
            start: 0,
            bytes: 0,
            compacted,
            pin: Rc::default(),
        }
    }

    pub(super) fn compacted(&self) -> i64 {
        self.compacted
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The first change to be seen, and the end of all.
    pub(super) fn span(&self) -> (u64, u64) {
        (self.start, self.end())
    }

    /// The number that the next change gets.
    pub(super) fn end(&self) -> u64 {
        self.base + self.changes.len() as u64
    }

    /// The change of that number, if it is in memory.
    pub(super) fn get(&self, seq: u64) -> Option<&Change> {
        let at = seq.checked_sub(self.base)?;
        self.changes.get(usize::try_from(at).ok()?)
    }

    /// Adds a change; tells the one before it on the same key.
    pub(super) fn push(&mut self, change: Change) {
        let seq = self.end();
        let before = change.prev.checked_sub(self.base);
        if let Some(before) = before.and_then(|at| self.changes.get_mut(at as usize)) {
            before.next = seq;
        }
        self.bytes += change.cost();
        self.changes.push_back(change);
    }

    /// The number of the first change in memory at or after a revision.
    pub(super) fn first_at(&self, revision: i64) -> u64 {
        self.base + self.changes.partition_point(|c| c.revision < revision) as u64
    }

    /// Keeps what is allocated from being freed until dropped.
    pub(super) fn pin(&self) -> Rc<Pin> {
        self.pin.clone()
    }

    /// Lets go of the pin for good; returns it if a snapshot holds it.
    pub(super) fn unpin(&mut self) -> Option<Rc<Pin>> {
        let pin = std::mem::take(&mut self.pin);
        (Rc::strong_count(&pin) > 1).then_some(pin)
    }

    /// Moves the front up to a revision, which stays readable.
    pub(super) fn compact(&mut self, revision: i64) {
        while self.front().is_some_and(|c| c.revision < revision) {
            self.hide_front();
        }
        self.compacted = self.compacted.max(revision);
    }

    /// Moves the front until the limits hold; the present revision always stays.
    pub(super) fn bound(&mut self, limits: &Limits, present: i64) {
        let kept = i64::try_from(limits.history_revisions.max(1)).unwrap_or(i64::MAX);
        let oldest = present.saturating_sub(kept).saturating_add(1);
        while let Some(first) = self.front().map(|c| c.revision) {
            if first >= present || (first >= oldest && self.bytes <= limits.history_bytes) {
                return;
            }
            self.compact(first + 1);
        }
    }

    fn front(&self) -> Option<&Change> {
        self.get(self.start)
    }

    fn hide_front(&mut self) {
        if let Some(change) = self.front() {
            self.bytes -= change.cost();
            self.start += 1;
        }
    }

    /// Frees at most `budget` hidden changes, unless a snapshot needs them. Tells of the keys that
    /// were deleted and whose deletion nobody needs to know of any more.
    pub(super) fn free(&mut self, budget: usize, mut forgotten: impl FnMut(&Blob)) {
        if Rc::strong_count(&self.pin) > 1 {
            return;
        }
        for _ in 0..budget {
            if self.base == self.start {
                break;
            }
            let Some(change) = self.changes.pop_front() else {
                break;
            };
            if change.deleted && change.next == NONE {
                forgotten(&change.key);
            }
            self.base += 1;
        }
        if self.changes.capacity() > 1024 + 4 * self.changes.len() {
            self.changes.shrink_to(2 * self.changes.len());
        }
    }
}
