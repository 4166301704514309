//! Each key as a cell of its own: what a history did to one key, and whether a cell could have had
//! that done to it.
//!
//! A key that hangs on a lease may vanish at any time, so a cell knows whether what it holds does.
//! Of the answers only what they say about this key is used, and only values, never revisions.
//! What is not understood (filters, limits, values that are kept) says nothing here; the judgement
//! by revision has it.

use std::collections::BTreeSet;
use std::rc::Rc;

use crate::kv::{
    Blob, Command, Compare, CompareResult, CompareTarget, KeyValue, PutRequest, RangeRequest,
    RangeResponse, RequestOp, Response, ResponseOp, TxnRequest, TxnResponse,
};
use crate::sim::linear::record::{Answer, Log, Operation, Request};
use crate::sim::linear::search::{Call, Found, Model, search};

/// Different sets and states looked at for one key before the search gives up.
pub const STEPS_MAX: usize = 200_000;

/// What one key holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Held {
    value: Blob,
    leased: bool,
}

/// One thing that a call did to the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It found this value, or none.
    Found(Option<Blob>),
    /// It found another value than this, or none.
    FoundOther(Blob),
    /// It found the key there, or not.
    FoundAny(bool),
    /// It put this value; on a lease or not.
    Put(Blob, bool),
    /// It put the key to a lease, or off it, if it was there.
    Attach(bool),
    /// It deleted it.
    Delete,
}

/// What a call did: one of these, each step after the other.
pub type Paths = Vec<Vec<Step>>;

/// One key.
#[derive(Debug, Clone, Copy, Default)]
pub struct Register;

impl Model for Register {
    type State = Option<Held>;
    type Act = Paths;

    fn first(&self) -> Self::State {
        None
    }

    fn step(&self, state: &Self::State, paths: &Paths) -> Vec<Self::State> {
        let leased = state.as_ref().is_some_and(|held| held.leased);
        let mut states = Vec::new();
        for path in paths {
            let as_it_is = follow(state.clone(), path);
            let mut without = leased.then(|| follow(None, path)).flatten();
            // What may still vanish later need not have vanished now.
            if let Some(Some(Held { leased: true, .. })) = as_it_is {
                without = without.filter(Option::is_some);
            }
            for state in as_it_is.into_iter().chain(without) {
                if !states.contains(&state) {
                    states.push(state);
                }
            }
        }
        states
    }
}

fn follow(mut state: Option<Held>, path: &[Step]) -> Option<Option<Held>> {
    for step in path {
        let value = state.as_ref().map(|held| &held.value);
        let goes = match step {
            Step::Found(found) => value == found.as_ref(),
            Step::FoundOther(other) => value != Some(other),
            Step::FoundAny(there) => value.is_some() == *there,
            Step::Put(..) | Step::Attach(_) | Step::Delete => true,
        };
        if !goes {
            return None;
        }
        match step {
            Step::Put(value, leased) => {
                state = Some(Held { value: value.clone(), leased: *leased });
            }
            Step::Attach(leased) => state.iter_mut().for_each(|held| held.leased = *leased),
            Step::Delete => state = None,
            Step::Found(_) | Step::FoundOther(_) | Step::FoundAny(_) => {}
        }
    }
    Some(state)
}

/// Searches an order for each key. Returns the number of keys, and of those among them of which
/// nothing is known because the search was too long.
///
/// # Errors
/// The call that fits nowhere.
pub fn check(log: &Log) -> Result<(usize, usize), String> {
    let keys = keys(log);
    let mut gave_up = 0;
    for key in &keys {
        let (ids, calls): (Vec<_>, Vec<_>) = (log.operations.iter().enumerate())
            .filter_map(|(id, operation)| Some((id, call(operation, key)?)))
            .unzip();
        match search(&Register, &calls, STEPS_MAX) {
            Found::Order(_) => {}
            Found::GaveUp => gave_up += 1,
            Found::Nothing { stuck, placed } => {
                let operation = &log.operations[ids[stuck]];
                let key = String::from_utf8_lossy(key);
                let count = calls.len();
                return Err(format!(
                    "key {key}: of {count} calls an order of {placed} was found, \
                     and then this fits nowhere: {operation}"
                ));
            }
        }
    }
    Ok((keys.len(), gave_up))
}

/// Every key that is named anywhere.
fn keys(log: &Log) -> BTreeSet<Blob> {
    let mut keys = BTreeSet::new();
    for operation in &log.operations {
        match &operation.request {
            Request::Command(Command::Put(put)) => {
                keys.insert(Blob::from(&*put.key));
            }
            Request::Command(Command::Txn(txn)) => named(txn, &mut keys),
            _ => {}
        }
        if let Answer::Range(range) = &operation.answer {
            keys.extend(range.kvs.iter().map(|kv| kv.key.clone()));
        }
    }
    keys
}

fn named(txn: &TxnRequest, keys: &mut BTreeSet<Blob>) {
    for op in txn.success.iter().chain(&txn.failure) {
        match op {
            RequestOp::Put(put) => {
                keys.insert(Blob::from(&*put.key));
            }
            RequestOp::Txn(inner) => named(inner, keys),
            RequestOp::Range(_) | RequestOp::DeleteRange(_) => {}
        }
    }
}

/// What an operation did to a key; `None` if nothing that counts here.
fn call(operation: &Operation, key: &[u8]) -> Option<Call<Paths>> {
    let path = match (&operation.request, &operation.answer) {
        (_, Answer::Nothing | Answer::Refused(_)) => return None,
        (Request::Range { request, stale: false }, Answer::Range(range)) => {
            vec![seen(request, range, key)?]
        }
        (Request::Command(command), Answer::Done(response)) => vec![done(command, response, key)?],
        (Request::Command(command), Answer::Unknown) => unknown(command, key)?,
        _ => return None,
    };
    let ended = operation.ended.filter(|_| operation.answer != Answer::Unknown);
    Some(Call { called: operation.called, ended, act: path })
}

/// Whether an interval of keys has a key.
#[must_use]
pub fn has(start: &[u8], end: &[u8], key: &[u8]) -> bool {
    match end {
        [] => key == start,
        [0] => key >= start,
        end => key >= start && key < end,
    }
}

fn value_of(kvs: &[KeyValue], key: &[u8]) -> Option<Blob> {
    kvs.iter().find(|kv| *kv.key == *key).map(|kv| kv.value.clone())
}

fn some(path: Vec<Step>) -> Option<Vec<Step>> {
    Some(path).filter(|path| !path.is_empty())
}

fn seen(request: &RangeRequest, answer: &RangeResponse, key: &[u8]) -> Option<Vec<Step>> {
    let RangeRequest { key: start, range_end: end, revision, .. } = request;
    let plain = RangeRequest {
        key: start.clone(),
        range_end: end.clone(),
        sort_order: request.sort_order,
        sort_target: request.sort_target,
        ..RangeRequest::default()
    };
    let counts = *revision <= 0 && *request == plain && has(start, end, key);
    counts.then(|| vec![Step::Found(value_of(&answer.kvs, key))])
}

fn put(request: &PutRequest, before: Option<Option<&KeyValue>>, key: &[u8]) -> Vec<Step> {
    let mut path = Vec::new();
    if *request.key == *key {
        if let Some(before) = before.filter(|_| request.prev_kv) {
            path.push(Step::Found(before.map(|kv| kv.value.clone())));
        }
        match (request.ignore_value, request.ignore_lease) {
            (false, false) => path.push(Step::Put(Rc::from(&*request.value), request.lease != 0)),
            (true, false) => path.push(Step::Attach(request.lease != 0)),
            // The lease stays whatever it was: more may happen than can.
            (false, true) => path.push(Step::Put(Rc::from(&*request.value), true)),
            (true, true) => {}
        }
    }
    path
}

fn done(command: &Command, response: &Response, key: &[u8]) -> Option<Vec<Step>> {
    match (command, response) {
        (Command::Put(request), Response::Put(answer)) => {
            some(put(request, Some(answer.prev_kv.as_ref()), key))
        }
        (Command::DeleteRange(request), Response::DeleteRange(answer)) => {
            let op = RequestOp::DeleteRange(request.clone());
            some(op_done(&op, &ResponseOp::DeleteRange(answer.clone()), key))
        }
        (Command::Txn(request), Response::Txn(answer)) => some(txn_done(request, answer, key)),
        _ => None,
    }
}

fn op_done(op: &RequestOp, answer: &ResponseOp, key: &[u8]) -> Vec<Step> {
    match (op, answer) {
        (RequestOp::Range(request), ResponseOp::Range(answer)) => {
            seen(request, answer, key).unwrap_or_default()
        }
        (RequestOp::Put(request), ResponseOp::Put(answer)) => {
            put(request, Some(answer.prev_kv.as_ref()), key)
        }
        (RequestOp::DeleteRange(request), ResponseOp::DeleteRange(answer)) => {
            if !has(&request.key, &request.range_end, key) {
                return Vec::new();
            }
            if request.prev_kv {
                vec![Step::Found(value_of(&answer.prev_kvs, key)), Step::Delete]
            } else if request.range_end.is_empty() {
                vec![Step::FoundAny(answer.deleted > 0), Step::Delete]
            } else {
                vec![Step::Delete]
            }
        }
        (RequestOp::Txn(request), ResponseOp::Txn(answer)) => txn_done(request, answer, key),
        _ => Vec::new(),
    }
}

fn txn_done(request: &TxnRequest, answer: &TxnResponse, key: &[u8]) -> Vec<Step> {
    let mut path = conditions(&request.compare, answer.succeeded, key);
    let ops = if answer.succeeded { &request.success } else { &request.failure };
    let steps = ops.iter().zip(&answer.responses);
    path.extend(steps.flat_map(|(op, answer)| op_done(op, answer, key)));
    path
}

/// What it says of the key that these conditions held, or not.
fn conditions(compare: &[Compare], held: bool, key: &[u8]) -> Vec<Step> {
    // That one of several did not hold says of none that it did not.
    if !held && compare.len() != 1 {
        return Vec::new();
    }
    let on_key = |c: &&Compare| *c.key == *key && c.range_end.is_empty();
    let says = |c: &Compare| match (&c.target, c.result, held) {
        (CompareTarget::Value(value), CompareResult::Equal, true) => {
            Some(Step::Found(Some(Rc::from(&**value))))
        }
        (CompareTarget::Value(value), CompareResult::Equal, false) => {
            Some(Step::FoundOther(Rc::from(&**value)))
        }
        (
            CompareTarget::Version(0) | CompareTarget::Create(0) | CompareTarget::Mod(0),
            CompareResult::Equal,
            held,
        ) => {
            // An absent key has no version, a present one has.
            Some(Step::FoundAny(!held))
        }
        _ => None,
    };
    compare.iter().filter(on_key).filter_map(says).collect()
}

fn unknown(command: &Command, key: &[u8]) -> Option<Paths> {
    let path = match command {
        Command::Put(request) => put(request, None, key),
        Command::DeleteRange(request) => deletes(&request.key, &request.range_end, key),
        Command::Txn(request) => {
            let paths = txn_unknown(request, key);
            return paths.iter().flatten().any(is_effect).then_some(paths);
        }
        _ => return None,
    };
    some(path).map(|path| vec![path])
}

fn is_effect(step: &Step) -> bool {
    matches!(step, Step::Put(..) | Step::Attach(_) | Step::Delete)
}

fn deletes(start: &[u8], end: &[u8], key: &[u8]) -> Vec<Step> {
    if has(start, end, key) { vec![Step::Delete] } else { Vec::new() }
}

/// Either branch, where its conditions allow it.
fn txn_unknown(request: &TxnRequest, key: &[u8]) -> Paths {
    let branch = |held: bool, ops: &[RequestOp]| {
        let mut paths = vec![conditions(&request.compare, held, key)];
        for op in ops {
            let ways = match op {
                RequestOp::Range(_) => continue,
                RequestOp::Put(request) => vec![put(request, None, key)],
                RequestOp::DeleteRange(request) => {
                    vec![deletes(&request.key, &request.range_end, key)]
                }
                RequestOp::Txn(inner) => txn_unknown(inner, key),
            };
            let longer = |path: &Vec<Step>| {
                let path = path.clone();
                ways.iter().map(move |way| [&path[..], way].concat()).collect::<Vec<_>>()
            };
            paths = paths.iter().flat_map(longer).collect();
        }
        paths
    };
    let mut paths = branch(true, &request.success);
    paths.extend(branch(false, &request.failure));
    paths
}
