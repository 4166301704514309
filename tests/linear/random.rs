//! Random histories: linearizable ones pass, a wrong answer in one is found, and the search agrees with
//! trying every order.

use proptest::collection::vec;
use proptest::prelude::*;

use quorate::kv::{Command, DeleteRangeRequest, PutRequest, Response};
use quorate::sim::linear::search::{Call, Found, Model, search};
use quorate::sim::linear::{Answer, Operation, Request};

use crate::rig::{EVERYTHING, Rig, all_changes, all_keys, delete, range_of, swap};

/// The keys; few, so that they meet.
const KEYS: [&str; 3] = ["a", "b", "c"];

fn key() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&KEYS[..])
}

#[derive(Debug, Clone)]
enum Ask {
    Put(&'static str, bool),
    Delete(&'static str),
    DeleteAll,
    Swap(&'static str, &'static str),
    Read(&'static str),
    ReadAll,
}

fn an_ask() -> impl Strategy<Value = Ask> {
    prop_oneof![
        4 => (key(), any::<bool>()).prop_map(|(key, before)| Ask::Put(key, before)),
        1 => key().prop_map(Ask::Delete),
        1 => Just(Ask::DeleteAll),
        3 => (0..3usize, 1..3usize)
            .prop_map(|(key, off)| Ask::Swap(KEYS[key], KEYS[(key + off) % 3])),
        3 => key().prop_map(Ask::Read),
        2 => Just(Ask::ReadAll),
    ]
}

/// One call: what, how long before and after its effect it began and ended, and what became of it.
fn a_call() -> impl Strategy<Value = (Ask, u64, u64, u8)> {
    (an_ask(), 0..60u64, 0..60u64, 0..12u8)
}

/// A linearizable history, made by one store: each call takes effect between its ends, or its
/// answer is lost, or the call itself.
fn history(calls: &[(Ask, u64, u64, u8)]) -> Rig {
    let mut rig = Rig::default();
    let watch = rig.log.watch(0, 9, all_changes(1), 1);
    let mut value: Option<String> = None;
    for (id, &(ref ask, early, late, fate)) in (0u64..).zip(calls) {
        let at = 100 + 10 * id;
        let new = format!("v{id}");
        let request = match *ask {
            Ask::Put(key, prev_kv) => {
                let (key, value) = (key.into(), new.into());
                Request::Command(Command::Put(PutRequest { key, value, prev_kv, ..<_>::default() }))
            }
            Ask::Delete(key) => Request::Command(delete(key)),
            Ask::DeleteAll => Request::Command(Command::DeleteRange(DeleteRangeRequest {
                key: EVERYTHING.to_vec(),
                range_end: EVERYTHING.to_vec(),
                prev_kv: false,
            })),
            Ask::Swap(key, other) => {
                let before = rig.store.range(&range_of(key)).expect("a range");
                let held = before.kvs.first().map(|kv| String::from_utf8_lossy(&kv.value).into());
                value = held.or(value);
                let value: &str = value.as_deref().unwrap_or("");
                Request::Command(swap(key, value, other, &new))
            }
            Ask::Read(key) => Request::Range { request: range_of(key), stale: false },
            Ask::ReadAll => Request::Range { request: all_keys(), stale: false },
        };
        let answer = match &request {
            Request::Command(_) if fate == 0 => Answer::Unknown,
            Request::Command(command) => Answer::Done(rig.apply(command).expect("it goes")),
            Request::Range { request, .. } => {
                Answer::Range(rig.store.range(request).expect("it goes"))
            }
            Request::Lease(_) | Request::KeepAlive(_) => unreachable!(),
        };
        let answer = if fate == 1 { Answer::Unknown } else { answer };
        // No two times are equal.
        let (called, ended) = (1_000 * (at - early) + 2 * id, 1_000 * (at + late) + 2 * id + 1);
        let ended = (fate > 1).then_some(ended);
        let client = u32::try_from(id).expect("few");
        rig.log.operations.push(Operation { client, called, ended, request, answer });
    }
    rig.now = 1_000_000;
    let changes = rig.changes();
    rig.log.tell(rig.now, watch, changes, Some(rig.store.revision()));
    rig
}

/// Makes one answer wrong, in a way that nobody can have seen; says whether there was one to.
fn tamper(rig: &mut Rig, at: usize, how: u8) -> bool {
    let told = &mut rig.log.watches[0].told[0];
    let count = rig.log.operations.len();
    match how {
        0 if told.events.len() > 1 => {
            let event = at % told.events.len();
            told.events.remove(event);
            return true;
        }
        1 if !told.events.is_empty() => {
            let event = told.events[at % told.events.len()].clone();
            told.events.push(event);
            return true;
        }
        _ => {}
    }
    match &mut rig.log.operations[at % count].answer {
        Answer::Range(range) => match range.kvs.first_mut() {
            Some(kv) if how == 2 => kv.value = (*b"never").into(),
            Some(_) => range.kvs.clear(),
            None => return false,
        },
        Answer::Done(Response::Put(put)) => put.revision += if how == 2 { 1 } else { -1 },
        Answer::Done(Response::DeleteRange(deleted)) => deleted.deleted += 9,
        Answer::Done(Response::Txn(txn)) => txn.succeeded = !txn.succeeded,
        _ => return false,
    }
    true
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn linearizable_histories_pass(calls in vec(a_call(), 1..60)) {
        let rig = history(&calls);
        let verdict = rig.check().map_err(TestCaseError::fail)?;
        prop_assert_eq!(verdict.gave_up, 0);
    }

    #[test]
    fn one_wrong_answer_is_found(
        calls in vec(a_call(), 1..40),
        at in 0..1_000usize,
        how in 0..4u8,
    ) {
        let mut rig = history(&calls);
        if tamper(&mut rig, at, how) {
            prop_assert!(rig.check().is_err());
        }
    }

    /// The search finds an order if and only if there is one, among all.
    #[test]
    fn the_search_agrees_with_trying_every_order(calls in vec(a_small_call(), 1..7)) {
        let expected = any_order(&calls, &mut vec![false; calls.len()], 0);
        let found = search(&Number, &calls, 1_000_000);
        prop_assert_eq!(matches!(found, Found::Order(_)), expected, "{:?}", found);
    }
}

/// One number, which calls write, read and swap.
struct Number;

#[derive(Debug, Clone, PartialEq)]
enum Act {
    Write(u8),
    Read(u8),
    Swap(u8, u8, bool),
}

impl Model for Number {
    type State = u8;
    type Act = Act;

    fn first(&self) -> u8 {
        0
    }

    fn step(&self, &state: &u8, act: &Act) -> Vec<u8> {
        match *act {
            Act::Write(value) => vec![value],
            Act::Read(value) if value != state => vec![],
            Act::Read(_) => vec![state],
            Act::Swap(from, _, done) if (state == from) != done => vec![],
            Act::Swap(_, to, done) => vec![if done { to } else { state }],
        }
    }
}

fn a_small_call() -> impl Strategy<Value = Call<Act>> {
    let act = prop_oneof![
        (0..3u8).prop_map(Act::Write),
        (0..3u8).prop_map(Act::Read),
        (0..3u8, 0..3u8, any::<bool>()).prop_map(|(from, to, done)| Act::Swap(from, to, done)),
    ];
    (act, 0..12u64, prop::option::weighted(0.8, 1..8u64)).prop_map(|(act, called, span)| {
        let (called, ended) = (2 * called, span.map(|span| 2 * called + 2 * span - 1));
        Call { called, ended, act }
    })
}

/// Tries every order of every choice of unanswered calls.
fn any_order(calls: &[Call<Act>], taken: &mut Vec<bool>, state: u8) -> bool {
    let open = |id: &usize| !taken[*id];
    let left: Vec<usize> = (0..calls.len()).filter(open).collect();
    let first_end = left.iter().filter_map(|&id| calls[id].ended).min();
    let Some(first_end) = first_end else { return true };
    for id in left.into_iter().filter(|&id| calls[id].called <= first_end) {
        for state in Number.step(&state, &calls[id].act) {
            taken[id] = true;
            if any_order(calls, taken, state) {
                return true;
            }
            taken[id] = false;
        }
    }
    false
}
