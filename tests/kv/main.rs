//! The replicated map, seen from outside: one property a test, and a naive model that it must
//! equal under random commands.

#![allow(clippy::unwrap_used, reason = "a test may panic: that is how it fails")]

mod figures;
mod leases;
mod lessor;
mod model;
mod property;
mod snapshots;
mod store;
mod txn;
mod watch;

use quorate::kv::*;
use quorate::{Committed, StateMachine};

/// A store and the index of its last entry.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) store: Store,
    pub(crate) index: u64,
    pub(crate) epoch: u64,
}

impl Machine {
    pub(crate) fn new() -> Self {
        Self { store: Store::new(), index: 0, epoch: 1 }
    }

    pub(crate) fn with_limits(limits: Limits) -> Self {
        let mut machine = Self::new();
        machine.apply(Command::Configure(limits)).unwrap();
        machine
    }

    pub(crate) fn apply(&mut self, command: Command) -> Outcome {
        self.apply_bytes(&command.encode())
    }

    pub(crate) fn apply_bytes(&mut self, payload: &[u8]) -> Outcome {
        self.index += 1;
        self.store.apply(Committed { index: self.index, epoch: self.epoch, payload })
    }

    /// Puts; returns the revision.
    pub(crate) fn put(&mut self, key: &str, value: &str) -> i64 {
        match self.apply(Command::Put(put(key, value))) {
            Ok(Response::Put(response)) => response.revision,
            other => panic!("{other:?}"),
        }
    }

    /// Deletes; returns how many.
    pub(crate) fn delete(&mut self, key: &str, end: &str) -> i64 {
        match self.apply(Command::DeleteRange(delete(key, end))) {
            Ok(Response::DeleteRange(response)) => response.deleted,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn txn(&mut self, request: TxnRequest) -> Result<TxnResponse, KvError> {
        match self.apply(Command::Txn(request))? {
            Response::Txn(response) => Ok(response),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn grant(&mut self, id: i64, ttl_s: i64) -> i64 {
        match self.apply(Command::LeaseGrant { id, ttl_s }) {
            Ok(Response::LeaseGrant { id, .. }) => id,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn put_leased(&mut self, key: &str, lease: i64) -> Outcome {
        self.apply(Command::Put(PutRequest { lease, ..put(key, "v") }))
    }

    /// The keys and values of an interval as of a revision, as `key=value` words.
    pub(crate) fn at(&self, revision: i64, key: &str, end: &str) -> Result<String, KvError> {
        let request = RangeRequest { revision, ..range(key, end) };
        Ok(words(&self.store.range(&request)?.kvs))
    }

    /// The same now.
    pub(crate) fn now(&self, key: &str, end: &str) -> String {
        self.at(0, key, end).unwrap()
    }

    /// At most `limit` keys, by value, without a direction.
    pub(crate) fn value_sorted(&self, limit: i64) -> String {
        let request = RangeRequest { sort_target: SortTarget::Value, limit, ..range("a", "\0") };
        words(&self.store.range(&request).unwrap().kvs)
    }

    pub(crate) fn get(&self, key: &str) -> Option<KeyValue> {
        self.store.range(&range(key, "")).unwrap().kvs.pop()
    }

    /// Everything that has been written, as a new store would read it.
    pub(crate) fn restored(&self) -> Self {
        let bytes: Vec<u8> = self.store.snapshot().flatten().collect();
        let mut store = Store::new();
        store.restore(&bytes).unwrap();
        Self { store, index: self.index, epoch: self.epoch }
    }
}

pub(crate) fn words(kvs: &[KeyValue]) -> String {
    let word = |kv: &KeyValue| {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        format!("{}={}", text(&kv.key), text(&kv.value))
    };
    kvs.iter().map(word).collect::<Vec<_>>().join(" ")
}

pub(crate) fn put(key: &str, value: &str) -> PutRequest {
    PutRequest { key: key.into(), value: value.into(), ..PutRequest::default() }
}

pub(crate) fn delete(key: &str, end: &str) -> DeleteRangeRequest {
    DeleteRangeRequest { key: key.into(), range_end: end.into(), prev_kv: false }
}

pub(crate) fn range(key: &str, end: &str) -> RangeRequest {
    RangeRequest { key: key.into(), range_end: end.into(), ..RangeRequest::default() }
}
