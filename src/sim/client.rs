//! Clients that work all the time: each writes unique values and reads, on any node, and enters
//! what it sees into the common [`History`].

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use crate::env::clock::Sleep;
use crate::env::spawn::Task;
use crate::env::{Clock, Rng};
use crate::error::Refused;
use crate::id::Index;
use crate::raft::Node;
use crate::scope::first::{First, first};
use crate::sim::cluster::Cluster;
use crate::sim::history::{History, Tally};
use crate::sim::machine::{Ledger, Probe, Write};
use crate::sim::world::{Checks, World};

/// The longest time that a client waits for an answer before it goes on with its life; often it is
/// less. The engine refuses sooner than the longest; that is for nodes that are frozen.
pub const PATIENCE_MAX: Duration = Duration::from_secs(12);
/// The patience of a client in a hurry.
const PATIENCE_MIN: Duration = Duration::from_millis(150);

/// The largest padding of a write, in bytes; most are small.
const PADDING_MAX: u64 = 2_000;

/// A future of a node's answer.
pub type Answering<'a> = Pin<Box<dyn Future<Output = Result<Index, Refused>> + 'a>>;

/// A node as a client sees it, of whichever engine.
pub trait Served {
    /// Writes a command; where it stands then.
    fn write(&self, command: Bytes) -> Answering<'_>;
    /// Reads where the last write stands.
    fn last(&self) -> Answering<'_>;
}

impl Served for Node<Probe<Ledger>> {
    fn write(&self, command: Bytes) -> Answering<'_> {
        Box::pin(async move { Ok(self.propose(command).await?.index) })
    }

    fn last(&self) -> Answering<'_> {
        Box::pin(self.read(|ledger| ledger.last_index()))
    }
}

/// Finds one of the nodes that are up.
pub type Finding = Box<dyn Fn(&Rng) -> Option<Rc<dyn Served>>>;

/// What the clients of one cluster share.
struct Office {
    find: Finding,
    clock: Clock,
    history: RefCell<History>,
    /// Told what no client should have seen.
    complain: Box<dyn Fn(String)>,
    closed: Cell<bool>,
    pause_max: Cell<Duration>,
}

/// The clients of one cluster. Dropping them cancels what they wait for.
pub struct Clients {
    office: Rc<Office>,
    tasks: Vec<Task<()>>,
}

impl Clients {
    /// Lets `count` clients begin; each waits up to `pause_max` between two operations.
    #[must_use]
    pub fn new(cluster: &Cluster<Ledger>, count: u32, pause_max: Duration) -> Self {
        let directory = cluster.directory();
        let find: Finding = Box::new(move |rng| Some(Rc::new(directory.any(rng)?)));
        Self::of(cluster.world(), find, count, pause_max)
    }

    /// The same for any cluster: `find` finds a node that is up.
    #[must_use]
    pub fn of<C: Checks + 'static>(
        world: &World<C>,
        find: Finding,
        count: u32,
        pause_max: Duration,
    ) -> Self {
        let checker = world.checker().clone();
        let office = Rc::new(Office {
            find,
            clock: world.clock(),
            history: RefCell::default(),
            complain: Box::new(move |what| checker.borrow_mut().report("I8", what)),
            closed: Cell::new(false),
            pause_max: Cell::new(pause_max),
        });
        let begin = |id| {
            let life = work(id, office.clone(), world.rng().fork());
            world.executor().spawn(world.clients(), life)
        };
        let tasks = (1..=count).map(begin).collect();
        Self { office, tasks }
    }

    /// Lets each end with the operation it is at.
    pub fn close(&self) {
        self.office.closed.set(true);
    }

    /// Whether all have ended.
    #[must_use]
    pub fn are_done(&self) -> bool {
        self.tasks.iter().all(Task::is_finished)
    }

    /// Somebody else writes this, and its outcome does not matter; again is harmless.
    pub fn expect(&self, write: Write) {
        self.office.history.borrow_mut().expect(write);
    }

    /// What has happened so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.office.history.borrow().tally()
    }

    /// Compares what the clients saw with a ledger that has caught up.
    ///
    /// # Errors
    /// See [`History::compare`].
    pub fn compare(&self, ledger: &Ledger) -> Result<(), String> {
        self.office.history.borrow().compare(ledger.writes())
    }
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clients({}, {:?})", self.tasks.len(), self.tally())
    }
}

async fn work(client: u32, office: Rc<Office>, rng: Rng) {
    let mut seq = 0;
    while !office.closed.get() {
        let pause = rng.between(Duration::ZERO, office.pause_max.get());
        office.clock.sleep(pause).await;
        let Some(node) = (office.find)(&rng) else {
            continue;
        };
        let longest = if rng.chance(800) { PATIENCE_MIN * 8 } else { PATIENCE_MAX };
        let patience = office.clock.sleep(rng.between(PATIENCE_MIN, longest));
        if rng.chance(650) {
            seq += 1;
            let padding = if rng.chance(50) { rng.within(0..=PADDING_MAX) } else { 8 };
            let command = Write { client, seq }.command(usize::try_from(padding).unwrap_or(0));
            write(&office, &*node, Write { client, seq }, command, patience).await;
        } else {
            read(&office, &*node, patience).await;
        }
    }
}

async fn write(office: &Office, node: &dyn Served, write: Write, command: Bytes, patience: Sleep) {
    let floor = office.history.borrow_mut().begin_write(write);
    let answer = first(node.write(command), patience).await;
    let mut history = office.history.borrow_mut();
    let seen = match answer {
        First::A(Ok(index)) => history.acknowledged(write, floor, index),
        First::A(Err(refused)) => {
            history.refused(write, &refused);
            Ok(())
        }
        First::B(()) => Ok(()),
    };
    office.report(seen);
}

async fn read(office: &Office, node: &dyn Served, patience: Sleep) {
    let floor = office.history.borrow().begin_read();
    let answer = first(node.last(), patience).await;
    let mut history = office.history.borrow_mut();
    let seen = match answer {
        First::A(Ok(last)) => history.read(floor, last),
        First::A(Err(_)) | First::B(()) => {
            history.read_refused();
            Ok(())
        }
    };
    office.report(seen);
}

impl Office {
    fn report(&self, seen: Result<(), String>) {
        if let Err(what) = seen {
            (self.complain)(what);
        }
    }
}
