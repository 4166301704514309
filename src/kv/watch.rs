//! Watches: a cursor into the history that everybody shares.
//!
//! A [`Watcher`] has no queue. While it has been told everything it costs one look at each change
//! of its keys; the first change it has to be told of sets its cursor and notifies its waiter, and from
//! there on it pulls batches from history at its own pace. A slow reader therefore holds nothing
//! up and holds nothing in memory; if history was compacted beyond its cursor it ends with the
//! compacted revision, it never skips. The events of one revision are always in one batch.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use super::core::{Core, Interval};
use super::history::Change;
use super::types::{Event, EventKind, WatchRequest};
use crate::scope::notify::Notify;

/// Changes looked at in one call of [`Watcher::next_batch`]: some hundred microseconds of work,
/// whatever matches.
const SCANNED_PER_BATCH: u64 = 4096;

/// What one event is counted as, above its bytes.
const EVENT_OVERHEAD: usize = 64;

/// What the store and the watcher share.
#[derive(Debug)]
struct Cursor {
    key: Vec<u8>,
    end: Vec<u8>,
    /// Nothing before this revision is told.
    from: i64,
    no_put: bool,
    no_delete: bool,
    /// The revision from which on there may be something to tell; 0 if there is not.
    pending: Cell<i64>,
    wake: Notify,
}

impl Cursor {
    fn wants(&self, change: &Change) -> bool {
        let unwanted = if change.deleted { self.no_delete } else { self.no_put };
        !unwanted && Interval::new(&self.key, &self.end).contains(&change.key)
    }

    fn offer(&self, change: &Change) {
        if self.pending.get() == 0 && change.revision >= self.from && self.wants(change) {
            self.pending.set(change.revision);
            self.wake.notify();
        }
    }
}

/// All watchers: those of one key found by it, the others asked one by one.
#[derive(Debug, Default)]
pub(super) struct Hub {
    single: BTreeMap<Vec<u8>, Vec<Rc<Cursor>>>,
    wide: Vec<Rc<Cursor>>,
    /// Notified when the time of a lease was set.
    pub(super) leases: Notify,
}

impl Hub {
    /// Notifies those whom a change concerns.
    pub(super) fn notify(&self, change: &Change) {
        if !self.single.is_empty()
            && let Some(cursors) = self.single.get(&*change.key)
        {
            cursors.iter().for_each(|cursor| cursor.offer(change));
        }
        self.wide.iter().for_each(|cursor| cursor.offer(change));
    }

    /// The state of one revision was replaced by that of a later one: anything may have changed
    /// between.
    pub(super) fn jumped(&self, revision: i64, to: i64) {
        if to <= revision {
            return;
        }
        for cursor in self.single.values().flatten().chain(&self.wide) {
            if cursor.pending.get() == 0 {
                cursor.pending.set(cursor.from.max(revision + 1));
            }
            cursor.wake.notify();
        }
    }

    fn add(&mut self, cursor: Rc<Cursor>) {
        if cursor.end.is_empty() {
            let key = cursor.key.clone();
            self.single.entry(key).or_default().push(cursor);
        } else {
            self.wide.push(cursor);
        }
    }

    fn remove(&mut self, cursor: &Rc<Cursor>) {
        let stays = |other: &Rc<Cursor>| !Rc::ptr_eq(other, cursor);
        if !cursor.end.is_empty() {
            self.wide.retain(stays);
        } else if let Some(cursors) = self.single.get_mut(&cursor.key) {
            cursors.retain(stays);
            if cursors.is_empty() {
                self.single.remove(&cursor.key);
            }
        }
    }
}

/// Why a watch ended: history up to this revision is gone. Start again there, or read the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compacted {
    /// The oldest revision that can be watched from.
    pub revision: i64,
}

/// What a watcher is told at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// In the order of revisions, and within one in the order of operations.
    pub events: Vec<Event>,
    /// Everything up to this revision has been told now: a progress notification may say so.
    pub revision: i64,
    /// There may be more: ask again. Otherwise the waiter is notified.
    pub more: bool,
}

/// One watch. Dropping it ends it.
#[derive(Debug)]
pub struct Watcher {
    core: Rc<RefCell<Core>>,
    cursor: Rc<Cursor>,
    prev_kv: bool,
}

impl Watcher {
    pub(super) fn new(core: Rc<RefCell<Core>>, request: &WatchRequest, wake: &Notify) -> Self {
        let revision = core.borrow().revision;
        let start = request.start_revision;
        let past = start != 0 && start <= revision;
        let cursor = Rc::new(Cursor {
            key: if request.key.is_empty() { vec![0] } else { request.key.clone() },
            end: request.range_end.clone(),
            from: if past { start } else { start.max(revision + 1) },
            no_put: request.no_put,
            no_delete: request.no_delete,
            pending: Cell::new(if past { start } else { 0 }),
            wake: wake.clone(),
        });
        if past {
            wake.notify();
        }
        core.borrow_mut().hub.add(cursor.clone());
        Self { core, cursor, prev_kv: request.prev_kv }
    }

    /// The next events, about `bytes_max` bytes of them (at least one revision, if there is any).
    ///
    /// # Errors
    /// [`Compacted`], now and ever after, when the next revision to tell is gone from history.
    pub fn next_batch(&mut self, bytes_max: usize) -> Result<Batch, Compacted> {
        let core = self.core.borrow();
        let pending = self.cursor.pending.get();
        let mut batch = Batch { revision: core.revision, ..Batch::default() };
        if pending == 0 {
            return Ok(batch);
        }
        if pending < core.history.compacted() {
            let revision = core.history.compacted();
            return Err(Compacted { revision });
        }
        let first = core.history.first_at(pending);
        let (mut bytes, mut at) = (0, 0);
        for seq in first..core.history.end() {
            let Some(change) = core.history.get(seq) else {
                break;
            };
            let full = bytes >= bytes_max || seq - first >= SCANNED_PER_BATCH;
            if full && change.revision != at && at != 0 {
                self.cursor.pending.set(change.revision);
                batch.revision = change.revision - 1;
                batch.more = true;
                return Ok(batch);
            }
            at = change.revision;
            if self.cursor.wants(change)
                && let Some(event) = self.event(&core, change)
            {
                bytes += size(&event);
                batch.events.push(event);
            }
        }
        self.cursor.pending.set(0);
        Ok(batch)
    }

    /// The store's revision, if everything up to it has been told.
    #[must_use]
    pub fn progress(&self) -> Option<i64> {
        (self.cursor.pending.get() == 0).then(|| self.core.borrow().revision)
    }

    fn event(&self, core: &Core, change: &Change) -> Option<Event> {
        let mut kv = core.after(change)?.named(&change.key);
        // A key's absence is dated by what made it; the same for a change that history cut short.
        kv.mod_revision = change.revision;
        let before = (self.prev_kv && change.before.exists()).then_some(&change.before);
        Some(Event {
            kind: if change.deleted { EventKind::Delete } else { EventKind::Put },
            kv,
            prev_kv: before.map(|version| version.named(&change.key)),
        })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.core.borrow_mut().hub.remove(&self.cursor);
    }
}

fn size(event: &Event) -> usize {
    let prev = event.prev_kv.as_ref().map_or(0, |kv| kv.value.len());
    EVENT_OVERHEAD + event.kv.key.len() + event.kv.value.len() + prev
}
