//! What a command does to a state, and what it is answered: the meaning of the requests, told once
//! more and as plainly as can be, for the store's own code to be held against.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::kv::{
    Blob, Command, Compare, CompareResult, CompareTarget, DeleteRangeRequest, DeleteRangeResponse,
    Event, EventKind, KeyValue, PutRequest, PutResponse, RangeRequest, RangeResponse, RequestOp,
    Response, ResponseOp, SortOrder, SortTarget, TxnRequest, TxnResponse,
};
use crate::sim::linear::register::has;
use crate::sim::linear::revisions::{Revisions, deletion};

/// A state, and what one command has done to it so far.
struct Now<'a> {
    history: &'a Revisions,
    before: i64,
    /// What is other than before.
    written: BTreeMap<Blob, Option<KeyValue>>,
    changes: Vec<Event>,
}

/// What a command changes that comes after revision `before`, and what it is answered; `None` for
/// commands that change no key, and where an answer is not defined here: sorts and filters.
#[must_use]
pub fn effect(
    history: &Revisions,
    before: i64,
    command: &Command,
) -> Option<(Vec<Event>, Response)> {
    let mut now = Now { history, before, written: BTreeMap::new(), changes: Vec::new() };
    let response = match command {
        Command::Put(request) => Response::Put(now.put(request)?),
        Command::DeleteRange(request) => Response::DeleteRange(now.delete(request)),
        Command::Txn(request) => {
            let mut response = now.txn(request)?;
            set_revision(&mut response, now.revision());
            Response::Txn(response)
        }
        Command::LeaseRevoke { id } => {
            now.changes = history.end_of_lease(*id, before);
            Response::LeaseRevoke { revision: now.revision() }
        }
        _ => return None,
    };
    Some((now.changes, response))
}

/// What a range is answered at revision `present`; `None` where it is not defined here.
#[must_use]
pub fn range(history: &Revisions, present: i64, request: &RangeRequest) -> Option<RangeResponse> {
    let now = Now { history, before: present, written: BTreeMap::new(), changes: Vec::new() };
    now.range(request)
}

fn set_revision(response: &mut TxnResponse, revision: i64) {
    response.revision = revision;
    for inner in &mut response.responses {
        if let ResponseOp::Txn(inner) = inner {
            set_revision(inner, revision);
        }
    }
}

impl Now<'_> {
    fn revision(&self) -> i64 {
        self.before + i64::from(!self.changes.is_empty())
    }

    fn get(&self, key: &[u8]) -> Option<&KeyValue> {
        match self.written.get(key) {
            Some(kv) => kv.as_ref(),
            None => self.history.at(key, self.before),
        }
    }

    fn within(&self, start: &[u8], end: &[u8]) -> Vec<KeyValue> {
        let mut kvs: BTreeMap<Blob, KeyValue> = BTreeMap::new();
        for kv in self.history.within(start, end, self.before) {
            kvs.insert(kv.key.clone(), kv.clone());
        }
        for (key, kv) in self.written.iter().filter(|(key, _)| has(start, end, key)) {
            match kv {
                Some(kv) => kvs.insert(key.clone(), kv.clone()),
                None => kvs.remove(key),
            };
        }
        kvs.into_values().collect()
    }

    fn put(&mut self, request: &PutRequest) -> Option<PutResponse> {
        if request.ignore_value || request.ignore_lease {
            return None;
        }
        let before = self.get(&request.key).cloned();
        let revision = self.before + 1;
        let kv = KeyValue {
            key: Blob::from(&*request.key),
            value: Blob::from(&*request.value),
            create_revision: before.as_ref().map_or(revision, |kv| kv.create_revision),
            mod_revision: revision,
            version: before.as_ref().map_or(0, |kv| kv.version) + 1,
            lease: request.lease,
        };
        self.written.insert(kv.key.clone(), Some(kv.clone()));
        self.changes.push(Event { kind: EventKind::Put, kv, prev_kv: None });
        Some(PutResponse { revision, prev_kv: before.filter(|_| request.prev_kv) })
    }

    fn delete(&mut self, request: &DeleteRangeRequest) -> DeleteRangeResponse {
        let before = self.within(&request.key, &request.range_end);
        for kv in &before {
            self.written.insert(kv.key.clone(), None);
            self.changes.push(deletion(kv.key.clone(), self.before + 1));
        }
        let deleted = before.len() as i64;
        let prev_kvs = if request.prev_kv { before } else { Vec::new() };
        DeleteRangeResponse { revision: self.revision(), deleted, prev_kvs }
    }

    fn range(&self, request: &RangeRequest) -> Option<RangeResponse> {
        let filters = [
            request.min_mod_revision,
            request.max_mod_revision,
            request.min_create_revision,
            request.max_create_revision,
        ];
        let sorts =
            request.sort_target != SortTarget::Key || request.sort_order == SortOrder::Descend;
        if filters != [0; 4] || sorts {
            return None;
        }
        let mut kvs = if request.revision > 0 {
            let kvs = self.history.within(&request.key, &request.range_end, request.revision);
            kvs.cloned().collect()
        } else {
            self.within(&request.key, &request.range_end)
        };
        let count = kvs.len() as i64;
        if request.count_only {
            kvs.clear();
        }
        let limit = usize::try_from(request.limit).ok().filter(|&limit| limit > 0);
        let more = limit.is_some_and(|limit| kvs.len() > limit);
        kvs.truncate(limit.unwrap_or(usize::MAX));
        if request.keys_only {
            kvs.iter_mut().for_each(|kv| kv.value = Blob::from([]));
        }
        Some(RangeResponse { revision: self.revision(), kvs, more, count })
    }

    fn txn(&mut self, request: &TxnRequest) -> Option<TxnResponse> {
        // Every condition, those of transactions within, too, is about the state before.
        let succeeded = request.compare.iter().all(|compare| self.holds(compare));
        let ops = if succeeded { &request.success } else { &request.failure };
        let mut responses = Vec::with_capacity(ops.len());
        for op in ops {
            responses.push(match op {
                RequestOp::Range(request) => ResponseOp::Range(self.range(request)?),
                RequestOp::Put(request) => ResponseOp::Put(self.put(request)?),
                RequestOp::DeleteRange(request) => ResponseOp::DeleteRange(self.delete(request)),
                RequestOp::Txn(request) => ResponseOp::Txn(self.txn(request)?),
            });
        }
        Some(TxnResponse { revision: 0, succeeded, responses })
    }

    fn holds(&self, compare: &Compare) -> bool {
        let kvs = self.history.within(&compare.key, &compare.range_end, self.before);
        let found: Vec<_> = kvs.map(Some).collect();
        // Of no key at all as of one that was never there.
        let found = if found.is_empty() { vec![None] } else { found };
        found.into_iter().all(|kv| holds_for(compare, kv))
    }
}

fn holds_for(compare: &Compare, kv: Option<&KeyValue>) -> bool {
    let number = |field: fn(&KeyValue) -> i64, operand: &i64| kv.map_or(0, field).cmp(operand);
    let order = match &compare.target {
        CompareTarget::Version(operand) => number(|kv| kv.version, operand),
        CompareTarget::Create(operand) => number(|kv| kv.create_revision, operand),
        CompareTarget::Mod(operand) => number(|kv| kv.mod_revision, operand),
        CompareTarget::Lease(operand) => number(|kv| kv.lease, operand),
        CompareTarget::Value(operand) => match kv {
            Some(kv) => kv.value[..].cmp(operand),
            None => return false,
        },
    };
    match compare.result {
        CompareResult::Equal => order == Ordering::Equal,
        CompareResult::Greater => order == Ordering::Greater,
        CompareResult::Less => order == Ordering::Less,
        CompareResult::NotEqual => order != Ordering::Equal,
    }
}
