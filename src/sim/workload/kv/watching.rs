//! Those who watch.

use std::rc::Rc;
use std::time::Duration;

use crate::env::Time;
use crate::kv::{Command, RangeRequest, Store, WatchRequest, Watcher};
use crate::scope::first::{First, first};
use crate::scope::notify::Notify;
use crate::sim::client::Client;
use crate::sim::workload::kv::Shared;
use crate::sim::workload::kv::calls::{KEYS, propose};

/// The longest time that a client watches on one node before it goes to another.
const STAY_MAX: Duration = Duration::from_secs(6);
/// Of a thousand looks of the auditor, how often it lets history begin anew.
const COMPACTS: u32 = 150;
/// Revisions that it leaves, for reads of old states.
const KEPT: i64 = 30;
/// Bytes of a batch: little, so that some end between.
const BATCH_BYTES: usize = 300;

/// Every key.
pub(super) fn everything() -> RangeRequest {
    RangeRequest { key: vec![0], range_end: vec![0], ..RangeRequest::default() }
}

/// Every change of every key.
pub(super) fn all_changes() -> WatchRequest {
    WatchRequest { key: vec![0], range_end: vec![0], ..WatchRequest::default() }
}

/// Watches everything, for the judge.
pub(super) async fn audit(client: Client<Store>, shared: Rc<Shared>) {
    while client.goes_on() {
        let start_revision = shared.audited.get() + 1;
        let request = WatchRequest { start_revision, ..all_changes() };
        follow(&client, &shared, request, true).await;
        if client.goes_on() && client.rng().chance(COMPACTS) {
            let revision = shared.audited.get() - KEPT;
            let node = client.node().await;
            propose(&client, &shared, &node, Command::Compact { revision }).await;
        }
    }
}

/// Watches this and that.
pub(super) async fn watch(client: Client<Store>, shared: Rc<Shared>) {
    while client.goes_on() {
        let rng = client.rng();
        let mut request = all_changes();
        if rng.chance(500) {
            let key = rng.below(KEYS.len());
            let to = key + rng.below(KEYS.len() - key);
            request.key = KEYS[key].into();
            request.range_end = if to > key { KEYS[to].into() } else { Vec::new() };
        }
        request.prev_kv = rng.chance(500);
        request.no_put = rng.chance(100);
        request.no_delete = rng.chance(100);
        if rng.chance(600) {
            let back = i64::try_from(rng.within(0..=60)).unwrap_or(0);
            request.start_revision = (shared.audited.get() - back + 10).max(1);
        }
        follow(&client, &shared, request, false).await;
    }
}

/// Watches on one node for a while.
async fn follow(client: &Client<Store>, shared: &Rc<Shared>, request: WatchRequest, audit: bool) {
    let node = client.node().await;
    let store = node.read_stale(|probe| Store::clone(probe));
    let (wake, clock) = (Notify::new(), client.clock());
    let until = clock.now() + client.rng().between(Duration::from_millis(50), STAY_MAX);
    let watcher = store.watch(&request, &wake);
    let revision = store.revision();
    let id = shared.log.borrow_mut().watch(clock.now().0, client.id(), request, revision);
    let mut told = Told { shared, watcher, id, audit };
    loop {
        if let First::B(()) = first(wake.notified(), clock.sleep_until(until)).await {
            return;
        }
        while let Some(more) = told.next(clock.now()) {
            if !more {
                break;
            }
        }
        // Whoever is slow has more to be told.
        client.pause(Duration::from_millis(30)).await;
        if !client.goes_on() {
            return;
        }
    }
}

/// A watch that notes what it is told.
struct Told<'a> {
    shared: &'a Shared,
    watcher: Watcher,
    id: usize,
    audit: bool,
}

impl Told<'_> {
    /// Whether there may be more; `None` at the end.
    fn next(&mut self, now: Time) -> Option<bool> {
        let mut log = self.shared.log.borrow_mut();
        match self.watcher.next_batch(BATCH_BYTES) {
            Ok(batch) => {
                if self.audit {
                    self.shared.changes.borrow_mut().extend(batch.events.iter().cloned());
                    let audited = &self.shared.audited;
                    audited.set(audited.get().max(batch.revision));
                }
                log.tell(now.0, self.id, batch.events, Some(batch.revision));
                Some(batch.more)
            }
            Err(compacted) => {
                log.watches[self.id].compacted = Some(compacted.revision);
                None
            }
        }
    }
}
