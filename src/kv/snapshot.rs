//! The state as bytes, written while the store goes on.
//!
//! Taking a snapshot notes the revision, copies the leases (they have no history) and pins the
//! undo log; that is all, however large the store is. The chunks then read each key *as of that
//! revision* through the log, as a client could. While the pin is held nothing is freed, so what is
//! overwritten meanwhile stays in memory until the snapshot is finished or dropped.
//!
//! Layout: a [`Header`]; the keys in order; the changes of history in order, each with what it
//! overwrote. All integers as `borsh` writes them; a byte string is its length (4 bytes) and
//! itself. Equal states have equal bytes.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::rc::Rc;

use borsh::{BorshDeserialize, BorshSerialize};

use super::core::{Core, Item, live_cost};
use super::history::{Change, History, NONE, Version};
use super::lease::{Lease, Leases};
use super::types::{Blob, Limits};

const FORMAT: u8 = 1;

/// Revisions and generations come after each other for ever; none of ours comes here.
const COUNTED_MAX: i64 = 1 << 62;

/// Bytes of one chunk, more or less: what the journal and the network like to carry at once.
const CHUNK_BYTES: usize = 64 << 10;

#[derive(BorshSerialize, BorshDeserialize)]
struct Header {
    format: u8,
    revision: i64,
    compacted: i64,
    limits: Limits,
    lease_last: u64,
    leases: Vec<LeaseRecord>,
    keys: u64,
    changes: u64,
}

#[derive(BorshSerialize, BorshDeserialize)]
struct LeaseRecord {
    id: i64,
    ttl_s: i64,
    remaining_s: i64,
    generation: u64,
}

/// Held by every snapshot under way. When the state is replaced under it, the old one moves here.
#[derive(Debug, Default)]
pub(super) struct Pin {
    retired: OnceCell<Box<Core>>,
}

/// Keeps a replaced state for the snapshots that still read it.
pub(super) fn retire(mut old: Core) {
    if let Some(pin) = old.history.unpin() {
        let _ = pin.retired.set(Box::new(old));
    }
}

/// The chunks of a snapshot.
#[derive(Debug)]
pub(super) struct Snapshot {
    core: Rc<RefCell<Core>>,
    pin: Rc<Pin>,
    revision: i64,
    compacted: i64,
    next: Next,
    /// Written and not yet handed out, from `sent` on.
    buffer: Vec<u8>,
    sent: usize,
}

/// What is to be written next.
#[derive(Debug)]
enum Next {
    Keys { after: Option<Blob>, changes: (u64, u64) },
    Changes { seq: u64, end: u64 },
    Nothing,
}

impl Snapshot {
    pub(super) fn of(shared: &Rc<RefCell<Core>>) -> Self {
        let core = shared.borrow();
        let changes = core.history.span();
        let lease = |(id, lease): (i64, &Lease)| LeaseRecord {
            id,
            ttl_s: lease.ttl_s,
            remaining_s: lease.remaining_s,
            generation: lease.generation,
        };
        let header = Header {
            format: FORMAT,
            revision: core.revision,
            compacted: core.history.compacted(),
            limits: core.limits,
            lease_last: core.leases.last(),
            leases: core.leases.iter().map(lease).collect(),
            keys: core.live,
            changes: changes.1 - changes.0,
        };
        let mut buffer = Vec::new();
        write(&header, &mut buffer);
        Self {
            core: shared.clone(),
            pin: core.history.pin(),
            revision: core.revision,
            compacted: core.history.compacted(),
            next: Next::Keys { after: None, changes },
            buffer,
            sent: 0,
        }
    }

    /// Writes records until a chunk is full or nothing is left.
    fn fill(&mut self) {
        let core = self.core.borrow();
        let core = self.pin.retired.get().map_or(&*core, |old| old);
        while self.buffer.len() < CHUNK_BYTES {
            self.next = match &self.next {
                Next::Keys { after, changes } => {
                    let after = after.as_deref();
                    match write_keys(core, after, self.revision, &mut self.buffer) {
                        Some(last) => Next::Keys { after: Some(last), changes: *changes },
                        None => Next::Changes { seq: changes.0, end: changes.1 },
                    }
                }
                Next::Changes { seq, end } if seq < end => {
                    let change = core.history.get(*seq);
                    let change = change.expect("a pinned change is not freed");
                    write_change(change, self.compacted, &mut self.buffer);
                    Next::Changes { seq: seq + 1, end: *end }
                }
                Next::Changes { .. } | Next::Nothing => {
                    self.next = Next::Nothing;
                    return;
                }
            };
        }
    }
}

impl Iterator for Snapshot {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        if self.sent == self.buffer.len() {
            self.buffer.clear();
            self.sent = 0;
            self.fill();
        }
        let rest = &self.buffer[self.sent..];
        let chunk = &rest[..rest.len().min(CHUNK_BYTES)];
        self.sent += chunk.len();
        (!chunk.is_empty()).then(|| chunk.to_vec())
    }
}

fn write<T: BorshSerialize + ?Sized>(value: &T, bytes: &mut Vec<u8>) {
    value.serialize(bytes).expect("writing to memory does not fail");
}

fn write_version(key: &[u8], version: &Version, modified: i64, bytes: &mut Vec<u8>) {
    write(key, bytes);
    write(&*version.value, bytes);
    let fixed = (version.create, modified, version.version, version.lease);
    write(&fixed, bytes);
}

/// An absence from before history began has no date: some nodes have forgotten it already.
fn write_change(change: &Change, compacted: i64, bytes: &mut Vec<u8>) {
    let before = &change.before;
    let dated = before.exists() || before.modified >= compacted;
    let modified = if dated { before.modified } else { 0 };
    write(&(change.revision, change.deleted), bytes);
    write_version(&change.key, before, modified, bytes);
}

/// Writes the keys after one until the chunk is full; returns the last, or `None` at the end.
fn write_keys(
    core: &Core,
    after: Option<&[u8]>,
    revision: i64,
    bytes: &mut Vec<u8>,
) -> Option<Blob> {
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    let mut items = core.items.range::<[u8], _>((from, Bound::Unbounded));
    items.find_map(|(key, item)| {
        let version = core.at(item, revision);
        if version.exists() {
            write_version(key, version, version.modified, bytes);
        }
        (bytes.len() >= CHUNK_BYTES).then(|| key.clone())
    })
}

/// Reads what a snapshot wrote.
pub(super) fn read(bytes: &[u8]) -> Result<Core, String> {
    let mut reader = Reader { rest: bytes, empty: Blob::from([]) };
    let header: Header = reader.field()?;
    if header.format != FORMAT {
        return Err(format!(
            "the snapshot has format {}; this version reads format {FORMAT}",
            header.format
        ));
    }
    if !(1..COUNTED_MAX).contains(&header.revision)
        || !(-1..=header.revision).contains(&header.compacted)
    {
        return Err(contradiction("the revisions"));
    }
    let mut core = Core::new(header.limits);
    core.revision = header.revision;
    core.history = History::new(header.compacted);
    core.leases = read_leases(&header)?;
    read_keys(&mut core, &mut reader, header.keys)?;
    for _ in 0..header.changes {
        read_change(&mut core, &mut reader)?;
    }
    if !reader.rest.is_empty() {
        let left = reader.rest.len();
        return Err(format!("the snapshot has {left} bytes too many"));
    }
    Ok(core)
}

/// The same words about whatever does not fit the rest of a snapshot.
fn contradiction(what: &str) -> String {
    format!("the snapshot contradicts itself: {what} cannot be")
}

fn read_leases(header: &Header) -> Result<Leases, String> {
    let mut leases = Leases::restored(header.lease_last);
    let mut generations = BTreeSet::new();
    let given = |record: &LeaseRecord| (1..=header.lease_last).contains(&record.generation);
    let timed = |record: &LeaseRecord| (1..=record.ttl_s).contains(&record.remaining_s);
    let fits = |record| given(record) && timed(record);
    if header.lease_last >= COUNTED_MAX as u64
        || !header.leases.iter().all(fits)
        || !header.leases.is_sorted_by(|one, next| one.id < next.id)
        || !header.leases.iter().all(|record| generations.insert(record.generation))
    {
        return Err(contradiction("the leases"));
    }
    for &LeaseRecord { id, ttl_s, remaining_s, generation } in &header.leases {
        leases.insert(id, Lease { ttl_s, remaining_s, generation, keys: BTreeSet::new() });
    }
    Ok(leases)
}

fn read_keys(core: &mut Core, reader: &mut Reader<'_>, count: u64) -> Result<(), String> {
    let mut items: Vec<(Blob, Item)> = Vec::new();
    for _ in 0..count {
        let (key, head) = reader.version()?;
        if !head.exists() || items.last().is_some_and(|(last, _)| *last >= key) {
            return Err("the keys of the snapshot are out of order".into());
        }
        if !head.fits(core.revision) || core.leases.check(head.lease).is_err() {
            return Err(contradiction("a key"));
        }
        core.live += 1;
        core.live_bytes += live_cost(&key, &head.value);
        core.leases.attach(head.lease, &key);
        items.push((key, Item { head, last: NONE }));
    }
    core.items = BTreeMap::from_iter(items);
    Ok(())
}

fn read_change(core: &mut Core, reader: &mut Reader<'_>) -> Result<(), String> {
    let (revision, deleted) = reader.field()?;
    let (name, before) = reader.version()?;
    let seq = core.history.end();
    let last = seq.checked_sub(1).and_then(|last| core.history.get(last));
    let begin = last.map_or(core.history.compacted().max(1), |last| last.revision);
    if !(begin..=core.revision).contains(&revision) || !before.fits(revision) {
        return Err(contradiction("a change"));
    }
    let known = core.items.get_key_value(&name).map(|(key, _)| key.clone());
    let key = known.unwrap_or(name);
    let absent = Version::absent(&core.empty, revision);
    let item = core.items.entry(key.clone()).or_insert(Item { head: absent, last: NONE });
    if !item.head.exists() {
        item.head.modified = revision;
    }
    let prev = std::mem::replace(&mut item.last, seq);
    core.history.push(Change { revision, key, before, prev, next: NONE, deleted });
    Ok(())
}

/// Reads fields off the front; what is not there is an error, never a guess.
struct Reader<'a> {
    rest: &'a [u8],
    empty: Blob,
}

impl Reader<'_> {
    fn field<T: BorshDeserialize>(&mut self) -> Result<T, String> {
        T::deserialize(&mut self.rest).map_err(|e| format!("the snapshot cannot be read: {e}"))
    }

    fn blob(&mut self) -> Result<Blob, String> {
        let len: u32 = self.field()?;
        let split = usize::try_from(len).ok();
        let split = split.and_then(|len| self.rest.split_at_checked(len));
        let (blob, rest) = split.ok_or("the snapshot ends within a key or value")?;
        self.rest = rest;
        Ok(if blob.is_empty() { self.empty.clone() } else { Blob::from(blob) })
    }

    fn version(&mut self) -> Result<(Blob, Version), String> {
        let key = self.blob()?;
        let value = self.blob()?;
        let (create, modified, version, lease) = self.field()?;
        Ok((key, Version { value, create, modified, version, lease }))
    }
}
