//! The workload of the key-value store: clients that put, read, delete, compare and swap a few keys,
//! hold leases and watch, on any node; everything they see is noted and judged in the end by
//! [`linear`](crate::sim::linear).
//!
//! The process of each node does what the binary does besides: it counts down the leases while its
//! node leads ([`Keeper`]).
//!
//! The first client is the auditor: it watches every key from the first revision on, so that the
//! whole history is known in the end, and lets history begin anew behind what it has been told. The
//! second and third watch this and that, for a while each. The fourth keeps a lease alive at the last
//! moment. The others work.

mod brink;
mod calls;
mod watching;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::{Rc, Weak};
use std::time::Duration;

use crate::env::Clock;
use crate::error::{Outcome, Refused};
use crate::id::NodeId;
use crate::kv::{Event, Keeper, Store, WatchRequest};
use crate::scope::notify::Notify;
use crate::sim::client::Client;
use crate::sim::cluster::Handle;
use crate::sim::linear::{Answer, Log, Promise, Request, Verdict, check};
use crate::sim::machine::{Digest, Probe};
use crate::sim::workload::Workload;

/// The keeper of leases that a node's process runs.
type NodeKeeper = Keeper<Probe<Store>>;

/// Who lives on the brink.
const BRINK: u32 = 4;
/// Who watches everything.
const AUDITOR: u32 = 1;
/// The last of those who watch this and that.
const WATCHERS: u32 = 3;
/// The first of the clients that try each node after the trouble.
const TRIALS: u32 = 1_000_000;

impl Digest for Store {
    /// Of the present: keys, leases, limits, and where history begins. That is asked for after every
    /// entry; what history holds is compared once, in the end, by [`Store::digest`].
    fn digest(&self) -> u64 {
        let keys = self.range(&watching::everything()).map(|range| range.kvs);
        let leases = self.leases().into_iter().map(|id| self.lease(id, true));
        let leases: Vec<_> = leases.collect();
        let present = (keys, leases, self.limits(), self.compact_revision(), self.history_bytes());
        let text = format!("{present:?}");
        let crc = u64::from(crc32c::crc32c(text.as_bytes()));
        crc << 32 | (self.revision() as u64 & 0xffff_ffff)
    }
}

/// What the clients of one storm have in common.
#[derive(Default)]
struct Shared {
    log: RefCell<Log>,
    clock: RefCell<Option<Clock>>,
    /// The keeper of each node that has begun, by its last life.
    keepers: RefCell<BTreeMap<NodeId, Weak<NodeKeeper>>>,
    /// Every change that the auditor was told, and up to which revision it was.
    changes: RefCell<Vec<Event>>,
    audited: Cell<i64>,
    /// What came of the judgement, with the digest of the store that it was made of.
    judged: RefCell<Option<(u64, Verdict)>>,
}

impl Shared {
    fn now_ns(&self) -> u64 {
        self.clock.borrow().as_ref().map_or(0, |clock| clock.now().0)
    }

    fn ask(&self, client: u32, request: Request) -> usize {
        self.log.borrow_mut().ask(self.now_ns(), client, request)
    }

    fn answer(&self, operation: usize, answer: Answer) {
        self.log.borrow_mut().answer(self.now_ns(), operation, answer);
    }

    /// A proposal was refused.
    fn refused(&self, operation: usize, refused: &Refused) {
        let known = refused.outcome() == Outcome::NotApplied;
        self.answer(operation, if known { Answer::Nothing } else { Answer::Unknown });
    }

    /// The judgement of everything, by the state to which all came.
    fn judge(&self, store: &Store, promise: &Promise) -> Result<(), String> {
        let digest = Store::digest(store);
        if let Some((judged, _)) = &*self.judged.borrow() {
            return match digest == *judged {
                true => Ok(()),
                false => Err("equal states with different histories".into()),
            };
        }
        let mut changes = self.changes.borrow().clone();
        let start_revision = self.audited.get() + 1;
        let request = WatchRequest { start_revision, ..watching::all_changes() };
        let mut watcher = store.watch(&request, &Notify::new());
        loop {
            let batch = watcher.next_batch(usize::MAX).map_err(|compacted| {
                format!("the auditor is at {start_revision}, history begins at {compacted:?}")
            })?;
            changes.extend(batch.events);
            if !batch.more {
                break;
            }
        }
        let verdict = check(&self.log.borrow(), &changes, promise)?;
        self.judged.replace(Some((digest, verdict)));
        Ok(())
    }
}

/// What the judge said of a storm, once it is over.
#[derive(Clone)]
pub struct Judged(Rc<Shared>);

impl Judged {
    /// The verdict; `None` while there is none.
    #[must_use]
    pub fn verdict(&self) -> Option<Verdict> {
        self.0.judged.borrow().as_ref().map(|(_, verdict)| *verdict)
    }
}

impl fmt::Debug for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Judged({:?})", self.verdict())
    }
}

/// Clients of the store that wait up to `pause_max` between two calls, judged with what `promise`
/// says of clocks. Five clients or more have all parts.
#[must_use]
pub fn kv(pause_max: Duration, promise: Promise) -> (Workload<Store>, Judged) {
    let shared = Rc::new(Shared::default());
    let (of_clients, of_nodes) = (shared.clone(), shared.clone());
    let (of_trials, of_judge) = (shared.clone(), shared.clone());
    let mut workload = Workload::new(Store::new)
        .clients(move |client| live(client, of_clients.clone(), pause_max))
        .beside(move |node, clock| keep_leases(node, clock, of_nodes.clone()))
        .finally(move |store| of_judge.judge(store, &promise));
    workload.serve = Rc::new(move |node, client, seq| {
        Box::pin(calls::serve(node, of_trials.clone(), TRIALS + client, seq))
    });
    (workload, Judged(shared))
}

async fn live(client: Client<Store>, shared: Rc<Shared>, pause_max: Duration) {
    shared.clock.borrow_mut().get_or_insert_with(|| client.clock().clone());
    match client.id() {
        AUDITOR => watching::audit(client, shared).await,
        2..=WATCHERS => watching::watch(client, shared).await,
        BRINK => brink::live(client, shared).await,
        _ => calls::work(client, shared, pause_max).await,
    }
}

/// What the binary does besides its node.
async fn keep_leases(node: Handle<Store>, clock: Clock, shared: Rc<Shared>) {
    let store = node.read_stale(|probe| Store::clone(probe));
    let id = node.status().node;
    let keeper = Rc::new(Keeper::new(node, store, clock));
    shared.keepers.borrow_mut().insert(id, Rc::downgrade(&keeper));
    keeper.run().await;
}
