//! The replicated map, seen from outside: one property a test, and a naive model that it must
//! equal under random commands.

mod countdown;
mod figures;
mod leases;
mod model;
mod property;
mod snapshots;
mod store;
mod txn;
mod watch;

use quorate::kv::*;
use quorate::{Committed, StateMachine};

/// A store and the index of its last entry.
pub struct Machine {
    pub store: Store,
    pub index: u64,
}

impl Machine {
    pub fn new() -> Self {
        Self {
            store: Store::new(),
            index: 0,
        }
    }

    pub fn with_limits(limits: Limits) -> Self {
        let mut machine = Self::new();
        machine.apply(Command::Configure(limits)).unwrap();
        machine
    }

    pub fn apply(&mut self, command: Command) -> Outcome {
        self.apply_bytes(&command.encode())
    }

    pub fn apply_bytes(&mut self, payload: &[u8]) -> Outcome {
        self.index += 1;
        self.store.apply(Committed {
            index: self.index,
            epoch: 1,
            payload,
        })
    }

    /// Puts; returns the revision.
    pub fn put(&mut self, key: &str, value: &str) -> i64 {
        match self.apply(Command::Put(put(key, value))) {
            Ok(Response::Put(response)) => response.revision,
            other => panic!("{other:?}"),
        }
    }

    /// Deletes; returns how many.
    pub fn delete(&mut self, key: &str, end: &str) -> i64 {
        match self.apply(Command::DeleteRange(delete(key, end))) {
            Ok(Response::DeleteRange(response)) => response.deleted,
            other => panic!("{other:?}"),
        }
    }

    pub fn txn(&mut self, request: TxnRequest) -> Result<TxnResponse, KvError> {
        match self.apply(Command::Txn(request))? {
            Response::Txn(response) => Ok(response),
            other => panic!("{other:?}"),
        }
    }

    pub fn grant(&mut self, id: i64, ttl_s: i64) -> i64 {
        match self.apply(Command::LeaseGrant { id, ttl_s }) {
            Ok(Response::LeaseGrant { id, .. }) => id,
            other => panic!("{other:?}"),
        }
    }

    pub fn put_leased(&mut self, key: &str, lease: i64) -> Outcome {
        self.apply(Command::Put(PutRequest {
            lease,
            ..put(key, "v")
        }))
    }

    /// The keys and values of an interval as of a revision, as `key=value` words.
    pub fn at(&self, revision: i64, key: &str, end: &str) -> Result<String, KvError> {
        let request = RangeRequest {
            revision,
            ..range(key, end)
        };
        Ok(words(&self.store.range(&request)?.kvs))
    }

    /// The same now.
    pub fn now(&self, key: &str, end: &str) -> String {
        self.at(0, key, end).unwrap()
    }

    /// At most `limit` keys, by value, without a direction.
    pub fn value_sorted(&self, limit: i64) -> String {
        let request = RangeRequest {
            sort_target: SortTarget::Value,
            limit,
            ..range("a", "\0")
        };
        words(&self.store.range(&request).unwrap().kvs)
    }

    pub fn get(&self, key: &str) -> Option<KeyValue> {
        self.store.range(&range(key, "")).unwrap().kvs.pop()
    }

    /// Everything that has been written, as a new store would read it.
    pub fn restored(&self) -> Self {
        let bytes: Vec<u8> = self.store.snapshot().flatten().collect();
        let mut store = Store::new();
        store.restore(&bytes).unwrap();
        Self {
            store,
            index: self.index,
        }
    }
}

pub fn words(kvs: &[KeyValue]) -> String {
    let word = |kv: &KeyValue| {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        format!("{}={}", text(&kv.key), text(&kv.value))
    };
    kvs.iter().map(word).collect::<Vec<_>>().join(" ")
}

pub fn put(key: &str, value: &str) -> PutRequest {
    PutRequest {
        key: key.into(),
        value: value.into(),
        ..PutRequest::default()
    }
}

pub fn delete(key: &str, end: &str) -> DeleteRangeRequest {
    DeleteRangeRequest {
        key: key.into(),
        range_end: end.into(),
        prev_kv: false,
    }
}

pub fn range(key: &str, end: &str) -> RangeRequest {
    RangeRequest {
        key: key.into(),
        range_end: end.into(),
        ..RangeRequest::default()
    }
}
