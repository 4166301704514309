//! The state itself: the keys with their present versions, and what happens to them in one
//! revision.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use super::history::{Change, History, NONE, Version};
use super::lease::Leases;
use super::types::{Blob, Limits};
use super::watch::Hub;

/// What one key is counted as, above its bytes: its place in the map and its two allocations.
const KEY_OVERHEAD: u64 = 160;

/// Hidden changes freed by one entry: more than an entry usually adds, so that a backlog shrinks,
/// and few enough to stay far below a millisecond.
const FREED_PER_ENTRY: usize = 512;

/// A key: its present version, or its absence while history still tells of it.
#[derive(Debug)]
pub(super) struct Item {
    pub head: Version,
    /// The change that wrote `head`; it may be freed already.
    pub last: u64,
}

/// Everything that is replicated, and the watchers, which are not.
#[derive(Debug)]
pub(super) struct Core {
    /// The revision of the last change; 1 in an empty store, as in etcd.
    pub revision: i64,
    pub items: BTreeMap<Blob, Item>,
    /// Keys that exist.
    pub live: u64,
    /// What they are counted as.
    pub live_bytes: u64,
    pub history: History,
    pub leases: Leases,
    pub limits: Limits,
    pub hub: Hub,
    /// The one empty value.
    pub empty: Blob,
}

/// The lower and the upper bound of a walk through the map.
type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// An interval of keys as etcd writes it: key and range end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Interval<'a> {
    key: &'a [u8],
    end: &'a [u8],
}

impl<'a> Interval<'a> {
    pub(super) fn new(key: &'a [u8], end: &'a [u8]) -> Self {
        Self { key, end }
    }

    /// The key, if the interval is that one key.
    pub(super) fn single(&self) -> Option<&'a [u8]> {
        self.end.is_empty().then_some(self.key)
    }

    pub(super) fn contains(&self, key: &[u8]) -> bool {
        match self.end {
            [] => key == self.key,
            [0] => key >= self.key,
            end => key >= self.key && key < end,
        }
    }

    fn bounds(&self) -> Option<Bounds<'a>> {
        let from = Bound::Included(self.key);
        match self.end {
            [] => Some((from, from)),
            [0] => Some((from, Bound::Unbounded)),
            end if end > self.key => Some((from, Bound::Excluded(end))),
            _ => None,
        }
    }
}

/// What a present key and value are counted as.
pub(super) fn live_cost(key: &[u8], value: &[u8]) -> u64 {
    KEY_OVERHEAD + key.len() as u64 + value.len() as u64
}

impl Core {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            revision: 1,
            items: BTreeMap::new(),
            live: 0,
            live_bytes: 0,
            history: History::new(-1),
            leases: Leases::default(),
            limits,
            hub: Hub::default(),
            empty: Blob::from([]),
        }
    }

    /// The key's present version.
    pub(super) fn present(&self, key: &[u8]) -> Option<&Version> {
        self.items.get(key).map(|i| &i.head).filter(|v| v.exists())
    }

    /// The key's version as of a revision, which must not be compacted (or be pinned).
    pub(super) fn at<'a>(&'a self, item: &'a Item, revision: i64) -> &'a Version {
        let (mut version, mut seq) = (&item.head, item.last);
        while version.modified > revision {
            let Some(change) = self.history.get(seq) else {
                break;
            };
            (version, seq) = (&change.before, change.prev);
        }
        version
    }

    /// Shows the keys of an interval that exist as of a revision, in order.
    pub(super) fn visit<'a>(
        &'a self,
        interval: Interval<'_>,
        revision: i64,
        mut visitor: impl FnMut(&'a Blob, &'a Version) -> ControlFlow<()>,
    ) {
        if let Some(key) = interval.single() {
            if let Some((key, item)) = self.items.get_key_value(key) {
                let version = self.at(item, revision);
                if version.exists() {
                    let _ = visitor(key, version);
                }
            }
            return;
        }
        let Some(bounds) = interval.bounds() else {
            return;
        };
        for (key, item) in self.items.range::<[u8], _>(bounds) {
            let version = self.at(item, revision);
            if version.exists() && visitor(key, version).is_break() {
                return;
            }
        }
    }

    /// The change's own result: what the key was from then on.
    pub(super) fn after<'a>(&'a self, change: &'a Change) -> Option<&'a Version> {
        match change.next {
            NONE => self.items.get(&change.key).map(|item| &item.head),
            next => self.history.get(next).map(|c| &c.before),
        }
    }

    /// Begins the changes of the next revision.
    pub(super) fn write(&mut self) -> Write<'_> {
        let first = self.history.end();
        Write { core: self, first }
    }

    /// After each entry: bounds history and frees a slice of what fell out of it.
    pub(super) fn tidy(&mut self) {
        self.history.bound(&self.limits, self.revision);
        let items = &mut self.items;
        self.history.free(FREED_PER_ENTRY, |key| {
            items.remove(key);
        });
    }
}

/// The changes of one revision. Nothing can fail once this is begun.
#[derive(Debug)]
pub(super) struct Write<'a> {
    pub core: &'a mut Core,
    /// The number of the first change of this revision.
    first: u64,
}

impl Write<'_> {
    /// Whether anything changed.
    pub(super) fn changed(&self) -> bool {
        self.core.history.end() != self.first
    }

    /// The revision that reads within this write see.
    pub(super) fn revision(&self) -> i64 {
        self.core.revision + i64::from(self.changed())
    }

    /// The revision of its changes.
    pub(super) fn next(&self) -> i64 {
        self.core.revision + 1
    }

    /// Sets a key. The lease must exist or be 0.
    pub(super) fn put(&mut self, key: &[u8], value: Blob, lease: i64) {
        let revision = self.next();
        let head = Version { value, create: revision, modified: revision, version: 1, lease };
        self.overwrite(key, head);
    }

    /// Deletes a key that exists.
    pub(super) fn delete(&mut self, key: &[u8]) {
        let head = Version::absent(&self.core.empty, self.next());
        self.overwrite(key, head);
    }

    /// Deletes the keys of an interval; shows each as it was. Returns how many there were.
    pub(super) fn delete_range(
        &mut self,
        interval: Interval<'_>,
        mut visitor: impl FnMut(&Blob, &Version),
    ) -> i64 {
        let mut keys = Vec::new();
        self.core.visit(interval, self.revision(), |key, version| {
            visitor(key, version);
            keys.push(key.clone());
            ControlFlow::Continue(())
        });
        for key in &keys {
            self.delete(key);
        }
        keys.len() as i64
    }

    /// Makes `head` the present version of the key, which goes on counting where it exists.
    fn overwrite(&mut self, key: &[u8], mut head: Version) {
        let revision = self.next();
        let core = &mut *self.core;
        let seq = core.history.end();
        // One search that also finds the name; `get_mut` would not.
        let from = (Bound::Included(key), Bound::Unbounded);
        let (lease, deleted) = (head.lease, !head.exists());
        let size = live_cost(key, &head.value);
        let found = core.items.range_mut::<[u8], _>(from).next();
        let (name, before, prev) = match found.filter(|(name, _)| name[..] == *key) {
            Some((name, item)) => {
                if !deleted && item.head.exists() {
                    head.create = item.head.create;
                    head.version = item.head.version + 1;
                }
                let before = std::mem::replace(&mut item.head, head);
                (name.clone(), before, std::mem::replace(&mut item.last, seq))
            }
            None => {
                let name = Blob::from(key);
                core.items.insert(name.clone(), Item { head, last: seq });
                (name, Version::absent(&core.empty, 0), NONE)
            }
        };
        if before.exists() {
            core.live -= 1;
            core.live_bytes -= live_cost(key, &before.value);
        }
        if !deleted {
            core.live += 1;
            core.live_bytes += size;
        }
        if before.lease != lease {
            core.leases.detach(before.lease, &name);
            core.leases.attach(lease, &name);
        }
        core.history.push(Change { revision, key: name, before, prev, next: NONE, deleted });
    }

    /// Ends the write: the store is at the next revision if anything changed, and the watchers
    /// concerned are notified. Returns the store's revision.
    pub(super) fn finish(self) -> i64 {
        if self.changed() {
            self.core.revision += 1;
            let changes =
                (self.first..self.core.history.end()).filter_map(|seq| self.core.history.get(seq));
            for change in changes {
                self.core.hub.notify(change);
            }
        }
        self.core.revision
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(core: &mut Core, key: u32) {
        let mut write = core.write();
        write.put(&key.to_be_bytes(), Blob::from([1]), 0);
        write.finish();
        core.tidy();
    }

    #[test]
    fn a_deleted_key_is_forgotten_with_the_history_that_tells_of_it() {
        let mut core = Core::new(Limits { history_revisions: 10, ..Limits::default() });
        for key in 0..1_000u32 {
            put(&mut core, key);
            let mut write = core.write();
            write.delete(&key.to_be_bytes());
            write.finish();
            core.tidy();
        }
        assert_eq!(core.live, 0);
        assert!(core.items.len() <= 10, "{}", core.items.len());
    }

    #[test]
    fn what_a_snapshot_held_back_is_freed_afterwards() {
        let mut core = Core::new(Limits { history_revisions: 1, ..Limits::default() });
        let pin = core.history.pin();
        (0..2_000).for_each(|_| put(&mut core, 1));
        let held = |core: &Core| (0..4_000).filter(|&s| core.history.get(s).is_some()).count();
        assert_eq!(held(&core), 2_000);
        drop(pin);
        (0..10).for_each(|_| put(&mut core, 1));
        assert_eq!(held(&core), 1);
    }
}
