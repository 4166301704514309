//! Random commands: the store equals the model in every answer, at every revision, and through
//! snapshots; watches equal the model's list of changes at any pace.

use proptest::prelude::*;
use quorate::scope::notify::Notify;

use super::model::Model;
use super::*;

#[derive(Debug, Clone)]
enum Step {
    Apply(Command),
    Read(RangeRequest),
    /// Go on from a snapshot.
    Restore,
    /// Hold a snapshot open, or let go of it.
    Pin(bool),
    /// Begin a watch.
    Watch(WatchRequest),
    /// Let one watcher pull one batch.
    Pull(usize, usize),
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    (b'a'..=b'f').prop_map(|c| vec![c])
}

fn end() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => Just(vec![]),
        1 => Just(vec![0]),
        2 => (b'a'..=b'g').prop_map(|c| vec![c]),
    ]
}

fn small_value() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(b'0'..=b'3', 0..3)
}

/// Mostly 0; else a revision that may be gone, present or not yet there.
fn revision() -> impl Strategy<Value = i64> {
    prop_oneof![2 => Just(0i64), 1 => -1i64..40]
}

fn puts() -> impl Strategy<Value = PutRequest> {
    let lease = prop_oneof![3 => Just(0i64), 1 => 1i64..4];
    (key(), small_value(), lease, any::<bool>(), 0..6u8).prop_map(
        |(key, value, lease, prev_kv, ignore)| {
            let (ignore_value, ignore_lease) = (ignore == 0, ignore == 1);
            PutRequest {
                key,
                value: if ignore_value { vec![] } else { value },
                lease: if ignore_lease { 0 } else { lease },
                prev_kv,
                ignore_value,
                ignore_lease,
            }
        },
    )
}

fn deletes() -> impl Strategy<Value = DeleteRangeRequest> {
    (key(), end(), any::<bool>()).prop_map(|(key, range_end, prev_kv)| DeleteRangeRequest {
        key,
        range_end,
        prev_kv,
    })
}

fn ranges() -> impl Strategy<Value = RangeRequest> {
    let order =
        prop_oneof![Just(SortOrder::None), Just(SortOrder::Ascend), Just(SortOrder::Descend)];
    let target = prop_oneof![
        Just(SortTarget::Key),
        Just(SortTarget::Version),
        Just(SortTarget::Create),
        Just(SortTarget::Mod),
        Just(SortTarget::Value),
    ];
    let filter = || prop_oneof![4 => Just(0i64), 1 => 1i64..20];
    let filters = (filter(), filter(), filter(), filter());
    let only = (prop::bool::weighted(0.2), prop::bool::weighted(0.2));
    (key(), end(), -1i64..4, revision(), order, target, only, filters).prop_map(
        |(key, range_end, limit, revision, sort_order, sort_target, only, filters)| RangeRequest {
            key,
            range_end,
            limit,
            revision,
            sort_order,
            sort_target,
            keys_only: only.0,
            count_only: only.1,
            min_mod_revision: filters.0,
            max_mod_revision: filters.1,
            min_create_revision: filters.2,
            max_create_revision: filters.3,
        },
    )
}

fn compares() -> impl Strategy<Value = Compare> {
    let result = prop_oneof![
        Just(CompareResult::Equal),
        Just(CompareResult::NotEqual),
        Just(CompareResult::Less),
        Just(CompareResult::Greater),
    ];
    let target = prop_oneof![
        (0i64..4).prop_map(CompareTarget::Version),
        (0i64..20).prop_map(CompareTarget::Create),
        (0i64..20).prop_map(CompareTarget::Mod),
        (0i64..4).prop_map(CompareTarget::Lease),
        small_value().prop_map(CompareTarget::Value),
    ];
    (key(), end(), result, target).prop_map(|(key, range_end, result, target)| Compare {
        key,
        range_end,
        result,
        target,
    })
}

fn txns() -> impl Strategy<Value = TxnRequest> {
    let op = prop_oneof![
        ranges().prop_map(RequestOp::Range),
        puts().prop_map(RequestOp::Put),
        deletes().prop_map(RequestOp::DeleteRange),
    ];
    let op = op.prop_recursive(2, 8, 3, |inner| {
        let ops = || prop::collection::vec(inner.clone(), 0..3);
        let compare = prop::collection::vec(compares(), 0..2);
        (compare, ops(), ops()).prop_map(|(compare, success, failure)| {
            RequestOp::Txn(TxnRequest { compare, success, failure })
        })
    });
    let ops = || prop::collection::vec(op.clone(), 0..4);
    let compare = prop::collection::vec(compares(), 0..2);
    (compare, ops(), ops()).prop_map(|(compare, success, failure)| TxnRequest {
        compare,
        success,
        failure,
    })
}

fn commands() -> impl Strategy<Value = Command> {
    prop_oneof![
        8 => puts().prop_map(Command::Put),
        4 => deletes().prop_map(Command::DeleteRange),
        6 => txns().prop_map(Command::Txn),
        1 => (0i64..40).prop_map(|revision| Command::Compact { revision }),
        1 => (1i64..4).prop_map(|id| Command::LeaseGrant { id, ttl_s: 60 }),
        1 => (1i64..4).prop_map(|id| Command::LeaseRevoke { id }),
    ]
}

fn watches() -> impl Strategy<Value = WatchRequest> {
    let filters = (any::<bool>(), prop::bool::weighted(0.2), prop::bool::weighted(0.2));
    (key(), end(), 0i64..30, filters).prop_map(|(key, range_end, start_revision, filters)| {
        WatchRequest {
            key,
            range_end,
            start_revision,
            prev_kv: filters.0,
            no_put: filters.1,
            no_delete: filters.2,
        }
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        20 => commands().prop_map(Step::Apply),
        8 => ranges().prop_map(Step::Read),
        1 => Just(Step::Restore),
        1 => any::<bool>().prop_map(Step::Pin),
        3 => watches().prop_map(Step::Watch),
        8 => (0usize..8, 0usize..300).prop_map(|(who, bytes)| Step::Pull(who, bytes)),
    ];
    prop::collection::vec(step, 1..60)
}

/// A watcher and what the model says it must be told next.
struct Follower {
    request: WatchRequest,
    watcher: Watcher,
    wake: Notify,
    /// Events from this revision on are not told yet.
    next: i64,
    /// it was notified since it was last told everything.
    notified: bool,
    /// The last batch was cut short: it may then end although it missed nothing.
    cut: bool,
    ended: bool,
}

impl Follower {
    fn begin(m: &Machine, request: WatchRequest) -> Self {
        let wake = Notify::new();
        let past = request.start_revision > 0;
        Self {
            watcher: m.store.watch(&request, &wake),
            wake,
            next: if past { request.start_revision } else { m.store.revision() + 1 },
            request,
            notified: false,
            cut: false,
            ended: false,
        }
    }

    fn expected(&self, model: &Model, upto: i64) -> Vec<Event> {
        let r = &self.request;
        let mut last = std::collections::BTreeMap::new();
        let mut events = vec![];
        for change in &model.changes {
            let kv = change.kv.clone();
            let before = last.insert(kv.key.clone(), kv.clone());
            let kind = if kv.version == 0 { EventKind::Delete } else { EventKind::Put };
            let unwanted = match kind {
                EventKind::Put => r.no_put,
                EventKind::Delete => r.no_delete,
            };
            let inside = if r.range_end.is_empty() {
                *kv.key == *r.key
            } else {
                *kv.key >= *r.key && (r.range_end == [0] || *kv.key < *r.range_end)
            };
            let told = change.revision >= self.next && change.revision <= upto;
            if inside && told && !unwanted {
                let prev_kv = before.filter(|kv| r.prev_kv && kv.version > 0);
                events.push(Event { kind, kv, prev_kv });
            }
        }
        events
    }

    fn pull(&mut self, model: &Model, bytes_max: usize) {
        let missed = self.expected(model, model.revision);
        match self.watcher.next_batch(bytes_max) {
            Ok(batch) => {
                assert!(!self.ended, "an ended watch stays ended");
                assert_eq!(batch.events, self.expected(model, batch.revision));
                assert!(batch.more || batch.revision == model.revision);
                self.next = self.next.max(batch.revision + 1);
                self.cut = batch.more;
                self.notified &= batch.more;
            }
            Err(Compacted { revision }) => {
                assert_eq!(revision, model.compacted);
                // It ends only if something of its history is gone.
                assert!(self.next < model.compacted);
                self.ended = true;
                let began_late = self.request.start_revision > 0;
                assert!(began_late || self.cut || !missed.is_empty());
            }
        }
    }

    /// What is not told yet must have notified.
    fn check(&mut self, model: &Model) {
        use futures_lite::future::{block_on, poll_once};
        self.notified |= block_on(poll_once(self.wake.notified())).is_some();
        let nothing = self.expected(model, model.revision).is_empty();
        assert!(nothing || self.notified);
        assert!(nothing || self.watcher.progress().is_none());
    }
}

/// Applies the steps to both and compares at each.
fn run(steps: Vec<Step>, history: i64) -> u64 {
    let mut m =
        Machine::with_limits(Limits { history_revisions: history as u64, ..Limits::default() });
    let mut model = Model::new();
    let mut pinned = None;
    let mut followers: Vec<Follower> = vec![];
    for step in steps {
        match step {
            Step::Apply(command) => {
                assert_eq!(m.apply(command.clone()), model.apply(&command));
                model.bound(history);
            }
            Step::Read(request) => {
                let expect = model.range(&request, model.revision);
                assert_eq!(m.store.range(&request), expect, "{request:?}");
            }
            Step::Restore => {
                let digest = m.store.digest();
                let bytes: Vec<u8> = m.store.snapshot().flatten().collect();
                if digest.is_multiple_of(2) {
                    m.store = Store::new();
                    followers.clear();
                }
                m.store.restore(&bytes).unwrap();
                assert_eq!(m.store.digest(), digest);
            }
            Step::Pin(true) => pinned = Some((m.store.digest(), m.store.snapshot())),
            Step::Pin(false) => {
                if let Some((digest, snapshot)) = pinned.take() {
                    let bytes: Vec<u8> = snapshot.flatten().collect();
                    let mut store = Store::new();
                    store.restore(&bytes).unwrap();
                    assert_eq!(store.digest(), digest);
                }
            }
            Step::Watch(request) => followers.push(Follower::begin(&m, request)),
            Step::Pull(who, bytes_max) => {
                let at = who % followers.len().max(1);
                if let Some(follower) = followers.get_mut(at) {
                    follower.pull(&model, bytes_max);
                }
            }
        }
        assert_eq!(m.store.revision(), model.revision);
        followers.iter_mut().for_each(|f| f.check(&model));
    }
    for follower in &mut followers {
        while !follower.ended && follower.watcher.progress().is_none() {
            follower.pull(&model, 100);
        }
    }
    m.store.digest()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1_500,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_store_equals_the_naive_model(steps in steps(), history in 1i64..60) {
        run(steps, history);
    }

    #[test]
    fn the_same_steps_twice_give_the_same_digest(steps in steps()) {
        prop_assert_eq!(run(steps.clone(), 9), run(steps, 9));
    }

    #[test]
    fn every_command_survives_its_bytes(command in commands()) {
        prop_assert_eq!(Command::decode(&command.encode()), Ok(command));
    }

    #[test]
    fn any_bytes_are_a_command_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(command) = Command::decode(&bytes) {
            prop_assert_eq!(command.encode(), bytes);
        }
    }
}
