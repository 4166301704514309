//! Storms on machines that are not ours: what is wrong with one is found, on either engine, and one
//! with which nothing is wrong is left alone.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use quorate::machine::{Committed, StateMachine};
use quorate::sim::client::Client;
use quorate::sim::helix::Helix;
use quorate::sim::machine::Digest;
use quorate::sim::protocol::Protocol;
use quorate::sim::raft::Raft;
use quorate::sim::storm::{self, Failure, Fault, Options, Report};
use quorate::sim::workload::Workload;

/// Counts commands; what is wrong with it is said when it is made.
struct Counter {
    count: u64,
    /// Which of the machines of a storm it is, if that makes a difference.
    instance: u64,
    /// It forgets this when it is restored.
    forgotten: u64,
}

impl StateMachine for Counter {
    type Response = u64;

    fn apply(&mut self, _: Committed<'_>) -> u64 {
        self.count += 1;
        if self.count.is_multiple_of(50) {
            self.count += self.instance;
        }
        self.count
    }

    fn snapshot(&self) -> Box<dyn Iterator<Item = Vec<u8>>> {
        Box::new([self.count.to_le_bytes().to_vec()].into_iter())
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), String> {
        let count = u64::from_le_bytes(bytes.try_into().map_err(|_| "eight bytes")?);
        self.count = count.saturating_sub(self.forgotten);
        Ok(())
    }
}

impl Digest for Counter {}

fn healthy() -> Counter {
    Counter { count: 0, instance: 0, forgotten: 0 }
}

/// Asks for one more, again and again; the answers of one client only grow.
async fn count(client: Client<Counter>, asked: Rc<Cell<u64>>) {
    let mut before = 0;
    while client.goes_on() {
        asked.set(asked.get() + 1);
        let padding = vec![0; 60];
        if let Ok(applied) = client.node().await.propose(padding.into()).await {
            if applied.response <= before {
                client.complain(format!("{} after {before}", applied.response));
            }
            before = applied.response;
        }
        client.pause(Duration::from_millis(20)).await;
    }
}

fn counting(make: impl Fn() -> Counter + 'static) -> (Workload<Counter>, Rc<Cell<u64>>) {
    let asked = Rc::new(Cell::new(0));
    let counted = asked.clone();
    let workload = Workload::new(make).clients(move |client| count(client, counted.clone()));
    (workload, asked)
}

type Ended<P> = Result<Report<P>, Box<Failure>>;

fn storm<P: Protocol<Machine = Counter>>(seed: u64, workload: Workload<Counter>) -> Ended<P> {
    let options = Options { span: Duration::from_secs(50), ..Options::default() };
    storm::run_with::<P>(seed, &options, workload)
}

/// The invariant that breaks within a few seeds.
fn broken<P: Protocol<Machine = Counter>>(
    workload: impl Fn() -> Workload<Counter>,
) -> &'static str {
    let failed = (1..=5).find_map(|seed| storm::<P>(seed, workload()).err());
    failed.expect("one of five storms finds it").violation.invariant
}

fn a_healthy_one_is_left_alone<P: Protocol<Machine = Counter>>() {
    for seed in 1..=3 {
        let (workload, asked) = counting(healthy);
        let counted = asked.clone();
        let workload = workload.finally(move |counter| match counter.count {
            0 => Err("nothing was counted".into()),
            count if count > counted.get() => Err("more than asked for".into()),
            _ => Ok(()),
        });
        let report = storm::<P>(seed, workload).unwrap_or_else(|failure| panic!("{failure}"));
        assert!(asked.get() > 200, "{report}");
        assert!(report.faults.len() > 5, "{report}");
    }
}

#[test]
fn a_healthy_machine_is_left_alone() {
    a_healthy_one_is_left_alone::<Raft<_>>();
    a_healthy_one_is_left_alone::<Helix<_>>();
}

/// As if each node iterated in an order of its own.
#[test]
fn a_machine_that_is_not_deterministic_is_found() {
    let workload = || {
        let instances = Cell::new(0);
        let make = move || {
            instances.set(instances.get() + 1);
            Counter { instance: instances.get(), ..healthy() }
        };
        counting(make).0
    };
    assert_eq!(broken::<Raft<_>>(workload), "I11");
    assert_eq!(broken::<Helix<_>>(workload), "I11");
}

#[test]
fn a_machine_that_restores_less_than_it_had_is_found() {
    let workload = || counting(|| Counter { forgotten: 1, ..healthy() }).0;
    assert_eq!(broken::<Raft<_>>(workload), "I11");
}

#[test]
fn what_always_holds_is_looked_at_after_every_entry() {
    let workload = || {
        counting(healthy).0.always(|counter| match counter.count {
            100 => Err("a hundred".into()),
            _ => Ok(()),
        })
    };
    assert_eq!(broken::<Raft<_>>(workload), "always");
    assert_eq!(broken::<Helix<_>>(workload), "always");
}

#[test]
fn what_holds_in_the_end_is_looked_at() {
    let workload = || counting(healthy).0.finally(|_| Err("nothing is right".into()));
    assert_eq!(broken::<Raft<_>>(workload), "I8");
    assert_eq!(broken::<Helix<_>>(workload), "I8");
}

#[test]
fn a_client_that_complains_ends_the_storm() {
    let workload = || {
        Workload::new(healthy).clients(|client| async move { client.complain("no reason at all") })
    };
    assert_eq!(broken::<Raft<_>>(workload), "I8");
}

/// The seed decides everything, also with somebody else's clients.
#[test]
fn the_same_seed_is_the_same_storm() {
    let hash = || storm::<Raft<_>>(4, counting(healthy).0).map(|report| report.hash);
    assert_eq!(hash().expect("it goes well"), hash().expect("it goes well"));
    let options: Options<Raft<Counter>> =
        Options { faults: vec![Fault::Crash], ..Options::default() };
    let other = storm::run_with(4, &options, counting(healthy).0).expect("it goes well");
    assert_ne!(hash().expect("it goes well"), other.hash);
}
