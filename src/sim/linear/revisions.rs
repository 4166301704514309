//! The one history: every change of every key by its revision, as a watch from the first revision
//! on tells it, and every state that there ever was.

use std::collections::BTreeMap;

use crate::kv::{Blob, Event, EventKind, KeyValue};
use crate::sim::linear::register::has;

/// The changes of each revision, and of each key.
#[derive(Debug, Default)]
pub struct Revisions {
    changes: BTreeMap<i64, Vec<Event>>,
    keys: BTreeMap<Blob, Vec<(i64, Option<KeyValue>)>>,
    last: i64,
}

impl Revisions {
    /// From every change, in order, of a store that began empty.
    ///
    /// # Errors
    /// What no store can have done: revisions that are missing or go back, counts that do not follow
    /// from those before, the deletion of what is not there.
    pub fn new(events: &[Event]) -> Result<Self, String> {
        let mut known = Self { last: 1, ..Self::default() };
        for event in events {
            known.add(event)?;
        }
        Ok(known)
    }

    fn add(&mut self, event: &Event) -> Result<(), String> {
        let (kv, revision) = (&event.kv, event.kv.mod_revision);
        let key = String::from_utf8_lossy(&kv.key).into_owned();
        if revision != self.last && revision != self.last + 1 || revision < 2 {
            return Err(format!("revision {revision} comes after {}", self.last));
        }
        let before = self.at(&kv.key, revision);
        let (create, version) = match (event.kind, before) {
            (EventKind::Put, Some(before)) => (before.create_revision, before.version + 1),
            (EventKind::Put, None) => (revision, 1),
            (EventKind::Delete, Some(_)) => (0, 0),
            (EventKind::Delete, None) => {
                return Err(format!("revision {revision} deletes {key}, which is not there"));
            }
        };
        if (kv.create_revision, kv.version) != (create, version) {
            return Err(format!(
                "revision {revision} makes {key} version {} since {}; \
                 it must be version {version} since {create}",
                kv.version, kv.create_revision
            ));
        }
        self.last = revision;
        let state = (event.kind == EventKind::Put).then(|| kv.clone());
        self.keys.entry(kv.key.clone()).or_default().push((revision, state));
        self.changes.entry(revision).or_default().push(Event { prev_kv: None, ..event.clone() });
        Ok(())
    }

    /// The last revision.
    #[must_use]
    pub fn last(&self) -> i64 {
        self.last
    }

    /// What one revision changed, in the order of its operations.
    #[must_use]
    pub fn changes(&self, revision: i64) -> &[Event] {
        self.changes.get(&revision).map_or(&[], Vec::as_slice)
    }

    /// Every change from a revision up to another.
    pub fn between(&self, from: i64, to: i64) -> impl Iterator<Item = &Event> {
        let range = if from <= to { from..to + 1 } else { 0..0 };
        self.changes.range(range).flat_map(|(_, events)| events)
    }

    /// A key as it was at a revision.
    #[must_use]
    pub fn at(&self, key: &[u8], revision: i64) -> Option<&KeyValue> {
        let states = self.keys.get(key)?;
        let count = states.partition_point(|(at, _)| *at <= revision);
        states[..count].last()?.1.as_ref()
    }

    /// The keys of an interval that were there at a revision, in order.
    pub fn within<'a>(
        &'a self,
        start: &'a [u8],
        end: &'a [u8],
        revision: i64,
    ) -> impl Iterator<Item = &'a KeyValue> {
        let keys = self.keys.keys().filter(move |key| has(start, end, key));
        keys.filter_map(move |key| self.at(key, revision))
    }

    /// The keys that hung on a lease at a revision, in order.
    #[must_use]
    pub fn leased(&self, lease: i64, revision: i64) -> Vec<Blob> {
        let on_it = self.within(&[0], &[0], revision).filter(|kv| kv.lease == lease);
        on_it.map(|kv| kv.key.clone()).collect()
    }

    /// What the end of a lease changes after a revision.
    #[must_use]
    pub fn end_of_lease(&self, lease: i64, before: i64) -> Vec<Event> {
        let keys = self.leased(lease, before);
        keys.into_iter().map(|key| deletion(key, before + 1)).collect()
    }
}

/// A key deleted at a revision.
#[must_use]
pub fn deletion(key: Blob, revision: i64) -> Event {
    let kv = KeyValue {
        key,
        value: Blob::from([]),
        create_revision: 0,
        mod_revision: revision,
        version: 0,
        lease: 0,
    };
    Event { kind: EventKind::Delete, kv, prev_kv: None }
}
