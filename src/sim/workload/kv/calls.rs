//! Those who put, read, compare and hold leases.

use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::time::Duration;

use crate::env::Rng;
use crate::error::Refused;
use crate::kv::{
    Blob, Command, Compare, CompareResult, CompareTarget, DeleteRangeRequest, KeyValue, KvError,
    PutRequest, RangeRequest, RequestOp, Response, Store, TxnRequest,
};
use crate::scope::first::{First, first};
use crate::sim::client::Client;
use crate::sim::cluster::Handle;
use crate::sim::linear::{Answer, Request};
use crate::sim::workload::PATIENCE_MAX;
use crate::sim::workload::kv::{NodeKeeper, Shared, watching};

/// The keys: few, so that clients meet. In order.
pub(super) const KEYS: [&str; 8] = ["a", "b", "c", "d", "e", "p", "q", "r"];
/// How many of them anybody writes without a reason; the others mostly hang on leases, which live
/// long enough there to end.
const BUSY: usize = 5;
/// Behind all keys.
const END: &str = "s";

/// The patience of a client in a hurry.
const PATIENCE_MIN: Duration = Duration::from_millis(150);

/// The longest time to live that is asked for, in seconds.
const TTL_MAX_S: u64 = 6;

/// One who works, and what it remembers.
struct Worker {
    client: Client<Store>,
    shared: Rc<Shared>,
    seq: u64,
    /// The keys as it last saw them.
    seen: BTreeMap<Blob, KeyValue>,
    /// The last revision that it saw.
    revision: i64,
    /// Its leases.
    leases: Vec<i64>,
}

/// Works until the storm is over.
pub(super) async fn work(client: Client<Store>, shared: Rc<Shared>, pause_max: Duration) {
    let (seen, leases) = (BTreeMap::new(), Vec::new());
    let mut worker = Worker { client, shared, seq: 0, seen, revision: 1, leases };
    while worker.client.goes_on() {
        worker.client.pause(pause_max).await;
        if let Some(node) = worker.client.any_node() {
            worker.call(&node).await;
        }
    }
}

/// A write on a node after the trouble, and whether the node shows it then.
pub(super) async fn serve(
    node: Handle<Store>,
    shared: Rc<Shared>,
    client: u32,
    seq: u32,
) -> Result<bool, Refused> {
    let value = format!("trial {client}#{seq}");
    let command = put(KEYS[0], &value, 0);
    let operation = shared.ask(client, Request::Command(command.clone()));
    let answer = node.propose(command.encode().into()).await;
    let applied = answer.inspect_err(|refused| shared.refused(operation, refused))?;
    shared.answer(operation, applied.response.map_or_else(Answer::Refused, Answer::Done));
    let request = key(KEYS[0]);
    let operation = shared.ask(client, Request::Range { request: request.clone(), stale: false });
    let range = node.read(|store| store.range(&request)).await?;
    shared.answer(operation, range.clone().map_or_else(Answer::Refused, Answer::Range));
    // Another client may have written meanwhile; the judge knows.
    Ok(range.is_ok())
}

fn key(key: &str) -> RangeRequest {
    RangeRequest { key: key.into(), ..RangeRequest::default() }
}

pub(super) fn put(key: &str, value: &str, lease: i64) -> Command {
    Command::Put(put_request(key, value, lease))
}

fn put_request(key: &str, value: &str, lease: i64) -> PutRequest {
    PutRequest { key: key.into(), value: value.into(), lease, ..PutRequest::default() }
}

fn any_key(rng: &Rng) -> &'static str {
    KEYS[rng.below(BUSY)]
}

/// One that suits a lease.
fn leased_key(rng: &Rng, lease: i64) -> &'static str {
    if lease != 0 && rng.chance(700) {
        KEYS[BUSY + rng.below(KEYS.len() - BUSY)]
    } else {
        any_key(rng)
    }
}

/// How long a client waits for an answer this time.
fn patience(rng: &Rng) -> Duration {
    let longest = if rng.chance(800) { PATIENCE_MIN * 8 } else { PATIENCE_MAX };
    rng.between(PATIENCE_MIN, longest)
}

/// Proposes a command and notes what comes of it; returns what was answered.
pub(super) async fn propose(
    client: &Client<Store>,
    shared: &Shared,
    node: &Handle<Store>,
    command: Command,
) -> Option<Result<Response, KvError>> {
    let patience = client.clock().sleep(patience(client.rng()));
    let payload = command.encode().into();
    let operation = shared.ask(client.id(), Request::Command(command));
    match first(node.propose(payload), patience).await {
        First::A(Ok(applied)) => {
            let answer = applied.response.clone();
            shared.answer(operation, answer.map_or_else(Answer::Refused, Answer::Done));
            Some(applied.response)
        }
        First::A(Err(refused)) => {
            shared.refused(operation, &refused);
            None
        }
        First::B(()) => None,
    }
}

/// Keeps a lease alive as the binary does: without an entry if the node leads, else with one.
/// Returns whether it lives on, if that is known.
pub(super) async fn keep_alive(
    client: &Client<Store>,
    shared: &Shared,
    node: &Handle<Store>,
    id: i64,
) -> Option<bool> {
    let keeper = shared.keepers.borrow().get(&node.status().node).cloned();
    if let Some(keeper) = keeper.as_ref().and_then(Weak::<NodeKeeper>::upgrade) {
        let operation = shared.ask(client.id(), Request::KeepAlive(id));
        let patience = client.clock().sleep(patience(client.rng()));
        match first(keeper.keep_alive(id), patience).await {
            First::A(Some(ttl_s)) => {
                shared.answer(operation, Answer::Kept(ttl_s));
                return Some(true);
            }
            First::A(None) => shared.answer(operation, Answer::Nothing),
            First::B(()) => return None,
        }
    }
    let answer = propose(client, shared, node, Command::LeaseRenew { id }).await?;
    match answer {
        Ok(_) => Some(true),
        Err(error) => (error == KvError::LeaseNotFound).then_some(false),
    }
}

/// Asks whether a lease is there.
pub(super) async fn ask_lease(
    client: &Client<Store>,
    shared: &Shared,
    node: &Handle<Store>,
    id: i64,
) -> Option<bool> {
    let operation = shared.ask(client.id(), Request::Lease(id));
    let patience = client.clock().sleep(patience(client.rng()));
    let look = |store: &Store| (store.revision(), store.lease(id, true));
    match first(node.read(|store| look(store)), patience).await {
        First::A(Ok((revision, lease))) => {
            let is_there = lease.is_some();
            shared.answer(operation, Answer::Lease(revision, lease));
            Some(is_there)
        }
        First::A(Err(_)) => {
            shared.answer(operation, Answer::Nothing);
            None
        }
        First::B(()) => None,
    }
}

impl Worker {
    async fn call(&mut self, node: &Handle<Store>) {
        match self.client.rng().within(0..=99) {
            0..=24 => self.put(node).await,
            25..=54 => self.read(node).await,
            55..=62 => self.delete(node).await,
            63..=82 => self.swap(node).await,
            _ => self.lease(node).await,
        }
    }

    async fn propose(&self, node: &Handle<Store>, command: Command) -> Option<Response> {
        let answer = propose(&self.client, &self.shared, node, command).await;
        answer.and_then(Result::ok)
    }

    /// A value that nobody else writes.
    fn value(&mut self) -> String {
        self.seq += 1;
        format!("c{}#{}", self.client.id(), self.seq)
    }

    /// Mostly none; else one of its own.
    fn any_lease(&self) -> i64 {
        let rng = self.client.rng();
        match self.leases.len() {
            0 => 0,
            count if rng.chance(400) => self.leases[rng.below(count)],
            _ => 0,
        }
    }

    async fn put(&mut self, node: &Handle<Store>) {
        let (value, lease) = (self.value(), self.any_lease());
        let rng = self.client.rng();
        let prev_kv = rng.chance(300);
        let request = PutRequest { prev_kv, ..put_request(leased_key(rng, lease), &value, lease) };
        self.propose(node, Command::Put(request)).await;
    }

    async fn delete(&mut self, node: &Handle<Store>) {
        let rng = self.client.rng();
        let (key, prev_kv) = (any_key(rng).into(), rng.chance(500));
        let range_end = if rng.chance(150) { END.into() } else { Vec::new() };
        let request = DeleteRangeRequest { key, range_end, prev_kv };
        self.propose(node, Command::DeleteRange(request)).await;
    }

    async fn read(&mut self, node: &Handle<Store>) {
        let rng = self.client.rng();
        let mut request = if rng.chance(500) { key(any_key(rng)) } else { watching::everything() };
        let stale = rng.chance(150);
        if rng.chance(100) {
            let back = i64::try_from(rng.within(0..=40)).unwrap_or(0);
            request.revision = (self.revision - back).max(1);
        }
        if rng.chance(100) {
            request.limit = 2;
        }
        let patience = self.client.clock().sleep(patience(rng));
        let asked = Request::Range { request: request.clone(), stale };
        let operation = self.shared.ask(self.client.id(), asked);
        let answer = if stale {
            First::A(Ok(node.read_stale(|store| store.range(&request))))
        } else {
            first(node.read(|store| store.range(&request)), patience).await
        };
        match answer {
            First::A(Ok(Ok(range))) => {
                self.revision = self.revision.max(range.revision);
                self.seen.extend(range.kvs.iter().map(|kv| (kv.key.clone(), kv.clone())));
                self.shared.answer(operation, Answer::Range(range));
            }
            First::A(Ok(Err(error))) => self.shared.answer(operation, Answer::Refused(error)),
            First::A(Err(_)) => self.shared.answer(operation, Answer::Nothing),
            First::B(()) => {}
        }
    }

    /// A condition on a key, and two keys written if it holds.
    async fn swap(&mut self, node: &Handle<Store>) {
        let value = self.value();
        let lease = self.any_lease();
        let rng = self.client.rng();
        let (one, other) = (any_key(rng), any_key(rng));
        let known = self.seen.get(one.as_bytes());
        let target = match (known, rng.below(4)) {
            (Some(kv), 0) => CompareTarget::Mod(kv.mod_revision),
            (Some(kv), 1) => CompareTarget::Version(kv.version),
            (Some(kv), _) => CompareTarget::Value(kv.value.to_vec()),
            (None, _) => CompareTarget::Create(0),
        };
        let result = CompareResult::Equal;
        let compare = Compare { key: one.into(), range_end: Vec::new(), result, target };
        let mut success = vec![RequestOp::Put(put_request(one, &value, lease))];
        if other != one {
            success.push(match rng.below(3) {
                0 => RequestOp::DeleteRange(DeleteRangeRequest {
                    key: other.into(),
                    range_end: Vec::new(),
                    prev_kv: true,
                }),
                _ => RequestOp::Put(put_request(other, &value, 0)),
            });
        }
        if rng.chance(100) {
            success.clear();
        }
        success.push(RequestOp::Range(key(one)));
        let failure = vec![RequestOp::Range(key(one)), RequestOp::Range(watching::everything())];
        let txn = TxnRequest { compare: vec![compare], success, failure };
        if let Some(Response::Txn(txn)) = self.propose(node, Command::Txn(txn)).await {
            self.revision = self.revision.max(txn.revision);
        }
    }

    async fn lease(&mut self, node: &Handle<Store>) {
        let rng = self.client.rng();
        let own = match self.leases.len() {
            0 => None,
            count => Some(self.leases[rng.below(count)]),
        };
        match (own, rng.below(9)) {
            (None, _) | (_, 0) if self.leases.len() < 3 => {
                self.seq += 1;
                let id = i64::from(self.client.id()) * 1_000_000 + self.seq as i64;
                let ttl_s = rng.within(1..=TTL_MAX_S) as i64;
                self.leases.push(id);
                self.propose(node, Command::LeaseGrant { id, ttl_s }).await;
            }
            (Some(id), 1) => {
                self.leases.retain(|&lease| lease != id);
                self.propose(node, Command::LeaseRevoke { id }).await;
            }
            // It is forgotten, and ends by itself.
            (Some(id), 2) => self.leases.retain(|&lease| lease != id),
            (Some(id), 3..=5) => self.ask_lease(node, id).await,
            (Some(id), _) => self.keep_alive(node, id).await,
            (None, _) => {}
        }
    }

    async fn ask_lease(&mut self, node: &Handle<Store>, id: i64) {
        if ask_lease(&self.client, &self.shared, node, id).await == Some(false) {
            self.leases.retain(|&lease| lease != id);
        }
    }

    async fn keep_alive(&mut self, node: &Handle<Store>, id: i64) {
        let kept = keep_alive(&self.client, &self.shared, node, id).await;
        if kept == Some(false) {
            self.leases.retain(|&lease| lease != id);
        }
    }
}
