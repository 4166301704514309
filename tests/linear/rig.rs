//! A store, and a log of what is done to it.

use quorate::kv::{
    Command, Compare, CompareResult, CompareTarget, DeleteRangeRequest, Event, KvError, PutRequest,
    RangeRequest, RequestOp, Response, Store, TxnRequest, WatchRequest,
};
use quorate::machine::{Committed, StateMachine};
use quorate::scope::notify::Notify;
use quorate::sim::linear::{Answer, Log, Promise, Request, Verdict, check, register};

pub(crate) const SECOND: u64 = 1_000_000_000;
pub(crate) const EVERYTHING: [u8; 1] = [0];

/// A store, and a log of what is done to it, one call after the other.
#[derive(Default)]
pub(crate) struct Rig {
    pub(crate) store: Store,
    pub(crate) log: Log,
    index: u64,
    pub(crate) now: u64,
}

pub(crate) fn put(key: &str, value: &str) -> Command {
    Command::Put(PutRequest { key: key.into(), value: value.into(), ..PutRequest::default() })
}

pub(crate) fn put_on(lease: i64, key: &str, value: &str) -> Command {
    let (key, value) = (key.into(), value.into());
    Command::Put(PutRequest { key, value, lease, ..PutRequest::default() })
}

pub(crate) fn delete(key: &str) -> Command {
    Command::DeleteRange(DeleteRangeRequest {
        key: key.into(),
        prev_kv: true,
        ..DeleteRangeRequest::default()
    })
}

pub(crate) fn range_of(key: &str) -> RangeRequest {
    RangeRequest { key: key.into(), ..RangeRequest::default() }
}

pub(crate) fn all_keys() -> RangeRequest {
    let (key, range_end) = (EVERYTHING.to_vec(), EVERYTHING.to_vec());
    RangeRequest { key, range_end, ..RangeRequest::default() }
}

pub(crate) fn all_changes(start_revision: i64) -> WatchRequest {
    let (key, range_end) = (EVERYTHING.to_vec(), EVERYTHING.to_vec());
    WatchRequest { key, range_end, start_revision, ..WatchRequest::default() }
}

/// If `key` has `value`, both keys get `new`; if not, both are read.
pub(crate) fn swap(key: &str, value: &str, other: &str, new: &str) -> Command {
    let put = |key: &str| match put(key, new) {
        Command::Put(request) => RequestOp::Put(request),
        _ => unreachable!(),
    };
    let compare = Compare {
        key: key.into(),
        range_end: vec![],
        result: CompareResult::Equal,
        target: CompareTarget::Value(value.into()),
    };
    Command::Txn(TxnRequest {
        compare: vec![compare],
        success: vec![put(key), put(other)],
        failure: vec![RequestOp::Range(range_of(key)), RequestOp::Range(range_of(other))],
    })
}

impl Rig {
    pub(crate) fn apply(&mut self, command: &Command) -> Result<Response, KvError> {
        self.index += 1;
        let payload = command.encode();
        self.store.apply(Committed { index: self.index, epoch: 1, payload: &payload })
    }

    pub(crate) fn tick(&mut self) -> u64 {
        self.now += 10;
        self.now
    }

    pub(crate) fn ask(&mut self, request: Request) -> usize {
        let now = self.tick();
        self.log.ask(now, 1, request)
    }

    pub(crate) fn answer(&mut self, operation: usize, answer: Answer) {
        let now = self.tick();
        self.log.answer(now, operation, answer);
    }

    pub(crate) fn call(&mut self, command: Command) -> usize {
        let operation = self.ask(Request::Command(command.clone()));
        let answer = self.apply(&command).map_or_else(Answer::Refused, Answer::Done);
        self.answer(operation, answer);
        operation
    }

    pub(crate) fn read(&mut self, request: RangeRequest) -> usize {
        let operation = self.ask(Request::Range { request: request.clone(), stale: false });
        let answer = self.store.range(&request).map_or_else(Answer::Refused, Answer::Range);
        self.answer(operation, answer);
        operation
    }

    pub(crate) fn lease(&mut self, id: i64) -> usize {
        let operation = self.ask(Request::Lease(id));
        let answer = Answer::Lease(self.store.revision(), self.store.lease(id, true));
        self.answer(operation, answer);
        operation
    }

    pub(crate) fn changes(&self) -> Vec<Event> {
        let mut watcher = self.store.watch(&all_changes(1), &Notify::new());
        watcher.next_batch(usize::MAX).expect("nothing is compacted here").events
    }

    pub(crate) fn check(&self) -> Result<Verdict, String> {
        check(&self.log, &self.changes(), &Promise::default())
    }

    /// The judgement by revision says what is wrong, in these words.
    pub(crate) fn finds(&self, words: &str) {
        let what = self.check().expect_err("something is wrong");
        assert!(what.contains(words), "{what}");
    }

    /// The search for each key finds it, too.
    pub(crate) fn searches(&self, words: &str) {
        let what = register::check(&self.log).expect_err("something is wrong");
        assert!(what.contains(words), "{what}");
    }
}
